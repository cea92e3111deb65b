//! Speed of the importers: `cargo xtask bench`. The items are records, so the last columns read records per second; of an
//! execution trace they read bytes per second.
#![allow(missing_docs, clippy::unwrap_used)]

use accel_core::import::input::Input;
use accel_core::import::request_log::{self, Selection};
use accel_core::import::{Format, cache_csv, oracle_general, read};
use accel_core::progress::Unattended;
use accel_core::rng::Rng;
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};

#[path = "../tests/common/mod.rs"]
mod common;

/// As many as must load within a second.
const RECORDS: usize = 10_000_000;

/// Tells what readers hold at most, beside the bytes of the file.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Bytes of a long text.
const TEXT: usize = 200_000_000;

/// `head`, then what `line` makes of each number, up to the length of a long text, then `end`.
fn long(head: &str, between: &str, end: &str, line: impl Fn(u64) -> String) -> String {
    let mut text = String::with_capacity(TEXT + 4096);
    text += head;
    for number in 0.. {
        if text.len() >= TEXT {
            break;
        }
        if number > 0 {
            text += between;
        }
        text += &line(number);
    }
    text + end
}

/// A long text of each format that is text, and the format; none for a log of requests, which makes no trace.
fn text_of(name: &str) -> (Option<Format>, String) {
    // Some thousand objects, again and again.
    let object = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
    let text = match name {
        "prototype-csv" => long("tensor_id,size_mb,reuse_distance,stride,op,model_type\n", "", "", |n| {
            format!("layer{}_Q_{},4.5,{},1,matmul,Transformer\n", n % 32, object(n), n % 7)
        }),
        "prototype-json" => long("[", ",\n", "]", |n| {
            format!(
                "{{\"tensor_id\":\"Q_{}\",\"size_mb\":4.5,\"reuse_distance\":{},\"stride\":1,\"op\":\"matmul\",\"model_type\":\"T\"}}",
                object(n),
                n % 7
            )
        }),
        "csv" => long("time,obj_id,obj_size\n", "", "", |n| format!("{n},{},4096\n", object(n))),
        "moe-routing" => long("", "", "", |n| {
            let (token, layer, of) = (n / 32, n % 32, object(n));
            format!("{{\"token\":{token},\"layer\":{layer},\"experts\":[{},{}]}}\n", of % 64, 64 + of % 64)
        }),
        "mooncake" => long("", "", "", |n| {
            let of = object(n);
            format!(
                "{{\"timestamp\":{n},\"input_length\":2048,\"output_length\":52,\"hash_ids\":[0,{},{},{}]}}\n",
                1 + of,
                100_000 + of,
                200_000 + of
            )
        }),
        "requests" => long("TIMESTAMP,ContextTokens,GeneratedTokens\n", "", "", |n| {
            format!("2023-11-16 {:02}:{:02}:{:02}.6805900,{},44\n", n / 3600 % 24, n / 60 % 60, n % 60, 100 + object(n))
        }),
        "kineto" => long("{\"traceEvents\":[", ",\n", "]}", |n| {
            format!(
                "{{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"aten::mm\",\"pid\":1,\"tid\":1,\"ts\":{n},\"dur\":1,\"args\":\
                 {{\"Input Dims\":[[{},64],[64,32]],\"Input type\":[\"float\",\"float\"]}}}}",
                1 + object(n) % 100
            )
        }),
        "chakra" => long("{\"workload_graph\":[", ",\n", "]}", |n| {
            format!(
                "{{\"Id\":{n},\"Name\":\"COMP_NODE_{n}\",\"NodeType\":4,\"data_deps\":[{}],\"tensor_size\":{},\"num_ops\":100}}",
                if n > 0 { (n - 1).to_string() } else { String::new() },
                1024 + object(n)
            )
        }),
        "scale-sim" => long(
            "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n",
            "",
            "",
            |n| format!("Conv{n}, 56, 56, 3, 3, 64, 64, 1,\n"),
        ),
        _ => String::from_utf8(common::long_trace(TEXT)).unwrap(),
    };
    (Format::from_name(name).ok(), text)
}

/// 200 MB of each format that is text: bytes per second, and the most that its reader holds.
#[divan::bench(sample_count = 1, sample_size = 1, args = [
    "prototype-csv", "prototype-json", "csv", "moe-routing", "mooncake", "requests", "kineto", "chakra", "scale-sim", "pytorch-et",
])]
fn texts(bencher: Bencher<'_, '_>, name: &str) {
    let (format, text) = text_of(name);
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let input = Input::new("bench", text.as_bytes());
        // What is too long for a trace is refused.
        let error = match format {
            Some(format) => read(format, &input, None, &mut Unattended).err(),
            None => request_log::read(&input, Selection::default(), &mut Unattended).err(),
        };
        if let Some(error) = error {
            println!("{name}: {error}");
        }
    });
}

/// Records of `distinct` objects, each used once at least, in the order of a cache trace: no order to speak of.
fn records(distinct: u32) -> Vec<u8> {
    let mut rng = Rng::new(1, "import");
    let mut bytes = Vec::with_capacity(RECORDS * oracle_general::RECORD);
    for i in 0..RECORDS as u64 {
        let object = if i < u64::from(distinct) { i as u32 } else { rng.below(distinct) };
        // Ids as they come from hashing names (the finaliser of splitmix64).
        let mut id = u64::from(object).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        id ^= id >> 31;
        bytes.extend((i as u32).to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes.extend((4096 + (object % 64) * 512).to_le_bytes());
        bytes.extend((-1i64).to_le_bytes());
    }
    bytes
}

#[divan::bench(args = [1_000_000, 5_000_000], sample_count = 5, sample_size = 1)]
fn oracle_general(bencher: Bencher<'_, '_>, distinct: u32) {
    let bytes = records(distinct);
    bencher
        .counter(ItemsCount::new(RECORDS))
        .bench(|| oracle_general::read(&Input::new("bench", &bytes), &mut Unattended).unwrap());
}

/// The same requests as CSV, a tenth as many.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn csv(bencher: Bencher<'_, '_>) {
    let bytes = records(500_000);
    let (records, _) = bytes.as_chunks::<{ oracle_general::RECORD }>();
    let mut text = String::from("time,obj_id,obj_size\n");
    for (time, r) in records.iter().enumerate().step_by(10) {
        let id = u64::from_le_bytes([r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11]]);
        text += &format!("{time},{id},4096\n");
    }
    bencher
        .counter(ItemsCount::new(RECORDS / 10))
        .bench(|| cache_csv::read(&Input::new("bench", text.as_bytes()), None, &mut Unattended).unwrap());
}

/// A PyTorch execution trace of 100 MB, which should load within five seconds.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn pytorch_et(bencher: Bencher<'_, '_>) {
    let bytes = common::long_trace(100_000_000);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench(|| read(Format::PytorchEt, &Input::new("bench", &bytes), None, &mut Unattended).unwrap());
}
