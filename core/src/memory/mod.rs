//! What a hit and a miss cost: the prototype's constants.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Time of a hit (the prototype's).
pub const HIT_MS: f64 = 0.01;
/// Time a miss adds for each MB (the prototype's).
pub const MISS_MS_PER_MB: f64 = 0.1;
/// DRAM bandwidth: 32 MB per ms, that is 32 GB/s (the prototype's, which calls it "32 MB/s").
pub const DRAM_MB_PER_MS: f64 = 32.0;
/// Capacity of the prototype's cache: 64 MB.
pub const PROTOTYPE_CAPACITY_BYTES: u64 = 64_000_000;

/// Fast memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Capacity in bytes, at least 1.
    pub capacity_bytes: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { capacity_bytes: PROTOTYPE_CAPACITY_BYTES }
    }
}

impl Memory {
    /// Fails on the first field that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        if self.capacity_bytes == 0 {
            return Err(Error::field(
                "capacity_bytes",
                0,
                "a memory without capacity holds nothing",
                "Choose at least 1 byte, such as 64MB",
            ));
        }
        Ok(())
    }
}

/// Time spent, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// All hits and misses, one after the other.
    pub total_latency_ms: f64,
    /// The part of it that waits for DRAM bandwidth.
    pub bandwidth_wait_ms: f64,
}

/// The prototype's cost: `HIT_MS` a hit; for a miss, size x `MISS_MS_PER_MB` + size / `DRAM_MB_PER_MS`, the
/// second term also counted as bandwidth wait. Both are linear in the bytes, so the totals decide.
pub fn prototype_time(hits: u64, miss_bytes: u64) -> Time {
    let miss_mb = miss_bytes as f64 / 1e6;
    let bandwidth_wait_ms = miss_mb / DRAM_MB_PER_MS;
    Time { total_latency_ms: hits as f64 * HIT_MS + miss_mb * MISS_MS_PER_MB + bandwidth_wait_ms, bandwidth_wait_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prototype_constants() {
        let time = prototype_time(3, 32_000_000);
        assert!((time.total_latency_ms - (0.03 + 3.2 + 1.0)).abs() < 1e-12);
        assert!((time.bandwidth_wait_ms - 1.0).abs() < 1e-12);
    }
}
