//! What kernels need to know of the known devices, with its sources: cores of processors, and devices as a whole.

use super::{Architecture, Core, DramKind, Gpu, MachineInfo, Pages, Peaks, Processor};

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

/// A device that runs a kernel as a whole and of which no more is known.
const WHOLE: MachineInfo = MachineInfo {
    core: None,
    processor: None,
    caches: &[],
    ways: &[],
    load_store_gb_s: None,
    vector_tflops: None,
    matrix_tflops: None,
    launch_us: None,
    gpu: None,
};

/// A GPU as operators see it.
const fn gpu(
    multiprocessors: u32,
    threads: u32,
    watts: f64,
    memory: DramKind,
    architecture: Architecture,
) -> Option<Gpu> {
    Some(Gpu { multiprocessors, threads, watts, memory, architecture })
}

/// Starting a kernel on a GPU, us: 5 is what people expect of a bare launch, 11 was measured by extrapolation (both
/// NVIDIA Developer Forums, thread 221413), 20 for PyTorch on a V100 (NVIDIA's Nsight Systems guide).
const LAUNCH: Option<[f64; 2]> = Some([5.0, 20.0]);

// Below: multiprocessors and threads of each from NVIDIA's whitepapers of the architectures, power and peaks from the
// data sheets; peaks of products of f32 are not rounded to TF32. Where a sheet gives no rate of plain code in f64 or f16,
// it is that of the architecture's whitepaper.

/// Loads and stores: 19.4 TB/s (NVIDIA, GTC 2021, session S33322).
pub(super) const A100: MachineInfo = MachineInfo {
    load_store_gb_s: Some(19_400.0),
    vector_tflops: Some(Peaks::new(9.7, 19.5, 78.0)),
    matrix_tflops: Some(Peaks { tf32: Some(156.0), i8: Some(624.0), ..Peaks::new(19.5, 19.5, 312.0) }),
    launch_us: LAUNCH,
    gpu: gpu(108, 2048, 400.0, DramKind::Hbm, Architecture::Ampere),
    ..WHOLE
};
pub(super) const A100_PCIE_40: MachineInfo =
    MachineInfo { gpu: gpu(108, 2048, 250.0, DramKind::Hbm, Architecture::Ampere), ..A100 };
pub(super) const A100_PCIE_80: MachineInfo =
    MachineInfo { gpu: gpu(108, 2048, 300.0, DramKind::Hbm, Architecture::Ampere), ..A100 };
