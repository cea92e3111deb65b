//! Speed of the importers: `cargo xtask bench`. The items are records, so the last columns read records per second; of an
//! execution trace they read bytes per second.
#![allow(missing_docs, clippy::unwrap_used)]

use accel_core::import::input::Input;
use accel_core::import::{Format, cache_csv, oracle_general, read};
use accel_core::progress::Unattended;
use accel_core::rng::Rng;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

#[path = "../tests/common/mod.rs"]
mod common;

/// As many as must load within a second.
const RECORDS: usize = 10_000_000;

fn main() {
    divan::main();
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
