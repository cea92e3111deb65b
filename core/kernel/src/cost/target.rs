//! What a kernel runs on: a core with its caches, or a device as a whole.

use std::collections::BTreeSet;

use crate::nest::Element;
use crate::operator::{self, Chip};
use crate::report::{Compiler, Level, Request};
use accel_ground::device::{self, CacheInfo, Core, Device, DeviceRef, Machine, Peaks};
use accel_ground::error::Error;

/// Bytes of a cache line where nobody says.
const LINE_BYTES: u64 = 64;
/// More levels than a machine has.
const MOST_LEVELS: usize = 8;
/// No cache is larger.
const MOST_BYTES: u64 = 1 << 40;

/// What a kernel runs on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    /// The device.
    pub(super) device: Device,
    /// Who computes.
    pub(super) unit: Unit,
    /// The caches that are counted, nearest first.
    pub(crate) levels: Vec<Level>,
    /// Bytes per line.
    pub(crate) line_bytes: u64,
    /// Places that a line may lie in, of each level; any where there is no figure.
    pub(super) ways: Vec<Option<u32>>,
    /// Who delivers what each level misses: the next level, or the memory below the last.
    pub(super) below: Vec<Supplier>,
    /// A device as a whole, as operators of libraries see it.
    pub(super) chip: Option<Chip>,
    /// Bytes that pass the load units of a device as a whole for each byte that loads and stores name.
    pub(super) widened: f64,
    /// How much longer its busiest processor works than the mean of all.
    pub(super) uneven: f64,
    /// Who compiles, where it is known.
    pub(super) compiler: Option<Compiler>,
    /// Lines whose FLOPs are those of tensor cores.
    pub(super) tensor_lines: BTreeSet<u32>,
    /// What was assumed.
    pub(crate) assumptions: Vec<String>,
}

/// Who computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Unit {
    /// One core, instruction by instruction.
    Core(Core),
    /// A device as a whole: its peaks in FLOP/s and what its load and store units move in bytes/s.
    Whole { vector: Rates, matrix: Rates, load_store: Option<f64> },
}

/// FLOP/s by the type of elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates(Option<Peaks>);

/// A memory as its neighbour sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Supplier {
    /// Its name.
    pub(super) name: String,
    /// Its capacity; none below all caches.
    pub(super) bytes: Option<u64>,
    /// What it sends and takes in GB/s; not a limit where unknown.
    pub(super) gb_s: Option<f64>,
    /// Its latency in ns; none is added where unknown.
    pub(super) latency_ns: Option<f64>,
}

impl Rates {
    /// FLOP/s with elements of that type; infinite where unknown.
    pub(super) fn of(self, element: Element) -> f64 {
        operator::rate(self.0, element)
    }
}

impl Target {
    /// What `request` asks for, on the device `asked`.
    pub(crate) fn of(request: &Request, asked: &DeviceRef) -> Result<Self, Error> {
        let device = asked.device()?;
        let machine = device.machine.as_deref().cloned().unwrap_or_default();
        let mut assumptions = Vec::new();
        let own = caches(asked, &device, &machine);
        let levels = match &request.levels {
            Some(levels) => levels.clone(),
            None => own.iter().map(|c| Level { name: c.name.clone(), capacity_bytes: c.bytes }).collect(),
        };
        let line_bytes = request.line_bytes.or(machine.line_bytes).unwrap_or(LINE_BYTES);
        check_line(line_bytes)?;
        check_levels(&levels, line_bytes, &device)?;
        assumptions.push(format!(
            "every cache is fully associative, replaces the least recently used line, and has lines of {line_bytes} bytes"
        ));
        let unit = unit(&device, &machine, request.cores, &mut assumptions);
        check_cores(request, &device, &machine, &unit)?;
        if request.levels.is_some() && own.is_empty() {
            assumptions.push("nothing is known of the bandwidth of these caches: they are no limit".into());
        } else if request.levels.is_some() {
            assumptions.push(format!(
                "each of these caches has the bandwidth and latency of the smallest of {}'s that is as large",
                device.name
            ));
        }
        let ways = match &request.levels {
            Some(levels) => vec![None; levels.len()],
            None => own.iter().map(|cache| cache.ways).collect(),
        };
        let below = below(&levels, &own, &device, &mut assumptions);
        let on_chip = levels.last().map_or(0.0, |level| level.capacity_bytes as f64);
        let chip = matches!(unit, Unit::Whole { .. }).then(|| Chip::of(&device, on_chip));
        Ok(Self {
            device,
            unit,
            levels,
            line_bytes,
            ways,
            below,
            chip,
            widened: 1.0,
            uneven: 1.0,
            compiler: request.compiler,
            tensor_lines: BTreeSet::new(),
            assumptions,
        })
    }