/// Loads and stores: 132 multiprocessors x 128 bytes x 1.83 GHz.
pub(super) const H100: MachineInfo = MachineInfo {
    load_store_gb_s: Some(132.0 * 128.0 * 1.83),
    vector_tflops: Some(Peaks::new(33.5, 66.9, 133.8)),
    matrix_tflops: Some(Peaks {
        tf32: Some(494.5),
        f8: Some(1979.0),
        i8: Some(1979.0),
        ..Peaks::new(66.9, 66.9, 989.0)
    }),
    launch_us: LAUNCH,
    gpu: gpu(132, 2048, 700.0, DramKind::Hbm, Architecture::Hopper),
    ..WHOLE
};
/// Loads and stores: 114 multiprocessors x 128 bytes x 1.755 GHz.
pub(super) const H100_PCIE: MachineInfo = MachineInfo {
    load_store_gb_s: Some(114.0 * 128.0 * 1.755),
    vector_tflops: Some(Peaks::new(25.6, 51.2, 102.4)),
    matrix_tflops: Some(Peaks {
        tf32: Some(378.0),
        f8: Some(1513.0),
        i8: Some(1513.0),
        ..Peaks::new(51.2, 51.2, 756.0)
    }),
    launch_us: LAUNCH,
    gpu: gpu(114, 2048, 350.0, DramKind::Hbm, Architecture::Hopper),
    ..WHOLE
};
/// Peaks: an eighth of NVIDIA's data sheet of eight (HGX B200).
pub(super) const B200: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(37.0, 75.0, 150.0)),
    matrix_tflops: Some(Peaks {
        tf32: Some(1125.0),
        f8: Some(4500.0),
        i8: Some(4500.0),
        ..Peaks::new(37.0, 75.0, 2250.0)
    }),
    launch_us: LAUNCH,
    gpu: gpu(148, 2048, 1000.0, DramKind::Hbm, Architecture::Blackwell),
    ..WHOLE
};
/// Loads and stores: 80 multiprocessors x 128 bytes x the clock, 1.37 GHz by the peak (PCIe) and 1.53 GHz (SXM).
pub(super) const V100_PCIE: MachineInfo = MachineInfo {
    load_store_gb_s: Some(80.0 * 128.0 * 1.37),
    vector_tflops: Some(Peaks::new(7.0, 14.0, 28.0)),
    matrix_tflops: Some(Peaks::new(7.0, 14.0, 112.0)),
    launch_us: LAUNCH,
    gpu: gpu(80, 2048, 250.0, DramKind::Hbm, Architecture::Volta),
    ..WHOLE
};
pub(super) const V100_SXM: MachineInfo = MachineInfo {
    load_store_gb_s: Some(80.0 * 128.0 * 1.53),
    vector_tflops: Some(Peaks::new(7.8, 15.7, 31.4)),
    matrix_tflops: Some(Peaks::new(7.8, 15.7, 125.0)),
    gpu: gpu(80, 2048, 300.0, DramKind::Hbm, Architecture::Volta),
    ..V100_PCIE
};
pub(super) const P100_PCIE: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(4.7, 9.3, 18.7)),
    launch_us: LAUNCH,
    gpu: gpu(56, 2048, 250.0, DramKind::Hbm, Architecture::Pascal),
    ..WHOLE
};
/// f64 at a 32nd of f32; f16 is computed as f32, because its own units run at a 64th (CUDA's table of throughputs).
pub(super) const P4: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks { i8: Some(22.0), ..Peaks::new(5.5 / 32.0, 5.5, 5.5) }),
    launch_us: LAUNCH,
    gpu: gpu(20, 2048, 75.0, DramKind::Gddr, Architecture::Pascal),
    ..WHOLE
};
pub(super) const T4: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(8.1 / 32.0, 8.1, 16.2)),
    matrix_tflops: Some(Peaks { i8: Some(130.0), ..Peaks::new(8.1 / 32.0, 8.1, 65.0) }),
    launch_us: LAUNCH,
    gpu: gpu(40, 1024, 70.0, DramKind::Gddr, Architecture::Turing),
    ..WHOLE
};
pub(super) const L4: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(30.3 / 64.0, 30.3, 30.3)),
    matrix_tflops: Some(Peaks {
        tf32: Some(60.0),
        f8: Some(242.0),
        i8: Some(242.0),
        ..Peaks::new(30.3 / 64.0, 30.3, 121.0)
    }),
    launch_us: LAUNCH,
    gpu: gpu(58, 1536, 72.0, DramKind::Gddr, Architecture::Ada),
    ..WHOLE
};
pub(super) const L40S: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(91.6 / 64.0, 91.6, 91.6)),
    matrix_tflops: Some(Peaks {
        tf32: Some(183.0),
        f8: Some(733.0),
        i8: Some(733.0),
        ..Peaks::new(91.6 / 64.0, 91.6, 362.0)
    }),
    launch_us: LAUNCH,
    gpu: gpu(142, 1536, 350.0, DramKind::Gddr, Architecture::Ada),
    ..WHOLE
};
/// Products of f16 with sums in f32, at half the rate of sums in f16 (NVIDIA's whitepaper of the GA102).
pub(super) const RTX_3090: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(35.6 / 64.0, 35.6, 35.6)),
    matrix_tflops: Some(Peaks { tf32: Some(35.6), i8: Some(284.0), ..Peaks::new(35.6 / 64.0, 35.6, 71.0) }),
    launch_us: LAUNCH,
    gpu: gpu(82, 1536, 350.0, DramKind::Gddr, Architecture::Ampere),
    ..WHOLE
};
/// Products of f16 and f8 with sums in f32, at half the rate of sums in f16 (NVIDIA's whitepaper of Ada).
pub(super) const RTX_4090: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(82.6 / 64.0, 82.6, 82.6)),
    matrix_tflops: Some(Peaks {
        tf32: Some(82.6),
        f8: Some(330.3),
        i8: Some(660.6),
        ..Peaks::new(82.6 / 64.0, 82.6, 165.2)
    }),
    launch_us: LAUNCH,
    gpu: gpu(128, 1536, 450.0, DramKind::Gddr, Architecture::Ada),
    ..WHOLE
};
/// AMD's data sheet; products of f32 run on matrix cores without rounding. Those of bf16 run at half
/// the rate of f16, which is not modelled. The sheet gives no vector peak of f16; instructions on pairs do twice that of f32.
pub(super) const MI100: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(11.5, 23.1, 46.2)),
    matrix_tflops: Some(Peaks { i8: Some(184.6), ..Peaks::new(11.5, 46.1, 184.6) }),
    launch_us: LAUNCH,
    gpu: gpu(120, 2560, 300.0, DramKind::Hbm, Architecture::Cdna),
    ..WHOLE
};
/// As the MI100; matrix cores do f64 and bf16 at full rate, too.
pub(super) const MI210: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(22.6, 22.6, 45.2)),
    matrix_tflops: Some(Peaks { i8: Some(181.0), ..Peaks::new(45.3, 45.3, 181.0) }),
    launch_us: LAUNCH,
    gpu: gpu(104, 2048, 300.0, DramKind::Hbm, Architecture::Cdna2),
    ..WHOLE
};
/// One of two dies, which software sees as a device each: half of the power, too.
pub(super) const MI250: MachineInfo =
    MachineInfo { gpu: gpu(104, 2048, 250.0, DramKind::Hbm, Architecture::Cdna2), ..MI210 };
