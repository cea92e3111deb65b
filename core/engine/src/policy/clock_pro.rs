//! CLOCK-Pro (Jiang, Chen and Zhang, "CLOCK-Pro: An Effective Improvement of the CLOCK Replacement", USENIX ATC 2005),
//! with sizes in bytes.

use super::list::Queues;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

// Used twice within a short time; or in a test period, resident or not.
const HOT: usize = 0;
const TESTED: usize = 1;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Nowhere,
    Hot,
    /// Resident, and not hot.
    Cold,
    /// Evicted within its test period.
    Ghost,
}

#[derive(Debug, Clone, Copy)]
struct State {
    place: Place,
    /// Used since a hand last passed.
    used: bool,
    /// In its test period: a use now makes it hot. A ghost always is.
    tested: bool,
    /// When it came to where the hand of the hot ones is, in the order of all that did.
    order: u64,
}

/// LIRS as a clock. Newcomers are cold and in a test period: who is used again within it becomes hot, even if it was
/// evicted meanwhile. The hand of the hot ones makes the unused ones cold, and ends the test periods that it passes.
/// Cold ones leave in the order in which they became cold; who was used meanwhile and is no longer tested is tested
/// anew. They have more room with each use within a test period and less with each period that passes in vain, by as
/// many bytes as that tensor has.
///
/// Where the hand of the hot ones overtakes that of the cold ones, the paper's clock evicts in another order.
/// libCacheSim (0.3.5) refuses newcomers while the cold ones exceed their room, although the memory is not full.
#[derive(Debug)]
pub struct ClockPro {
    /// The clock from the hand of the hot ones on, but for cold tensors that are not tested.
    clock: Queues<2>,
    cold: Queues<1>,
    states: Vec<State>,
    sizes: Vec<u64>,
    capacity_bytes: u64,
    /// The room of the cold ones: the paper's m_c.
    cold_share_bytes: u64,
    hot_bytes: u64,
    ghost_bytes: u64,
    /// How many came to where the hand of the hot ones is.
    order: u64,
    /// Whether the tensor on its way in was remembered.
    known: bool,
}

impl ClockPro {
    /// Puts `tensor`, which is not in the clock, where the hand of the hot ones is.
    fn put(&mut self, tensor: u32, list: usize) {
        self.order += 1;
        self.clock.push_newest(list, tensor);
        let place = if list == HOT { Place::Hot } else { Place::Cold };
        self.states[tensor as usize] = State { place, used: false, tested: list == TESTED, order: self.order };
    }

    /// `tensor` comes in or is used again, and is cold and tested.
    fn test(&mut self, tensor: u32) {
        self.put(tensor, TESTED);
        self.cold.push_newest(0, tensor);
    }

    /// `tensor` was used within its test period: it becomes hot, others cold where they are too many.
    fn heat(&mut self, tensor: u32) {
        let bytes = self.sizes[tensor as usize];
        self.cold_share_bytes = self.cold_share_bytes.saturating_add(bytes).min(self.capacity_bytes);
        self.put(tensor, HOT);
        self.hot_bytes += bytes;
        while self.hot_bytes > self.capacity_bytes - self.cold_share_bytes && self.cool() {}
    }

    /// Moves the hand of the hot ones past the first that was not used, and makes that cold; false where none is hot.
    fn cool(&mut self) -> bool {
        while let Some(hot) = self.clock.oldest(HOT) {
            let before = self.states[hot as usize].order;
            while let Some(tested) = self.clock.oldest(TESTED).filter(|t| self.states[*t as usize].order < before) {
                self.end_test(tested);
            }
            self.clock.remove(HOT, hot);
            if self.states[hot as usize].used {
                self.put(hot, HOT);
                continue;
            }
            self.states[hot as usize].place = Place::Cold;
            self.hot_bytes -= self.sizes[hot as usize];
            self.cold.push_newest(0, hot);
            return true;
        }
        false
    }

    /// The test period of `tensor` passes; a ghost is forgotten.
    fn end_test(&mut self, tensor: u32) {
        self.clock.remove(TESTED, tensor);
        let State { place, used, tested, .. } = &mut self.states[tensor as usize];
        *tested = false;
        let bytes = self.sizes[tensor as usize];
        if !*used {
            self.cold_share_bytes = self.cold_share_bytes.saturating_sub(bytes);
        }
        if *place == Place::Ghost {
            *place = Place::Nowhere;
            self.ghost_bytes -= bytes;
        }
    }
}

impl Policy for ClockPro {
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::share("cold", 0.01, "the cold tensors' share of the capacity at the beginning")];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [cold, ..] = setup.values::<Self>();
        let tensors = setup.sizes.len();
        Ok(Self {
            clock: Queues::new(tensors),
            cold: Queues::new(tensors),
            states: vec![State { place: Place::Nowhere, used: false, tested: false, order: 0 }; tensors],
            sizes: setup.sizes.to_vec(),
            capacity_bytes: setup.capacity_bytes,
            cold_share_bytes: setup.share(cold),
            hot_bytes: 0,
            ghost_bytes: 0,
            order: 0,
            known: false,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.states[tensor as usize].used = true;
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        // Before room is made: that may push it out of what is remembered.
        self.known = self.states[tensor as usize].place == Place::Ghost;
        if self.known {
            self.states[tensor as usize].used = true;
            self.end_test(tensor);
        }
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        if self.known { self.heat(tensor) } else { self.test(tensor) }
    }

    fn evict(&mut self) -> Option<u32> {
        loop {
            let Some(tensor) = self.cold.pop_oldest(0) else {
                if self.cool() {
                    continue;
                }
                return None;
            };
            let State { used, tested, .. } = self.states[tensor as usize];
            if used && tested {
                self.end_test(tensor);
                self.heat(tensor);
            } else if used {
                self.test(tensor);
            } else if tested {
                self.states[tensor as usize].place = Place::Ghost;
                self.ghost_bytes += self.sizes[tensor as usize];
                while self.ghost_bytes > self.capacity_bytes {
                    let Some(first) = self.clock.oldest(TESTED) else { break };
                    self.end_test(first);
                }
                return Some(tensor);
            } else {
                self.states[tensor as usize].place = Place::Nowhere;
                return Some(tensor);
            }
        }
    }

    fn remove(&mut self, tensor: u32) {
        let State { place, tested, .. } = self.states[tensor as usize];
        if place == Place::Hot {
            self.clock.remove(HOT, tensor);
            self.hot_bytes -= self.sizes[tensor as usize];
        } else {
            self.cold.remove(0, tensor);
        }
        if tested {
            self.clock.remove(TESTED, tensor);
        }
        self.states[tensor as usize].place = Place::Nowhere;
        self.states[tensor as usize].tested = false;
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        let before = std::mem::replace(&mut self.sizes[tensor as usize], bytes);
        match self.states[tensor as usize].place {
            Place::Hot => self.hot_bytes = self.hot_bytes - before + bytes,
            Place::Ghost => self.ghost_bytes = self.ghost_bytes - before + bytes,
            Place::Nowhere | Place::Cold => {}
        }
    }
}
