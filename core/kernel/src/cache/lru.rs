//! A fully associative LRU cache of lines: a list in order of use, and where in it each line is.

use rustc_hash::FxHashMap;

/// No slot.
const NONE: u32 = u32::MAX;
/// Up to this many lines of memory, a table finds a line's slot (64 MiB, of which only what is used takes memory);
/// beyond, a hash map does.
pub(super) const MAX_TABLE: u64 = 1 << 24;

/// What a touch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Touched {
    /// The line was not there.
    pub(super) missed: bool,
    /// The line was not changed before: it will go back once, when it leaves or at the end.
    pub(super) changed: bool,
}

/// A line in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    /// Its array.
    pub(super) array: u32,
    /// Whether it was written to.
    pub(super) dirty: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    line: Line,
    /// The slots used next earlier and next later.
    older: u32,
    newer: u32,
}

/// Which slot each line has, counted from 1; 0 where it has none.
#[derive(Debug)]
enum Index {
    Table(Vec<u32>),
    /// By number of the block; blocks of lines that are all gone are dropped.
    Blocks(FxHashMap<u64, Block>),
}

/// Lines of a block: most streams go through neighbours one after another.
const BLOCK: u64 = 16;

#[derive(Debug, Default)]
struct Block {
    slots: [u32; BLOCK as usize],
    used: u32,
}

impl Index {
    #[inline]
    fn get(&self, line: u64) -> u32 {
        let slot = match self {
            Self::Table(table) => table.get(line as usize).copied(),
            Self::Blocks(blocks) => {
                blocks.get(&(line / BLOCK)).and_then(|block| block.slots.get((line % BLOCK) as usize)).copied()
            }
        };
        slot.unwrap_or(0).wrapping_sub(1)
    }

