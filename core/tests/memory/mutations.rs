//! Files of every format, changed a little, are read or refused, and make no importer hold much. The changes are drawn from a
//! fixed seed, so that each run tries the same files; the fuzz targets (`fuzz/`) look further.

use std::io::Write as _;

use accel_core::error::Error;
use accel_core::import::input::Input;
use accel_core::import::request_log::{self, Selection};
use accel_core::import::weights_index::Index;
use accel_core::import::{self, Format};
use accel_core::progress::{Flow, Progress, Unattended};
use accel_core::recipe::{FileSource, Workload};
use accel_core::rng::Rng;
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::model_run::ModelRun;

use crate::common::{fixture, unpacked};
use crate::lock;

/// Changed files of each fixture, and bytes of all of them: large ones take long.
const EACH: usize = 120;
const BYTES: usize = 500_000;
/// What an importer may hold of a small file, and of each of its bytes. Models of a changed graph may have many more tiles.
const MOST: usize = 48 << 20;
const MOST_PER_BYTE: usize = 64;

/// Stops a file that unpacks to more than some 16 MiB: readers report once per mebibyte.
struct Cap(u32);

impl Progress for Cap {
    fn report(&mut self, _: u64, _: u64, _: &str) -> Flow {
        self.0 += 1;
        if self.0 < 16 { Flow::Continue } else { Flow::Cancel }
    }
}

/// What is done with the bytes.
type Read = fn(&[u8]) -> Result<(), Error>;

fn as_file(bytes: &[u8]) -> Result<(), Error> {
    let workload = Workload::File(FileSource::named("changed"));
    workload.trace_with((1, u64::MAX), &Input::new("changed", bytes), &mut Cap(0)).map(drop)
}

fn as_config(bytes: &[u8]) -> Result<(), Error> {
    let config = ModelConfig::of_any_family("changed", bytes)?;
    ModelRun { model: ModelRef::Config(Box::new(config)), ..ModelRun::default() }.facts().map(drop)
}

fn as_weights(bytes: &[u8]) -> Result<(), Error> {
    import::model_of_weights("changed", bytes).map(drop)
}

fn as_log(bytes: &[u8]) -> Result<(), Error> {
    request_log::read(&Input::new("changed", bytes), Selection::default(), &mut Cap(0)).map(drop)
}

fn as_index(bytes: &[u8]) -> Result<(), Error> {
    Index::parse("changed", bytes).map(drop)
}

