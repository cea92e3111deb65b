//! Devices: what is known of their memories, with sources, and devices of one's own.
//!
//! Peaks are dense (public tables often print twice as much, for sparse matrices). What is not published is left out,
//! and then not modelled. Sources: NeuSight's device configurations; Chips and Cheese's measurements; gpu-benches
//! (te42kyfo/gpu-benches, the RRZE-HPC suite's raw results); jax-ml/scaling-book; Google Cloud's documentation; Jouppi
//! et al., "TPU v4", ISCA 2023, table 4; ServeTheHome and LLM-Viewer for the MI300X. What kernels need besides: the
//! machine files of RRZE-HPC/kerncraft (likwid-bench on one core at a fixed clock), AnandTech 14694 (latencies), Chips
//! and Cheese, uops.info, vendors' data sheets.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A device: an on-chip memory, the memory below it, and a peak.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Bandwidth of the on-chip memory in GB/s; not a limit where unknown.
    #[serde(default)]
    pub on_chip_gb_s: Option<f64>,
    /// Bandwidth of the memory below in GB/s.
    pub dram_gb_s: f64,
    /// Latency of the memory below in ns; none is added where unknown.
    #[serde(default)]
    pub dram_latency_ns: Option<f64>,
    /// Dense peak in TFLOP/s; computing takes no time where unknown.
    #[serde(default)]
    pub tflops: Option<f64>,
    /// Energy of the memory below in pJ per bit, least and most.
    #[serde(default)]
    pub dram_pj_per_bit: Option<[f64; 2]>,
    /// What kernels need to know besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Box<Machine>>,
}

/// What kernels need to know of a device.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// The core that runs a kernel; none where the whole device does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core: Option<Core>,
    /// Caches, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<CacheInfo>,
    /// Bytes of a cache line; 64 where unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_bytes: Option<u64>,
    /// What all load and store units move in GB/s; of a core, its ports decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_store_gb_s: Option<f64>,
    /// Dense peak of plain code; of a core, its pipes decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector_tflops: Option<Peaks>,
    /// Dense peak of matrix products in libraries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix_tflops: Option<Peaks>,
    /// What starting a kernel takes in us, least and most; nothing where unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_us: Option<[f64; 2]>,
}

/// A core that runs instructions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// Its clock in GHz.
    pub clock_ghz: f64,
    /// Instructions that it starts in a cycle.
    pub issue: f64,
    /// Bits of a vector.
    pub vector_bits: u32,
    /// Vector additions, multiplications, or both fused, that it starts in a cycle.
    pub pipes: f64,
    /// Vector loads that it starts in a cycle.
    pub loads: f64,
    /// Vector stores that it starts in a cycle.
    pub stores: f64,
    /// Cycles from an addition to one that needs its result.
    pub add_cycles: f64,
    /// The same of a multiplication fused with an addition, from what is added.
    pub fma_cycles: f64,
    /// Cycles from one division to the next; as fast as a multiplication where unknown.
    #[serde(default)]
    pub divide_cycles: Option<f64>,
    /// Cycles lost by a branch foretold wrongly; none where unknown.
    #[serde(default)]
    pub mispredict_cycles: Option<f64>,
}

/// A cache as it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheInfo {
    /// Its name.
    pub name: String,
    /// Its capacity in bytes.
    pub bytes: u64,
    /// What it sends and takes in GB/s; not a limit where unknown.
    #[serde(default)]
    pub gb_s: Option<f64>,
    /// Its latency in ns; none is added where unknown.
    #[serde(default)]
    pub latency_ns: Option<f64>,
}

/// Peaks in TFLOP/s by the type of elements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peaks {
    /// 64-bit floating point.
    pub f64: f64,
    /// 32-bit floating point.
    pub f32: f64,
    /// 16-bit floating point, both kinds.
    pub f16: f64,
}

/// A row of the table of known devices.
#[derive(Debug, Clone, Copy)]
pub struct DeviceInfo {
    /// The name in recipes and on the command line.
    pub name: &'static str,
    /// The name people read.
    pub title: &'static str,
    /// On-chip memory in bytes; none where unpublished.
    pub on_chip_bytes: Option<u64>,
    on_chip_gb_s: Option<f64>,
    dram_gb_s: f64,
    dram_latency_ns: Option<f64>,
    tflops: Option<f64>,
    dram_pj_per_bit: Option<[f64; 2]>,
    machine: Option<&'static MachineInfo>,
    /// Where the figures come from, and what is uncertain.
    pub source: &'static str,
}

