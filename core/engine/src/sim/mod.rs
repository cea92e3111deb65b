//! The engine: it alone owns capacity, hits and counting.

pub mod audit;
mod gate;
mod prefix;
pub mod timeline;
pub mod timing;
pub mod why;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::memory::{Costing, Reload, prototype_time};
use crate::policy::{Admission, Order, Policy, PolicySpec, Setup, Shared, Visitor};
use crate::rules::Rules;
use crate::trace::reuse::Future;
use crate::trace::{Chunk, Resize, Trace};
use gate::{Gate, Room};
use prefix::Prefixes;
use timeline::{Buckets, Timeline};
use timing::{Timed, Timing, Watch};
use why::{Asked, Watcher, Why};

/// What happened, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Accesses that found their tensor resident.
    pub hits: u64,
    /// Accesses that did not.
    pub misses: u64,
    /// Bytes of the hits.
    pub hit_bytes: u64,
    /// Bytes of the misses.
    pub miss_bytes: u64,
    /// Tensors evicted to make room.
    pub evictions: u64,
    /// Misses whose tensor was not kept: it was too large, or its own victim.
    pub bypassed: u64,
    /// Misses of tensors larger than the capacity, which are never admitted; part of `bypassed`.
    pub oversize: u64,
    /// Misses of tensors that were resident and too old.
    pub expired: u64,
}

impl Counts {
    /// What happened after `before`, which is part of this.
    pub fn since(self, before: Self) -> Self {
        Self {
            hits: self.hits - before.hits,
            misses: self.misses - before.misses,
            hit_bytes: self.hit_bytes - before.hit_bytes,
            miss_bytes: self.miss_bytes - before.miss_bytes,
            evictions: self.evictions - before.evictions,
            bypassed: self.bypassed - before.bypassed,
            oversize: self.oversize - before.oversize,
            expired: self.expired - before.expired,
        }
    }
}

/// Watches a run; the methods do nothing unless overridden.
pub trait Observer {
    /// Access `now` found `tensor` resident.
    fn hit(&mut self, now: usize, tensor: u32, bytes: u64) {
        let _ = (now, tensor, bytes);
    }
    /// Access `now` did not.
    fn miss(&mut self, now: usize, tensor: u32, bytes: u64) {
        let _ = (now, tensor, bytes);
    }
    /// `tensor` becomes resident.
    fn insert(&mut self, now: usize, tensor: u32, bytes: u64) {
        let _ = (now, tensor, bytes);
    }
    /// Access `now`, which comes next, gives `tensor` another size, whether it is resident or not.
    fn resize(&mut self, now: usize, tensor: u32, before: u64, bytes: u64, resident: bool) {
        let _ = (now, tensor, before, bytes, resident);
    }
    /// `tensor` leaves.
    fn evict(&mut self, now: usize, tensor: u32, bytes: u64) {
        let _ = (now, tensor, bytes);
    }
    /// `tensor` leaves because it is too old for access `now`, which comes next and is to it.
    fn expire(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.evict(now, tensor, bytes);
    }
    /// Where to note whether the policy [distrusts its scores](crate::policy::Policy::distrusts_scores) before it chooses,
    /// if that is asked for.
    fn distrust(&mut self) -> Option<&mut bool> {
        None
    }
}

/// Both watch.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn hit(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.0.hit(now, tensor, bytes);
        self.1.hit(now, tensor, bytes);
    }
    fn miss(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.0.miss(now, tensor, bytes);
        self.1.miss(now, tensor, bytes);
    }
    fn insert(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.0.insert(now, tensor, bytes);
        self.1.insert(now, tensor, bytes);
    }
    fn resize(&mut self, now: usize, tensor: u32, before: u64, bytes: u64, resident: bool) {
        self.0.resize(now, tensor, before, bytes, resident);
        self.1.resize(now, tensor, before, bytes, resident);
    }
    fn evict(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.0.evict(now, tensor, bytes);
        self.1.evict(now, tensor, bytes);
    }
    fn expire(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.0.expire(now, tensor, bytes);
        self.1.expire(now, tensor, bytes);
    }
    fn distrust(&mut self) -> Option<&mut bool> {
        match self.0.distrust() {
            Some(place) => Some(place),
            None => self.1.distrust(),
        }
    }
}

