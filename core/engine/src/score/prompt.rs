//! The question that a language model is asked about an access, and how its answer becomes a score.
//!
//! One question: how long until this tensor is used again? Ten answers on a logarithmic scale, the digits 0 to 9, of
//! which a model gives the probabilities of the next token: never free text. What the model is told comes from the past
//! alone and is rounded to powers of two, so that accesses alike ask the same and are asked once. Lines are short, for
//! every token costs.

use rustc_hash::FxHashMap;

use super::history::{Context, Seen, scan};
use super::log2;
use crate::error::Error;
use crate::trace::{Mode, Trace};

/// Changes whenever a text changes: scores of another version are another model's.
pub const VERSION: u32 = 2;

/// The answers: digit d means a next use within 4^d accesses, and 9 none within any time that matters.
pub const LABELS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// What every question ends with.
pub const END: &str = ". Digit: ";

/// What every question begins with.
pub fn prefix() -> String {
    "Uses of tensors on an accelerator with a small fast memory: kind, size, operator, uses before, gaps since the last \
     use and before it; then the gap that followed from here so far, and of tensors alike, and how many times. Gaps count \
     accesses. Numbers are powers of two, k is 1024, ~ a mean of gaps that differ. The digit tells how soon the tensor is \
     used again: 0 at the next access, 1 within 4, 2 within 16, 3 within 64, 4 within 256, 5 within 1k, 6 within 4k, 7 \
     within 16k, 8 within 64k, 9 later or never.\n\
     activations, 1 MiB, written by matmul, new, alike 1 x64. Digit: 0\n\
     weights, 4 MiB, read by matmul, used 4, gaps 512 512, here 512 x4, alike ~512 x64. Digit: 5\n\
     gradients, 4 MiB, read by optimizer, used 4, gaps 128 1, alike never x64. Digit: 9\n"
        .into()
}

/// The line that asks for each access, in order.
pub fn items(trace: &Trace) -> Vec<String> {
    let mut lines = Vec::with_capacity(trace.accesses().len());
    scan(trace, |seen| lines.push(line(seen)));
    lines
}

/// The line of an access.
pub(super) fn line(seen: &Seen) -> String {
    let [own, alike] = [OWN, ALIKE].map(|at| &seen.contexts[at]);
    // Where gaps differ, so do most lines: there all are rounded to every second power of two.
    let coarse = differ(if own.outcomes > 0 { own } else { alike });
    let gap = |gap: u32| if coarse { middle(log2(gap.into())) } else { number(rounded(gap.into())) };
    let mut past = match (seen.uses, seen.gaps) {
        (0, _) => "new".to_owned(),
        (uses, [last, 0]) => format!("used {}, gaps {}", times(uses), gap(last)),
        (uses, [last, before]) => format!("used {}, gaps {} {}", times(uses), gap(last), gap(before)),
    };
    for (name, context) in [("here", own), ("alike", alike)] {
        let (gap, often) = match (context.outcomes, context.judged[0]) {
            (0, 0) => continue,
            (0, often) => ("never".to_owned(), often),
            (often, _) if differ(context) => (format!("~{}", middle(context.slow)), often),
            (often, _) => (number(power(context.mean)), often),
        };
        past.push_str(&format!(", {name} {gap} x{}", times(often.min(SURE).into())));
    }
    let size = size(seen.bytes);
    format!("{}, {size}, {} by {}, {past}{END}", seen.kind.title(), verb(seen.mode), seen.op.name())
}

/// The contexts that are told, of [`super::history::CONTEXTS`]: kind, size, operation and mode; tensor, operation and
/// mode.
const ALIKE: usize = 1;
const OWN: usize = 6;

/// Outcomes from which on more of them tell nothing new.
const SURE: u16 = 64;

/// Whether a context's gaps differ by more than a factor of two in the mean.
fn differ(context: &Context) -> bool {
    context.deviation > 256
}

/// The middle of the factor of four that a [`log2`] lies in, as the digits have it.
fn middle(log2: u16) -> String {
    number(1 << ((log2 >> 8) | 1))
}

/// How often, down to a power of four.
fn times(n: u32) -> String {
    number(1 << (n.max(1).ilog2() & !1))
}

/// The different questions of a trace, and which one each access asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions {
    /// Every line once, in the order of its first access.
    pub items: Vec<String>,
    of: Vec<u32>,
}

impl Questions {
    /// The questions of `trace`.
    pub fn of(trace: &Trace) -> Self {
        let mut known = FxHashMap::default();
        let mut of = Vec::with_capacity(trace.accesses().len());
        scan(trace, |seen| {
            let next = known.len() as u32;
            of.push(*known.entry(line(seen)).or_insert(next));
        });
        let mut lines = vec![String::new(); known.len()];
        for (line, at) in known {
            lines[at as usize] = line;
        }
        Self { items: lines, of }
    }

    /// The item of each access.
    pub fn of_each(&self) -> impl Iterator<Item = u32> + '_ {
        self.of.iter().copied()
    }

    /// What is known of each access, from what is known of each item.
    pub fn of_accesses<T: Copy>(&self, of_items: &[T]) -> Result<Vec<T>, Error> {
        let (answers, items) = (of_items.len(), self.items.len());
        if answers != items {
            return Err(Error::Internal(format!("{answers} answers to {items} questions")));
        }
        Ok(self.of.iter().map(|item| of_items[*item as usize]).collect())
    }
}

