//! Fast memory, and what hits and misses cost: on a device, or by the prototype's constants.

pub use accel_ground::{device, energy};
use serde::{Deserialize, Serialize};

use crate::check::check_range;
use crate::closed;
use crate::error::Error;
use crate::policy::{Knows, PolicyKind, PolicySpec};
use crate::rules::{Admission, AdmissionSpec, Rules, Selector, Share, list};
use crate::trace::Trace;
use crate::units::format_bytes;
use device::{Device, DeviceRef};

/// Time of a hit (the prototype's).
pub const HIT_MS: f64 = 0.01;
/// Time a miss adds for each MB (the prototype's).
pub const MISS_MS_PER_MB: f64 = 0.1;
/// DRAM bandwidth: 32 MB per ms, that is 32 GB/s (the prototype's, which calls it "32 MB/s").
pub const DRAM_MB_PER_MS: f64 = 32.0;
/// Time of a miss of one byte: both terms of [`prototype_time`].
pub const MISS_MS_PER_BYTE: f64 = (MISS_MS_PER_MB + 1.0 / DRAM_MB_PER_MS) / 1e6;
/// Capacity of the prototype's cache: 64 MB.
pub const PROTOTYPE_CAPACITY_BYTES: u64 = 64_000_000;

/// Fast memory, and how its use is costed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Capacity in bytes, at least 1.
    pub capacity_bytes: u64,
    /// Which missed tensors come in.
    #[serde(skip_serializing_if = "is_default")]
    pub admission: AdmissionSpec,
    /// The share of the capacity down to which residents are evicted when room is needed, 0.01..=1.
    #[serde(skip_serializing_if = "is_full")]
    pub watermark: f64,
    /// Tensors that stay once they are in, in room that is kept for them from the beginning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<Selector>,
    /// Whose the capacity is that is not pinned; what is not shared out belongs to all others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Share>,
    /// How time and energy are counted.
    #[serde(skip_serializing_if = "is_default")]
    pub cost: Cost,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_full<T: Copy + Into<f64>>(share: &T) -> bool {
    (*share).into() == 1.0
}

/// How time and energy are counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// As it fits the workload: see [`Cost::fit`].
    #[default]
    Device,
    /// By the prototype's constants: a hit takes 0.01 ms, so that a miss of less than 76 kB takes less than a hit.
    Prototype,
    /// On this device.
    Physical(Physical),
}

/// The device of a workload with operations for which none is named: the accelerator that most figures are published
/// for.
pub const USUAL_DEVICE: &str = "h100-sxm";

/// What counts the time of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Costing {
    /// Nothing: policies rank by misses and bytes.
    Nothing,
    /// The prototype's constants.
    Prototype,
    /// A device; one that fits the workload where the recipe names none.
    Device {
        /// The device.
        physical: Physical,
        /// Whether the recipe names it.
        named: bool,
    },
}

impl Cost {
    /// What counts the time of a run, whose trace `knows_operations` or is one of mere requests; `random` is the
    /// prototype's random workload.
    ///
    /// Where the recipe leaves it open: the prototype's constants for the prototype's workload; [`USUAL_DEVICE`] for
    /// operations of models; nothing for requests to objects, because a trace of them names neither a device nor work.
    pub fn fit(&self, knows_operations: bool, random: bool) -> Costing {
        match self {
            Self::Physical(physical) => Costing::Device { physical: physical.clone(), named: true },
            Self::Prototype => Costing::Prototype,
            Self::Device if random => Costing::Prototype,
            Self::Device if knows_operations => {
                let device = DeviceRef::Known(USUAL_DEVICE.into());
                Costing::Device { physical: Physical { device, ..Physical::default() }, named: false }
            }
            Self::Device => Costing::Nothing,
        }
    }
}

impl Costing {
    /// The device, where one counts.
    pub fn physical(&self) -> Option<&Physical> {
        match self {
            Self::Device { physical, .. } => Some(physical),
            Self::Nothing | Self::Prototype => None,
        }
    }

