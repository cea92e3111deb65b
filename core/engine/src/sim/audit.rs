//! Runs a policy and checks every promise on the way: for tests and fuzzing.

use super::{Counts, Engine, Observer};
use crate::error::Error;
use crate::policy::{Policy, PolicySpec, Setup, Visitor};
use crate::trace::Trace;

/// Keeps its own books of what is resident, and the first thing that does not agree with them.
#[derive(Debug)]
struct Auditor {
    capacity: u64,
    used: u64,
    resident: Vec<bool>,
    accesses: usize,
    /// Whether the next access has just made its tensor larger.
    grown: bool,
    fault: Option<String>,
}

impl Auditor {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.fault.is_none() {
            self.fault = Some(what());
        }
    }

    fn access(&mut self, now: usize, tensor: u32, resident: bool) {
        let (used, capacity) = (self.used, self.capacity);
        let grown = std::mem::take(&mut self.grown);
        self.check(used <= capacity || grown, || format!("{used} of {capacity} bytes are used before access {now}"));
        let expected = self.accesses;
        self.check(now == expected, || format!("access {now} comes where {expected} should"));
        let known = self.resident[tensor as usize];
        self.check(known == resident, || format!("access {now}: tensor {tensor} counts as resident: {resident}"));
        self.accesses += 1;
    }
}

impl Observer for Auditor {
    fn hit(&mut self, now: usize, tensor: u32, _bytes: u64) {
        self.access(now, tensor, true);
    }
    fn miss(&mut self, now: usize, tensor: u32, _bytes: u64) {
        self.access(now, tensor, false);
    }
    fn insert(&mut self, now: usize, tensor: u32, bytes: u64) {
        let before = std::mem::replace(&mut self.resident[tensor as usize], true);
        self.check(!before, || format!("access {now}: tensor {tensor} comes in twice"));
        self.used = self.used.saturating_add(bytes);
    }
    fn resize(&mut self, now: usize, tensor: u32, before: u64, bytes: u64, resident: bool) {
        let known = self.resident[tensor as usize];
        self.check(known == resident, || {
            format!("access {now}: tensor {tensor} counts as resident at its new size: {resident}")
        });
        if resident {
            self.used = self.used.saturating_sub(before).saturating_add(bytes);
        }
        // Until the access is over, it may be too much.
        self.grown = bytes > before;
    }
    fn evict(&mut self, now: usize, tensor: u32, bytes: u64) {
        let before = std::mem::take(&mut self.resident[tensor as usize]);
        self.check(before, || format!("access {now}: tensor {tensor} is evicted and was not resident"));
        self.used = self.used.saturating_sub(bytes);
    }
}

/// Runs `policy` over `trace`; an error says which promise was broken: what is used never exceeds the
/// capacity, hits and misses add up to the accesses, and policy and engine agree on who is resident.
pub fn audit(policy: impl Into<PolicySpec>, setup: &Setup<'_>, trace: &Trace) -> Result<Counts, Error> {
    struct Audit<'a, 'b>(&'a Setup<'b>, &'a Trace);
    impl Visitor for Audit<'_, '_> {
        type Output = Result<Counts, Error>;
        fn visit<P: Policy>(self) -> Self::Output {
            let Self(setup, trace) = self;
            let mut engine = Engine::<P>::new(setup)?;
            let resident = vec![false; setup.sizes.len()];
            let mut auditor =
                Auditor { capacity: setup.capacity_bytes, used: 0, resident, accesses: 0, grown: false, fault: None };
            engine.advance(trace.whole(), &mut auditor);
            let counts = engine.counts();
            let accesses = trace.accesses().len() as u64;
            auditor.check(engine.used_bytes() == auditor.used, || "the engine's books are wrong".into());
            auditor.check(auditor.used <= auditor.capacity, || "more is used than there is".into());
            auditor.check(counts.hits + counts.misses == accesses, || "hits and misses do not add up".into());
            let bytes = counts.hit_bytes + counts.miss_bytes;
            auditor.check(bytes == trace.summary().requested_bytes, || "bytes do not add up".into());
            auditor.check(counts.oversize <= counts.bypassed, || "oversize tensors were not bypassed".into());
            let kept = counts.misses - counts.bypassed;
            let mut left = engine.drain();
            auditor.check(kept == counts.evictions + left.len() as u64, || "insertions do not add up".into());
            left.sort_unstable();
            let expected: Vec<u32> = (0u32..).zip(&auditor.resident).filter(|(_, r)| **r).map(|(t, _)| t).collect();
            auditor.check(left == expected, || format!("the policy holds {left:?}, the engine {expected:?}"));
            auditor.fault.map_or(Ok(counts), |fault| Err(Error::Internal(fault)))
        }
    }
    let policy = policy.into();
    let setup = setup.of(policy);
    setup.dispatch(Audit(&setup, trace))
}