/// Watches where there is someone.
impl<O: Observer> Observer for Option<O> {
    fn hit(&mut self, now: usize, tensor: u32, bytes: u64) {
        if let Some(observer) = self {
            observer.hit(now, tensor, bytes);
        }
    }
    fn miss(&mut self, now: usize, tensor: u32, bytes: u64) {
        if let Some(observer) = self {
            observer.miss(now, tensor, bytes);
        }
    }
    fn insert(&mut self, now: usize, tensor: u32, bytes: u64) {
        if let Some(observer) = self {
            observer.insert(now, tensor, bytes);
        }
    }
    fn resize(&mut self, now: usize, tensor: u32, before: u64, bytes: u64, resident: bool) {
        if let Some(observer) = self {
            observer.resize(now, tensor, before, bytes, resident);
        }
    }
    fn evict(&mut self, now: usize, tensor: u32, bytes: u64) {
        if let Some(observer) = self {
            observer.evict(now, tensor, bytes);
        }
    }
    fn expire(&mut self, now: usize, tensor: u32, bytes: u64) {
        if let Some(observer) = self {
            observer.expire(now, tensor, bytes);
        }
    }
    fn distrust(&mut self) -> Option<&mut bool> {
        self.as_mut().and_then(O::distrust)
    }
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn hit(&mut self, now: usize, tensor: u32, bytes: u64) {
        (**self).hit(now, tensor, bytes);
    }
    fn miss(&mut self, now: usize, tensor: u32, bytes: u64) {
        (**self).miss(now, tensor, bytes);
    }
    fn insert(&mut self, now: usize, tensor: u32, bytes: u64) {
        (**self).insert(now, tensor, bytes);
    }
    fn resize(&mut self, now: usize, tensor: u32, before: u64, bytes: u64, resident: bool) {
        (**self).resize(now, tensor, before, bytes, resident);
    }
    fn evict(&mut self, now: usize, tensor: u32, bytes: u64) {
        (**self).evict(now, tensor, bytes);
    }
    fn expire(&mut self, now: usize, tensor: u32, bytes: u64) {
        (**self).expire(now, tensor, bytes);
    }
    fn distrust(&mut self) -> Option<&mut bool> {
        (**self).distrust()
    }
}

/// Where a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Not resident.
    Out,
    /// Resident: the policy may evict it.
    In,
    /// Resident for good, unknown to the policy.
    Pinned,
}

/// A tensor's size, where it is, and the first access for which it then is too old.
#[derive(Debug, Clone, Copy)]
struct Slot {
    bytes: u64,
    until: u32,
    place: Place,
}

/// A memory of one level under the policy `P`.
///
/// On a hit the policy is told. On a miss, a tensor larger than the capacity is bypassed; else tensors
/// are evicted while used + size > capacity, and it is inserted. Under [`Admission::Bypass`] it is inserted
/// first, and may be evicted itself.
///
/// An access may give its tensor another size. A resident tensor then takes as much room as that, and the access is a
/// hit, after which tensors are evicted while used > capacity; it may be among them. One that outgrows the capacity
/// leaves before, and the access misses.
///
/// Where tensors expire, one that is too old leaves when it is used, and the access misses; until then it takes room.
/// Its age counts from the access that brought it in, as in libCacheSim: a hit does not make it younger.
///
/// A tensor that continues another ([`Trace::parents`]) is kept only with it: one whose parent is not resident passes by,
/// and when a tensor leaves, whoever continues it leaves too.
///
/// Rules ([`crate::rules`]) come before the policy: a pinned tensor comes in at its first use and stays, in room that is
/// kept for it; a missed tensor that is not let in passes by; where the memory is divided, each part is a memory of its
/// own under the same policy; and where it has a watermark, the first eviction is followed by others down to it.
#[derive(Debug)]
pub struct Engine<P: ?Sized> {
    /// The memory, or the part of it that is used now.
    room: Room,
    admission: Admission,
    slots: Vec<Slot>,
    prefixes: Option<Prefixes>,
    gate: Option<Box<Gate>>,
    counts: Counts,
    policy: P,
}