    /// What an answer says of it, for a fast memory of `capacity_bytes`.
    pub fn stated(&self, capacity_bytes: u64) -> Result<Stated, Error> {
        let (by, device, about) = match self {
            Self::Nothing => {
                let about = "No time is counted: the trace names no device. Misses and bytes rank the policies; name a \
                             device for stall and energy.";
                (CostedBy::Nothing, None, about.to_owned())
            }
            Self::Prototype => {
                let about = format!(
                    "Time is counted by the prototype's constants: {HIT_MS} ms per hit; {MISS_MS_PER_MB} ms per MB plus \
                     size / {DRAM_MB_PER_MS} GB/s per miss."
                );
                (CostedBy::Prototype, None, about)
            }
            Self::Device { physical, named } => {
                let device = physical.check()?;
                let on_chip = match device.on_chip_gb_s {
                    Some(gb_s) => format!("{gb_s} GB/s"),
                    None => "no published bandwidth, and so no limit".into(),
                };
                let chosen = if *named { "" } else { ", because no device is named" };
                let mut about = format!(
                    "Time and energy are counted on {}{chosen}: fast memory with {on_chip}, {} GB/s from the memory below.",
                    device.title(),
                    device.dram_gb_s
                );
                let own = device.row().and_then(|row| row.on_chip_bytes).filter(|own| *own < capacity_bytes);
                if let Some(own) = own {
                    about += &format!(" Its own fast memory holds {}.", format_bytes(own));
                }
                (CostedBy::Device, Some(device.name), about)
            }
        };
        Ok(Stated { by, device, about })
    }
}

/// What counts the time of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// What counts it.
    pub by: CostedBy,
    /// The device's name, where one counts.
    pub device: Option<String>,
    /// The same in words.
    pub about: String,
}

closed! {
    /// What counts time.
    pub enum CostedBy("cost", "way of counting time") {
        /// Nothing.
        Nothing = "nothing",
        /// The prototype's constants.
        Prototype = "prototype",
        /// A device.
        Device = "device",
    }
}

/// What it takes to load a tensor again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reload {
    latency_ms: f64,
    ms_per_byte: f64,
}

impl Reload {
    /// By `costing`; none where it counts no time.
    pub fn by(costing: &Costing) -> Result<Option<Self>, Error> {
        Ok(match costing {
            Costing::Nothing => None,
            Costing::Prototype => Some(Self { latency_ms: 0.0, ms_per_byte: MISS_MS_PER_BYTE }),
            Costing::Device { physical, .. } => {
                let Device { dram_gb_s, dram_latency_ns, .. } = physical.check()?;
                Some(Self { latency_ms: dram_latency_ns.unwrap_or(0.0) / 1e6, ms_per_byte: 1e-6 / dram_gb_s })
            }
        })
    }

    /// Time to load `bytes`, in ms.
    pub fn ms(self, bytes: u64) -> f64 {
        self.latency_ms + bytes as f64 * self.ms_per_byte
    }
}

/// A device that runs the trace in order: it computes, and loads what it will need over a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Physical {
    /// The device.
    pub device: DeviceRef,
    /// A load may start as soon as the access this many before it does, 0..=1024; 0 loads on demand.
    pub prefetch_depth: u32,
    /// Memories between the fast memory and the place where everything is, the fastest first; at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<Level>,
}

impl Default for Physical {
    fn default() -> Self {
        Self { device: DeviceRef::Known("reference".into()), prefetch_depth: 1, below: Vec::new() }
    }
}

/// A memory below the fast one. It sees the misses of the one above, and loads its own from what lies beneath.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Its name, such as `HBM` or `host`.
    pub name: String,
    /// Capacity in bytes, at least 1.
    pub capacity_bytes: u64,
    /// Its policy; not one that knows the future, because which accesses reach it is not known beforehand.
    #[serde(default = "default_policy")]
    pub policy: PolicySpec,
    /// Bandwidth of the channel from what lies beneath, in GB/s.
    pub gb_s: f64,
    /// Latency of that channel in ns.
    #[serde(default)]
    pub latency_ns: f64,
}