/// HBM, pJ per bit: 3.44 (HBM3E, vendor) to 450 pJ per 64 bits (HBM2, Jouppi et al., "Ten Lessons From Three
/// Generations", ISCA 2021, table 2; unverified). O'Connor et al., MICRO 2017, give 3.92 for HBM2.
const HBM: Option<[f64; 2]> = Some([3.44, 450.0 / 64.0]);
/// LPDDR, pJ per bit: 7 to 14 (Accelergy's CACTI plug-in gives 8 for LPDDR4; other public figures reach 14).
const LPDDR: Option<[f64; 2]> = Some([7.0, 14.0]);
/// DRAM of the 45 nm age, pJ per bit: 1300 to 2600 pJ per 64 bits (Horowitz, ISSCC 2014).
const DRAM_45NM: Option<[f64; 2]> = Some([1300.0 / 64.0, 2600.0 / 64.0]);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A [`Machine`] as the table holds it.
#[derive(Debug, Clone, Copy)]
struct MachineInfo {
    core: Option<Core>,
    /// Name, bytes, GB/s, latency in ns.
    caches: &'static [(&'static str, u64, Option<f64>, Option<f64>)],
    load_store_gb_s: Option<f64>,
    vector_tflops: Option<Peaks>,
    matrix_tflops: Option<Peaks>,
    launch_us: Option<[f64; 2]>,
}

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
/// Three instructions a cycle, two floating-point pipes of 64 bits, one load and one store (Chips and Cheese on the
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
        on_chip_gb_s: None,
        dram_gb_s: 5.6,
        dram_latency_ns: None,
        tflops: Some(1.5 * 8.0 / 1e3),
        dram_pj_per_bit: LPDDR,
        machine: Some(&CORTEX_A72),
        source: "one core at 1.5 GHz; STREAM on sci-pi.org.uk; L2 of 1 MB from sandsoftwaresound.net",
    },
];

/// The known device of that name; case does not matter.
pub fn find(name: &str) -> Result<&'static DeviceInfo, Error> {
    DEVICES.iter().find(|d| d.name.eq_ignore_ascii_case(name.trim())).ok_or_else(|| {
        let names = DEVICES.iter().map(|d| d.name).collect::<Vec<_>>().join(", ");
        let cure = format!("Choose one of {names}, or describe one: {{\"name\":\"mine\",\"dram_gb_s\":100}}");
        Error::field("device", format!("\"{name}\""), "no such device", cure)
    })
}

impl DeviceInfo {
    /// The device as a recipe may spell it out.
    pub fn device(&self) -> Device {
        Device {
            name: self.name.into(),
            on_chip_gb_s: self.on_chip_gb_s,
            dram_gb_s: self.dram_gb_s,
            dram_latency_ns: self.dram_latency_ns,
            tflops: self.tflops,
            dram_pj_per_bit: self.dram_pj_per_bit,
            machine: self.machine.map(|machine| Box::new(machine.machine())),
        }
    }
}

impl MachineInfo {
    fn machine(&self) -> Machine {
        let cache = |(name, bytes, gb_s, latency_ns): &(&str, u64, Option<f64>, Option<f64>)| CacheInfo {
            name: (*name).into(),
            bytes: *bytes,
            gb_s: *gb_s,
            latency_ns: *latency_ns,
        };
        Machine {
            core: self.core,
            caches: self.caches.iter().map(cache).collect(),
            line_bytes: None,
            load_store_gb_s: self.load_store_gb_s,
            vector_tflops: self.vector_tflops,
            matrix_tflops: self.matrix_tflops,
            launch_us: self.launch_us,
        }
    }
}

impl Device {
    /// Fails on the first figure that is not a positive number.
    pub fn check(&self) -> Result<(), Error> {
        positive("device.dram_gb_s", self.dram_gb_s)?;
        for (field, figure) in [("device.on_chip_gb_s", self.on_chip_gb_s), ("device.tflops", self.tflops)] {
            figure.map_or(Ok(()), |figure| positive(field, figure))?;
        }
        self.dram_latency_ns.map_or(Ok(()), |ns| not_negative("device.dram_latency_ns", ns))?;
        let [least, most] = self.dram_pj_per_bit.unwrap_or_default();
        not_negative("device.dram_pj_per_bit", least)?;
        not_negative("device.dram_pj_per_bit", most)?;
        if least > most {
            let cure = "Give the least figure first, such as [3.4, 7.0]";
            return Err(Error::field("device.dram_pj_per_bit", least, "more than the most", cure));
        }
        self.machine.as_deref().map_or(Ok(()), Machine::check)
    }
}

