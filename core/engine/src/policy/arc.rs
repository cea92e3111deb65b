//! ARC (Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003), with sizes in bytes.

use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

// The paper's lists: resident and used once (T1) or more often (T2), and what each evicted not long ago (B1, B2).
const T1: usize = 0;
const T2: usize = 1;
const B1: usize = 2;
const B2: usize = 3;

/// Balances recent against frequent use: a miss on a tensor that one of two lists evicted not long ago makes room
/// for that list. Lists and target count bytes, and where sizes are equal this is the published algorithm.
#[derive(Debug)]
pub struct Arc {
    lists: Segments<4>,
    capacity: u64,
    /// How many bytes T1 should hold: the paper's p.
    target: f64,
    /// The list in which the tensor on its way in was remembered.
    from: Option<usize>,
    incoming_bytes: u64,
    page: Page,
}

/// What the paper's page is where sizes differ: by how many bytes its target moves in a step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Page {
    /// The greatest common divisor of the sizes so far: sizes in sectors give the same answer as sizes in bytes.
    Common(u64),
    /// A byte, as in libCacheSim (0.3.5): next to nothing where tensors are large, even where all are equal.
    Byte,
    /// The tensor that comes back. Lists then never exceed the paper's bounds, which are whole tensors elsewhere:
    /// there, at most one is forgotten for each that is evicted, as in libCacheSim.
    Tensor,
}

impl Page {
    /// The row of the parameter.
    pub(super) const PARAMETER: Parameter = Parameter::count(
        "page",
        0.0,
        [0.0, 2.0],
        "the target moves by pages: 0: of the greatest common divisor of all sizes so far; 1: of a byte, as in \
         libCacheSim; 2: of the size of the tensor that comes back, with the paper's bounds kept in bytes",
    );

    /// The value of the parameter.
    pub(super) fn of(value: f64) -> Self {
        match value {
            1.0 => Self::Byte,
            2.0 => Self::Tensor,
            _ => Self::Common(0),
        }
    }

    /// Its bytes when a tensor of `bytes` comes in.
    pub(super) fn bytes(&mut self, bytes: u64) -> f64 {
        match self {
            Self::Byte => 1.0,
            Self::Tensor => bytes as f64,
            Self::Common(divisor) => {
                let mut rest = bytes;
                while rest > 0 {
                    (*divisor, rest) = (rest, *divisor % rest);
                }
                *divisor as f64
            }
        }
    }
}

impl Arc {
    /// The bytes of all lists; those of all tensors fit 64 bits.
    fn total(&self) -> u64 {
        (T1..=B2).map(|list| self.lists.bytes(list)).sum()
    }

    /// Forgets until the lists are as long as they may be.
    fn trim(&mut self) {
        while self.lists.bytes(T1) + self.lists.bytes(B1) > self.capacity && self.lists.pop_oldest(B1).is_some() {}
        // Twice the capacity may not fit 64 bits.
        while self.total() > self.capacity.saturating_mul(2) && self.lists.pop_oldest(B2).is_some() {}
    }

    /// The paper's case IV: as the newcomer adds to what is remembered, something is forgotten, or leaves and is.
    fn forget(&mut self) -> Option<u32> {
        if self.lists.bytes(T1) + self.lists.bytes(B1) + self.incoming_bytes > self.capacity {
            if self.lists.pop_oldest(B1).is_none() {
                return self.lists.pop_oldest(T1);
            }
        } else if self.total() >= self.capacity.saturating_mul(2) {
            self.lists.pop_oldest(B2);
        }
        None
    }
}

impl Policy for Arc {
    const PARAMETERS: &'static [Parameter] = &[Page::PARAMETER];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [page, ..] = setup.values::<Self>();
        Ok(Self {
            lists: Segments::new(setup.sizes),
            capacity: setup.capacity_bytes,
            target: 0.0,
            from: None,
            incoming_bytes: 0,
            page: Page::of(page),
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.lists.make_newest(T2, tensor);
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        let (b1, b2) = (self.lists.bytes(B1) as f64, self.lists.bytes(B2) as f64);
        self.incoming_bytes = self.lists.size(tensor);
        let page = self.page.bytes(self.incoming_bytes);
        // A list without bytes holds only tensors without bytes: they move nothing.
        let step = |here: f64, there: f64| (there / here.max(1.0)).max(1.0) * page;
        self.from = self.lists.place(tensor);
        match self.from {
            Some(B1) => self.target = (self.target + step(b1, b2)).min(self.capacity as f64),
            Some(B2) => self.target = (self.target - step(b2, b1)).max(0.0),
            _ => {}
        }
        self.lists.remove(tensor);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.lists.make_newest(if self.from.is_some() { T2 } else { T1 }, tensor);
        self.incoming_bytes = 0;
        if matches!(self.page, Page::Tensor) {
            self.trim();
        }
    }

    fn evict(&mut self) -> Option<u32> {
        let unknown = self.from.is_none() && !matches!(self.page, Page::Tensor);
        if let Some(forgotten) = unknown.then(|| self.forget()).flatten() {
            return Some(forgotten);
        }
        let t1 = self.lists.bytes(T1) as f64;
        let too_much = t1 > self.target || (self.from == Some(B2) && t1 == self.target);
        let take_t1 = !self.lists.is_empty(T1) && (too_much || self.lists.is_empty(T2));
        let (from, to) = if take_t1 { (T1, B1) } else { (T2, B2) };
        let victim = self.lists.oldest(from)?;
        self.lists.make_newest(to, victim);
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.lists.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.lists.resize(tensor, bytes);
    }
}