/// AMD's data sheet; it gives no vector peak of f16, so that of f32 stands for it.
pub(super) const MI300X: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks::new(81.7, 163.4, 163.4)),
    matrix_tflops: Some(Peaks {
        tf32: Some(653.7),
        f8: Some(2614.9),
        i8: Some(2614.9),
        ..Peaks::new(163.4, 163.4, 1307.0)
    }),
    launch_us: LAUNCH,
    gpu: gpu(304, 2048, 750.0, DramKind::Hbm, Architecture::Cdna3),
    ..WHOLE
};
/// AWS' documentation of the chip: eight cores; it has no f64, so that of f32 stands for it.
pub(super) const TRAINIUM2: MachineInfo = MachineInfo {
    matrix_tflops: Some(Peaks { tf32: Some(667.0), f8: Some(1299.0), ..Peaks::new(181.0, 181.0, 667.0) }),
    ..WHOLE
};

// Below: cores. They were compared with LLVM's scheduling models (llvm/llvm-project: X86ScheduleZnver2 to 5,
// X86SchedSkylakeServer, X86SchedSapphireRapids, AArch64SchedNeoverseV2), which cite the makers' optimisation guides. As
// here are pipes, loads and stores, the latency of L1 (five cycles on Skylake, with any address), of additions and of fused
// multiply-adds, the cycles of divisions in f64 on Skylake and Zen 3 to 5, and what Zen 3 to 5 and Sapphire Rapids start in
// a cycle. Otherwise: six cycles for a division on Zen 2; mispredictions of 17 cycles on Zen 2 and 14 on both Xeons, without
// a source; and for Zen 2, Skylake and the Neoverse what their decoders deliver, in place of what is started. Not in them:
// additions on Zen 5 without a mask, divisions on Sapphire Rapids by cycles.

// From a store to a load of the same 16 bytes: Travis Downs, uarch-bench, fw_write_readx (8.0 cycles on Zen 2, 5.0 on Skylake
// and Ice Lake, after which Sapphire Rapids is named here; Zen 3 and 4 are taken as Zen 2). On Zen 5, sums in memory took
// 11.6 to 13 cycles, an addition among them, and 45 lines were waited for at once (`benches/machine`). Lines waited for at once:
// AMD's guides of families 17h (22) and 19h (24, §2.12), Intel on Golden Cove (16 fill buffers). GCC 12 fuses no sums in
// plain code for -march=znver1 to znver4, and as which it knows later cores of AMD; for Intel's it does.

