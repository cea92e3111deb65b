//! Time and traffic of a run on a device.
//!
//! The device uses tensors in the order of the trace. An access computes for the longer of its FLOPs at the dense peak
//! and its bytes at the on-chip bandwidth, once its tensor is there. A missing tensor is loaded over a channel that
//! moves one tensor after the other, in order: the load waits for the channel, for the write-back of what it displaces,
//! and for the access `prefetch_depth` before it to start computing (loads on their way have room of their own); its
//! latency passes while the channel already moves the next. What the compute unit waits for is *stall*.
//!
//! A written tensor is dirty and is written back when it leaves; an activation that is not used again is dropped. A
//! tensor that is written whole, or for the first time, is not loaded. Levels below work alike: each is a memory with
//! its policy, its channel, and its own dirty tensors; a write-back goes to the first level that holds the tensor.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Cache, Counts, Observer, cache};
use crate::error::Error;
use crate::memory::Physical;
use crate::memory::device::Device;
use crate::memory::energy::Energy;
use crate::policy::{PolicySpec, Setup};
use crate::trace::reuse::{Future, NEVER};
use crate::trace::{Decoding, Kind, Mode, Tensor, Trace};

/// What a run took on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// The device.
    pub device: String,
    /// From the start until everything is computed and what left fast memory is written back, in ms.
    pub total_ms: f64,
    /// Time spent computing, in ms.
    pub compute_ms: f64,
    /// Time on the critical path in which nothing computes, in ms: `total_ms - compute_ms`.
    pub stall_ms: f64,
    /// Bytes loaded into fast memory.
    pub dram_read_bytes: u64,
    /// Bytes written back from it.
    pub dram_written_bytes: u64,
    /// Bytes of dirty tensors that left without being written, because nobody uses them again.
    pub dropped_bytes: u64,
    /// Bytes of dirty tensors still in fast memory at the end; not written back, in no time and for no energy.
    pub dirty_bytes_at_end: u64,
    /// Bytes loaded and written back by the time it took, in GB/s.
    pub achieved_gb_s: f64,
    /// FLOPs done.
    pub flops: f64,
    /// How fast tokens come, where the trace decodes any; from its beginning, whatever is counted.
    pub tokens: Option<Tokens>,
    /// Energy.
    pub energy: Energy,
    /// The levels below fast memory, the fastest first.
    pub levels: Vec<LevelReport>,
}

/// How fast tokens come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Time to the first token: until the first prompts are read, in ms.
    pub ttft_ms: f64,
    /// Time of a step of decoding, which gives every running request a token, in ms; prompts that are read between two
    /// steps count. None where nothing is decoded behind the prompts.
    pub ms_per_token: Option<f64>,
    /// Tokens that these steps give to all requests together, per second.
    pub tokens_per_s: Option<f64>,
}

/// What a level below fast memory did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelReport {
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: PolicySpec,
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Loads that reached it: hits + misses.
    pub accesses: u64,
    /// Loads that it served.
    pub hits: u64,
    /// Loads that it passed on.
    pub misses: u64,
    /// Bytes that it loaded from beneath.
    pub miss_bytes: u64,
    /// Tensors that it evicted.
    pub evictions: u64,
    /// Bytes written back from it and through it.
    pub written_bytes: u64,
}

/// Moves one tensor after the other.
#[derive(Debug)]
struct Channel {
    free_ns: f64,
    /// GB/s are bytes per ns.
    bytes_per_ns: f64,
    latency_ns: f64,
    read_bytes: u64,
    written_bytes: u64,
}

impl Channel {
    fn new(gb_s: f64, latency_ns: f64) -> Self {
        Self { free_ns: 0.0, bytes_per_ns: gb_s, latency_ns, read_bytes: 0, written_bytes: 0 }
    }

    /// Moves `bytes` as soon as the channel is free and `from` has come; returns when they have left.
    fn transfer(&mut self, bytes: u64, from: f64) -> f64 {
        self.free_ns = self.free_ns.max(from) + bytes as f64 / self.bytes_per_ns;
        self.free_ns
    }
}

struct LevelBelow {
    name: String,
    policy: PolicySpec,
    capacity_bytes: u64,
    memory: Box<dyn Cache>,
    dirty: Vec<bool>,
}

