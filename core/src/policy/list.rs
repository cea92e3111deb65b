//! A queue of tensors as a doubly linked list threaded through one array: no allocation after set-up.

/// Marks the end of the queue.
const NIL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    newer: u32,
    older: u32,
}

/// A queue of distinct tensors; every operation takes constant time.
#[derive(Debug)]
pub(super) struct Queue {
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

impl Queue {
    /// An empty queue for tensors `0..tensors`.
    pub(super) fn new(tensors: usize) -> Self {
        Self { links: vec![Link { newer: NIL, older: NIL }; tensors], newest: NIL, oldest: NIL }
    }

    /// Adds `tensor`, which must not be in the queue, at the newest end.
    pub(super) fn push_newest(&mut self, tensor: u32) {
        self.links[tensor as usize] = Link { newer: NIL, older: self.newest };
        match self.newest {
            NIL => self.oldest = tensor,
            newest => self.links[newest as usize].newer = tensor,
        }
        self.newest = tensor;
    }

    /// Takes `tensor`, which must be in the queue, out of it.
    pub(super) fn remove(&mut self, tensor: u32) {
        let Link { newer, older } = self.links[tensor as usize];
        match newer {
            NIL => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
    }

    /// Moves `tensor`, which must be in the queue, to the newest end.
    pub(super) fn make_newest(&mut self, tensor: u32) {
        if self.newest != tensor {
            self.remove(tensor);
            self.push_newest(tensor);
        }
    }

    /// Takes the oldest tensor out. The queue must not be empty.
    pub(super) fn pop_oldest(&mut self) -> u32 {
        let oldest = self.oldest;
        self.remove(oldest);
        oldest
    }
}
