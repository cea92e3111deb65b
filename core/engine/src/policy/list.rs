//! Queues of tensors: doubly linked lists threaded through one array, and plain first in, first out.

use std::collections::{HashMap, VecDeque};

/// Marks the end of a queue.
const NIL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    newer: u32,
    older: u32,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    newest: u32,
    oldest: u32,
}

/// `N` queues; a tensor is in at most one of them. Every operation takes constant time.
///
/// The caller knows which queue a tensor is in, and says so.
#[derive(Debug)]
pub(super) struct Queues<const N: usize> {
    links: Vec<Link>,
    ends: [Ends; N],
}

impl<const N: usize> Queues<N> {
    /// Empty queues for tensors `0..tensors`.
    pub(super) fn new(tensors: usize) -> Self {
        Self { links: vec![Link { newer: NIL, older: NIL }; tensors], ends: [Ends { newest: NIL, oldest: NIL }; N] }
    }

    /// Whether queue `q` holds nothing.
    pub(super) fn is_empty(&self, q: usize) -> bool {
        self.ends[q].oldest == NIL
    }

    /// The oldest tensor of queue `q`.
    pub(super) fn oldest(&self, q: usize) -> Option<u32> {
        Some(self.ends[q].oldest).filter(|t| *t != NIL)
    }

    /// The newest tensor of queue `q`.
    pub(super) fn newest(&self, q: usize) -> Option<u32> {
        Some(self.ends[q].newest).filter(|t| *t != NIL)
    }

    /// The tensor that came into its queue right after `tensor`.
    pub(super) fn newer(&self, tensor: u32) -> Option<u32> {
        Some(self.links[tensor as usize].newer).filter(|t| *t != NIL)
    }

    /// Adds `tensor`, which must be in no queue, at the newest end of queue `q`.
    pub(super) fn push_newest(&mut self, q: usize, tensor: u32) {
        let ends = &mut self.ends[q];
        self.links[tensor as usize] = Link { newer: NIL, older: ends.newest };
        match ends.newest {
            NIL => ends.oldest = tensor,
            newest => self.links[newest as usize].newer = tensor,
        }
        ends.newest = tensor;
    }

    /// Takes `tensor`, which must be in queue `q`, out of it.
    pub(super) fn remove(&mut self, q: usize, tensor: u32) {
        let Link { newer, older } = self.links[tensor as usize];
        match newer {
            NIL => self.ends[q].newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NIL => self.ends[q].oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
    }

    /// Moves `tensor`, which must be in queue `q`, to its newest end.
    pub(super) fn make_newest(&mut self, q: usize, tensor: u32) {
        if self.ends[q].newest != tensor {
            self.remove(q, tensor);
            self.push_newest(q, tensor);
        }
    }

    /// Takes the oldest tensor out of queue `q`.
    pub(super) fn pop_oldest(&mut self, q: usize) -> Option<u32> {
        let oldest = self.oldest(q)?;
        self.remove(q, oldest);
        Some(oldest)
    }

    /// Takes the newest tensor out of queue `q`.
    pub(super) fn pop_newest(&mut self, q: usize) -> Option<u32> {
        let newest = self.newest(q)?;
        self.remove(q, newest);
        Some(newest)
    }
}

/// First in, first out, in a ring of memory: the fastest queue where tensors rarely leave it but at its old end.
#[derive(Debug, Default)]
pub(super) struct FifoQueue {
    entries: VecDeque<u32>,
    /// How many entries of a tensor, its oldest ones, stand for nothing any more.
    stale: HashMap<u32, u32>,
    /// The sum of `stale`.
    stale_entries: usize,
}

impl FifoQueue {
    /// Adds `tensor` at the newest end.
    #[inline]
    pub(super) fn push(&mut self, tensor: u32) {
        self.entries.push_back(tensor);
    }

