//! Requests to objects of a storage: popularity by Zipf's law, scans in between, and popularity that drifts.

use accel_core::error::Error;
use accel_core::rng::Rng;
use accel_core::trace::{Kind, Op, Tensor, Trace, TraceBuilder};
use accel_ground::math::power;

/// What is requested.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    /// Objects.
    pub objects: u32,
    /// Requests, about.
    pub requests: u32,
    /// Exponent of the popularity.
    pub zipf: f64,
    /// The share of requests that belong to scans: runs over neighbours.
    pub scans: f64,
    /// How often the popularity of all objects moves to others while the trace lasts.
    pub drift: f64,
}

/// Requests of a scan.
const SCAN: u32 = 200;

impl Storage {
    /// The trace of `seed`.
    pub fn trace(&self, seed: u64) -> Result<Trace, Error> {
        let mut rng = Rng::new(seed, "storage");
        // Whole numbers, as in the routing of experts, so that every platform draws the same.
        let mut sum = 0u64;
        let cumulative: Vec<u64> = (1..=self.objects)
            .map(|rank| {
                sum += (f64::from(1u32 << 31) / power(f64::from(rank), self.zipf)).round().max(1.0) as u64;
                sum
            })
            .collect();
        let mut place: Vec<u32> = (0..self.objects).collect();
        for i in (1..self.objects).rev() {
            place.swap(i as usize, rng.below(i + 1) as usize);
        }
        let mut builder = TraceBuilder::new("");
        let mut tensors = vec![None; self.objects as usize];
        let mut request = |object: u32, rng: &mut Rng| {
            let tensor = match tensors[object as usize] {
                Some(tensor) => tensor,
                None => {
                    // From 4 KiB to 256 KiB, small ones as often as large ones.
                    let bytes = (4096 << rng.below(7)) + u64::from(rng.below(8)) * 512;
                    let name = object.to_string();
                    builder.tensor(Tensor { name, bytes, layer: None, stride: 1, kind: Kind::Object })?
                }
            };
            tensors[object as usize] = Some(tensor);
            builder.access(tensor, Op::Request)
        };
        let mut made = 0;
        while made < self.requests {
            if rng.unit() < self.scans / f64::from(SCAN) {
                let from = rng.below(self.objects);
                for i in 0..SCAN {
                    request((from + i) % self.objects, &mut rng)?;
                }
                made += SCAN;
                continue;
            }
            let at = (rng.unit() * sum as f64) as u64;
            let rank = cumulative.partition_point(|until| *until <= at) as u32;
            let moved = (f64::from(made) / f64::from(self.requests) * self.drift * f64::from(self.objects)) as u32;
            request(place[((rank + moved) % self.objects) as usize], &mut rng)?;
            made += 1;
        }
        builder.finish("storage")
    }
}
