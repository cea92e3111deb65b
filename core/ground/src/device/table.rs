//! The known devices, one row each with its sources.
//!
//! Peaks are dense (public tables often print twice as much, for sparse matrices). What is not published is left out,
//! and then not modelled. Sources: NeuSight's device configurations; Chips and Cheese's measurements; gpu-benches
//! (te42kyfo/gpu-benches, the RRZE-HPC suite's raw results); jax-ml/scaling-book; Google Cloud's documentation; Jouppi
//! et al., "TPU v4", ISCA 2023, table 4; ServeTheHome and LLM-Viewer for the MI300X. What kernels need besides: the
//! machine files of RRZE-HPC/kerncraft (likwid-bench on one core at a fixed clock), AnandTech 14694 (latencies), Chips
//! and Cheese, uops.info, vendors' data sheets.

use super::{Core, DeviceInfo, MachineInfo, Peaks};

/// HBM, pJ per bit: 3.44 (HBM3E, vendor) to 450 pJ per 64 bits (HBM2, Jouppi et al., "Ten Lessons From Three
/// Generations", ISCA 2021, table 2; unverified). O'Connor et al., MICRO 2017, give 3.92 for HBM2.
const HBM: Option<[f64; 2]> = Some([3.44, 450.0 / 64.0]);
/// LPDDR, pJ per bit: 7 to 14 (Accelergy's CACTI plug-in gives 8 for LPDDR4; other public figures reach 14).
const LPDDR: Option<[f64; 2]> = Some([7.0, 14.0]);
/// DRAM of the 45 nm age, pJ per bit: 1300 to 2600 pJ per 64 bits (Horowitz, ISSCC 2014).
const DRAM_45NM: Option<[f64; 2]> = Some([1300.0 / 64.0, 2600.0 / 64.0]);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A device that runs a kernel as a whole and of which no more is known.
const WHOLE: MachineInfo = MachineInfo {
    core: None,
    caches: &[],
    load_store_gb_s: None,
    vector_tflops: None,
    matrix_tflops: None,
    launch_us: None,
};

/// Starting a kernel on a GPU, us: 5 is what people expect of a bare launch, 11 was measured by extrapolation (both
/// NVIDIA Developer Forums, thread 221413), 20 for PyTorch on a V100 (NVIDIA's Nsight Systems guide).
const LAUNCH: Option<[f64; 2]> = Some([5.0, 20.0]);

/// Loads and stores: 19.4 TB/s (NVIDIA, GTC 2021, session S33322). Peaks: NVIDIA's data sheet; matrix products of f32
/// are not rounded to TF32.
const A100: MachineInfo = MachineInfo {
    load_store_gb_s: Some(19_400.0),
    vector_tflops: Some(Peaks { f64: 9.7, f32: 19.5, f16: 78.0 }),
    matrix_tflops: Some(Peaks { f64: 19.5, f32: 19.5, f16: 312.0 }),
    launch_us: LAUNCH,
    ..WHOLE
};
/// Loads and stores: 132 multiprocessors x 128 bytes x 1.83 GHz. Peaks: NVIDIA's data sheet; f32 as above.
const H100: MachineInfo = MachineInfo {
    load_store_gb_s: Some(132.0 * 128.0 * 1.83),
    vector_tflops: Some(Peaks { f64: 33.5, f32: 66.9, f16: 133.8 }),
    matrix_tflops: Some(Peaks { f64: 66.9, f32: 66.9, f16: 989.0 }),
    launch_us: LAUNCH,
    ..WHOLE
};
/// AMD's data sheet; it gives no vector peak of f16, so that of f32 stands for it.
const MI300X: MachineInfo = MachineInfo {
    vector_tflops: Some(Peaks { f64: 81.7, f32: 163.4, f16: 163.4 }),
    matrix_tflops: Some(Peaks { f64: 163.4, f32: 163.4, f16: 1307.0 }),
    launch_us: LAUNCH,
    ..WHOLE
};
/// What is known of other GPUs: that a launch takes time.
const GPU: MachineInfo = MachineInfo { launch_us: LAUNCH, ..WHOLE };

