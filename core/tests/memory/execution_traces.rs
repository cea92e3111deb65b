//! Execution traces take a known multiple of their file.

use std::io::Write as _;

use accel_core::import::input::Input;
use accel_core::import::{Format, read};
use accel_core::progress::Unattended;

use crate::common::long_trace;
use crate::lock;

/// The most bytes that reading `bytes` takes beside them.
fn most_bytes(bytes: &[u8], format: Format) -> u64 {
    let profiler = dhat::Profiler::builder().testing().build();
    let trace = read(format, &Input::new("t", bytes), None, &mut Unattended);
    let most = dhat::HeapStats::get().max_bytes as u64;
    drop(profiler);
    drop(trace);
    most
}

#[test]
fn reading_takes_less_memory_than_the_file() {
    let _lock = lock();
    let bytes = long_trace(4_000_000);
    let most = most_bytes(&bytes, Format::PytorchEt);
    println!("{most} bytes for {}", bytes.len());
    assert!(most < bytes.len() as u64, "{most} bytes for {}", bytes.len());
    // The smallest calls that a file can hold, and lists as long as the observer writes them, of tensors used once.
    let mut small = String::from("{\"schema\":\"1.1.1\",\"nodes\":[");
    for id in 0..60_000 {
        small += &format!("{}{{\"id\":{id},\"name\":\"a\",\"parent\":0}}", if id > 0 { "," } else { "" });
    }
    small += "]}";
    let mut wide = String::from("{\"schema\":\"1.1.1\",\"nodes\":[");
    for id in 0..20 {
        let list = |element: &dyn Fn(usize) -> String| (0..4096).map(element).collect::<Vec<_>>().join(",");
        let values = list(&|at| format!("[{at},{},0,1,4,\"cpu\"]", id * 4096 + at));
        let (shapes, types) = (list(&|_| "[1]".into()), list(&|_| "Tensor(float)".into()));
        let comma = if id > 0 { "," } else { "" };
        wide += &format!(
            "{comma}{{\"id\":{id},\"name\":\"a\",\"parent\":99,\"inputs\":[[{values}]],\"input_shapes\":[[{shapes}]],\
             \"input_types\":[\"GenericList[{types}]\"]}}"
        );
    }
    wide += "]}";
    for text in [small, wide] {
        let most = most_bytes(text.as_bytes(), Format::PytorchEt);
        println!("{most} bytes for {}", text.len());
        assert!(most < 9 * text.len() as u64, "{most} bytes for {}", text.len());
    }
    // A kilobyte that unpacks to a megabyte of one text, or of nothing.
    for fill in [b'x', b' ', b'['] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(b"{\"schema\":\"1.1.1\",\"nodes\":[{\"x\":").unwrap();
        encoder.write_all(if fill == b'x' { b"\"" } else { b" " }).unwrap();
        encoder.write_all(&vec![fill; 8 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        let most = most_bytes(&bomb, Format::PytorchEt);
        assert!(most < 4 << 20, "{most} bytes for {}", bomb.len());
    }
}

/// `cargo test --release -p accel-core --test memory -- --ignored --nocapture`; its time is a figure of the benchmark
/// `import`.
#[test]
#[ignore = "takes a minute"]
fn a_hundred_megabytes_take_nine_times_their_size_at_most() {
    let _lock = lock();
    let bytes = long_trace(100_000_000);
    let most = most_bytes(&bytes, Format::PytorchEt);
    println!("{most} bytes of memory");
    assert!(most < 9 * bytes.len() as u64, "{most}");
}
