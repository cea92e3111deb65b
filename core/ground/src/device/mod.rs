//! Devices: what is known of their memories and peaks, and the user's own devices.

mod machines;
mod table;

use serde::{Deserialize, Serialize};

use crate::closed;
use crate::error::Error;
pub use table::DEVICES;

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
    /// The processor that the core is one of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor: Option<Processor>,
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
    /// What operators of libraries need to know of a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
}

/// A GPU as operators of libraries see it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Multiprocessors (compute units of AMD).
    pub multiprocessors: u32,
    /// Threads that one of them holds.
    pub threads: u32,
    /// Power of the board in W.
    pub watts: f64,
    /// The kind of its DRAM.
    pub memory: DramKind,
    /// Its architecture.
    pub architecture: Architecture,
}

closed! {
    /// A kind of DRAM.
    pub enum DramKind("device.machine.gpu.memory", "kind of DRAM") {
        /// Stacks beside the chip.
        Hbm = "hbm",
        /// Chips on the board.
        Gddr = "gddr",
    }
}

closed! {
    /// The architecture of a GPU.
    pub enum Architecture("device.machine.gpu.architecture", "architecture") {
        /// NVIDIA, 2016.
        Pascal = "pascal",
        /// NVIDIA, 2017.
        Volta = "volta",
        /// NVIDIA, 2018.
        Turing = "turing",
        /// NVIDIA, 2020.
        Ampere = "ampere",
        /// NVIDIA, 2022.
        Ada = "ada",
        /// NVIDIA, 2022.
        Hopper = "hopper",
        /// NVIDIA, 2024.
        Blackwell = "blackwell",
        /// AMD, 2020.
        Cdna = "cdna",
        /// AMD, 2021.
        Cdna2 = "cdna2",
        /// AMD, 2023.
        Cdna3 = "cdna3",
    }
}

impl Architecture {
    /// Whether AMD makes it.
    pub fn is_amd(self) -> bool {
        matches!(self, Self::Cdna | Self::Cdna2 | Self::Cdna3)
    }
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
    /// Cycles lost by a mispredicted branch; none where unknown.
    #[serde(default)]
    pub mispredict_cycles: Option<f64>,
    /// Cycles from the store of a floating-point number to a load of it; five where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_cycles: Option<f64>,
    /// Lines that it waits for at once; ten where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misses_at_once: Option<f64>,
    /// Whether GCC, compiling for it, keeps sums that are added up one after the other from being fused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sums_apart: bool,
    /// How it translates addresses; costs nothing where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
}

/// How a core translates addresses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Bytes of a page.
    pub bytes: u64,
    /// Pages whose translation is at hand.
    pub near: u32,
    /// Pages whose translation the core knows.
    pub known: u32,
}

/// What the cores of a processor share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// Its cores; of several kinds, those that are described.
    pub cores: u32,
    /// How many of them share a cache of the last level.
    pub cores_per_cache: u32,
    /// What the memory below sends and takes in GB/s, all cores together.
    pub dram_gb_s: f64,
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
    /// Places that a line may lie in; any where unknown, or where its sets are drawn by a hash of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ways: Option<u32>,
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
    /// 32-bit floating point, rounded to TF32 for products; none where there is no such unit, or nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tf32: Option<f64>,
    /// 8-bit floating point; as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f8: Option<f64>,
    /// 8-bit integers, in 10^12 operations/s; as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub i8: Option<f64>,
}

impl Peaks {
    /// Peaks of which no more is known than those of 64, 32 and 16 bits.
    pub const fn new(f64: f64, f32: f64, f16: f64) -> Self {
        Self { f64, f32, f16, tf32: None, f8: None, i8: None }
    }
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
    /// Memory below in bytes, as the makers' data sheets state it (a GB is 10^9 bytes there, but for TPUs, whose documentation
    /// gives GiB); none where the user chooses how much there is.
    pub dram_bytes: Option<u64>,
    pub(super) on_chip_gb_s: Option<f64>,
    pub(super) dram_gb_s: f64,
    pub(super) dram_latency_ns: Option<f64>,
    pub(super) tflops: Option<f64>,
    pub(super) dram_pj_per_bit: Option<[f64; 2]>,
    pub(super) machine: Option<&'static MachineInfo>,
    /// Where the figures come from, and what is uncertain.
    pub source: &'static str,
}

/// A [`Machine`] as the table holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MachineInfo {
    pub(super) core: Option<Core>,
    pub(super) processor: Option<Processor>,
    /// Name, bytes, GB/s, latency in ns.
    pub(super) caches: &'static [(&'static str, u64, Option<f64>, Option<f64>)],
    /// Ways of the caches, from the nearest on; no more are known of those that are left out.
    pub(super) ways: &'static [u32],
    pub(super) load_store_gb_s: Option<f64>,
    pub(super) vector_tflops: Option<Peaks>,
    pub(super) matrix_tflops: Option<Peaks>,
    pub(super) launch_us: Option<[f64; 2]>,
    pub(super) gpu: Option<Gpu>,
}