impl Machine {
    /// Fails on the first figure that is not a positive number.
    fn check(&self) -> Result<(), Error> {
        let figure = |field: &str, figure: Option<f64>| {
            figure.map_or(Ok(()), |figure| positive(&format!("device.machine.{field}"), figure))
        };
        if let Some(core) = &self.core {
            figure("core.clock_ghz", Some(core.clock_ghz))?;
            figure("core.issue", Some(core.issue))?;
            figure("core.pipes", Some(core.pipes))?;
            figure("core.loads", Some(core.loads))?;
            figure("core.stores", Some(core.stores))?;
            figure("core.add_cycles", Some(core.add_cycles))?;
            figure("core.fma_cycles", Some(core.fma_cycles))?;
            figure("core.divide_cycles", core.divide_cycles)?;
            figure("core.mispredict_cycles", core.mispredict_cycles)?;
            if !(64..=1 << 20).contains(&core.vector_bits) {
                let cure = "Choose a number from 64 to 1048576; 64 is a core without vectors";
                return Err(Error::field("device.machine.core.vector_bits", core.vector_bits, "out of range", cure));
            }
        }
        if self.caches.len() > 8 {
            let cure = "Give at most 8";
            return Err(Error::field("device.machine.caches", self.caches.len(), "too many levels", cure));
        }
        for (i, cache) in self.caches.iter().enumerate() {
            figure(&format!("caches[{i}].bytes"), Some(cache.bytes as f64))?;
            figure(&format!("caches[{i}].gb_s"), cache.gb_s)?;
            let latency = format!("device.machine.caches[{i}].latency_ns");
            cache.latency_ns.map_or(Ok(()), |ns| not_negative(&latency, ns))?;
        }
        figure("load_store_gb_s", self.load_store_gb_s)?;
        for (field, peaks) in [("vector_tflops", self.vector_tflops), ("matrix_tflops", self.matrix_tflops)] {
            for peak in peaks.iter().flat_map(|p| [p.f64, p.f32, p.f16]) {
                figure(field, Some(peak))?;
            }
        }
        let [least, most] = self.launch_us.unwrap_or_default();
        not_negative("device.machine.launch_us", least)?;
        not_negative("device.machine.launch_us", most)?;
        if least > most {
            let cure = "Give the least figure first, such as [5, 20]";
            return Err(Error::field("device.machine.launch_us", least, "more than the most", cure));
        }
        Ok(())
    }
}

/// No figure of a machine is larger: sums of such numbers stay finite.
const MOST: f64 = 1e15;

/// Fails unless `figure` is a number above zero.
pub(super) fn positive(field: &str, figure: f64) -> Result<(), Error> {
    if (1e-6..=MOST).contains(&figure) {
        return Ok(());
    }
    Err(Error::field(field, figure, "out of range", "Choose a number from 1e-6 to 1e15"))
}

/// Fails unless `figure` is a number of at least zero.
pub(super) fn not_negative(field: &str, figure: f64) -> Result<(), Error> {
    if (0.0..=MOST).contains(&figure) {
        return Ok(());
    }
    Err(Error::field(field, figure, "out of range", "Choose a number from 0 to 1e15"))
}

/// A device by name, or described.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DeviceRef {
    /// The name of one of [`DEVICES`].
    Known(String),
    /// A device of one's own.
    Own(Device),
}

/// By hand, because an untagged enum would hide what is wrong with a description.
impl<'de> Deserialize<'de> for DeviceRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(name) => Ok(Self::Known(name)),
            own => Device::deserialize(own).map(Self::Own).map_err(serde::de::Error::custom),
        }
    }
}

impl DeviceRef {
    /// The device behind the name, its figures checked.
    pub fn device(&self) -> Result<Device, Error> {
        match self {
            Self::Known(name) => find(name).map(DeviceInfo::device),
            Self::Own(device) => device.check().map(|()| device.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_device_passes_its_own_check() {
        for row in DEVICES {
            row.device().check().unwrap();
            assert_eq!(find(&row.name.to_uppercase()).unwrap().name, row.name);
            assert!(!row.source.is_empty());
        }
    }

    #[test]
    fn figures_out_of_range_are_named() {
        let own = |json: &str| serde_json::from_str::<DeviceRef>(json).map(|d| d.device());
        assert!(own(r#"{"name":"x","dram_gb_s":10}"#).unwrap().is_ok());
        for json in [
            r#"{"name":"x","dram_gb_s":0}"#,
            r#"{"name":"x","dram_gb_s":1e300}"#,
            r#"{"name":"x","dram_gb_s":1,"tflops":-1}"#,
            r#"{"name":"x","dram_gb_s":1,"dram_pj_per_bit":[2,1]}"#,
            r#"{"name":"x","dram_gb_s":1,"machine":{"launch_us":[2,1]}}"#,
            r#"{"name":"x","dram_gb_s":1,"machine":{"caches":[{"name":"L1","bytes":0}]}}"#,
        ] {
            assert!(own(json).unwrap().unwrap_err().field_name().unwrap().starts_with("device."));
        }
        assert!(own(r#"{"name":"x"}"#).unwrap_err().to_string().contains("dram_gb_s"));
        assert!(own("\"h100\"").unwrap().unwrap_err().to_string().contains("h100-sxm"));
    }
}