/// A good file of every kind, and how it is read.
fn fixtures() -> Vec<(String, Vec<u8>, Read)> {
    let mut all: Vec<(String, Vec<u8>, Read)> = Vec::new();
    for name in [
        "chakra/tiny.et",
        "chakra/mlp_train.et.gz",
        "et/mlp_train_schema_1_0_1.json.gz",
        "et/mlp_train_schema_1_1_1.json.gz",
        "kineto/mlp_train.json.gz",
        "onnx/tiny_mlp.onnx",
        "onnx/tiny_attention.onnx",
        "onnx/int8_weights.onnx",
        "weights/tiny.safetensors",
        "weights/tiny.gguf",
    ] {
        all.push((name.to_owned(), unpacked(name), as_file));
    }
    // Packed as well, where changes meet what unpacks.
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(b"time,obj_id,obj_size\n0,a,10\n1,b,20\n2,a,10\n").unwrap();
    all.push(("packed".to_owned(), packer.finish().unwrap(), as_file));
    let records =
        b"tensor_id,size_mb,reuse_distance,stride,op,model_type\nQ_0,4,0,1,matmul,T\n\"K,0\",8.5,0,1,attention,T\n";
    let input = Input::new("records", records);
    let trace = import::read(Format::PrototypeCsv, &input, None, &mut Unattended).unwrap();
    for format in Format::all().filter(|format| format.writable()) {
        all.push((format.name().to_owned(), import::write(format, &trace).unwrap(), as_file));
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(records.len() as u64);
    tar.append_data(&mut header, "records.csv", &records[..]).unwrap();
    all.push(("tar".to_owned(), tar.into_inner().unwrap(), as_file));
    let texts: [(&str, &str, Read); 9] = [
        (
            "moe-routing",
            "{\"token\":0,\"layer\":3,\"experts\":[1,6]}\n{\"token\":1,\"layer\":3,\"experts\":[6]}\n",
            as_file,
        ),
        (
            "mooncake",
            "{\"timestamp\":0,\"input_length\":655,\"output_length\":52,\"hash_ids\":[0,1]}\n\
             {\"timestamp\":5,\"input_length\":700,\"output_length\":2,\"hash_ids\":[0,2]}\n",
            as_file,
        ),
        (
            "scale-sim",
            "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\nConv1, 224, 224, 7, 7, 3, 64, 2,\n",
            as_file,
        ),
        ("scale-sim gemm", "Layer, M, N, K,\nGemm1, 10, 20, 30,\n", as_file),
        ("requests", "time,obj_id,obj_size\n0,a,10\n1,b,20\n2,a,10\n", as_file),
        ("azure", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n", as_log),
        (
            "mooncake log",
            "{\"timestamp\":0,\"input_length\":655,\"output_length\":52,\"hash_ids\":[0,1]}\n\
             {\"timestamp\":5,\"input_length\":700,\"output_length\":2,\"hash_ids\":[0,2]}\n",
            as_log,
        ),
        (
            "index",
            "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-2.safetensors\"}}",
            as_index,
        ),
        ("params.json", "{\"dim\":64,\"n_layers\":2,\"n_heads\":4,\"vocab_size\":100,\"multiple_of\":8}", as_config),
    ];
    all.extend(texts.map(|(name, text, read)| (name.to_owned(), text.as_bytes().to_vec(), read)));
    let models: Vec<serde_json::Value> = serde_json::from_slice(&fixture("families.json")).unwrap();
    for name in ["llama", "deepseek_v4", "gemma3n", "nemotron_h", "clip", "swin", "unet", "sd3.5"] {
        let model = models.iter().find(|model| model["name"] == *name).unwrap();
        all.push((name.to_owned(), model["config"].to_string().into_bytes(), as_config));
    }
    all.push(("gguf as a model".to_owned(), fixture("mistral/f32.gguf")[..12_000].to_vec(), as_weights));
    all
}

/// Values that importers may trip over.
const TOKENS: [&[u8]; 16] = [
    b"18446744073709551615",
    b"-1",
    b"1e308",
    b"0",
    b"NaN",
    b"null",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":",
    b"\"",
    b",,,,",
    b"\n\n",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\0\0\0\0",
    b"\xc3\x28",
    b"4294967296",
    b"\r",
];

/// A change of `bytes`: bytes that differ, are left out, repeated, cut off, or replaced by one of the values above.
fn change(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        let length = out.len().max(1) as u32;
        let at = rng.below(length) as usize;
        let end = (at + 1 + rng.below(64) as usize).min(out.len());
        let at = at.min(end);
        match rng.below(6) {
            0 => out.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (length % 8)),
            1 => out.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0xff),
            2 => drop(out.drain(at..end)),
            3 => {
                let part = out[at..end].to_vec();
                out.splice(at..at, part.repeat(3));
            }
            4 => out.truncate(at),
            _ => drop(out.splice(at..end.min(at + 4), TOKENS[rng.below(TOKENS.len() as u32) as usize].iter().copied())),
        }
    }
    out
}

#[test]
fn changed_files_are_read_or_refused() {
    let _lock = lock();
    let mut rng = Rng::new(17, "mutations");
    let mut tried = 0;
    for (name, good, read) in fixtures() {
        read(&good).unwrap_or_else(|error| panic!("{name}: {error}"));
        let each = EACH.min(BYTES / good.len());
        let profiler = dhat::Profiler::builder().testing().build();
        let mut refused = 0;
        for _ in 0..each {
            let changed = change(&good, &mut rng);
            match read(&changed) {
                Ok(()) | Err(Error::Cancelled) => {}
                Err(Error::Internal(problem)) => panic!("{name}: {problem}"),
                Err(error) => {
                    refused += 1;
                    let text = error.to_string();
                    assert!(text.contains(". ") && text.len() < 4000, "{name}: {text}");
                }
            }
            tried += 1;
        }
        let most = dhat::HeapStats::get().max_bytes;
        drop(profiler);
        println!("{name}: {refused} of {each} refused, {:.1} MiB at most", most as f64 / f64::from(1 << 20));
        assert!(most < MOST + MOST_PER_BYTE * good.len(), "{name}: {most} bytes of a file of {}", good.len());
    }
    assert!(tried > 3000, "{tried}");
}