fn default_policy() -> PolicySpec {
    PolicyKind::Lru.into()
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(PROTOTYPE_CAPACITY_BYTES)
    }
}

fn check_capacity(field: &str, bytes: u64) -> Result<(), Error> {
    if bytes == 0 {
        let problem = "a memory without capacity holds nothing";
        return Err(Error::field(field, 0, problem, "Choose at least 1 byte, such as 64MB"));
    }
    Ok(())
}

impl Memory {
    /// A memory of that capacity; everything is admitted, and time is counted as it fits the workload.
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            capacity_bytes,
            admission: AdmissionSpec::default(),
            watermark: 1.0,
            pinned: Vec::new(),
            shares: Vec::new(),
            cost: Cost::default(),
        }
    }

    /// Fails on the first field that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        check_capacity("capacity_bytes", self.capacity_bytes)?;
        check_range("watermark", self.watermark, 0.01..=1.0)?;
        match &self.cost {
            Cost::Device | Cost::Prototype => Ok(()),
            Cost::Physical(physical) => physical.check().map(|_| ()),
        }
    }

    /// The mode whose bounds hold: where rules beside the policy let tensors pass by, any schedule may.
    pub fn mode(&self) -> Admission {
        if self.pinned.is_empty() && self.shares.is_empty() { self.admission.mode() } else { Admission::Bypass }
    }

    /// What decides beside the policy about the tensors of `trace`. Fails where a rule means none of them, or leaves no
    /// room for some.
    pub fn rules(&self, trace: &Trace) -> Result<Rules, Error> {
        let rules = Rules::new(self.admission, self.watermark).pin(&self.pinned, trace)?.divide(&self.shares, trace)?;
        rules.capacities(self.capacity_bytes)?;
        Ok(rules)
    }

    /// Whether what decides beside the policy is the same as in `other`, but for the capacity.
    pub fn rules_like(&self, other: &Self) -> bool {
        let of = |memory: &Self| (memory.admission, memory.watermark);
        of(self) == of(other) && self.pinned == other.pinned && self.shares == other.shares
    }

    /// The same where the tensors have no names. Fails if a rule needs them.
    pub fn nameless_rules(&self) -> Result<Rules, Error> {
        let fields = [("pinned", list(&self.pinned)), ("shares", list(&self.shares))];
        match fields.into_iter().find(|(_, text)| !text.is_empty()) {
            Some((field, text)) => {
                let problem = "a stream keeps no names of tensors";
                Err(Error::field(field, text, problem, "Leave it out, or hold the trace"))
            }
            None => Ok(Rules::new(self.admission, self.watermark)),
        }
    }

    /// The device model, where the recipe has one.
    pub fn physical(&self) -> Option<&Physical> {
        match &self.cost {
            Cost::Device | Cost::Prototype => None,
            Cost::Physical(physical) => Some(physical),
        }
    }
}

impl Physical {
    /// Fails on the first field that is out of range; returns the device.
    pub fn check(&self) -> Result<Device, Error> {
        check_range("prefetch_depth", self.prefetch_depth, 0..=1024)?;
        check_range("below", self.below.len(), 0..=8)?;
        for (i, level) in self.below.iter().enumerate() {
            check_capacity(&format!("below[{i}].capacity_bytes"), level.capacity_bytes)?;
            device::positive(&format!("below[{i}].gb_s"), level.gb_s)?;
            device::not_negative(&format!("below[{i}].latency_ns"), level.latency_ns)?;
            if level.policy.info().knows == Knows::Future {
                let problem = "which accesses reach a lower level is not known beforehand";
                let cure = "Choose a policy that decides by the past, such as lru";
                return Err(Error::field(format!("below[{i}].policy"), level.policy.name(), problem, cure));
            }
        }
        self.device.device()
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

/// The prototype's time of a miss of `bytes`, in ms.
pub fn miss_ms(bytes: u64) -> f64 {
    prototype_time(0, bytes).total_latency_ms
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