/// The score of an answer: its mean digit over 9, from 0 (used again at once) to 1 (evict first). `probabilities` are
/// those of the [`LABELS`] and sum to 1.
pub fn score(probabilities: &[f64; 10]) -> f64 {
    let mean: f64 = (0..).zip(probabilities).map(|(digit, p)| f64::from(digit) * p).sum();
    (mean / 9.0).clamp(0.0, 1.0)
}

/// The digit of a next use `distance` accesses away; none where there is no other.
pub fn digit(distance: Option<u64>) -> usize {
    let within = |distance: u64| (0..9).find(|digit| distance <= 1 << (2 * digit));
    distance.and_then(within).unwrap_or(9)
}

/// The nearest power of two; halfway counts up.
fn rounded(n: u64) -> u64 {
    power(log2(n))
}

/// The power of two that is nearest to a [`log2`].
fn power(log2: u16) -> u64 {
    1 << ((log2 + 128) >> 8).min(63)
}

/// A power of two in few digits.
fn number(n: u64) -> String {
    scaled(n, &["", "k", "M", "G", "T", "P"])
}

/// A power of two in the largest of `units`, each 1,024 of the one before, in which it is whole.
fn scaled(n: u64, units: &[&str; 6]) -> String {
    let unit = (n.ilog2() / 10).min(units.len() as u32 - 1);
    format!("{}{}", n >> (10 * unit), units[unit as usize])
}

/// A size as people write it.
pub(super) fn size(bytes: u64) -> String {
    scaled(rounded(bytes), &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"])
}

/// What an access does to its tensor.
pub(super) fn verb(mode: Mode) -> &'static str {
    match mode {
        Mode::Read => "read",
        Mode::Write => "written",
        Mode::Update => "updated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::trace;

    #[test]
    fn lines_tell_the_past() {
        let lines = items(&trace(&[4 << 20, 100], &[0, 1, 0, 0, 1, 0]));
        assert_eq!(lines[0], "objects, 4 MiB, read by request, new. Digit: ");
        assert_eq!(lines[2], "objects, 4 MiB, read by request, used 1, gaps 2, here 2 x1, alike 2 x1. Digit: ");
        assert_eq!(lines[3], "objects, 4 MiB, read by request, used 1, gaps 1 2, here 2 x1, alike 2 x1. Digit: ");
        // 3 accesses ago is nearer to 4 than to 2; 100 bytes are nearer to 128.
        assert_eq!(lines[4], "objects, 128 B, read by request, used 1, gaps 4, here 4 x1, alike 4 x1. Digit: ");
    }

    /// Gaps that differ are rounded more, and tensors that stayed away are told as such.
    #[test]
    fn lines_tell_what_came_back() {
        // Three tensors of one size in turn, and others of another that are used once.
        let order: Vec<u32> = (0..3000).map(|i| if i % 4 < 3 { i % 4 } else { 3 + i / 4 }).collect();
        let sizes: Vec<u64> = (0..1000).map(|i| if i < 3 { 4096 } else { 1024 }).collect();
        let lines = items(&trace(&sizes, &order));
        let steady = "used 256, gaps 4 4, here 4 x64, alike 4 x64. Digit: ";
        assert!(lines[2996].ends_with(steady), "{}", lines[2996]);
        assert!(lines[2999].ends_with("new, alike never x64. Digit: "), "{}", lines[2999]);
        // 1 and 64 accesses in turn.
        let order: Vec<u32> = (0..650).map(|i| if i % 65 < 2 { 0 } else { i % 65 }).collect();
        let lines = items(&trace(&[64; 65], &order));
        assert!(lines[586].ends_with("used 16, gaps 2 128, here ~8 x16, alike 32 x64. Digit: "), "{}", lines[586]);
    }

    /// A line says nothing of what comes after it.
    #[test]
    fn nothing_comes_from_the_future() {
        let order: Vec<u32> = (0..3000u32).map(|i| (i * i / 7 + i) % 50).collect();
        let sizes: Vec<u64> = (0..50).map(|i| 100 + i * 37).collect();
        let all = items(&trace(&sizes, &order));
        for length in [1, 2, 500, 2999] {
            let mut other = order.clone();
            other[length..].iter_mut().for_each(|t| *t = (*t + 13) % 50);
            assert_eq!(items(&trace(&sizes, &order[..length])), all[..length]);
            assert_eq!(items(&trace(&sizes, &other))[..length], all[..length]);
        }
    }

    #[test]
    fn digits_and_scores() {
        for (distance, wanted) in [(1, 0), (2, 1), (4, 1), (5, 2), (65_536, 8), (65_537, 9)] {
            assert_eq!(digit(Some(distance)), wanted);
        }
        assert_eq!(digit(None), 9);
        let sure = |digit: usize| std::array::from_fn(|i| f64::from(u8::from(i == digit)));
        assert_eq!(
            (score(&sure(0)), score(&sure(9)), score(&std::array::from_fn(|i| f64::from(u8::from(i > 7)) / 2.0))),
            (0.0, 1.0, 8.5 / 9.0)
        );
    }

    #[test]
    fn numbers_are_rounded_to_powers_of_two() {
        for (n, wanted) in [(0, 1), (1, 1), (2, 2), (3, 4), (5, 4), (6, 8), (u64::MAX, 1 << 63)] {
            assert_eq!(rounded(n), wanted, "{n}");
        }
        let units = [" B", " KiB", " MiB", " GiB", " TiB", " PiB"];
        for (n, wanted) in [(1 << 20, "1 MiB"), (512, "512 B"), (1 << 63, "8192 PiB")] {
            assert_eq!(scaled(n, &units), wanted);
        }
    }
}
