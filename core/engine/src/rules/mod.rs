//! What decides about residency beside the policy: who is let in, who stays for good, how the capacity is divided, and
//! how much room is made at once.

mod filter;
mod select;

use crate::closed;
use crate::error::Error;
use crate::order;
use crate::trace::Trace;
use crate::tuned::{Parameter, Spec, Tuned};
use crate::units::format_bytes;

pub(crate) use filter::Filter;
pub use select::{Selector, Share};

closed! {
    /// What a schedule may do with a missed tensor: the two modes for which there are bounds. Either way, one larger than
    /// the capacity does not come in.
    #[derive(Default)]
    pub enum Admission("admission", "admission mode") {
        /// Every tensor that fits comes in: residents are evicted until there is room.
        #[default]
        Always = "always",
        /// A tensor may pass by without being kept.
        Bypass = "bypass",
    }
}

closed! {
    /// Which missed tensors come into memory. None that is larger than the capacity does.
    #[derive(Default)]
    pub enum AdmissionRule("admission", "admission rule") {
        /// Every tensor that fits: residents are evicted until there is room.
        #[default]
        Always = "always" titled "always: whatever fits comes in",
        /// Every tensor that the policy would not evict at once: the newcomer is put in order like a resident, and
        /// where it is itself the victim, it has passed by without being kept.
        Bypass = "bypass" titled "bypass: unless it would leave at once",
        /// Tensors up to a size.
        Size = "size" titled "size: those up to a size",
        /// By chance.
        Probability = "probability" titled "probability: by chance" or "prob" or "probabilistic",
        /// By chance, the smaller the more often: with probability e^(-size / bytes).
        SizeProbability = "size-probability" titled "size probability: by chance, the smaller the more often",
        /// Those that missed before. A Bloom filter is the usual way to remember them; here it is exact.
        SecondRequest = "second-request" titled "second request: those that missed before" or "bloom" or "bloomfilter",
        /// As [`SizeProbability`](Self::SizeProbability), with the bytes chosen anew all the time for the most hits
        /// (Berger, Sitaraman and Harchol-Balter, "AdaptSize", NSDI 2017).
        AdaptSize = "adaptsize" titled "AdaptSize: by chance and size, tuned for the most hits",
    }
}

/// An admission rule with the values of its parameters.
pub type AdmissionSpec = Spec<AdmissionRule>;

impl Tuned for AdmissionRule {
    fn parameters(self) -> &'static [Parameter] {
        const SIZE: &[Parameter] = &[Parameter::bytes("most", 1_048_576.0, "the largest tensor that comes in")];
        const PROBABILITY: &[Parameter] = &[Parameter::share("share", 0.5, "the probability; libCacheSim's choice")];
        const SIZE_PROBABILITY: &[Parameter] = &[Parameter::bytes(
            "bytes",
            1_000_000.0,
            "the size that comes in with probability 1/e; libCacheSim's choice",
        )];
        const ADAPT_SIZE: &[Parameter] = &[Parameter::count(
            "every",
            10_000.0,
            [100.0, 1e9],
            "accesses between two choices; the paper's 250,000 are more than many traces of tensors have",
        )];
        match self {
            Self::Always | Self::Bypass | Self::SecondRequest => &[],
            Self::Size => SIZE,
            Self::Probability => PROBABILITY,
            Self::SizeProbability => SIZE_PROBABILITY,
            Self::AdaptSize => ADAPT_SIZE,
        }
    }
}

impl From<Admission> for AdmissionSpec {
    fn from(mode: Admission) -> Self {
        match mode {
            Admission::Always => AdmissionRule::Always.into(),
            Admission::Bypass => AdmissionRule::Bypass.into(),
        }
    }
}

impl AdmissionSpec {
    /// The mode whose bounds hold: under every rule but `always`, tensors may pass by.
    pub fn mode(&self) -> Admission {
        match self.kind() {
            AdmissionRule::Always => Admission::Always,
            _ => Admission::Bypass,
        }
    }
}

/// The rules of a memory for the tensors of a trace.
#[derive(Debug, Clone)]
pub struct Rules {
    admission: AdmissionSpec,
    watermark: f64,
    /// Whether each tensor stays for good; empty where none does.
    pinned: Vec<bool>,
    pinned_bytes: u64,
    /// The part of the memory that each tensor uses; empty where it is not divided.
    parts: Vec<u16>,
    /// The share of each part in what is not pinned.
    shares: Vec<f64>,
}

/// Parts of a memory, at most (ours: a model has hundreds of layers).
const MOST_PARTS: usize = 1024;
/// Tensors x parts, at most: each part has a policy of its own, and that has some ten bytes per tensor.
const MOST_ENTRIES: usize = 1 << 28;

impl Rules {
    /// An admission rule, and the share of the capacity down to which the memory is emptied when room is needed; nobody is
    /// pinned, nothing divided.
    pub fn new(admission: AdmissionSpec, watermark: f64) -> Self {
        let (pinned, parts) = (Vec::new(), Vec::new());
        Self { admission, watermark, pinned, pinned_bytes: 0, parts, shares: vec![1.0] }
    }

    /// Whether they say nothing beyond the modes `always` and `bypass`.
    pub fn are_plain(&self) -> bool {
        let plain = matches!(self.admission.kind(), AdmissionRule::Always | AdmissionRule::Bypass);
        plain && self.watermark == 1.0 && self.pinned.is_empty() && self.parts.is_empty()
    }

