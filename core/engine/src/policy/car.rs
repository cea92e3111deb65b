//! CAR (Bansal and Modha, "CAR: Clock with Adaptive Replacement", FAST 2004), with sizes in bytes.

use super::arc::Page;
use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

// The paper's clocks: resident and used once (T1) or more often (T2), and what each evicted not long ago (B1, B2).
const T1: usize = 0;
const T2: usize = 1;
const B1: usize = 2;
const B2: usize = 3;

/// ARC with clocks in place of LRU lists: a hit only sets a bit. Clocks and target count bytes, and the target moves
/// before room is made, as in ARC.
#[derive(Debug)]
pub struct Car {
    lists: Segments<4>,
    used: Vec<bool>,
    capacity: u64,
    /// How many bytes T1 should hold: the paper's p.
    target: f64,
    page: Page,
    known: bool,
}

impl Policy for Car {
    const PARAMETERS: &'static [Parameter] = &[Page::PARAMETER];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [page, ..] = setup.values::<Self>();
        Ok(Self {
            lists: Segments::new(setup.sizes),
            used: vec![false; setup.sizes.len()],
            capacity: setup.capacity_bytes,
            target: 0.0,
            page: Page::of(page),
            known: false,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.used[tensor as usize] = true;
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        let (b1, b2) = (self.lists.bytes(B1) as f64, self.lists.bytes(B2) as f64);
        let page = self.page.bytes(self.lists.size(tensor));
        // A list without bytes holds only tensors without bytes: they move nothing.
        let step = |here: f64, there: f64| (there / here.max(1.0)).max(1.0) * page;
        let place = self.lists.place(tensor);
        match place {
            Some(B1) => self.target = (self.target + step(b1, b2)).min(self.capacity as f64),
            Some(B2) => self.target = (self.target - step(b2, b1)).max(0.0),
            _ => {}
        }
        self.known = place.is_some();
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.used[tensor as usize] = false;
        self.lists.make_newest(if self.known { T2 } else { T1 }, tensor);
        let lists = &mut self.lists;
        while lists.bytes(T1) + lists.bytes(B1) > self.capacity && lists.pop_oldest(B1).is_some() {}
        // Twice the capacity may not fit 64 bits; the bytes of all tensors do.
        let total = |lists: &Segments<4>| (T1..=B2).map(|list| lists.bytes(list)).sum::<u64>();
        while total(lists) > self.capacity.saturating_mul(2) && lists.pop_oldest(B2).is_some() {}
    }

    fn evict(&mut self) -> Option<u32> {
        loop {
            let t1 = !self.lists.is_empty(T1)
                && (self.lists.bytes(T1) as f64 >= self.target.max(1.0) || self.lists.is_empty(T2));
            let (from, ghosts) = if t1 { (T1, B1) } else { (T2, B2) };
            let tensor = self.lists.oldest(from)?;
            let used = std::mem::take(&mut self.used[tensor as usize]);
            self.lists.make_newest(if used { T2 } else { ghosts }, tensor);
            if !used {
                return Some(tensor);
            }
        }
    }

    fn remove(&mut self, tensor: u32) {
        self.lists.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.lists.resize(tensor, bytes);
    }
}