    /// Takes out the oldest tensor.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        loop {
            let tensor = self.entries.pop_front()?;
            if self.stale_entries == 0 || !self.is_stale(tensor) {
                return Some(tensor);
            }
        }
    }

    /// Whether the oldest entry of `tensor` stands for nothing; it is counted as gone.
    #[cold]
    fn is_stale(&mut self, tensor: u32) -> bool {
        let Some(stale) = self.stale.get_mut(&tensor) else { return false };
        *stale -= 1;
        if *stale == 0 {
            self.stale.remove(&tensor);
        }
        self.stale_entries -= 1;
        true
    }

    /// Takes out `tensor`, which must be in the queue.
    pub(super) fn remove(&mut self, tensor: u32) {
        *self.stale.entry(tensor).or_insert(0) += 1;
        self.stale_entries += 1;
        // Entries go when they are the oldest; where half of them are stale, all at once.
        if 2 * self.stale_entries >= self.entries.len() {
            let mut entries = std::mem::take(&mut self.entries);
            entries.retain(|tensor| !self.is_stale(*tensor));
            self.entries = entries;
        }
    }

    /// Whether the queue holds nothing.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.stale_entries
    }
}

/// [`Queues`] that know the bytes in each, and where each tensor is.
///
/// What most adaptive policies are built of: segments with shares of the capacity, and ghosts (tensors that
/// were evicted and are remembered).
#[derive(Debug)]
pub(super) struct Segments<const N: usize> {
    queues: Queues<N>,
    sizes: Vec<u64>,
    bytes: [u64; N],
    places: Vec<u8>,
}

/// Marks a tensor in no segment.
const NOWHERE: u8 = u8::MAX;

impl<const N: usize> Segments<N> {
    /// Empty segments for tensors of `sizes`.
    pub(super) fn new(sizes: &[u64]) -> Self {
        Self {
            queues: Queues::new(sizes.len()),
            sizes: sizes.to_vec(),
            bytes: [0; N],
            places: vec![NOWHERE; sizes.len()],
        }
    }

    /// Size of `tensor` in bytes.
    pub(super) fn size(&self, tensor: u32) -> u64 {
        self.sizes[tensor as usize]
    }

    /// `tensor` has `bytes` from now on.
    pub(super) fn resize(&mut self, tensor: u32, bytes: u64) {
        let before = std::mem::replace(&mut self.sizes[tensor as usize], bytes);
        if let Some(q) = self.place(tensor) {
            self.bytes[q] = self.bytes[q] - before + bytes;
        }
    }

    /// Bytes in segment `q`.
    pub(super) fn bytes(&self, q: usize) -> u64 {
        self.bytes[q]
    }

    /// Whether segment `q` holds nothing.
    pub(super) fn is_empty(&self, q: usize) -> bool {
        self.queues.is_empty(q)
    }

    /// The oldest tensor of segment `q`.
    pub(super) fn oldest(&self, q: usize) -> Option<u32> {
        self.queues.oldest(q)
    }

    /// The newest tensor of segment `q`.
    pub(super) fn newest(&self, q: usize) -> Option<u32> {
        self.queues.newest(q)
    }

    /// The segment of `tensor`.
    pub(super) fn place(&self, tensor: u32) -> Option<usize> {
        Some(self.places[tensor as usize]).filter(|p| *p != NOWHERE).map(usize::from)
    }

    /// Takes `tensor` out of its segment, if it is in one.
    pub(super) fn remove(&mut self, tensor: u32) {
        if let Some(from) = self.place(tensor) {
            self.queues.remove(from, tensor);
            self.bytes[from] -= self.sizes[tensor as usize];
            self.places[tensor as usize] = NOWHERE;
        }
    }

    /// Moves `tensor` from where it is, if anywhere, to the newest end of segment `q`.
    #[inline] // Most often it only moves within its segment: that must not cost a call.
    pub(super) fn make_newest(&mut self, q: usize, tensor: u32) {
        if self.place(tensor) == Some(q) {
            self.queues.make_newest(q, tensor);
        } else {
            self.change(q, tensor);
        }
    }

    /// Moves `tensor` to the newest end of segment `q`, in which it is not.
    fn change(&mut self, q: usize, tensor: u32) {
        self.remove(tensor);
        self.queues.push_newest(q, tensor);
        self.bytes[q] += self.sizes[tensor as usize];
        self.places[tensor as usize] = q as u8;
    }

    /// Takes the oldest tensor out of segment `q`.
    pub(super) fn pop_oldest(&mut self, q: usize) -> Option<u32> {
        let oldest = self.queues.oldest(q)?;
        self.remove(oldest);
        Some(oldest)
    }
}