    /// The tensors of `trace` that one of `selectors` means stay for good once they are in, and room is kept for them, at
    /// their largest, from the beginning. Fails where a selector means none, or blocks of prefixes would be torn apart.
    pub fn pin(mut self, selectors: &[Selector], trace: &Trace) -> Result<Self, Error> {
        if selectors.is_empty() {
            return Ok(self);
        }
        let wanted = |selector: &Selector| selector.of("pinned", trace);
        let chosen: Vec<Vec<bool>> = selectors.iter().map(wanted).collect::<Result<_, _>>()?;
        self.pinned = (0..trace.tensors().len()).map(|t| chosen.iter().any(|chosen| chosen[t])).collect();
        let sizes = trace.largest_sizes();
        let bytes = sizes.iter().zip(&self.pinned).filter(|(_, pinned)| **pinned).map(|(bytes, _)| *bytes);
        self.pinned_bytes = bytes.fold(0, u64::saturating_add);
        Ok(self)
    }

    /// The capacity that is not pinned is divided: each share belongs to the tensors that it means and no share before
    /// it, and the rest to all others.
    pub fn divide(mut self, shares: &[Share], trace: &Trace) -> Result<Self, Error> {
        if shares.is_empty() {
            return Ok(self);
        }
        let tensors = trace.tensors();
        let refuse = |problem: String, cure: &str| Err(Error::field("shares", list(shares), problem, cure));
        let sum: f64 = shares.iter().map(|share| share.share).sum();
        if sum > 1.0 + 1e-9 {
            return refuse(format!("they add up to {sum}"), "Choose shares that add up to 1 at most");
        }
        // The first part is for whoever has no share.
        self.shares = vec![if sum < 1.0 - 1e-9 { 1.0 - sum } else { 0.0 }];
        self.parts = vec![0; tensors.len()];
        for share in shares {
            let chosen = share.of.of("shares", trace)?;
            let mine = |(t, _): &(usize, _)| chosen[*t] && self.parts[*t] == 0;
            let key =
                |layer: Option<u32>| if share.per_layer { layer.map_or(0, |layer| u64::from(layer) + 1) } else { 0 };
            let layers = if share.per_layer {
                order::distinct(tensors.iter().enumerate().filter(mine).map(|(_, t)| key(t.layer)))
            } else {
                vec![0]
            };
            let first = self.shares.len();
            if first + layers.len() > MOST_PARTS || (first + layers.len()).saturating_mul(tensors.len()) > MOST_ENTRIES
            {
                return refuse(format!("that makes {} parts", first + layers.len()), "Choose fewer, or not per layer");
            }
            let of = |layer: Option<u32>| layers.binary_search(&key(layer)).unwrap_or(0);
            let members: Vec<usize> = tensors.iter().enumerate().filter(mine).map(|(t, _)| t).collect();
            for t in members {
                self.parts[t] = (first + of(tensors[t].layer)) as u16;
            }
            self.shares.extend(layers.iter().map(|_| share.share / layers.len() as f64));
        }
        if self.shares[0] == 0.0
            && let Some(t) = self.parts.iter().position(|part| *part == 0)
        {
            let problem = format!("nothing is left for tensors that have no share, such as {}", tensors[t].name);
            return refuse(problem, "Choose shares that add up to less than 1");
        }
        Ok(self)
    }

    /// The capacity of each part in a memory of `capacity` bytes. Fails where one is less than a byte.
    pub fn capacities(&self, capacity: u64) -> Result<Vec<u64>, Error> {
        let free = capacity.saturating_sub(self.pinned_bytes);
        if free == 0 {
            let problem = format!(
                "what is pinned takes {} of a capacity of {}, and leaves no room for the rest",
                format_bytes(self.pinned_bytes),
                format_bytes(capacity)
            );
            let cure = format!("Pin less, or choose a capacity of more than {} bytes", self.pinned_bytes);
            return Err(Error::field("pinned", format!("{} bytes", self.pinned_bytes), problem, cure));
        }
        if self.parts.is_empty() {
            return Ok(vec![free]);
        }
        let mut rest = free;
        let mut capacities = vec![0];
        for share in &self.shares[1..] {
            let bytes = ((free as f64 * share) as u64).min(rest);
            rest -= bytes;
            capacities.push(bytes);
        }
        // What rounding leaves is the others', too.
        capacities[0] = rest;
        if let Some(empty) = capacities.iter().zip(&self.shares).position(|(bytes, share)| *bytes == 0 && *share > 0.0)
        {
            let problem = format!("that is less than a byte of {}", format_bytes(free));
            let cure = "Choose a larger capacity, or fewer parts";
            return Err(Error::field("shares", self.shares[empty], problem, cure));
        }
        Ok(capacities)
    }

    /// Whether the policy may evict a newcomer at once: under `bypass` alone. The other rules look at the newcomer only.
    pub fn entry(&self) -> Admission {
        match self.admission.kind() {
            AdmissionRule::Bypass => Admission::Bypass,
            _ => Admission::Always,
        }
    }

    /// The admission rule.
    pub fn admission(&self) -> AdmissionSpec {
        self.admission
    }

    /// Whether the capacity is divided.
    pub(crate) fn is_divided(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Bytes of a part of `capacity` bytes that become free at least when room is needed.
    pub(crate) fn slack(&self, capacity: u64) -> u64 {
        capacity - ((capacity as f64 * self.watermark) as u64).min(capacity)
    }

    /// Whether each tensor stays for good; empty where none does.
    pub(crate) fn pinned(&self) -> &[bool] {
        &self.pinned
    }

    /// The part of the memory that each tensor uses; empty where it is not divided.
    pub(crate) fn parts(&self) -> &[u16] {
        &self.parts
    }
}

/// As it is written: separated by commas.
pub fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
