//! Which tensor leaves when room is needed: one trait, one file per policy, one table.
//!
//! A policy orders victims, and may say that a part which it keeps apart is crowded, nothing else. The engine
//! ([`crate::sim`]) owns capacity, hits and counting, and calls the policy through generics, so the hot loop is compiled
//! once for each.

mod heap;
mod list;
mod shared;
mod trees;

pub mod arc;
pub mod belady;
pub mod belady_size;
pub mod cacheus;
pub mod car;
pub mod clock;
pub mod clock_pro;
pub mod fifo;
pub mod gdsf;
pub mod hyperbolic;
pub mod lecar;
pub mod lfu;
pub mod lfuda;
pub mod lhd;
pub mod lirs;
pub mod lrb;
pub mod lru;
pub mod lru_k;
pub mod ml;
pub mod ml_reuse;
pub mod mockingjay;
pub mod mru;
pub mod qd_lp_fifo;
pub mod radix;
pub mod random;
pub mod s3fifo;
pub mod sieve;
pub mod size;
pub mod slru;
pub mod two_q;
pub mod w_tinylfu;

use std::sync::Arc;

use crate::closed::Closed;
use crate::error::Error;
use crate::rules::Rules;
use crate::score::Scores;
use crate::trace::reuse::Future;
use crate::tuned::{self, Spec, Tuned};
use crate::{by_name, closed};

pub use crate::rules::Admission;
pub use crate::tuned::{MOST_PARAMETERS, Parameter, Values};
pub use shared::Order;
pub(crate) use shared::Shared;

/// A policy with the values of its parameters.
pub type PolicySpec = Spec<PolicyKind>;

/// What a policy may know before the first access.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// Size of each tensor in bytes; where it changes, at its first use.
    pub sizes: &'a [u64],
    /// For each tensor the one that it continues ([`Trace::parents`](crate::trace::Trace::parents)); may be empty.
    pub parents: &'a [u32],
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Which missed tensors come in; for the engine, policies need not care.
    pub admission: Admission,
    /// What else decides about residency, if anything; for the engine. They have an admission of their own.
    pub rules: Option<&'a Rules>,
    /// A score for each access, for policies that read them.
    pub scores: Option<&'a Scores>,
    /// When each tensor is used next, for policies that know the future.
    pub future: Option<&'a Arc<Future>>,
    /// The seed of everything drawn by chance.
    pub seed: u64,
    /// The policy and the values of its parameters; the defaults of the policy that reads them, where none is given.
    pub policy: Option<PolicySpec>,
}

impl<'a> Setup<'a> {
    /// Tensors of `sizes` in `capacity_bytes`, always admitted, without scores or future; seed 0.
    pub fn new(sizes: &'a [u64], capacity_bytes: u64) -> Self {
        let admission = Admission::Always;
        Self {
            sizes,
            parents: &[],
            capacity_bytes,
            admission,
            rules: None,
            scores: None,
            future: None,
            seed: 0,
            policy: None,
        }
    }

    /// The same for `policy`.
    pub fn of(&self, policy: PolicySpec) -> Self {
        Self { policy: Some(policy), ..self.clone() }
    }

    /// The values of the parameters of `P`.
    pub fn values<P: Policy>(&self) -> Values {
        self.policy.map_or_else(|| tuned::defaults(P::PARAMETERS), |policy| policy.values())
    }

    /// Runs `visitor` for the type of the policy that it names: its own loops, or those that are shared where it names
    /// none, or where the memory is divided.
    pub fn dispatch<V: Visitor>(&self, visitor: V) -> V::Output {
        let divided = self.rules.is_some_and(Rules::is_divided);
        match self.policy.filter(|_| !divided) {
            Some(policy) => policy.kind().dispatch(visitor),
            None => visitor.visit::<Shared>(),
        }
    }

    /// A share of the capacity, in bytes.
    fn share(&self, share: f64) -> u64 {
        self.multiple(share).min(self.capacity_bytes)
    }