/// The known device of that name; case does not matter.
pub fn find(name: &str) -> Result<&'static DeviceInfo, Error> {
    DEVICES.iter().find(|d| d.name.eq_ignore_ascii_case(name.trim())).ok_or_else(|| {
        let names = DEVICES.iter().map(|d| d.name).collect::<Vec<_>>().join(", ");
        let cure = format!("Choose one of {names}, or describe one: {{\"name\":\"mine\",\"dram_gb_s\":100}}");
        Error::field("device", format!("\"{name}\""), "no such device", cure)
    })
}

impl DeviceInfo {
    /// Whether it is one core, which works instruction by instruction, and not a device that works as a whole.
    pub fn is_core(&self) -> bool {
        self.machine.is_some_and(|machine| machine.core.is_some())
    }

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
        let ways = self.ways.iter().copied().map(Some).chain(std::iter::repeat(None));
        let caches = self.caches.iter().zip(ways).map(|((name, bytes, gb_s, latency_ns), ways)| CacheInfo {
            name: (*name).into(),
            bytes: *bytes,
            gb_s: *gb_s,
            latency_ns: *latency_ns,
            ways,
        });
        Machine {
            core: self.core,
            processor: self.processor,
            caches: caches.collect(),
            line_bytes: None,
            load_store_gb_s: self.load_store_gb_s,
            vector_tflops: self.vector_tflops,
            matrix_tflops: self.matrix_tflops,
            launch_us: self.launch_us,
            gpu: self.gpu,
        }
    }
}

impl Device {
    /// The row of the known device of this name, if there is one.
    pub fn row(&self) -> Option<&'static DeviceInfo> {
        DEVICES.iter().find(|row| row.name == self.name)
    }

    /// The name people read.
    pub fn title(&self) -> &str {
        self.row().map_or(&self.name, |row| row.title)
    }

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
            figure("core.forward_cycles", core.forward_cycles)?;
            figure("core.misses_at_once", core.misses_at_once)?;
            if let Some(pages) = &core.pages {
                figure("core.pages.bytes", Some(pages.bytes as f64))?;
                figure("core.pages.near", Some(pages.near.into()))?;
                figure("core.pages.known", Some(pages.known.into()))?;
            }
            if !(64..=1 << 20).contains(&core.vector_bits) {
                let cure = "Choose a number from 64 to 1048576; 64 is a core without vectors";
                return Err(Error::field("device.machine.core.vector_bits", core.vector_bits, "out of range", cure));
            }
        }
        if let Some(processor) = &self.processor {
            figure("processor.cores", Some(processor.cores.into()))?;
            figure("processor.cores_per_cache", Some(processor.cores_per_cache.into()))?;
            figure("processor.dram_gb_s", Some(processor.dram_gb_s))?;
        }
        if self.caches.len() > 8 {
            let cure = "Give at most 8";
            return Err(Error::field("device.machine.caches", self.caches.len(), "too many levels", cure));
        }
        for (i, cache) in self.caches.iter().enumerate() {
            figure(&format!("caches[{i}].bytes"), Some(cache.bytes as f64))?;
            figure(&format!("caches[{i}].gb_s"), cache.gb_s)?;
            figure(&format!("caches[{i}].ways"), cache.ways.map(f64::from))?;
            let latency = format!("device.machine.caches[{i}].latency_ns");
            cache.latency_ns.map_or(Ok(()), |ns| not_negative(&latency, ns))?;
        }
        figure("load_store_gb_s", self.load_store_gb_s)?;
        for (field, peaks) in [("vector_tflops", self.vector_tflops), ("matrix_tflops", self.matrix_tflops)] {
            for peak in peaks.iter().flat_map(|p| [Some(p.f64), Some(p.f32), Some(p.f16), p.tf32, p.f8, p.i8]) {
                figure(field, peak)?;
            }
        }
        if let Some(gpu) = &self.gpu {
            figure("gpu.multiprocessors", Some(gpu.multiprocessors.into()))?;
            figure("gpu.threads", Some(gpu.threads.into()))?;
            figure("gpu.watts", Some(gpu.watts))?;
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
pub fn positive(field: &str, figure: f64) -> Result<(), Error> {
    if (1e-6..=MOST).contains(&figure) {
        return Ok(());
    }
    Err(Error::field(field, figure, "out of range", "Choose a number from 1e-6 to 1e15"))
}

/// Fails unless `figure` is a number of at least zero.
pub fn not_negative(field: &str, figure: f64) -> Result<(), Error> {
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
    /// The user's own device.
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