/// An access that missed, until what it displaced is known.
#[derive(Debug, Clone, Copy)]
struct Miss {
    now: usize,
    tensor: u32,
    bytes: u64,
    kept: bool,
}

/// What was counted when counting began.
#[derive(Debug, Clone, Default)]
struct Before {
    /// When everything before was computed.
    end_ns: f64,
    compute_ns: f64,
    flops: f64,
    on_chip_bytes: u64,
    dropped_bytes: u64,
    /// Bytes read and written by each channel.
    moved: Vec<(u64, u64)>,
    levels: Vec<Counts>,
}

/// When the tokens of a trace come.
#[derive(Debug, Clone, Copy)]
struct Clock {
    decoding: Decoding,
    /// When what precedes these accesses was computed, in ns.
    first_token_ns: f64,
    start_ns: f64,
}

/// The state of a device between accesses.
pub(super) struct Timing {
    device: Device,
    capacity_bytes: u64,
    depth: usize,
    future: Arc<Future>,
    /// The channel into fast memory, then those into the levels below.
    channels: Vec<Channel>,
    levels: Vec<LevelBelow>,
    /// For each tensor: used before, dirty in fast memory, when it was last computed, next use.
    used: Vec<bool>,
    dirty: Vec<bool>,
    written_ns: Vec<f64>,
    /// Bytes of the dirty tensors in fast memory.
    dirty_bytes: u64,
    next_use: Vec<u32>,
    /// When the last `depth` accesses started to compute.
    starts: VecDeque<f64>,
    compute_free_ns: f64,
    compute_ns: f64,
    flops: f64,
    on_chip_bytes: u64,
    dropped_bytes: u64,
    before: Before,
    clock: Option<Clock>,
    pending: Option<Miss>,
    victims: Vec<(u32, u64)>,
    /// What a level below just evicted; kept to save allocations.
    evicted: Vec<(u32, u64)>,
}

impl Timing {
    pub(super) fn new(spec: &Physical, setup: &Setup<'_>, future: &Arc<Future>) -> Result<Self, Error> {
        let device = spec.check()?;
        let tensors = setup.sizes.len();
        let mut channels = vec![Channel::new(device.dram_gb_s, device.dram_latency_ns.unwrap_or(0.0))];
        let mut levels = Vec::new();
        for level in &spec.below {
            channels.push(Channel::new(level.gb_s, level.latency_ns));
            let below = Setup { capacity_bytes: level.capacity_bytes, rules: None, ..setup.clone() };
            levels.push(LevelBelow {
                name: level.name.clone(),
                policy: level.policy,
                capacity_bytes: level.capacity_bytes,
                memory: cache(level.policy, &below)?,
                dirty: vec![false; tensors],
            });
        }
        Ok(Self {
            device,
            capacity_bytes: setup.capacity_bytes,
            depth: spec.prefetch_depth as usize,
            future: Arc::clone(future),
            channels,
            levels,
            used: vec![false; tensors],
            dirty: vec![false; tensors],
            written_ns: vec![0.0; tensors],
            dirty_bytes: 0,
            next_use: vec![NEVER; tensors],
            starts: VecDeque::new(),
            compute_free_ns: 0.0,
            compute_ns: 0.0,
            flops: 0.0,
            on_chip_bytes: 0,
            dropped_bytes: 0,
            before: Before::default(),
            clock: None,
            pending: None,
            victims: Vec::new(),
            evicted: Vec::new(),
        })
    }

    /// What came before access `now` is done with.
    fn look_at_clock(&mut self, trace: &Trace, now: u64) {
        let Some(decoding) = trace.decoding() else { return };
        let clock = self.clock.get_or_insert(Clock { decoding, first_token_ns: 0.0, start_ns: 0.0 });
        if now == decoding.first_token {
            clock.first_token_ns = self.compute_free_ns;
        }
        if now == decoding.start {
            clock.start_ns = self.compute_free_ns;
        }
    }

    /// When everything is computed and what left is written back.
    fn end_ns(&self) -> f64 {
        self.channels.iter().map(|c| c.free_ns).fold(self.compute_free_ns, f64::max)
    }