    /// What the warps of a grid make of the load units, and its blocks of the processors.
    pub(crate) fn grid(&mut self, widened: f64, uneven: f64, tensor_lines: BTreeSet<u32>) {
        (self.widened, self.uneven, self.tensor_lines) = (widened, uneven, tensor_lines);
        // A kernel of the user's own is no operator of a library.
        self.chip = None;
    }

    /// One of `cores` cores that work at once: its part of what they share.
    #[must_use]
    pub(crate) fn with_cores(&self, cores: u32) -> Self {
        let mut own = self.clone();
        let Some(processor) = self.device.machine.as_deref().and_then(|machine| machine.processor) else { return own };
        let each = processor.dram_gb_s / f64::from(cores);
        if let Some(memory) = own.below.last_mut() {
            memory.gb_s = memory.gb_s.map(|gb_s| gb_s.min(each));
        }
        // Cores are spread over the caches of the last level, as systems spread threads.
        let caches = (processor.cores / processor.cores_per_cache.max(1)).max(1);
        let together = u64::from(cores.div_ceil(caches)).max(1);
        let least = own.levels.iter().rev().nth(1).map_or(own.line_bytes, |level| level.capacity_bytes);
        if let Some(last) = own.levels.last_mut() {
            last.capacity_bytes = (last.capacity_bytes / together).max(least);
        }
        own
    }

    /// The device's name.
    pub(crate) fn name(&self) -> &str {
        &self.device.name
    }

    /// The device as operators of libraries see it, where it works as a whole.
    pub(crate) fn chip(&self) -> Option<&Chip> {
        self.chip.as_ref()
    }

    /// What starting a kernel takes in seconds, least and most.
    pub(super) fn launch(&self) -> [f64; 2] {
        let us = self.device.machine.as_ref().and_then(|machine| machine.launch_us).unwrap_or_default();
        us.map(|us| us * 1e-6)
    }

    /// The core, where there is one.
    pub(super) fn core(&self) -> Option<&Core> {
        match &self.unit {
            Unit::Core(core) => Some(core),
            Unit::Whole { .. } => None,
        }
    }

    /// What plain code computes at most in FLOP/s with elements of that type.
    pub(super) fn vector_peak(&self, element: Element) -> f64 {
        match &self.unit {
            Unit::Core(core) => core_peak(core, element),
            Unit::Whole { vector, .. } => vector.of(element),
        }
    }

    /// What a library's matrix product computes at most.
    pub(super) fn matrix_peak(&self, element: Element) -> f64 {
        match &self.unit {
            Unit::Core(core) => core_peak(core, element),
            Unit::Whole { matrix, .. } => matrix.of(element),
        }
    }

    /// What registers and the nearest memory exchange at most in bytes/s.
    pub(super) fn nearest(&self) -> Option<f64> {
        match &self.unit {
            Unit::Core(core) => {
                Some((core.loads + core.stores) * f64::from(core.vector_bits) / 8.0 * core.clock_ghz * 1e9)
            }
            Unit::Whole { load_store, .. } => *load_store,
        }
    }
}

/// Elements of that type in a vector.
pub(super) fn lanes(core: &Core, element: Element) -> f64 {
    (u64::from(core.vector_bits) / (8 * element.bytes())).max(1) as f64
}

/// A multiplication fused with an addition is two FLOPs.
fn core_peak(core: &Core, element: Element) -> f64 {
    2.0 * core.pipes * lanes(core, element) * core.clock_ghz * 1e9
}

/// The device's own caches, nearest first; of a device without a description, its on-chip memory.
fn caches(asked: &DeviceRef, device: &Device, machine: &Machine) -> Vec<CacheInfo> {
    if !machine.caches.is_empty() {
        return machine.caches.clone();
    }
    let on_chip = match asked {
        DeviceRef::Known(name) => device::find(name).ok().and_then(|info| info.on_chip_bytes),
        DeviceRef::Own(_) => None,
    };
    let cache = |bytes| CacheInfo {
        name: "on-chip memory".into(),
        bytes,
        gb_s: device.on_chip_gb_s,
        latency_ns: None,
        ways: None,
    };
    on_chip.map(cache).into_iter().collect()
}

/// Fails where so many cores, or warm caches, say nothing of the device.
fn check_cores(request: &Request, device: &Device, machine: &Machine, unit: &Unit) -> Result<(), Error> {
    if matches!(unit, Unit::Whole { .. }) {
        let problem = format!("{} works as a whole", device.name);
        let cure = "Leave it out, or choose a device with cores, such as epyc-7452";
        if request.cores != 1 {
            return Err(Error::field("cores", request.cores, problem, cure));
        }
        if request.warm {
            return Err(Error::field("warm", true, problem, cure));
        }
        return Ok(());
    }
    match machine.processor {
        _ if request.cores == 1 => Ok(()),
        None => {
            let problem = format!("nothing is known of the processor that {} is one core of", device.name);
            Err(Error::field("cores", request.cores, problem, "Choose 1, or describe machine.processor of your device"))
        }
        Some(processor) if (1..=processor.cores).contains(&request.cores) => Ok(()),
        Some(processor) => {
            let cure = format!("Choose a number from 1 to {}", processor.cores);
            Err(Error::field("cores", request.cores, "out of range", cure))
        }
    }
}