impl<P: Policy> Engine<P> {
    /// An empty memory.
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let gate = Gate::new(setup)?;
        let whole = Room { capacity: setup.capacity_bytes, used: 0, slack: 0 };
        let room = gate.as_ref().map_or(whole, |gate| gate.rooms[0]);
        let divided = setup.rules.is_some_and(Rules::is_divided);
        let capacity_bytes = if divided { setup.capacity_bytes } else { room.capacity };
        let admission = setup.rules.map_or(setup.admission, Rules::entry);
        Ok(Self {
            policy: P::new(&Setup { capacity_bytes, admission, ..setup.clone() })?,
            room,
            admission,
            slots: setup.sizes.iter().map(|&bytes| Slot { bytes, until: u32::MAX, place: Place::Out }).collect(),
            prefixes: Prefixes::new(setup.parents),
            gate,
            counts: Counts::default(),
        })
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes resident now.
    pub fn used_bytes(&self) -> u64 {
        self.room.used + self.gate.as_ref().map_or(0, |gate| gate.used_elsewhere())
    }

    /// Whether `tensor` is resident now.
    pub fn is_resident(&self, tensor: u32) -> bool {
        self.slots[tensor as usize].place != Place::Out
    }

    /// Empties the memory, in the order in which the policy lets go; what is pinned comes last.
    pub fn drain(&mut self) -> Vec<u32> {
        let mut left: Vec<u32> = std::iter::from_fn(|| self.policy.evict()).collect();
        left.extend((0..).zip(&self.slots).filter(|(_, slot)| slot.place == Place::Pinned).map(|(tensor, _)| tensor));
        self.slots.iter_mut().for_each(|slot| slot.place = Place::Out);
        self.room.used = 0;
        if let Some(gate) = &mut self.gate {
            gate.clear();
        }
        left
    }

    /// Runs the accesses of `chunk`, the one that follows those before.
    ///
    /// What is rare has its code once, for all policies (`unsteady`).
    pub fn advance<O: Observer>(&mut self, chunk: Chunk<'_>, observer: &mut O) {
        let Chunk { start, accesses, resizes, deadlines } = chunk;
        if self.gate.is_some() || self.prefixes.is_some() || !deadlines.is_empty() {
            let whatever: &mut Engine<dyn Order> = self;
            return whatever.ruled(chunk, observer);
        }
        let mut done = 0;
        for resize in resizes {
            let at = resize.at as usize - start;
            self.steady::<false, _>(&accesses[done..at], start + done, observer);
            let whatever: &mut Engine<dyn Order> = self;
            whatever.unsteady(chunk.part(at, at + 1), observer);
            done = at + 1;
        }
        self.steady::<false, _>(&accesses[done..], start + done, observer);
    }
}

impl Engine<dyn Order> {
    /// Runs the accesses of `chunk` under the rules, if there are any.
    fn ruled(&mut self, chunk: Chunk<'_>, observer: &mut dyn Observer) {
        if self.gate.is_none() {
            return self.unsteady(chunk, observer);
        }
        let mut at = 0;
        while let Some(length) = self.gate.as_mut().and_then(|gate| gate.enter(&chunk.accesses[at..], &mut self.room)) {
            self.unsteady(chunk.part(at, at + length), observer);
            if let Some(gate) = &mut self.gate {
                gate.hear(&chunk.accesses[at..at + length], |tensor| self.slots[tensor as usize].bytes);
            }
            at += length;
        }
    }

    /// Runs the accesses of `chunk`, where sizes may change, tensors grow too old or continue each other.
    fn unsteady(&mut self, chunk: Chunk<'_>, mut observer: &mut dyn Observer) {
        let Chunk { start, accesses, resizes, deadlines } = chunk;
        if resizes.is_empty() && deadlines.is_empty() {
            return self.steady::<true, _>(accesses, start, &mut observer);
        }
        let mut resizes = resizes.iter().peekable();
        for (i, access) in accesses.chunks(1).enumerate() {
            let (tensor, now, deadline) = (access[0], start + i, deadlines.get(i));
            if deadline.is_some() {
                self.expire(tensor, now, observer);
            }
            let before = self.slots[tensor as usize].place;
            let resize = resizes.next_if(|resize| resize.at as usize == now);
            if let Some(resize) = resize {
                self.resize(tensor, resize.bytes, now, observer);
            }
            self.steady::<true, _>(access, now, &mut observer);
            if resize.is_some() {
                let mut counts = self.counts;
                self.make_room::<true, _>(self.room.capacity, now, &mut counts, &mut observer);
                self.counts = counts;
            }
            if let Some(deadline) = deadline.filter(|_| before == Place::Out) {
                self.slots[tensor as usize].until = *deadline;
            }
        }
    }