    /// Only what follows counts.
    pub(super) fn count_from_here(&mut self, trace: &Trace) {
        self.account(trace);
        self.before = Before {
            end_ns: self.compute_free_ns,
            compute_ns: self.compute_ns,
            flops: self.flops,
            on_chip_bytes: self.on_chip_bytes,
            dropped_bytes: self.dropped_bytes,
            moved: self.channels.iter().map(|c| (c.read_bytes, c.written_bytes)).collect(),
            levels: self.levels.iter().map(|level| level.memory.counts()).collect(),
        };
    }

    pub(super) fn hit(&mut self, trace: &Trace, now: usize, tensor: u32, bytes: u64) {
        self.account(trace);
        self.look_at_clock(trace, now as u64);
        self.compute(trace, now, tensor, bytes, 0.0);
    }

    pub(super) fn miss(&mut self, trace: &Trace, now: usize, tensor: u32, bytes: u64) {
        self.account(trace);
        self.look_at_clock(trace, now as u64);
        self.pending = Some(Miss { now, tensor, bytes, kept: false });
    }

    pub(super) fn insert(&mut self) {
        if let Some(miss) = &mut self.pending {
            miss.kept = true;
        }
    }

    pub(super) fn evict(&mut self, trace: &Trace, now: usize, tensor: u32, bytes: u64) {
        if self.pending.is_some_and(|miss| miss.now != now) {
            self.account(trace);
        }
        match &mut self.pending {
            Some(miss) if miss.tensor == tensor => miss.kept = false,
            _ => self.victims.push((tensor, bytes)),
        }
    }

    /// The next access gives `tensor` another size.
    pub(super) fn resize(&mut self, trace: &Trace, tensor: u32, before: u64, bytes: u64) {
        self.account(trace);
        if self.dirty[tensor as usize] {
            self.dirty_bytes = self.dirty_bytes - before + bytes;
        }
    }

    /// Loads what the last miss needs, now that it is known what it displaced.
    fn account(&mut self, trace: &Trace) {
        let Some(Miss { now, tensor, bytes, kept }) = self.pending.take() else {
            // A tensor that grew displaced others though its access hit.
            for (victim, bytes) in std::mem::take(&mut self.victims) {
                self.leave(trace, victim, bytes, self.compute_free_ns);
            }
            return;
        };
        let mut ready = match self.depth {
            0 => self.compute_free_ns,
            depth if self.starts.len() < depth => 0.0,
            _ => self.starts.front().copied().unwrap_or(0.0),
        };
        for (victim, bytes) in std::mem::take(&mut self.victims) {
            ready = self.leave(trace, victim, bytes, ready);
        }
        let mode = trace.mode(now);
        let old_content_needed = match mode {
            Mode::Read => true,
            Mode::Write => false,
            Mode::Update => self.used[tensor as usize],
        };
        if old_content_needed {
            ready = self.load(0, tensor, bytes, now, ready);
        }
        self.compute(trace, now, tensor, bytes, ready);
        if !kept {
            // It was used where it was produced, and is written through.
            self.leave(trace, tensor, bytes, self.compute_free_ns);
        }
    }

    /// `tensor` of `bytes` leaves fast memory at `from`; returns when its room is free.
    fn leave(&mut self, trace: &Trace, tensor: u32, bytes: u64, from: f64) -> f64 {
        if !std::mem::take(&mut self.dirty[tensor as usize]) {
            return from;
        }
        self.dirty_bytes -= bytes;
        let Tensor { kind, .. } = trace.tensors()[tensor as usize];
        let dead = self.next_use[tensor as usize] == NEVER;
        if dead && matches!(kind, Kind::Activations | Kind::Gradients) {
            self.dropped_bytes += bytes;
            return from;
        }
        // What is not computed yet cannot be written.
        self.write_back(0, tensor, bytes, from.max(self.written_ns[tensor as usize]))
    }

    /// Writes `bytes` from level `k` (0 is fast memory) to what lies beneath; returns when they have left.
    fn write_back(&mut self, k: usize, tensor: u32, bytes: u64, from: f64) -> f64 {
        self.channels[k].written_bytes += bytes;
        let left = self.channels[k].transfer(bytes, from);
        match self.levels.get_mut(k) {
            Some(level) if level.memory.is_resident(tensor) => level.dirty[tensor as usize] = true,
            Some(_) => {
                self.write_back(k + 1, tensor, bytes, left);
            }
            None => {}
        }
        left
    }

