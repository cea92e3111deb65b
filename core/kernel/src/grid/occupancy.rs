//! How many blocks of a kernel a processor (SM) holds at once.

use crate::report::OccupancyReport;
use accel_ground::device;

/// What a processor holds.
struct Processor {
    /// Names of devices begin so.
    device: &'static str,
    /// Compute capability.
    capability: &'static str,
    threads: u64,
    blocks: u64,
    /// KiB of shared memory.
    shared: u64,
}

/// Registers of a processor, in four parts that each give to their own warps, and how many a warp is given at a time
/// (CUDA C++ Programming Guide, technical specifications per compute capability: 64 K for all below; the parts and the
/// unit are those of the CUDA occupancy calculator).
const REGISTERS: u64 = 65_536;
const PARTS: u64 = 4;
const REGISTER_UNIT: u64 = 256;
/// Most registers of a thread (ibid.).
const MOST_REGISTERS: i64 = 255;
/// Shared memory comes in units, and the driver keeps some of each block's from compute capability 8.0 on (ibid.; CUDA
/// occupancy calculator).
const SHARED_UNIT: u64 = 128;
const SHARED_KEPT: u64 = 1024;
const LANES: u64 = 32;

/// Threads, blocks and shared memory by compute capability: CUDA C++ Programming Guide, technical specifications per
/// compute capability. The first row whose name a device's begins with is its own.
#[rustfmt::skip]
const PROCESSORS: [Processor; 13] = [
    Processor { device: "p100", capability: "6.0", threads: 2048, blocks: 32, shared: 64 },
    Processor { device: "p4", capability: "6.1", threads: 2048, blocks: 32, shared: 96 },
    Processor { device: "v100", capability: "7.0", threads: 2048, blocks: 32, shared: 96 },
    Processor { device: "t4", capability: "7.5", threads: 1024, blocks: 16, shared: 64 },
    Processor { device: "a100", capability: "8.0", threads: 2048, blocks: 32, shared: 164 },
    Processor { device: "rtx-3090", capability: "8.6", threads: 1536, blocks: 16, shared: 100 },
    Processor { device: "l40", capability: "8.9", threads: 1536, blocks: 24, shared: 100 },
    Processor { device: "l4", capability: "8.9", threads: 1536, blocks: 24, shared: 100 },
    Processor { device: "rtx-4090", capability: "8.9", threads: 1536, blocks: 24, shared: 100 },
    Processor { device: "h100-pcie", capability: "9.0", threads: 2048, blocks: 32, shared: 228 },
    Processor { device: "h100", capability: "9.0", threads: 2048, blocks: 32, shared: 228 },
    Processor { device: "h200", capability: "9.0", threads: 2048, blocks: 32, shared: 228 },
    Processor { device: "b200", capability: "10.0", threads: 2048, blocks: 32, shared: 228 },
];

/// The registers that a thread may have so that so many blocks fit: what `__launch_bounds__` makes of the compiler.
pub(super) fn most_registers(threads: u64, blocks: i64) -> i64 {
    let warps = threads.div_ceil(LANES).saturating_mul(blocks.max(1) as u64).max(1);
    let each = REGISTERS / warps / REGISTER_UNIT * REGISTER_UNIT / LANES;
    i64::try_from(each).unwrap_or(MOST_REGISTERS).min(MOST_REGISTERS)
}

/// How many blocks of so many threads `device` holds; none where it is none of those known.
pub(super) fn of(device: &str, threads: u64, shared_bytes: u64, registers: Option<i64>) -> Option<OccupancyReport> {
    let processors = device::find(device).ok()?.device().machine?.gpu?.multiprocessors.into();
    let own = PROCESSORS.iter().find(|own| device.starts_with(own.device))?;
    let warps = threads.div_ceil(LANES).max(1);
    let kept = if own.capability < "8" && own.capability != "10.0" { 0 } else { SHARED_KEPT };
    let shared = (shared_bytes + kept).div_ceil(SHARED_UNIT) * SHARED_UNIT;
    let mut limits = vec![("threads", own.threads / (warps * LANES)), ("blocks", own.blocks)];
    if shared_bytes > 0 {
        limits.push(("shared memory", own.shared * 1024 / shared));
    }
    if let Some(registers) = registers {
        let each = (registers.max(1) as u64 * LANES).div_ceil(REGISTER_UNIT) * REGISTER_UNIT;
        limits.push(("registers", REGISTERS / PARTS / each * PARTS / warps));
    }
    let (limit, blocks) = limits.into_iter().min_by_key(|(_, blocks)| *blocks)?;
    Some(OccupancyReport {
        compute_capability: own.capability.to_owned(),
        processors,
        blocks_per_processor: blocks,
        warps_per_processor: blocks * warps,
        share: (blocks * warps * LANES) as f64 / own.threads as f64,
        limit: limit.to_owned(),
        registers_per_thread: registers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_as_nvidia_says() {
        // Four full blocks of 512 threads, or two of 1024.
        for (device, threads, blocks) in [("h100-sxm", 512, 4), ("a100-80", 1024, 2), ("t4", 256, 4), ("l4", 1024, 1)] {
            assert_eq!(of(device, threads, 0, None).unwrap().blocks_per_processor, blocks, "{device}");
        }
        // Best Practices Guide, 11.1.2: with 64 Ki registers and 2048 threads, 32 registers fill a processor; 37 leave
        // 1,536 threads in blocks of 128 (the guide: 12 blocks, 75 %) and 1,280 in blocks of 320 (4 blocks, 63 %).
        let of = |threads, registers| of("v100-sxm", threads, 0, Some(registers)).unwrap();
        assert_eq!(of(128, 32).share, 1.0);
        assert_eq!((of(128, 37).blocks_per_processor, of(128, 37).share), (12, 0.75));
        assert_eq!((of(320, 37).blocks_per_processor, of(320, 37).share), (4, 0.625));
        assert_eq!(of(128, 37).limit, "registers");
        assert_eq!(most_registers(256, 4), 64);
        // A100: 164 KiB hold three blocks of 48 KiB with the driver's one.
        let shared = super::of("a100-40", 256, 48 << 10, None).unwrap();
        assert_eq!((shared.blocks_per_processor, shared.limit.as_str()), (3, "shared memory"));
        assert!(super::of("epyc-7452", 256, 0, None).is_none());
    }
}