/// Ports and pipes: AMD (two 256-bit loads, one store, two fused multiply-adds a cycle; six micro-operations, five
/// instructions of x86). Bandwidths: kerncraft, Zen2_EPYC-7452.yml, one core: the best of load, copy and update, which
/// for L2, L3 and memory is update (reads and writes together). Latencies: 13 and 34 cycles (AnandTech 14694). Addition
/// and division: uops.info. Mispredictions: Agner Fog, microarchitecture.pdf (about 18).
/// The 7452: 32 cores in groups of four, eight channels of DDR4-3200 (AMD); ways, and 64 and 2048 translations: AMD (Zen 2).
pub(super) const ZEN2: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 2.35,
        issue: 5.0,
        vector_bits: 256,
        pipes: 2.0,
        loads: 2.0,
        stores: 1.0,
        add_cycles: 3.0,
        fma_cycles: 5.0,
        divide_cycles: Some(5.0),
        mispredict_cycles: Some(18.0),
        forward_cycles: Some(8.0),
        misses_at_once: Some(22.0),
        sums_apart: true,
        pages: Some(Pages { bytes: 4096, near: 64, known: 2048 }),
    }),
    processor: Some(Processor { cores: 32, cores_per_cache: 4, dram_gb_s: 204.8 }),
    caches: &[
        ("L1", 32 * KIB, Some(144.5), Some(4.0 / 2.35)),
        ("L2", 512 * KIB, Some(125.8), Some(13.0 / 2.35)),
        ("L3", 16 * MIB, Some(108.0), Some(34.0 / 2.35)),
    ],
    ways: &[8, 8],
    ..WHOLE
};
/// As above, from SkylakeSP_Gold-6148.yml (512-bit vectors: two loads, one store, two fused multiply-adds a cycle, four
/// instructions). Latencies: 14 and 46 cycles at 2.7 GHz, of a Xeon 8280 (AnandTech 14694). Mispredictions: Agner Fog (15
/// to 20).
/// The 6148: 20 cores, six channels of DDR4-2666 (Intel); ways, and 64 and 1536 translations: Intel's optimisation manual.
pub(super) const SKYLAKE_SP: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 2.4,
        issue: 4.0,
        vector_bits: 512,
        pipes: 2.0,
        loads: 2.0,
        stores: 1.0,
        add_cycles: 4.0,
        fma_cycles: 4.0,
        divide_cycles: Some(4.0),
        mispredict_cycles: Some(16.5),
        forward_cycles: Some(5.0),
        misses_at_once: None,
        sums_apart: false,
        pages: Some(Pages { bytes: 4096, near: 64, known: 1536 }),
    }),
    processor: Some(Processor { cores: 20, cores_per_cache: 20, dram_gb_s: 128.0 }),
    caches: &[
        ("L1", 32 * KIB, Some(281.6), Some(4.0 / 2.4)),
        ("L2", MIB, Some(110.9), Some(14.0 / 2.4)),
        ("L3", 27 * MIB + MIB / 2, Some(48.1), Some(46.0 / 2.7)),
    ],
    ways: &[8, 16],
    ..WHOLE
};
/// Three instructions per cycle, two floating-point pipes of 64 bits, one load and one store (Chips and Cheese on the
/// Cortex-A72; Arm UAN 0016A, also for latencies). Nobody publishes what L2 delivers to one core.
/// Four cores (Raspberry Pi 4); 32 and 1024 translations: Arm's technical reference manual.
pub(super) const CORTEX_A72: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 1.5,
        issue: 3.0,
        vector_bits: 128,
        pipes: 1.0,
        loads: 1.0,
        stores: 1.0,
        add_cycles: 4.0,
        fma_cycles: 3.0,
        divide_cycles: None,
        mispredict_cycles: None,
        forward_cycles: None,
        misses_at_once: None,
        sums_apart: false,
        pages: Some(Pages { bytes: 4096, near: 32, known: 1024 }),
    }),
    caches: &[("L1", 32 * KIB, Some(1.5 * 16.0), None), ("L2", MIB, None, None)],
    ways: &[2, 16],
    ..WHOLE
};