    /// Writes back what level `k` has just evicted; returns when it has left.
    fn displaced(&mut self, k: usize, evicted: &mut Vec<(u32, u64)>, mut from: f64) -> f64 {
        for (victim, bytes) in evicted.drain(..) {
            if std::mem::take(&mut self.levels[k].dirty[victim as usize]) {
                from = self.write_back(k + 1, victim, bytes, from);
            }
        }
        from
    }

    /// Loads `tensor` into level `k` from what lies beneath; returns when it is there.
    fn load(&mut self, k: usize, tensor: u32, bytes: u64, now: usize, from: f64) -> f64 {
        let mut there = from;
        if let Some(level) = self.levels.get_mut(k) {
            let mut evicted = std::mem::take(&mut self.evicted);
            if !level.memory.access(tensor, bytes, now, &mut evicted) {
                there = self.displaced(k, &mut evicted, there);
                there = self.load(k + 1, tensor, bytes, now, there);
            } else {
                there = self.displaced(k, &mut evicted, there);
            }
            self.evicted = evicted;
        }
        self.channels[k].read_bytes += bytes;
        self.channels[k].transfer(bytes, there) + self.channels[k].latency_ns
    }

    /// Access `now` computes as soon as it can after `ready`.
    fn compute(&mut self, trace: &Trace, now: usize, tensor: u32, bytes: u64, ready: f64) {
        let start = self.compute_free_ns.max(ready);
        let flops = trace.flops(now);
        let duration = computing_ns(&self.device, flops, bytes);
        self.compute_free_ns = start + duration;
        self.compute_ns += duration;
        self.flops += flops;
        self.on_chip_bytes = self.on_chip_bytes.saturating_add(bytes);
        if self.depth > 0 {
            if self.starts.len() == self.depth {
                self.starts.pop_front();
            }
            self.starts.push_back(start);
        }
        self.used[tensor as usize] = true;
        if trace.mode(now) != Mode::Read {
            if !std::mem::replace(&mut self.dirty[tensor as usize], true) {
                self.dirty_bytes += bytes;
            }
            self.written_ns[tensor as usize] = self.compute_free_ns;
        }
        self.next_use[tensor as usize] = self.future.next_use[now];
    }

    /// How long nothing computed so far, in ns.
    pub(super) fn stalled_ns(&self) -> f64 {
        self.compute_free_ns - self.compute_ns
    }

    pub(super) fn finish(mut self, trace: &Trace) -> Timed {
        self.account(trace);
        self.look_at_clock(trace, trace.accesses().len() as u64);
        let before = &self.before;
        let total_ns = self.end_ns() - before.end_ns;
        let compute_ns = self.compute_ns - before.compute_ns;
        let flops = self.flops - before.flops;
        let moved = self.channels.iter().enumerate().map(|(k, channel)| {
            let (read, written) = before.moved.get(k).copied().unwrap_or_default();
            (channel.read_bytes - read, channel.written_bytes - written)
        });
        let moved: Vec<(u64, u64)> = moved.collect();
        let (read_bytes, written_bytes) = moved[0];
        let mut energy = Energy::default();
        if let Some(pj_per_bit) = self.device.dram_pj_per_bit {
            energy.moved("DRAM reads", read_bytes, pj_per_bit, "the device's DRAM; see the table of devices");
            energy.moved("DRAM writes", written_bytes, pj_per_bit, "the device's DRAM; see the table of devices");
        }
        for (level, (read, written)) in self.levels.iter().zip(&moved[1..]) {
            let source = "5.5 (SerDes) to 7.5 (PCIe) pJ per bit, second-hand figures; the memory beneath not counted";
            energy.moved(format!("link below {}", level.name), read.saturating_add(*written), [5.5, 7.5], source);
        }
        let both = read_bytes.saturating_add(written_bytes);
        let on_chip_bytes = self.on_chip_bytes - before.on_chip_bytes;
        energy.on_chip(on_chip_bytes.saturating_add(both), self.capacity_bytes);
        energy.arithmetic(flops);
        let report = |(k, level): (usize, &LevelBelow)| {
            let counts = level.memory.counts().since(before.levels.get(k).copied().unwrap_or_default());
            let Counts { hits, misses, miss_bytes, evictions, .. } = counts;
            LevelReport {
                name: level.name.clone(),
                policy: level.policy,
                capacity_bytes: level.capacity_bytes,
                accesses: hits + misses,
                hits,
                misses,
                miss_bytes,
                evictions,
                written_bytes: moved[k + 1].1,
            }
        };
        Timed {
            device: self.device.name.clone(),
            total_ms: total_ns / 1e6,
            compute_ms: compute_ns / 1e6,
            stall_ms: (total_ns - compute_ns) / 1e6,
            dram_read_bytes: read_bytes,
            dram_written_bytes: written_bytes,
            dropped_bytes: self.dropped_bytes - before.dropped_bytes,
            dirty_bytes_at_end: self.dirty_bytes,
            achieved_gb_s: if total_ns > 0.0 { both as f64 / total_ns } else { 0.0 },
            flops,
            tokens: self.clock.map(|clock| clock.tokens(self.compute_free_ns)),
            energy,
            levels: self.levels.iter().enumerate().map(report).collect(),
        }
    }
}