    /// `tensor`, which access `now` uses, leaves if it is too old.
    fn expire(&mut self, tensor: u32, now: usize, observer: &mut dyn Observer) {
        let Slot { bytes, until, place } = self.slots[tensor as usize];
        if place != Place::Out && now >= until as usize {
            self.counts.expired += 1;
            observer.expire(now, tensor, bytes);
            self.take_out(tensor, now, observer);
        }
    }

    /// `tensor` has `bytes` from access `now` on.
    fn resize(&mut self, tensor: u32, bytes: u64, now: usize, observer: &mut dyn Observer) {
        let Slot { bytes: before, place, .. } = self.slots[tensor as usize];
        if place == Place::In && bytes > self.room.capacity {
            self.counts.evictions += 1;
            observer.evict(now, tensor, before);
            self.take_out(tensor, now, observer);
        }
        let slot = &mut self.slots[tensor as usize];
        slot.bytes = bytes;
        match (slot.place, &mut self.gate) {
            (Place::Pinned, Some(gate)) => gate.pinned_bytes = gate.pinned_bytes - before + bytes,
            (Place::In, _) => self.room.used = self.room.used - before + bytes,
            _ => {}
        }
        let resident = slot.place != Place::Out;
        self.policy.resize(tensor, bytes);
        observer.resize(now, tensor, before, bytes, resident);
    }

    /// The resident `tensor` leaves although the policy did not choose it.
    fn take_out(&mut self, tensor: u32, now: usize, observer: &mut dyn Observer) {
        let slot = &mut self.slots[tensor as usize];
        let place = std::mem::replace(&mut slot.place, Place::Out);
        if let (Place::Pinned, Some(gate)) = (place, &mut self.gate) {
            gate.pinned_bytes -= slot.bytes;
            return;
        }
        self.room.used -= slot.bytes;
        self.leave_unchosen(tensor, now, observer);
    }

    /// The policy forgets `tensor`, which has left although nobody chose it.
    fn leave_unchosen(&mut self, tensor: u32, now: usize, mut observer: &mut dyn Observer) {
        let mut counts = self.counts;
        // Those who continue it go first: then it is nobody's parent when the policy forgets it.
        self.leave_with(tensor, now, &mut counts, &mut observer);
        self.counts = counts;
        self.policy.remove(tensor);
    }
}

impl<P: Order + ?Sized> Engine<P> {
    /// Runs `accesses`, the first of which is number `start` of the trace, while no size changes. Tensors continue each
    /// other, and rules decide, only where what is `RARE` is asked for.
    #[inline(never)] // Small and alone, so that a browser's compiler optimises it after the first chunk.
    fn steady<const RARE: bool, O: Observer>(&mut self, accesses: &[u32], start: usize, observer: &mut O) {
        let mut counts = self.counts;
        for (i, &tensor) in accesses.iter().enumerate() {
            let now = start + i;
            let Slot { bytes, place, .. } = self.slots[tensor as usize];
            if place == Place::In {
                counts.hits += 1;
                counts.hit_bytes += bytes;
                self.policy.hit(tensor, now);
                observer.hit(now, tensor, bytes);
                continue;
            }
            if RARE && self.is_decided(tensor, now, &mut counts, observer) {
                continue;
            }
            counts.misses += 1;
            counts.miss_bytes += bytes;
            observer.miss(now, tensor, bytes);
            if bytes > self.room.capacity {
                counts.bypassed += 1;
                counts.oversize += 1;
                continue;
            }
            if RARE && self.is_orphan(tensor) {
                counts.bypassed += 1;
                continue;
            }
            self.policy.miss(tensor, now);
            match self.admission {
                Admission::Always => {
                    self.make_room::<RARE, _>(self.room.capacity - bytes, now, &mut counts, observer);
                    // The room may have been made by its own parent.
                    if RARE && self.is_orphan(tensor) {
                        counts.bypassed += 1;
                        continue;
                    }
                    self.insert::<RARE, _>(tensor, now, observer);
                }
                Admission::Bypass => {
                    // All tensors together fit 64 bits, so the sum of those resident does.
                    self.insert::<RARE, _>(tensor, now, observer);
                    self.make_room::<RARE, _>(self.room.capacity, now, &mut counts, observer);
                    if self.slots[tensor as usize].place == Place::Out {
                        counts.bypassed += 1;
                        counts.evictions -= 1;
                    }
                }
            }
        }
        self.counts = counts;
    }