/// The Ryzen 9 5950X. Ports and pipes: AMD's optimisation guide of family 19h (two 256-bit loads, one 256-bit store, two
/// fused multiply-adds a cycle; six instructions), latencies of caches: Chips and Cheese. What L2 and L3 send, 32 bytes a
/// cycle: the guide. Addition, multiplication and division: uops.info. Mispredictions, 13 cycles in the common case: the guide.
/// 16 cores in groups of eight, two channels of DDR4-3200; ways, and 64 and 2048 translations: AMD.
pub(super) const ZEN3: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 4.9,
        issue: 6.0,
        vector_bits: 256,
        pipes: 2.0,
        loads: 2.0,
        stores: 1.0,
        add_cycles: 3.0,
        fma_cycles: 4.0,
        divide_cycles: Some(5.0),
        mispredict_cycles: Some(13.0),
        forward_cycles: Some(8.0),
        misses_at_once: Some(24.0),
        sums_apart: true,
        pages: Some(Pages { bytes: 4096, near: 64, known: 2048 }),
    }),
    processor: Some(Processor { cores: 16, cores_per_cache: 8, dram_gb_s: 51.2 }),
    caches: &[
        ("L1", 32 * KIB, Some(3.0 * 32.0 * 4.9), Some(4.0 / 4.9)),
        ("L2", 512 * KIB, Some(32.0 * 4.9), Some(12.0 / 4.9)),
        ("L3", 32 * MIB, Some(32.0 * 4.9), Some(46.0 / 4.9)),
    ],
    ways: &[8, 8],
    ..WHOLE
};
/// The Ryzen 9 7950X. As above; its 512-bit instructions take a 256-bit pipe twice (AMD's guide of Zen 4, Chips and
/// Cheese).
/// 16 cores in groups of eight, two channels of DDR5-5200; ways, and 72 and 3072 translations: AMD.
pub(super) const ZEN4: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 5.7,
        issue: 6.0,
        vector_bits: 256,
        pipes: 2.0,
        loads: 2.0,
        stores: 1.0,
        add_cycles: 3.0,
        fma_cycles: 4.0,
        divide_cycles: Some(5.0),
        mispredict_cycles: Some(13.0),
        forward_cycles: Some(8.0),
        misses_at_once: Some(24.0),
        sums_apart: true,
        pages: Some(Pages { bytes: 4096, near: 72, known: 3072 }),
    }),
    processor: Some(Processor { cores: 16, cores_per_cache: 8, dram_gb_s: 83.2 }),
    caches: &[
        ("L1", 32 * KIB, Some(3.0 * 32.0 * 5.7), Some(4.0 / 5.7)),
        ("L2", MIB, Some(32.0 * 5.7), Some(14.0 / 5.7)),
        ("L3", 32 * MIB, Some(32.0 * 5.7), Some(50.0 / 5.7)),
    ],
    ways: &[8, 8],
    ..WHOLE
};
/// The Ryzen 9 9950X: two 512-bit loads, one 512-bit store and two fused multiply-adds of 512 bits a cycle, eight
/// instructions, 64 bytes a cycle from L2 (AMD's optimisation guide of Zen 5, publication 58455); latencies: Chips and
/// Cheese; addition: two cycles (uops.info). Mispredictions, 15 cycles in the common case:
/// the guide, as LLVM's X86ScheduleZnver5.td cites it. A division in f64 each five cycles: that file.
/// 16 cores in groups of eight, two channels of DDR5-5600; ways, and 96 and 4096 translations: AMD.
pub(super) const ZEN5: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 5.7,
        issue: 8.0,
        vector_bits: 512,
        pipes: 2.0,
        loads: 2.0,
        stores: 1.0,
        add_cycles: 2.0,
        fma_cycles: 4.0,
        divide_cycles: Some(5.0),
        mispredict_cycles: Some(15.0),
        forward_cycles: Some(10.0),
        misses_at_once: Some(45.0),
        sums_apart: true,
        pages: Some(Pages { bytes: 4096, near: 96, known: 4096 }),
    }),
    processor: Some(Processor { cores: 16, cores_per_cache: 8, dram_gb_s: 89.6 }),
    caches: &[
        ("L1", 48 * KIB, Some(3.0 * 64.0 * 5.7), Some(4.0 / 5.7)),
        ("L2", MIB, Some(64.0 * 5.7), Some(14.0 / 5.7)),
        ("L3", 32 * MIB, Some(32.0 * 5.7), Some(47.0 / 5.7)),
    ],
    ways: &[12, 16],
    ..WHOLE
};
/// The Xeon Platinum 8480: two 512-bit loads, one 512-bit store and two fused multiply-adds of 512 bits a cycle, six
/// instructions, 64 bytes a cycle from L2 at most (Intel's optimisation manual, Golden Cove); clock and latencies: Chips and
/// Cheese, "A Peek at Sapphire Rapids". Addition and division: uops.info. Nobody publishes what L3 delivers to one core.
/// 56 cores, eight channels of DDR5-4800 (Intel); ways, and 96 and 2048 translations: Intel's optimisation manual.
pub(super) const SAPPHIRE_RAPIDS: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 3.8,
        issue: 6.0,
        vector_bits: 512,
        pipes: 2.0,
        loads: 2.0,
        stores: 1.0,
        add_cycles: 3.0,
        fma_cycles: 4.0,
        divide_cycles: Some(4.0),
        mispredict_cycles: Some(17.0),
        forward_cycles: Some(5.0),
        misses_at_once: Some(16.0),
        sums_apart: false,
        pages: Some(Pages { bytes: 4096, near: 96, known: 2048 }),
    }),
    processor: Some(Processor { cores: 56, cores_per_cache: 56, dram_gb_s: 307.2 }),
    caches: &[
        ("L1", 48 * KIB, Some(3.0 * 64.0 * 3.8), Some(5.0 / 3.8)),
        ("L2", 2 * MIB, Some(64.0 * 3.8), Some(14.0 / 3.8)),
        ("L3", 105 * MIB, None, Some(33.0)),
    ],
    ways: &[12, 16],
    ..WHOLE
};
/// The M1's performance core: eight instructions, four 128-bit pipes, three loads or two stores of 128 bits a cycle (Dougall
/// Johnson, "Apple Microarchitecture Research"); clock, caches and their latencies: AnandTech 16226.
/// Four such cores share L2; LPDDR4X-4266 over 128 bits; pages of 16 KiB, and 160 and 3072 translations: AnandTech 16226.
pub(super) const FIRESTORM: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 3.2,
        issue: 8.0,
        vector_bits: 128,
        pipes: 4.0,
        loads: 3.0,
        stores: 2.0,
        add_cycles: 3.0,
        fma_cycles: 4.0,
        divide_cycles: None,
        mispredict_cycles: None,
        forward_cycles: None,
        misses_at_once: None,
        sums_apart: false,
        pages: Some(Pages { bytes: 16384, near: 160, known: 3072 }),
    }),
    processor: Some(Processor { cores: 4, cores_per_cache: 4, dram_gb_s: 68.25 }),
    caches: &[("L1", 128 * KIB, Some(4.0 * 16.0 * 3.2), Some(3.0 / 3.2)), ("L2", 12 * MIB, None, Some(18.0 / 3.2))],
    ways: &[8, 12],
    ..WHOLE
};
/// Arm's software optimisation guide of the Neoverse V2: eight instructions, four 128-bit pipes, three loads and two
/// stores of 128 bits a cycle, additions of two cycles, and two of a fused multiply-add from what is added. Clock, caches
/// and latency of L2: Chips and Cheese on the Graviton 4.
/// The Graviton 4: 96 cores, twelve channels of DDR5-5600 (AWS); ways, and 48 and 2048 translations: Arm's technical reference manual.
pub(super) const NEOVERSE_V2: MachineInfo = MachineInfo {
    core: Some(Core {
        clock_ghz: 2.8,
        issue: 8.0,
        vector_bits: 128,
        pipes: 4.0,
        loads: 3.0,
        stores: 2.0,
        add_cycles: 2.0,
        fma_cycles: 2.0,
        divide_cycles: None,
        mispredict_cycles: None,
        forward_cycles: None,
        misses_at_once: None,
        sums_apart: false,
        pages: Some(Pages { bytes: 4096, near: 48, known: 2048 }),
    }),
    processor: Some(Processor { cores: 96, cores_per_cache: 96, dram_gb_s: 537.6 }),
    caches: &[
        ("L1", 64 * KIB, Some(5.0 * 16.0 * 2.8), Some(4.0 / 2.8)),
        ("L2", 2 * MIB, None, Some(11.0 / 2.8)),
        ("L3", 36 * MIB, None, None),
    ],
    ways: &[4, 8],
    ..WHOLE
};