impl Clock {
    /// The times of a run whose last token is computed at `end_ns`.
    fn tokens(&self, end_ns: f64) -> Tokens {
        let Decoding { steps, tokens, .. } = self.decoding;
        let ms = (end_ns - self.start_ns) / 1e6;
        let any = steps > 0 && ms > 0.0;
        Tokens {
            ttft_ms: self.first_token_ns / 1e6,
            ms_per_token: any.then(|| ms / steps as f64),
            tokens_per_s: any.then(|| 1e3 * tokens as f64 / ms),
        }
    }
}

/// No schedule of `trace` takes less time than this on the device for the accesses from number `from` on, in ms, if none
/// misses fewer bytes there than `miss_bytes`: what is missed is loaded, unless it is written, and everything is computed.
pub fn least_ms(spec: &Physical, trace: &Trace, from: usize, miss_bytes: u64) -> Result<f64, Error> {
    let device = spec.check()?;
    let mut used = vec![false; trace.tensors().len()];
    let (mut compute_ns, mut unloaded) = (0.0, 0u64);
    for (now, (tensor, bytes)) in trace.sized().enumerate() {
        let before = std::mem::replace(&mut used[tensor as usize], true);
        if now < from {
            continue;
        }
        compute_ns += computing_ns(&device, trace.flops(now), bytes);
        let loads = match trace.mode(now) {
            Mode::Read => true,
            Mode::Write => false,
            Mode::Update => before,
        };
        unloaded = unloaded.saturating_add(if loads { 0 } else { bytes });
    }
    let loading_ns = miss_bytes.saturating_sub(unloaded) as f64 / device.dram_gb_s;
    // After a warm-up, loads may have begun before counting did.
    let least_ns = if from == 0 { compute_ns.max(loading_ns) } else { compute_ns };
    Ok(least_ns * (1.0 - 1e-9) / 1e6) // sums of rounded numbers
}

/// Time that an access computes, in ns: for its FLOPs or for its bytes, whichever takes longer.
fn computing_ns(device: &Device, flops: f64, bytes: u64) -> f64 {
    let work = device.tflops.map_or(0.0, |peak| flops / (peak * 1e3));
    work.max(device.on_chip_gb_s.map_or(0.0, |gb_s| bytes as f64 / gb_s))
}

/// Watches a run on a device.
pub(super) struct Watch<'a> {
    pub(super) timing: &'a mut Timing,
    pub(super) trace: &'a Trace,
}