/// Ports and pipes: AMD (two 256-bit loads, one store, two fused multiply-adds a cycle; six micro-operations, five
/// instructions of x86). Bandwidths: kerncraft, Zen2_EPYC-7452.yml, one core: the best of load, copy and update, which
/// for L2, L3 and memory is update (reads and writes together). Latencies: 13 and 34 cycles (AnandTech 14694). Addition
/// and division: uops.info. Mispredictions: Agner Fog, microarchitecture.pdf (about 18).
const ZEN2: MachineInfo = MachineInfo {
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
    }),
    caches: &[
        ("L1", 32 * KIB, Some(144.5), Some(4.0 / 2.35)),
        ("L2", 512 * KIB, Some(125.8), Some(13.0 / 2.35)),
        ("L3", 16 * MIB, Some(108.0), Some(34.0 / 2.35)),
    ],
    ..WHOLE
};
/// As above, from SkylakeSP_Gold-6148.yml (512-bit vectors: two loads, one store, two fused multiply-adds a cycle, four
/// instructions). Latencies: 14 and 46 cycles at 2.7 GHz, of a Xeon 8280 (AnandTech 14694). Mispredictions: Agner Fog (15
/// to 20).
const SKYLAKE_SP: MachineInfo = MachineInfo {
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
    }),
    caches: &[
        ("L1", 32 * KIB, Some(281.6), Some(4.0 / 2.4)),
        ("L2", MIB, Some(110.9), Some(14.0 / 2.4)),
        ("L3", 27 * MIB + MIB / 2, Some(48.1), Some(46.0 / 2.7)),
    ],
    ..WHOLE
};
/// Three instructions per cycle, two floating-point pipes of 64 bits, one load and one store (Chips and Cheese on the
/// Cortex-A72; Arm UAN 0016A, also for latencies). Nobody publishes what L2 delivers to one core.
const CORTEX_A72: MachineInfo = MachineInfo {
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
    }),
    caches: &[("L1", 32 * KIB, Some(1.5 * 16.0), None), ("L2", MIB, None, None)],
    ..WHOLE
};