    /// Whether a rule decides about access `now` to `tensor`: it is pinned, or it missed and is not let in.
    fn is_decided<O: Observer>(&mut self, tensor: u32, now: usize, counts: &mut Counts, observer: &mut O) -> bool {
        let Some(gate) = &mut self.gate else { return false };
        let slot = &mut self.slots[tensor as usize];
        let bytes = slot.bytes;
        if slot.place == Place::Pinned {
            counts.hits += 1;
            counts.hit_bytes += bytes;
            observer.hit(now, tensor, bytes);
            return true;
        }
        let pinned = gate.pins(tensor);
        if !pinned && (bytes > self.room.capacity || gate.lets_in(tensor, bytes)) {
            return false;
        }
        counts.misses += 1;
        counts.miss_bytes += bytes;
        observer.miss(now, tensor, bytes);
        if pinned {
            slot.place = Place::Pinned;
            gate.pinned_bytes += bytes;
            observer.insert(now, tensor, bytes);
        } else {
            counts.bypassed += 1;
        }
        true
    }

    #[inline]
    fn insert<const RARE: bool, O: Observer>(&mut self, tensor: u32, now: usize, observer: &mut O) {
        let slot = &mut self.slots[tensor as usize];
        slot.place = Place::In;
        self.room.used += slot.bytes;
        if RARE && let Some(prefixes) = &mut self.prefixes {
            prefixes.insert(tensor);
        }
        self.policy.insert(tensor, now);
        observer.insert(now, tensor, slot.bytes);
    }

    /// Where more than `most` bytes are used, evicts until no more than that, less the slack, are; and where a part that the
    /// policy keeps apart is crowded, until it is not.
    #[inline]
    fn make_room<const RARE: bool, O: Observer>(
        &mut self,
        most: u64,
        now: usize,
        counts: &mut Counts,
        observer: &mut O,
    ) {
        // Slack is rare, too.
        let most = if RARE && self.room.used > most { most.saturating_sub(self.room.slack) } else { most };
        while self.room.used > most || self.policy.crowded() {
            if let Some(place) = observer.distrust() {
                *place = self.policy.distrusts_scores();
            }
            let Some(victim) = self.policy.evict() else { break };
            let slot = &mut self.slots[victim as usize];
            slot.place = Place::Out;
            self.room.used -= slot.bytes;
            counts.evictions += 1;
            observer.evict(now, victim, slot.bytes);
            if RARE {
                self.leave_with(victim, now, counts, observer);
            }
        }
    }

    /// Whether `tensor` continues another that is not resident.
    #[inline]
    fn is_orphan(&self, tensor: u32) -> bool {
        let parent = self.prefixes.as_ref().and_then(|prefixes| prefixes.parent(tensor));
        parent.is_some_and(|parent| self.slots[parent as usize].place == Place::Out)
    }

    /// `tensor` has left: so do those who continue it, the farthest first.
    fn leave_with<O: Observer>(&mut self, tensor: u32, now: usize, counts: &mut Counts, observer: &mut O) {
        let Some(prefixes) = &mut self.prefixes else { return };
        prefixes.remove(tensor);
        let mut at = tensor;
        loop {
            if let Some(child) = prefixes.child(at) {
                at = child;
                continue;
            }
            if at == tensor {
                return;
            }
            let leaf = at;
            at = prefixes.parent(leaf).unwrap_or(tensor);
            prefixes.remove(leaf);
            let slot = &mut self.slots[leaf as usize];
            slot.place = Place::Out;
            self.room.used -= slot.bytes;
            counts.evictions += 1;
            self.policy.remove(leaf);
            observer.evict(now, leaf, slot.bytes);
        }
    }
}