    #[inline]
    fn set(&mut self, line: u64, slot: u32) {
        let slot = slot.wrapping_add(1);
        match self {
            Self::Table(table) => {
                if let Some(own) = table.get_mut(line as usize) {
                    *own = slot;
                }
            }
            Self::Blocks(blocks) => {
                let block = blocks.entry(line / BLOCK).or_default();
                if let Some(own) = block.slots.get_mut((line % BLOCK) as usize) {
                    block.used = block.used + u32::from(slot != 0) - u32::from(*own != 0);
                    *own = slot;
                }
                if block.used == 0 {
                    blocks.remove(&(line / BLOCK));
                }
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Lru {
    slots: Vec<Slot>,
    index: Index,
    newest: u32,
    oldest: u32,
    capacity: usize,
}

impl Lru {
    /// An empty cache of `capacity` lines, at least one, for a memory of `lines` lines.
    pub(super) fn new(capacity: usize, lines: u64) -> Self {
        let index = if lines <= MAX_TABLE {
            Index::Table(vec![0; lines as usize])
        } else {
            Index::Blocks(FxHashMap::default())
        };
        Self { slots: Vec::new(), index, newest: NONE, oldest: NONE, capacity: capacity.clamp(1, NONE as usize) }
    }

    /// Lines it holds now.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Uses a line of an array.
    #[inline]
    pub(super) fn touch(&mut self, number: u64, array: u32, write: bool) -> Touched {
        let slot = match self.slots.get_mut(self.newest as usize) {
            Some(newest) if newest.line.number == number => {
                let changed = write && !newest.line.dirty;
                newest.line.dirty |= write;
                return Touched { missed: false, changed };
            }
            _ => self.index.get(number),
        };
        if let Some(known) = self.slots.get_mut(slot as usize) {
            let changed = write && !known.line.dirty;
            known.line.dirty |= write;
            self.unlink(slot);
            self.link(slot);
            return Touched { missed: false, changed };
        }
        let line = Line { number, array, dirty: write };
        if self.slots.len() < self.capacity {
            let slot = self.slots.len() as u32;
            self.slots.push(Slot { line, older: NONE, newer: NONE });
            self.index.set(number, slot);
            self.link(slot);
            return Touched { missed: true, changed: write };
        }
        let victim = self.oldest;
        self.unlink(victim);
        let mut gone = line;
        if let Some(slot) = self.slots.get_mut(victim as usize) {
            gone = std::mem::replace(&mut slot.line, line);
        }
        self.index.set(gone.number, NONE);
        self.index.set(number, victim);
        self.link(victim);
        Touched { missed: true, changed: write }
    }

    #[inline]
    fn unlink(&mut self, slot: u32) {
        let Some(Slot { older, newer, .. }) = self.slots.get(slot as usize).copied() else { return };
        match self.slots.get_mut(older as usize) {
            Some(neighbour) => neighbour.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(neighbour) => neighbour.older = older,
            None => self.newest = older,
        }
    }

    /// Makes an unlinked slot the newest.
    #[inline]
    fn link(&mut self, slot: u32) {
        let older = std::mem::replace(&mut self.newest, slot);
        match self.slots.get_mut(older as usize) {
            Some(neighbour) => neighbour.newer = slot,
            None => self.oldest = slot,
        }
        if let Some(own) = self.slots.get_mut(slot as usize) {
            own.older = older;
            own.newer = NONE;
        }
    }

    /// The lines, newest first.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let first = self.slots.get(self.newest as usize);
        std::iter::successors(first, |slot| self.slots.get(slot.older as usize)).map(|slot| slot.line)
    }

    /// Moves each line by what `shift` says of its array.
    pub(super) fn shift(&mut self, shift: impl Fn(u32) -> i64) {
        for slot in &self.slots {
            self.index.set(slot.line.number, NONE);
        }
        for (number, slot) in (0u32..).zip(&mut self.slots) {
            slot.line.number = slot.line.number.wrapping_add_signed(shift(slot.line.array));
            self.index.set(slot.line.number, number);
        }
    }

    /// Forgets all lines.
    pub(super) fn clear(&mut self) {
        for slot in &self.slots {
            self.index.set(slot.line.number, NONE);
        }
        self.slots.clear();
        (self.newest, self.oldest) = (NONE, NONE);
    }
}

#[cfg(test)]
mod tests {
    use accel_core::policy::{self, Setup};
    use accel_core::sim::{Engine, Observer};
    use accel_core::trace::Chunk;
    use proptest::prelude::*;

    use super::*;

    /// Notes which lines are changed, and how many of them went back.
    struct Dirty<'a> {
        touches: &'a [(u32, bool)],
        dirty: Vec<bool>,
        misses: u64,
        write_backs: u64,
    }

    impl Observer for Dirty<'_> {
        fn hit(&mut self, now: usize, line: u32, _bytes: u64) {
            self.dirty[line as usize] |= self.touches[now].1;
        }
        fn miss(&mut self, _now: usize, _line: u32, _bytes: u64) {
            self.misses += 1;
        }
        fn insert(&mut self, now: usize, line: u32, _bytes: u64) {
            self.dirty[line as usize] |= self.touches[now].1;
        }
        fn evict(&mut self, _now: usize, line: u32, _bytes: u64) {
            self.write_backs += u64::from(std::mem::take(&mut self.dirty[line as usize]));
        }
    }

    proptest! {
        #[test]
        fn it_is_the_lru_of_the_engine(
            touches in prop::collection::vec((0u32..40, any::<bool>()), 1..400),
            capacity in 1u64..50,
        ) {
            let sizes = vec![64; 40];
            let mut engine: Engine<policy::lru::Lru> = Engine::new(&Setup::new(&sizes, 64 * capacity)).unwrap();
            let lines: Vec<u32> = touches.iter().map(|(line, _)| *line).collect();
            let mut wanted = Dirty { touches: &touches, dirty: vec![false; 40], misses: 0, write_backs: 0 };
            engine.advance(Chunk { start: 0, accesses: &lines, resizes: &[], deadlines: &[] }, &mut wanted);
            let mut lru = Lru::new(capacity as usize, 40);
            let (mut misses, mut write_backs) = (0, 0);
            for (line, write) in &touches {
                let touched = lru.touch(u64::from(*line), 0, *write);
                misses += u64::from(touched.missed);
                write_backs += u64::from(touched.changed);
            }
            let left = wanted.dirty.iter().filter(|dirty| **dirty).count() as u64;
            prop_assert_eq!((misses, write_backs), (wanted.misses, wanted.write_backs + left));
        }
    }
}