/// Every known device.
pub const DEVICES: &[DeviceInfo] = &[
    DeviceInfo {
        name: "reference",
        title: "Reference accelerator",
        on_chip_bytes: Some(64_000_000),
        dram_bytes: None,
        on_chip_gb_s: None,
        dram_gb_s: 32.0,
        dram_latency_ns: None,
        tflops: None,
        dram_pj_per_bit: DRAM_45NM,
        machine: None,
        source: "the prototype's defaults: 64 MB, 32 GB/s",
    },
    DeviceInfo {
        name: "a100-40",
        title: "A100 40 GB",
        on_chip_bytes: Some(40 * MIB),
        dram_bytes: Some(40_000_000_000),
        on_chip_gb_s: Some(5400.0),
        dram_gb_s: 1555.0,
        dram_latency_ns: Some(405.0),
        tflops: Some(312.0),
        dram_pj_per_bit: HBM,
        machine: Some(&A100),
        source: "NeuSight, LLM-Viewer; L2 bandwidth and latency measured on the 80 GB card (gpu-benches)",
    },
    DeviceInfo {
        name: "a100-80",
        title: "A100 80 GB",
        on_chip_bytes: Some(40 * MIB),
        dram_bytes: Some(80_000_000_000),
        on_chip_gb_s: Some(5400.0),
        dram_gb_s: 2039.0,
        dram_latency_ns: Some(405.0),
        tflops: Some(312.0),
        dram_pj_per_bit: HBM,
        machine: Some(&A100),
        source: "NeuSight, LLM-Viewer; L2 bandwidth and latency measured (gpu-benches)",
    },
    DeviceInfo {
        name: "h100-sxm",
        title: "H100 SXM",
        on_chip_bytes: Some(50 * MIB),
        dram_bytes: Some(80_000_000_000),
        on_chip_gb_s: Some(5500.0),
        dram_gb_s: 3350.0,
        dram_latency_ns: Some(372.0),
        tflops: Some(989.0),
        dram_pj_per_bit: HBM,
        machine: Some(&H100),
        source: "NeuSight; L2 bandwidth (Chips and Cheese) and latency (gpu-benches) measured on the PCIe card",
    },
    DeviceInfo {
        name: "h200",
        title: "H200",
        on_chip_bytes: Some(50 * MIB),
        dram_bytes: Some(141_000_000_000),
        on_chip_gb_s: Some(9700.0),
        dram_gb_s: 4800.0,
        dram_latency_ns: None,
        tflops: Some(989.0),
        dram_pj_per_bit: HBM,
        machine: Some(&H100),
        source: "vendor; L2 of 50 MB from scaling-book, its bandwidth measured (gpu-benches)",
    },
    DeviceInfo {
        name: "b200",
        title: "B200",
        on_chip_bytes: Some(126 * MIB + MIB / 2),
        dram_bytes: Some(180_000_000_000),
        on_chip_gb_s: Some(16_800.0),
        dram_gb_s: 7672.0,
        dram_latency_ns: Some(438.0),
        tflops: Some(2250.0),
        dram_pj_per_bit: HBM,
        machine: Some(&GPU),
        source: "pytorch/ao#4002 (queried; 8000 GB/s nominal); L2 across both dies from Chips and Cheese; latency unverified",
    },
    DeviceInfo {
        name: "mi300x",
        title: "MI300X",
        on_chip_bytes: Some(256 * MIB),
        dram_bytes: Some(192_000_000_000),
        on_chip_gb_s: Some(11_900.0),
        dram_gb_s: 5300.0,
        dram_latency_ns: Some(350.0),
        tflops: Some(1307.0),
        dram_pj_per_bit: HBM,
        machine: Some(&MI300X),
        source: "ServeTheHome, LLM-Viewer; Infinity Cache measured by Chips and Cheese (17 TB/s claimed); latency unverified",
    },
    DeviceInfo {
        name: "tpu-v4",
        title: "TPU v4",
        on_chip_bytes: Some(128 * MIB),
        dram_bytes: Some(32 << 30),
        on_chip_gb_s: None,
        dram_gb_s: 1200.0,
        dram_latency_ns: None,
        tflops: Some(275.0),
        dram_pj_per_bit: HBM,
        machine: None,
        source: "Jouppi et al., ISCA 2023, table 4 (CMEM)",
    },
    DeviceInfo {
        name: "tpu-v5e",
        title: "TPU v5e",
        on_chip_bytes: Some(128 * MIB),
        dram_bytes: Some(16 << 30),
        on_chip_gb_s: Some(18_000.0),
        dram_gb_s: 819.0,
        dram_latency_ns: None,
        tflops: Some(197.0),
        dram_pj_per_bit: HBM,
        machine: None,
        source: "Google Cloud; VMEM and its bandwidth (about 22 times HBM) from scaling-book",
    },
    DeviceInfo {
        name: "tpu-v5p",
        title: "TPU v5p",
        on_chip_bytes: None,
        dram_bytes: Some(95 << 30),
        on_chip_gb_s: None,
        dram_gb_s: 2765.0,
        dram_latency_ns: None,
        tflops: Some(459.0),
        dram_pj_per_bit: HBM,
        machine: None,
        source: "Google Cloud; on-chip memory unpublished",
    },
    DeviceInfo {
        name: "groq-v1",
        title: "Groq v1",
        on_chip_bytes: Some(230_000_000),
        dram_bytes: None,
        on_chip_gb_s: Some(80_000.0),
        dram_gb_s: 31.5,
        dram_latency_ns: None,
        tflops: Some(188.0),
        dram_pj_per_bit: None,
        machine: None,
        source: "TechPowerUp; it has no DRAM, so what does not fit comes over PCIe 4.0 x16 (31.5 GB/s)",
    },
    DeviceInfo {
        name: "apple-m1",
        title: "Apple M1",
        on_chip_bytes: Some(8 * MIB),
        dram_bytes: None,
        on_chip_gb_s: None,
        dram_gb_s: 68.0,
        dram_latency_ns: None,
        tflops: Some(5.2),
        dram_pj_per_bit: LPDDR,
        machine: None,
        source: "die-shot notes (SLC); peak claimed",
    },
    DeviceInfo {
        name: "apple-m1-pro",
        title: "Apple M1 Pro",
        on_chip_bytes: Some(24 * MIB),
        dram_bytes: None,
        on_chip_gb_s: None,
        dram_gb_s: 200.0,
        dram_latency_ns: None,
        tflops: Some(10.4),
        dram_pj_per_bit: LPDDR,
        machine: None,
        source: "die-shot notes (SLC); peak claimed",
    },
    DeviceInfo {
        name: "apple-m1-max",
        title: "Apple M1 Max",
        on_chip_bytes: Some(48 * MIB),
        dram_bytes: None,
        on_chip_gb_s: None,
        dram_gb_s: 400.0,
        dram_latency_ns: None,
        tflops: Some(20.8),
        dram_pj_per_bit: LPDDR,
        machine: None,
        source: "die-shot notes (SLC); peak claimed",
    },
    DeviceInfo {
        name: "epyc-7452",
        title: "EPYC 7452 (Zen 2), one core",
        on_chip_bytes: Some(16 * MIB),
        dram_bytes: None,
        on_chip_gb_s: Some(108.0),
        dram_gb_s: 34.8,
        dram_latency_ns: Some(113.0),
        tflops: Some(2.35 * 32.0 / 1e3),
        dram_pj_per_bit: DRAM_45NM,
        machine: Some(&ZEN2),
        source: "one core at 2.35 GHz and the 16 MB of L3 of its complex, measured (kerncraft, Zen2_EPYC-7452.yml); latency of a 7742 (AnandTech 14694)",
    },
    DeviceInfo {
        name: "xeon-6148",
        title: "Xeon Gold 6148 (Skylake), one core",
        on_chip_bytes: Some(27 * MIB + MIB / 2),
        dram_bytes: None,
        on_chip_gb_s: Some(48.1),
        dram_gb_s: 24.9,
        dram_latency_ns: None,
        tflops: Some(2.4 * 64.0 / 1e3),
        dram_pj_per_bit: DRAM_45NM,
        machine: Some(&SKYLAKE_SP),
        source: "one core at 2.4 GHz, measured (kerncraft, SkylakeSP_Gold-6148.yml)",
    },
    DeviceInfo {
        name: "raspberry-pi-4",
        title: "Raspberry Pi 4 (Cortex-A72), one core",
        on_chip_bytes: Some(MIB),
        dram_bytes: None,
        on_chip_gb_s: None,
        dram_gb_s: 5.6,
        dram_latency_ns: None,
        tflops: Some(1.5 * 8.0 / 1e3),
        dram_pj_per_bit: LPDDR,
        machine: Some(&CORTEX_A72),
        source: "one core at 1.5 GHz; STREAM on sci-pi.org.uk; L2 of 1 MB from sandsoftwaresound.net",
    },
];