/// The result of one policy, in the terms of the command line's JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The policy.
    pub policy: PolicySpec,
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Accesses: hits + misses.
    pub accesses: u64,
    /// Accesses that found their tensor resident.
    pub hits: u64,
    /// Accesses that did not.
    pub misses: u64,
    /// Bytes of the hits.
    pub hit_bytes: u64,
    /// Bytes of the misses: what DRAM delivers.
    pub miss_bytes: u64,
    /// Tensors evicted to make room.
    pub evictions: u64,
    /// Misses whose tensor was not kept: it was too large, or its own victim.
    pub bypassed: u64,
    /// Misses of tensors larger than the capacity, which are never admitted; part of `bypassed`.
    pub oversize: u64,
    /// Misses of tensors that were resident and too old.
    pub expired: u64,
    /// Time of all accesses in ms, where the prototype's constants count it.
    pub total_latency_ms: Option<f64>,
    /// The part of it that waits for DRAM bandwidth, in ms.
    pub bandwidth_wait_ms: Option<f64>,
    /// How much of the way from LRU's misses to those of the best schedule known it goes: 1 is all of it, below 0 is
    /// worse than LRU. None where LRU is the best known, or where bounds were not asked for.
    pub gap_closed: Option<f64>,
    /// The same for bytes missed.
    pub byte_gap_closed: Option<f64>,
    /// Time, traffic and energy, where a device counts them.
    pub physical: Option<Timed>,
    /// Why it missed; in runs that are watched.
    pub why: Option<Why>,
    /// The misses over time, where asked for.
    pub intervals: Vec<Interval>,
}

/// What happened within an interval of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Accesses of the trace before its end.
    pub end: u64,
    /// Accesses in it.
    pub accesses: u64,
    /// Those that missed.
    pub misses: u64,
    /// Bytes of all of them.
    pub requested_bytes: u64,
    /// Bytes of those that missed.
    pub miss_bytes: u64,
}

impl Interval {
    /// Misses as a share of accesses, 0..=1.
    pub fn miss_ratio(&self) -> f64 {
        self.misses as f64 / self.accesses.max(1) as f64
    }

    /// Bytes missed as a share of bytes requested, 0..=1.
    pub fn byte_miss_ratio(&self) -> f64 {
        self.miss_bytes as f64 / self.requested_bytes.max(1) as f64
    }
}

impl Report {
    /// Hits as a share of accesses, 0..=1.
    pub fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.accesses.max(1) as f64
    }

    /// Bytes hit as a share of bytes requested, 0..=1.
    pub fn byte_hit_ratio(&self) -> f64 {
        self.hit_bytes as f64 / (self.hit_bytes + self.miss_bytes).max(1) as f64
    }

    /// Time of all accesses in ms, where anything counts it.
    pub fn time_ms(&self) -> Option<f64> {
        self.physical.as_ref().map(|timed| timed.total_ms).or(self.total_latency_ms)
    }

    /// The same report with its time by the prototype's constants.
    pub fn by_prototype(mut self) -> Self {
        let time = prototype_time(self.hits, self.miss_bytes);
        self.total_latency_ms = Some(time.total_latency_ms);
        self.bandwidth_wait_ms = Some(time.bandwidth_wait_ms);
        self
    }

    /// The report of `counts`; nothing is known of time, bounds and reasons yet.
    pub fn new(policy: PolicySpec, capacity_bytes: u64, counts: Counts) -> Self {
        Self {
            policy,
            capacity_bytes,
            accesses: counts.hits + counts.misses,
            hits: counts.hits,
            misses: counts.misses,
            hit_bytes: counts.hit_bytes,
            miss_bytes: counts.miss_bytes,
            evictions: counts.evictions,
            bypassed: counts.bypassed,
            oversize: counts.oversize,
            expired: counts.expired,
            total_latency_ms: None,
            bandwidth_wait_ms: None,
            gap_closed: None,
            byte_gap_closed: None,
            physical: None,
            why: None,
            intervals: Vec::new(),
        }
    }
}