impl Observer for Watch<'_> {
    fn hit(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.timing.hit(self.trace, now, tensor, bytes);
    }
    fn miss(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.timing.miss(self.trace, now, tensor, bytes);
    }
    fn insert(&mut self, _now: usize, _tensor: u32, _bytes: u64) {
        self.timing.insert();
    }
    fn resize(&mut self, _now: usize, tensor: u32, before: u64, bytes: u64, _resident: bool) {
        self.timing.resize(self.trace, tensor, before, bytes);
    }
    fn evict(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.timing.evict(self.trace, now, tensor, bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::device::DeviceRef;
    use crate::memory::{Costing, Level};
    use crate::policy::PolicyKind;
    use crate::sim::timeline::Buckets;
    use crate::trace::{Op, TraceBuilder};

    /// One byte a ns with 10 ns of latency; computes one FLOP a ns.
    fn device() -> Device {
        Device {
            name: "test".into(),
            on_chip_gb_s: None,
            dram_gb_s: 1.0,
            dram_latency_ns: Some(10.0),
            tflops: Some(1e-3),
            dram_pj_per_bit: Some([1.0, 2.0]),
            machine: None,
        }
    }

    fn spec(prefetch_depth: u32) -> Physical {
        Physical { device: DeviceRef::Own(device()), prefetch_depth, below: Vec::new() }
    }

    /// Tensors of the given sizes and kinds, used in order by (tensor, mode, FLOPs).
    fn trace(tensors: &[(u64, Kind)], uses: &[(u32, Mode, f64)]) -> Trace {
        let mut builder = TraceBuilder::new("");
        for (i, &(bytes, kind)) in tensors.iter().enumerate() {
            builder.tensor(Tensor { name: i.to_string(), bytes, layer: None, stride: 1, kind }).unwrap();
        }
        for &(tensor, mode, flops) in uses {
            builder.access_with(tensor, Op::Matmul, mode, flops).unwrap();
        }
        builder.finish("test").unwrap()
    }

    fn run(trace: &Trace, capacity: u64, spec: &Physical) -> Timed {
        let (sizes, future) = (trace.sizes(), Arc::new(Future::of(trace)));
        let setup = Setup::new(&sizes, capacity);
        let buckets = Buckets::new(trace);
        let costing = Costing::Device { physical: spec.clone(), named: true };
        let mut run =
            super::super::start(PolicyKind::Lru, &setup, &future, &buckets, &costing, super::super::Watched::ALL)
                .unwrap();
        run.advance(trace, 0, trace.accesses().len());
        run.finish(trace, Counts::default()).0.physical.unwrap()
    }

    const W: Kind = Kind::Weights;

    #[test]
    fn loads_on_demand_follow_each_other_and_early_ones_overlap() {
        let reads: Vec<_> = [0, 1, 0].map(|t| (t, Mode::Read, 40.0)).to_vec();
        let trace = trace(&[(100, W), (100, W)], &reads);
        // On demand: load 100 + latency 10, compute 40, three times.
        let ns = |depth| run(&trace, 100, &spec(depth)).total_ms * 1e6;
        assert!((ns(0) - 450.0).abs() < 1e-6);
        // One ahead: the second load is issued when the first access computes (110), is there at 220, ...
        assert!((ns(1) - (330.0 + 40.0)).abs() < 1e-6);
        // Two ahead: issued at once, so the channel never rests: loads end at 100, 200, 300.
        assert!((ns(2) - (310.0 + 40.0)).abs() < 1e-6);
        let timed = run(&trace, 100, &spec(2));
        assert!((timed.stall_ms * 1e6 - 230.0).abs() < 1e-6 && (timed.compute_ms * 1e6 - 120.0).abs() < 1e-6);
        assert!((timed.achieved_gb_s - 300.0 / 350.0).abs() < 1e-9);
        // Everything fits: the third access hits.
        assert!((run(&trace, 200, &spec(0)).total_ms * 1e6 - (150.0 + 150.0 + 40.0)).abs() < 1e-6);
    }

    #[test]
    fn dirty_tensors_are_written_back_and_dead_ones_dropped() {
        let a = Kind::Activations;
        let uses = [
            (0, Mode::Write, 0.0),
            (1, Mode::Read, 0.0),
            (0, Mode::Read, 0.0),
            (2, Mode::Write, 0.0),
            (1, Mode::Read, 0.0),
        ];
        let trace = trace(&[(100, a), (100, W), (50, a)], &uses);
        let timed = run(&trace, 100, &spec(0));
        // 0 is written without a load and written back when 1 comes; then read again and clean; 2 dies dirty.
        assert_eq!((timed.dram_read_bytes, timed.dram_written_bytes), (300, 100));
        assert_eq!((timed.dropped_bytes, timed.dirty_bytes_at_end), (50, 0));
        // Write back 100, then 3 loads of 110.
        assert!((timed.total_ms * 1e6 - 430.0).abs() < 1e-6);
        let bits = 8.0 * 300.0;
        assert!((timed.energy.ledger[0].low_j - bits * 1e-12).abs() < 1e-18);
        let sum: f64 = timed.energy.ledger.iter().map(|item| item.high_j).sum();
        assert!((sum - timed.energy.high_j).abs() < 1e-18);
        assert!(timed.energy.ledger.iter().all(|item| !item.source.is_empty()));
    }

    #[test]
    fn nothing_is_written_back_before_it_is_computed() {
        let uses = [(0, Mode::Write, 1000.0), (1, Mode::Read, 0.0), (0, Mode::Read, 0.0)];
        let trace = trace(&[(100, W), (100, W)], &uses);
        for (depth, ns) in [(0, 1320.0), (1, 1320.0), (2, 1310.0), (9, 1310.0)] {
            assert!((run(&trace, 100, &spec(depth)).total_ms * 1e6 - ns).abs() < 1e-6, "{depth}");
        }
    }

    #[test]
    fn an_update_loads_what_was_there_before() {
        let uses = [(0, Mode::Update, 0.0), (1, Mode::Read, 0.0), (0, Mode::Update, 0.0)];
        let trace = trace(&[(100, Kind::KvCache), (100, W)], &uses);
        let timed = run(&trace, 100, &spec(0));
        assert_eq!((timed.dram_read_bytes, timed.dram_written_bytes, timed.dirty_bytes_at_end), (200, 100, 100));
    }

    #[test]
    fn levels_below_serve_what_they_hold() {
        let reads: Vec<_> = [0, 1, 0, 1].map(|t| (t, Mode::Read, 0.0)).to_vec();
        let trace = trace(&[(100, W), (100, W)], &reads);
        let level = |capacity_bytes| Level {
            name: "HBM".into(),
            capacity_bytes,
            policy: PolicyKind::Fifo.into(),
            gb_s: 0.5,
            latency_ns: 1000.0,
        };
        let two = run(&trace, 100, &Physical { below: vec![level(200)], ..spec(0) });
        assert_eq!((two.levels[0].accesses, two.levels[0].hits, two.levels[0].miss_bytes), (4, 2, 200));
        // First loads: 200 ns and 1000 below, then 110; the next two find theirs in HBM.
        assert!((two.total_ms * 1e6 - (2.0 * 1310.0 + 220.0)).abs() < 1e-6);
        let three = run(&trace, 100, &Physical { below: vec![level(100), level(1000)], ..spec(0) });
        assert_eq!((three.levels[0].hits, three.levels[1].hits), (0, 2));
        assert_eq!(three.levels[1].miss_bytes, 200);
    }

    proptest! {
        #[test]
        fn time_is_at_least_work_and_traffic(
            sizes in prop::collection::vec((0u64..50, 0usize..4), 6),
            uses in prop::collection::vec((0u32..6, 0u8..3, 0u32..100), 1..80),
            capacity in 1u64..150,
            depth in 0u32..5,
        ) {
            let tensors: Vec<(u64, Kind)> = sizes.iter().map(|(bytes, kind)| (*bytes, Kind::ALL[*kind])).collect();
            let mode = |m| [Mode::Read, Mode::Write, Mode::Update][usize::from(m)];
            let mut uses: Vec<_> = uses.into_iter().map(|(t, m, f)| (t, mode(m), f64::from(f))).collect();
            uses.extend((0..6).map(|t| (t, Mode::Read, 1.0)));
            let trace = trace(&tensors, &uses);
            let timed = run(&trace, capacity, &spec(depth));
            let traffic = (timed.dram_read_bytes + timed.dram_written_bytes) as f64;
            prop_assert!(timed.total_ms * 1e6 >= timed.compute_ms * 1e6 - 1e-6);
            prop_assert!(timed.total_ms * 1e6 >= traffic - 1e-6);
            prop_assert!((timed.compute_ms * 1e6 - timed.flops).abs() < 1e-6);
            // Looking further ahead never takes longer, and never as long as doing one thing after the other.
            let one_by_one = run(&trace, capacity, &spec(0)).total_ms;
            prop_assert!(timed.total_ms <= one_by_one + 1e-9);
            prop_assert!(one_by_one * 1e6 <= traffic + timed.flops + 10.0 * trace.accesses().len() as f64 + 1e-6);
        }
    }
}
