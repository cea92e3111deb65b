//! The rules of a memory at work: what is decided before the policy is asked.

use crate::error::Error;
use crate::policy::Setup;
use crate::rules::Filter;

/// A memory, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) capacity: u64,
    pub(super) used: u64,
    /// Bytes that become free at least when room is needed.
    pub(super) slack: u64,
}

/// Who stays, who is let in, and whose part of the memory is used.
#[derive(Debug)]
pub(super) struct Gate {
    filter: Filter,
    pinned: Vec<bool>,
    /// Bytes of the pinned tensors that are resident.
    pub(super) pinned_bytes: u64,
    /// The part that each tensor uses; empty where the memory is not divided.
    parts: Vec<u16>,
    /// The parts; that which is used now is up to date in the engine.
    pub(super) rooms: Vec<Room>,
    part: usize,
}

impl Gate {
    /// The rules of `setup`, where they say anything.
    pub(super) fn new(setup: &Setup<'_>) -> Result<Option<Box<Self>>, Error> {
        let Some(rules) = setup.rules.filter(|rules| !rules.are_plain()) else { return Ok(None) };
        let room = |capacity| Room { capacity, used: 0, slack: rules.slack(capacity) };
        Ok(Some(Box::new(Self {
            filter: Filter::new(rules.admission(), setup.sizes.len(), setup.capacity_bytes, setup.seed),
            pinned: rules.pinned().to_vec(),
            pinned_bytes: 0,
            parts: rules.parts().to_vec(),
            rooms: rules.capacities(setup.capacity_bytes)?.into_iter().map(room).collect(),
            part: 0,
        })))
    }

    /// Bytes of what is pinned, and of the parts that are not used now.
    pub(super) fn used_elsewhere(&self) -> u64 {
        let others = self.rooms.iter().enumerate().filter(|(part, _)| *part != self.part);
        self.pinned_bytes + others.map(|(_, room)| room.used).sum::<u64>()
    }

    /// Nothing is resident.
    pub(super) fn clear(&mut self) {
        self.pinned_bytes = 0;
        self.rooms.iter_mut().for_each(|room| room.used = 0);
    }

    /// Goes from the part `room` to that of the first of `accesses`; how many accesses can be run there at once. None if
    /// there are none.
    pub(super) fn enter(&mut self, accesses: &[u32], room: &mut Room) -> Option<usize> {
        let part = |tensor: u32| usize::from(self.parts.get(tensor as usize).copied().unwrap_or(0));
        let first = part(*accesses.first()?);
        let most = self.filter.patience().unwrap_or(usize::MAX).min(accesses.len());
        let length = match self.parts.as_slice() {
            [] => most,
            _ => accesses[..most].iter().take_while(|tensor| part(**tensor) == first).count(),
        };
        self.rooms[self.part] = *room;
        *room = self.rooms[first];
        self.part = first;
        Some(length)
    }

    /// Whether `tensor` stays for good.
    pub(super) fn pins(&self, tensor: u32) -> bool {
        self.pinned.get(tensor as usize).copied().unwrap_or(false)
    }

    /// Whether `tensor` of `bytes`, which missed and fits, comes in.
    pub(super) fn lets_in(&mut self, tensor: u32, bytes: u64) -> bool {
        self.filter.lets_in(tensor, bytes)
    }

    /// Hears of `accesses`, which are over.
    pub(super) fn hear(&mut self, accesses: &[u32], bytes: impl Fn(u32) -> u64) {
        self.filter.hear(accesses, bytes);
    }
}