/// A memory that nobody watches, whatever its policy: the fastest way to the numbers.
pub trait Cache: Send {
    /// Runs the accesses of `chunk`, the one that follows those before.
    fn advance(&mut self, chunk: Chunk<'_>);
    /// Uses `tensor`, which has `bytes` now, at access number `now`: whether it hit. Adds to `evicted` who left, and
    /// their bytes.
    fn access(&mut self, tensor: u32, bytes: u64, now: usize, evicted: &mut Vec<(u32, u64)>) -> bool;
    /// Whether `tensor` is resident.
    fn is_resident(&self, tensor: u32) -> bool;
    /// What happened so far.
    fn counts(&self) -> Counts;
}

/// Notes who left, where someone asks. One observer for both ways to use a [`Cache`] keeps the page small.
struct Leavers<'a>(Option<&'a mut Vec<(u32, u64)>>);

impl Observer for Leavers<'_> {
    fn evict(&mut self, _now: usize, tensor: u32, bytes: u64) {
        if let Some(left) = &mut self.0 {
            left.push((tensor, bytes));
        }
    }
}

impl<P: Policy> Cache for Engine<P> {
    fn advance(&mut self, chunk: Chunk<'_>) {
        self.advance(chunk, &mut Leavers(None));
    }
    fn access(&mut self, tensor: u32, bytes: u64, now: usize, evicted: &mut Vec<(u32, u64)>) -> bool {
        let hits = self.counts.hits;
        let resize = [Resize { at: now as u64, bytes }];
        let resizes = if self.slots[tensor as usize].bytes == bytes { &[][..] } else { &resize };
        let accesses = &[tensor];
        self.advance(Chunk { start: now, accesses, resizes, deadlines: &[] }, &mut Leavers(Some(evicted)));
        self.counts.hits > hits
    }
    fn is_resident(&self, tensor: u32) -> bool {
        Engine::is_resident(self, tensor)
    }
    fn counts(&self) -> Counts {
        self.counts
    }
}

/// An empty memory under `policy`.
pub fn cache(policy: impl Into<PolicySpec>, setup: &Setup<'_>) -> Result<Box<dyn Cache>, Error> {
    cache_of(policy.into(), setup)
}

/// Not generic: so all loops are compiled here, with this crate's optimisation, and once.
fn cache_of(policy: PolicySpec, setup: &Setup<'_>) -> Result<Box<dyn Cache>, Error> {
    struct Make<'a, 'b>(&'a Setup<'b>);
    impl Visitor for Make<'_, '_> {
        type Output = Result<Box<dyn Cache>, Error>;
        fn visit<P: Policy>(self) -> Self::Output {
            Ok(Box::new(Engine::<P>::new(self.0)?))
        }
    }
    let setup = setup.of(policy);
    setup.dispatch(Make(&setup))
}

/// What a run is watched for, beside a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// Charts.
    pub charts: bool,
    /// Why the policy misses.
    pub reasons: bool,
}

impl Watched {
    /// Everything.
    pub const ALL: Self = Self { charts: true, reasons: true };
    /// Nothing.
    pub const NOTHING: Self = Self { charts: false, reasons: false };
}

/// What watches a run, each part where it is asked for. There is one such type, and one for all policies, so that the
/// page has the watched loops once: what watches takes longer than a call through a pointer.
type Watching<'a> = ((Option<&'a mut Timeline>, Option<&'a mut Watcher>), Option<Watch<'a>>);

/// A watched run that can be continued in steps, whatever its policy.
pub struct Simulation {
    policy: PolicySpec,
    capacity_bytes: u64,
    engine: Engine<Shared>,
    timeline: Option<Timeline>,
    why: Option<Watcher>,
    timing: Option<Timing>,
}

