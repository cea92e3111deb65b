//! Importers hold what a trace needs, not what a file claims or unpacks to.

use std::io::Write as _;

use accel_core::import::input::Input;
use accel_core::import::{self, Format};
use accel_core::progress::Unattended;
use accel_core::recipe::{FileSource, Workload};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::lock;

/// Gzip of `start`, then 32 MiB of `filler`.
fn bomb(start: &[u8], filler: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(start).unwrap();
    let filler = filler.repeat((1 << 20) / filler.len());
    (0..32).for_each(|_| encoder.write_all(&filler).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn no_file_makes_an_importer_hold_much() {
    let _lock = lock();
    let claim = |head: &[u8], length: u64| [head, &length.to_le_bytes()[..]].concat();
    let gguf = |tensors: u64, entries: u64| {
        [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes()[..], &entries.to_le_bytes()[..]].concat()
    };
    let key = [&1u64.to_le_bytes()[..], b"k"].concat();
    let list =
        |kind: u32| [&gguf(0, 1)[..], &key, &9u32.to_le_bytes(), &kind.to_le_bytes(), &u64::MAX.to_le_bytes()].concat();
    for (format, packed) in [
        (Format::PrototypeCsv, bomb(b"tensor_id,\"", b"x")),
        (Format::PrototypeCsv, bomb(b"tensor_id", b",")),
        (Format::PrototypeCsv, bomb(b"", b"\n")),
        (Format::Csv, bomb(b"time,id,size\n", b"\n")),
        (Format::Csv, bomb(b"time,id,size\n", b"x")),
        (Format::PrototypeJson, bomb(b"[{\"tensor_id\":\"", b"x")),
        (Format::PrototypeJson, bomb(b"[{\"x\":", b"[")),
        (Format::PrototypeJson, bomb(b"{\"tensor_id\":\"", b"x")),
        (Format::MoeRouting, bomb(b"{\"token\":0,\"layer\":0,\"experts\":[", b"1,")),
        (Format::MoeRouting, bomb(b"", b"\n")),
        (Format::Mooncake, bomb(b"{\"input_length\":1,\"hash_ids\":[", b"1,")),
        (Format::Mooncake, bomb(b"", b"\n")),
        (Format::Safetensors, claim(b"", u64::MAX)),
        (Format::Safetensors, claim(b"", 99_999_999)),
        (Format::Gguf, gguf(1 << 60, 0)),
        (Format::Gguf, gguf(1 << 20, 1 << 20)),
        (Format::Gguf, bomb(&list(8), b"\0")),
        (Format::Gguf, bomb(&list(0), b"\0")),
        (Format::Gguf, bomb(&[&gguf(1, 0)[..], &u64::MAX.to_le_bytes()].concat(), b"\0")),
        // Nodes without a name are refused, but only once they are decoded.
        (Format::Chakra, [&b"\x00\x80\x80\x80\x04"[..], &b"\x52\x00".repeat(4 << 20)].concat()),
    ] {
        let profiler = dhat::Profiler::builder().testing().build();
        let result = import::read(format, &Input::new("bomb", &packed), None, &mut Unattended);
        let most = dhat::HeapStats::get().max_bytes;
        drop(profiler);
        let outcome = result.map(|trace| trace.summary()).map_err(|error| error.to_string());
        println!("{}: {:.1} MiB, {outcome:?}", format.name(), most as f64 / f64::from(1 << 20));
        // A mebibyte of a line, its fields at eight bytes each and growth by doubling.
        // A message of Chakra is decoded whole: 8 MiB of empty attributes.
        let limit = if format == Format::Chakra { 256 << 20 } else { 24 << 20 };
        assert!(most < limit, "{}: {most} bytes, {outcome:?}", format.name());
    }
    // Graphs are held whole: 32 MiB, in a buffer that doubles. What they would be decoded to is counted first.
    let graph = |field: &[u8]| [&b"\x08\x08\x3a\x80\x80\x80\x10"[..], &field.repeat((32 << 20) / field.len())].concat();
    for parts in [&b"\x0a\x00"[..], b"\x2a\x00", b"\x5a\x00", b"\x0a\x02\x0a\x00"] {
        let bytes = graph(parts);
        let file = FileSource::named("bomb.onnx");
        let profiler = dhat::Profiler::builder().testing().build();
        let result = Workload::File(file).trace_with((0, u64::MAX), &Input::new("bomb.onnx", &bytes), &mut Unattended);
        let most = dhat::HeapStats::get().max_bytes;
        drop(profiler);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("more than 4000000 parts"), "{error}");
        assert!(most < 100 << 20, "onnx: {most} bytes");
    }
}