    /// A multiple of the capacity, in bytes; at most all bytes that there can be.
    fn multiple(&self, factor: f64) -> u64 {
        (self.capacity_bytes as f64 * factor) as u64
    }

    /// About how many tensors the memory holds: capacity by mean size, at most all.
    fn entries(&self) -> usize {
        let tensors = self.sizes.len();
        let total: u128 = self.sizes.iter().map(|bytes| u128::from(*bytes)).sum();
        let held = u128::from(self.capacity_bytes) * tensors as u128 / total.max(1);
        held.clamp(1, tensors.max(1) as u128) as usize
    }

    /// The scores, for a policy that cannot do without.
    fn scores(&self) -> Result<Arc<[f64]>, Error> {
        let scores = self.scores.ok_or_else(|| Error::Internal("a policy was started without its scores".into()))?;
        Ok(Arc::clone(&scores.values))
    }

    /// The future, for a policy that cannot do without.
    fn future(&self) -> Result<Arc<Future>, Error> {
        let future = self.future.ok_or_else(|| Error::Internal("a policy was started without its future".into()))?;
        Ok(Arc::clone(future))
    }
}

/// The order in which tensors leave.
///
/// The engine promises: `hit` only for a resident tensor, `insert` only for an absent one that fits the capacity
/// and was announced by `miss`, `evict` only while at least one tensor is resident, `remove` only for a resident
/// tensor, `resize` before the access that comes with the new size.
pub trait Policy: Sized + Send + 'static {
    /// What it is tuned by.
    const PARAMETERS: &'static [Parameter] = &[];

    /// An empty order.
    fn new(setup: &Setup<'_>) -> Result<Self, Error>;

    /// The resident `tensor` is used by access number `now`.
    fn hit(&mut self, tensor: u32, now: usize);

    /// The absent `tensor` is used by access number `now`, and will come in once there is room.
    fn miss(&mut self, tensor: u32, now: usize) {
        let _ = (tensor, now);
    }

    /// `tensor` was absent and becomes resident at access number `now`.
    fn insert(&mut self, tensor: u32, now: usize);

    /// Whether a part that the policy keeps apart holds too much, so that a tensor leaves although the memory has room:
    /// asked before and after a tensor comes in. Evictions must end it.
    fn crowded(&self) -> bool {
        false
    }

    /// Chooses the tensor to leave, forgets it and returns it; none where it knows of no resident.
    fn evict(&mut self) -> Option<u32>;

    /// Whether the next choice is left to LRU, for a policy that reads scores but does not always follow them.
    fn distrusts_scores(&self) -> bool {
        false
    }

    /// The resident `tensor` leaves although nobody chose it: it is forgotten, and no ghost remains of it.
    fn remove(&mut self, tensor: u32);

    /// `tensor`, resident or not, has `bytes` from now on; for policies to which sizes matter.
    fn resize(&mut self, tensor: u32, bytes: u64) {
        let _ = (tensor, bytes);
    }
}

/// Code that is generic over the policy; see [`Setup::dispatch`].
pub trait Visitor {
    /// What the code returns.
    type Output;
    /// Runs it for the policy `P`.
    fn visit<P: Policy>(self) -> Self::Output;
}

/// A row of the table of policies.
#[derive(Debug, Clone, Copy)]
pub struct PolicyInfo {
    /// The policy.
    pub kind: PolicyKind,
    /// The name in recipes, JSON and on the command line.
    pub name: &'static str,
    /// The name people read.
    pub title: &'static str,
    /// What it evicts, in one sentence.
    pub about: &'static str,
    /// What it knows.
    pub knows: Knows,
    /// What it is tuned by.
    pub parameters: &'static [Parameter],
}

closed! {
    /// What a policy decides by.
    pub enum Knows("knows", "knowledge of a policy") {
        /// The accesses so far.
        Past = "past",
        /// The accesses so far and their eviction scores.
        Scores = "scores",
        /// The whole trace: no real memory can, save where a compiler fixes the order.
        Future = "future",
    }
}