impl Simulation {
    /// Runs the accesses `start..end` of `trace`; steps must follow each other.
    pub fn advance(&mut self, trace: &Trace, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let look = match (&self.timeline, &self.timing) {
                (Some(timeline), Some(_)) => timeline.next_look(at),
                _ => usize::MAX,
            };
            let next = end.min(look);
            let timing = self.timing.as_mut().map(|timing| Watch { timing, trace });
            let mut watching: Watching<'_> = ((self.timeline.as_mut(), self.why.as_mut()), timing);
            self.engine.advance(trace.chunk(at, next), &mut watching);
            if let (Some(timeline), Some(timing)) = (&mut self.timeline, &self.timing)
                && next == look
            {
                timeline.look(next, timing.stalled_ns());
            }
            at = next;
        }
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.engine.counts()
    }

    /// The device counts from here on.
    pub fn count_from_here(&mut self, trace: &Trace) {
        if let Some(timing) = &mut self.timing {
            timing.count_from_here(trace);
        }
    }

    /// The numbers since `before`, and the charts where they are watched for.
    pub fn finish(self, trace: &Trace, before: Counts) -> (Report, Option<Timeline>) {
        let Self { policy, capacity_bytes, engine, timeline, why, timing } = self;
        let mut report = Report::new(policy, capacity_bytes, engine.counts().since(before));
        // Reasons take memory of their own.
        drop(engine);
        report.physical = timing.map(|timing| timing.finish(trace));
        report.why = why.map(|why| why.finish(trace));
        (report, timeline)
    }
}

/// Starts a run of `policy`: charts are drawn in `buckets`, and time is counted as `costing` says.
pub fn start(
    policy: impl Into<PolicySpec>,
    setup: &Setup<'_>,
    future: &Arc<Future>,
    buckets: &Buckets,
    costing: &Costing,
    watched: Watched,
) -> Result<Simulation, Error> {
    let (policy, reload) = (policy.into(), Reload::by(costing)?);
    Ok(Simulation {
        policy,
        capacity_bytes: setup.capacity_bytes,
        engine: Engine::new(&setup.of(policy))?,
        timeline: watched.charts.then(|| Timeline::new(buckets)),
        why: watched.reasons.then(|| Watcher::new(&setup.of(policy), future, reload, None)),
        timing: costing.physical().map(|spec| Timing::new(spec, setup, future)).transpose()?,
    })
}

/// The evictions that access number `access` causes under `policy`, the worst first.
pub fn evictions_at(
    policy: impl Into<PolicySpec>,
    setup: &Setup<'_>,
    future: &Arc<Future>,
    trace: &Trace,
    costing: &Costing,
    access: usize,
) -> Result<Vec<why::Eviction>, Error> {
    let accesses = trace.accesses().len();
    if access >= accesses {
        let cure = format!("Choose an access from 0 to {}", accesses - 1);
        return Err(Error::field("at", access, "the trace is shorter", cure));
    }
    let asked = Asked { accesses: access..access + 1, tensors: None, most: usize::MAX };
    Ok(evictions(policy.into(), setup, future, trace, costing, asked)?.0)
}

/// The evictions under `policy` that are asked for, the worst first, and what is resident behind the accesses asked for:
/// whether each tensor is.
pub fn evictions(
    policy: PolicySpec,
    setup: &Setup<'_>,
    future: &Arc<Future>,
    trace: &Trace,
    costing: &Costing,
    asked: Asked,
) -> Result<(Vec<why::Eviction>, Vec<bool>), Error> {
    let setup = setup.of(policy);
    let end = asked.accesses.end.min(trace.accesses().len());
    let mut watcher = Watcher::new(&setup, future, Reload::by(costing)?, Some(asked));
    let mut watching: Watching<'_> = ((None, Some(&mut watcher)), None);
    let mut engine = Engine::<Shared>::new(&setup)?;
    engine.advance(trace.chunk(0, end), &mut watching);
    let resident = (0..trace.tensors().len() as u32).map(|tensor| engine.is_resident(tensor)).collect();
    Ok((watcher.finish(trace).worst, resident))
}

/// Runs `policy` over the whole trace without watching it.
pub fn simulate(policy: impl Into<PolicySpec>, setup: &Setup<'_>, trace: &Trace) -> Result<Report, Error> {
    let policy = policy.into();
    let mut memory = cache(policy, setup)?;
    memory.advance(trace.whole());
    Ok(Report::new(policy, setup.capacity_bytes, memory.counts()))
}

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