fn check_line(line_bytes: u64) -> Result<(), Error> {
    if line_bytes.is_power_of_two() && (8..=4096).contains(&line_bytes) {
        return Ok(());
    }
    let cure = "Choose a power of two from 8 to 4096";
    Err(Error::field("line_bytes", line_bytes, "a line cannot have that many bytes", cure))
}

fn check_levels(levels: &[Level], line_bytes: u64, device: &Device) -> Result<(), Error> {
    if levels.is_empty() {
        let problem = format!("there is no cache: nobody published the size of {}'s", device.name);
        let cure = "Name one to eight caches, such as {\"name\":\"L1\",\"capacity_bytes\":32768}";
        return Err(Error::field("levels", "[]", problem, cure));
    }
    if levels.len() > MOST_LEVELS {
        return Err(Error::field("levels", levels.len(), "too many caches", "Name one to eight"));
    }
    let mut least = line_bytes;
    for (i, level) in levels.iter().enumerate() {
        let wrong = |problem: &str, cure: String| {
            Err(Error::field(format!("levels[{i}].capacity_bytes"), level.capacity_bytes, problem, cure))
        };
        if level.capacity_bytes < least {
            let problem = if i == 0 { "less than a line" } else { "less than the level before" };
            return wrong(problem, format!("Name the nearest level first; choose at least {least} bytes"));
        }
        if level.capacity_bytes > MOST_BYTES {
            return wrong("no cache is that large", format!("Choose at most {MOST_BYTES} bytes"));
        }
        if level.name.is_empty() || level.name.chars().count() > 32 {
            let cure = "Choose a name of 1 to 32 characters, such as L1";
            return Err(Error::field(format!("levels[{i}].name"), &level.name, "no name for a cache", cure));
        }
        least = level.capacity_bytes;
    }
    Ok(())
}

fn unit(device: &Device, machine: &Machine, cores: u32, assumptions: &mut Vec<String>) -> Unit {
    if let Some(core) = machine.core {
        assumptions.push(match cores {
            1 => "serial code: it runs on one core".into(),
            _ => format!("{cores} cores share the loops that are marked as parallel; all else runs on one"),
        });
        let unknown = [
            ("a mispredicted branch costs", core.mispredict_cycles),
            ("a division costs more than a multiplication", core.divide_cycles),
        ];
        for (what, _) in unknown.iter().filter(|(_, figure)| figure.is_none()) {
            assumptions.push(format!("what {what} on {} is not published and not counted", device.name));
        }
        return Unit::Core(core);
    }
    assumptions.push(
        "the whole device works on it: iterations of loops are taken as independent, loop counters and conditions as free"
            .into(),
    );
    let any = device.tflops.map(|peak| Peaks::new(peak, peak, peak));
    if machine.vector_tflops.is_none() {
        assumptions.push(match device.tflops {
            Some(_) => "the peak is that of the device's fastest type of elements: others take longer".into(),
            None => format!("the peak of {} is not known: computing takes no time", device.name),
        });
    }
    let load_store = machine.load_store_gb_s.or(device.on_chip_gb_s).map(|gb_s| gb_s * 1e9);
    if load_store.is_none() {
        assumptions.push(format!("what {}'s load units move is not published: they are no limit", device.name));
    }
    Unit::Whole {
        vector: Rates(machine.vector_tflops.or(any)),
        matrix: Rates(machine.matrix_tflops.or(machine.vector_tflops).or(any)),
        load_store,
    }
}

/// Who delivers what each level misses.
fn below(levels: &[Level], own: &[CacheInfo], device: &Device, assumptions: &mut Vec<String>) -> Vec<Supplier> {
    let like = |level: &Level| {
        let large = own.iter().find(|cache| cache.bytes >= level.capacity_bytes).or(own.last());
        Supplier {
            name: level.name.clone(),
            bytes: Some(level.capacity_bytes),
            gb_s: large.and_then(|cache| cache.gb_s),
            latency_ns: large.and_then(|cache| cache.latency_ns),
        }
    };
    let memory =
        Supplier { name: "DRAM".into(), bytes: None, gb_s: Some(device.dram_gb_s), latency_ns: device.dram_latency_ns };
    let below: Vec<Supplier> = levels.iter().skip(1).map(like).chain([memory]).collect();
    for supplier in &below {
        if supplier.gb_s.is_none() {
            assumptions.push(format!("the bandwidth of {} is not published: it is no limit", supplier.name));
        }
    }
    below
}