impl PolicyInfo {
    /// Whether it decides by eviction scores.
    pub fn scored(&self) -> bool {
        self.knows == Knows::Scores
    }
}

/// Lists the policies once: the enum, the table and the dispatch all come from these rows. Those under `own` have
/// loops of the engine compiled for them alone, as fast as it gets; those under `shared` share theirs. Whoever watches a
/// run takes [`Shared`] for all of them.
macro_rules! policies {
    (
        own { $($kind:ident, $type:ty, $name:literal, $title:literal, $knows:ident, $about:literal;)* }
        shared { $($kind2:ident, $type2:ty, $name2:literal, $title2:literal, $knows2:ident, $about2:literal;)* }
    ) => {
        /// A policy by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum PolicyKind {
            $(#[doc = $about] $kind,)*
            $(#[doc = $about2] $kind2,)*
        }

        /// Every policy.
        pub const POLICIES: &[PolicyInfo] = &[
            $(policies!(@row $kind, $type, $name, $title, $knows, $about),)*
            $(policies!(@row $kind2, $type2, $name2, $title2, $knows2, $about2),)*
        ];

        impl Closed for PolicyKind {
            const FIELD: &'static str = "policy";
            const WHAT: &'static str = "policy";
            const ALL: &'static [Self] = &[$(Self::$kind,)* $(Self::$kind2,)*];

            fn name(self) -> &'static str {
                self.info().name
            }

            fn title(self) -> &'static str {
                self.info().title
            }
        }

        impl PolicyKind {
            /// Its row of the table.
            pub fn info(self) -> &'static PolicyInfo {
                &POLICIES[self as usize]
            }

            /// Runs `visitor` for the type behind the name. Its setup must be [`Setup::of`] the policy.
            fn dispatch<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$kind => visitor.visit::<$type>(),)*
                    $(Self::$kind2)|* => visitor.visit::<Shared>(),
                }
            }

            /// The policy as one of those that share their loops.
            fn share(self, setup: &Setup<'_>) -> Result<Box<dyn shared::Order>, Error> {
                match self {
                    $(Self::$kind => shared::order::<$type>(setup),)*
                    $(Self::$kind2 => shared::order::<$type2>(setup),)*
                }
            }
        }
    };
    (@row $kind:ident, $type:ty, $name:literal, $title:literal, $knows:ident, $about:literal) => {
        PolicyInfo {
            kind: PolicyKind::$kind,
            name: $name,
            title: $title,
            about: $about,
            knows: Knows::$knows,
            parameters: <$type as Policy>::PARAMETERS,
        }
    };
}

