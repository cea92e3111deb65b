//! Devices: what is known of their memories, with sources, and devices of one's own.
//!
//! Peaks are dense (public tables often print twice as much, for sparse matrices). What is not published is left out,
//! and then not modelled. Sources: NeuSight's device configurations; Chips and Cheese's measurements; gpu-benches
//! (te42kyfo/gpu-benches, the RRZE-HPC suite's raw results); jax-ml/scaling-book; Google Cloud's documentation; Jouppi
//! et al., "TPU v4", ISCA 2023, table 4; ServeTheHome and LLM-Viewer for the MI300X.

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

const MIB: u64 = 1 << 20;

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
        source: "die-shot notes (SLC); peak claimed",
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
        ] {
            assert!(own(json).unwrap().unwrap_err().field_name().unwrap().starts_with("device."));
        }
        assert!(own(r#"{"name":"x"}"#).unwrap_err().to_string().contains("dram_gb_s"));
        assert!(own("\"h100\"").unwrap().unwrap_err().to_string().contains("h100-sxm"));
    }
}
