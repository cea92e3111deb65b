//! The trace that benchmarks share.

use accel_core::rng::Rng;
use accel_core::trace::{Kind, Op, Tensor, Trace, TraceBuilder};

const TENSORS: usize = 20_000;

/// Zipf 1.2 over 20,000 tensors of 64 KiB to 4 MiB, sizes log-uniform in steps of 64 KiB.
pub(crate) fn zipf(accesses: usize) -> Trace {
    let mut rng = Rng::new(1, "bench");
    let mut builder = TraceBuilder::new("");
    let weights: Vec<f64> = (1..=TENSORS).map(|rank| (rank as f64).powf(-1.2)).collect();
    let total: f64 = weights.iter().sum();
    let cumulative: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, w| {
            *sum += w / total;
            Some(*sum)
        })
        .collect();
    let mut index = vec![None; TENSORS];
    for _ in 0..accesses {
        let u = rng.unit();
        let rank = cumulative.partition_point(|c| *c < u).min(TENSORS - 1);
        let tensor = *index[rank].get_or_insert_with(|| {
            let bytes = 65_536 * 64f64.powf(rng.unit()) as u64;
            let name = rank.to_string();
            builder.tensor(Tensor { name, bytes, layer: None, stride: 1, kind: Kind::Object }).unwrap()
        });
        builder.access(tensor, Op::Request).unwrap();
    }
    builder.finish("zipf").unwrap()
}