policies! {
    own {
        Lru, lru::Lru, "lru", "LRU", Past, "Evicts the tensor whose last use is longest ago.";
        Fifo, fifo::Fifo, "fifo", "FIFO", Past, "Evicts the tensor that came in first.";
        Clock, clock::Clock, "clock", "CLOCK", Past, "FIFO with a second chance for tensors used since the hand last passed.";
        Sieve, sieve::Sieve, "sieve", "SIEVE", Past, "A hand sweeps a FIFO queue and evicts the first tensor not used since it last passed.";
        S3Fifo, s3fifo::S3Fifo, "s3-fifo", "S3-FIFO", Past, "A small FIFO queue filters what may enter the main one.";
        Slru, slru::Slru, "slru", "SLRU", Past, "LRU segments; a hit lifts a tensor by one.";
        Arc, arc::Arc, "arc", "ARC", Past, "Balances recent against frequent use by what it evicted too early.";
        Lfu, lfu::Lfu, "lfu", "LFU", Past, "Evicts the tensor with the fewest uses since it came in.";
        Belady, belady::Belady, "belady", "Belady", Future, "Evicts the tensor whose next use is farthest away, knowing the future.";
    }
    shared {
        Mru, mru::Mru, "mru", "MRU", Past, "Evicts the tensor that was used last.";
        Lirs, lirs::Lirs, "lirs", "LIRS", Past, "Keeps tensors whose last two uses were close together.";
        WTinyLfu, w_tinylfu::WTinyLfu, "w-tinylfu", "W-TinyLFU", Past, "Newcomers must have been used more often than the victim.";
        Lfuda, lfuda::Lfuda, "lfuda", "LFUDA", Past, "LFU in which old uses count less and less.";
        Gdsf, gdsf::Gdsf, "gdsf", "GDSF", Past, "Evicts the tensor with the fewest uses for its size, old uses counting less and less.";
        Random, random::Random, "random", "Random", Past, "Evicts any tensor, by chance.";
        Ml, ml::Ml, "ml", "ML", Scores, "Evicts the tensor with the highest eviction score.";
        MlReuse, ml_reuse::MlReuse, "ml-reuse", "ML reuse", Scores, "Evicts the tensor with the greatest time to its predicted next use, or since it, x root of its size; LRU while predictions prove worse.";
        BeladySize, belady_size::BeladySize, "belady-size", "Belady size", Future, "Evicts the tensor with the greatest time to its next use x size, knowing the future.";
        TwoQ, two_q::TwoQ, "2q", "2Q", Past, "Newcomers pass through a queue; whoever comes back soon is kept by LRU.";
        LruK, lru_k::LruK, "lru-k", "LRU-K", Past, "Evicts the tensor whose K-th last use is longest ago.";
        QdLpFifo, qd_lp_fifo::QdLpFifo, "qd-lp-fifo", "QD-LP-FIFO", Past, "A small FIFO queue lets only used tensors pass into a CLOCK.";
        ClockPro, clock_pro::ClockPro, "clock-pro", "CLOCK-Pro", Past, "LIRS as a clock: keeps tensors used again within a test period, whose length adapts.";
        Car, car::Car, "car", "CAR", Past, "ARC with clocks in place of LRU lists.";
        Hyperbolic, hyperbolic::Hyperbolic, "hyperbolic", "Hyperbolic", Past, "Of some drawn by chance, evicts the one with the fewest uses per access since it came in.";
        LeCaR, lecar::LeCaR, "lecar", "LeCaR", Past, "Chooses between LRU and LFU by chance, and learns from what each evicted too early.";
        Cacheus, cacheus::Cacheus, "cacheus", "Cacheus", Past, "Chooses by chance between an LRU that resists scans and an LFU that resists churn, and learns from what each evicted too early.";
        Lhd, lhd::Lhd, "lhd", "LHD", Past, "Of some drawn by chance, evicts the one with the fewest hits to expect per byte and access.";
        Lrb, lrb::Lrb, "lrb", "LRB", Past, "Of some drawn by chance, evicts the one whose next use it expects to be farthest away, as boosted trees learn online.";
        Mockingjay, mockingjay::Mockingjay, "mockingjay", "Mockingjay", Past, "Predicts the next use from the distances between uses so far, and evicts the tensor whose predicted time is farthest from now.";
        Size, size::Size, "size", "Size", Past, "Evicts the largest tensor.";
        Radix, radix::Radix, "radix", "Radix", Past, "Of the blocks that no other in memory continues, evicts the one whose last use is longest ago.";
        RadixCost, radix::RadixCost, "radix-cost", "Radix cost", Past, "Of the blocks that no other in memory continues, evicts the one with the fewest uses x blocks of its prefix / bytes, old uses counting less and less.";
    }
}

impl PolicyKind {
    /// The name in recipes, JSON and on the command line.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

by_name!(pub PolicyKind);

impl Tuned for PolicyKind {
    fn parameters(self) -> &'static [Parameter] {
        self.info().parameters
    }
}

impl PolicySpec {
    /// The policy's row of the table.
    pub fn info(&self) -> &'static PolicyInfo {
        self.kind().info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_agrees_with_the_enum() {
        for (i, row) in POLICIES.iter().enumerate() {
            assert_eq!(row.kind as usize, i);
            assert_eq!(PolicyKind::from_name(&row.name.to_uppercase()).unwrap(), row.kind);
        }
    }
}
