//! Policies behind a pointer: they share the loops of the engine, which keeps the page small.

use super::{Policy, Setup};
use crate::error::Error;

/// What the engine asks of a policy, whatever its type.
pub trait Order: Send {
    /// [`Policy::hit`].
    fn hit(&mut self, tensor: u32, now: usize);
    /// [`Policy::miss`].
    fn miss(&mut self, tensor: u32, now: usize);
    /// [`Policy::insert`].
    fn insert(&mut self, tensor: u32, now: usize);
    /// [`Policy::crowded`].
    fn crowded(&self) -> bool;
    /// [`Policy::evict`].
    fn evict(&mut self) -> Option<u32>;
    /// [`Policy::distrusts_scores`].
    fn distrusts_scores(&self) -> bool;
    /// [`Policy::remove`].
    fn remove(&mut self, tensor: u32);
    /// [`Policy::resize`].
    fn resize(&mut self, tensor: u32, bytes: u64);
}

impl<P: Policy> Order for P {
    fn hit(&mut self, tensor: u32, now: usize) {
        Policy::hit(self, tensor, now);
    }
    fn miss(&mut self, tensor: u32, now: usize) {
        Policy::miss(self, tensor, now);
    }
    fn insert(&mut self, tensor: u32, now: usize) {
        Policy::insert(self, tensor, now);
    }
    fn crowded(&self) -> bool {
        Policy::crowded(self)
    }
    fn evict(&mut self) -> Option<u32> {
        Policy::evict(self)
    }
    fn distrusts_scores(&self) -> bool {
        Policy::distrusts_scores(self)
    }
    fn remove(&mut self, tensor: u32) {
        Policy::remove(self, tensor);
    }
    fn resize(&mut self, tensor: u32, bytes: u64) {
        Policy::resize(self, tensor, bytes);
    }
}

/// An empty order of the policy `P`.
pub(super) fn order<P: Policy>(setup: &Setup<'_>) -> Result<Box<dyn Order>, Error> {
    Ok(Box::new(P::new(setup)?))
}

/// The policy that [`Setup::policy`] names, whatever its type.
pub(crate) struct Shared(Box<dyn Order>);

impl Policy for Shared {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let policy = setup.policy.ok_or_else(|| Error::Internal("a setup names no policy".into()))?;
        let Some(rules) = setup.rules.filter(|rules| rules.is_divided()) else {
            return Ok(Self(policy.kind().share(setup)?));
        };
        let of_part = |capacity_bytes| policy.kind().share(&Setup { capacity_bytes, ..setup.clone() });
        let orders = rules.capacities(setup.capacity_bytes)?.into_iter().map(of_part).collect::<Result<_, _>>()?;
        Ok(Self(Box::new(Parts { orders, parts: rules.parts().to_vec(), part: 0 })))
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.0.hit(tensor, now);
    }

    fn miss(&mut self, tensor: u32, now: usize) {
        self.0.miss(tensor, now);
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.0.insert(tensor, now);
    }

    fn crowded(&self) -> bool {
        self.0.crowded()
    }

    fn evict(&mut self) -> Option<u32> {
        self.0.evict()
    }

    fn distrusts_scores(&self) -> bool {
        self.0.distrusts_scores()
    }

    fn remove(&mut self, tensor: u32) {
        self.0.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.0.resize(tensor, bytes);
    }
}

/// A policy for each part of a divided memory. The part of the last access is the one that needs room.
struct Parts {
    orders: Vec<Box<dyn Order>>,
    parts: Vec<u16>,
    part: usize,
}

impl Parts {
    /// The policy of the part that `tensor` uses, which is used now.
    fn enter(&mut self, tensor: u32) -> &mut dyn Order {
        self.part = usize::from(self.parts[tensor as usize]);
        &mut *self.orders[self.part]
    }
}

impl Order for Parts {
    fn hit(&mut self, tensor: u32, now: usize) {
        self.enter(tensor).hit(tensor, now);
    }

    fn miss(&mut self, tensor: u32, now: usize) {
        self.enter(tensor).miss(tensor, now);
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.enter(tensor).insert(tensor, now);
    }

    fn crowded(&self) -> bool {
        self.orders[self.part].crowded()
    }

    fn evict(&mut self) -> Option<u32> {
        // The others are asked only where the memory is emptied.
        let own = self.orders[self.part].evict();
        own.or_else(|| self.orders.iter_mut().find_map(|order| order.evict()))
    }

    fn distrusts_scores(&self) -> bool {
        self.orders[self.part].distrusts_scores()
    }

    fn remove(&mut self, tensor: u32) {
        self.enter(tensor).remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.enter(tensor).resize(tensor, bytes);
    }
}
