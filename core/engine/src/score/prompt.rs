//! The question that a language model is asked about an access, and how its answer becomes a score.
//!
//! One question: how long until this tensor is used again? Ten answers on a logarithmic scale, the digits 0 to 9, of
//! which a model gives the probabilities of the next token: never free text. What the model is told comes from the past
//! alone and is rounded to powers of two, so that accesses alike ask the same and are asked once.

use rustc_hash::FxHashMap;

use crate::error::Error;
use crate::trace::{Mode, Trace};

/// Changes whenever a text changes: scores of another version are another model's.
pub const VERSION: u32 = 1;

/// The answers: digit d means a next use within 4^d accesses, and 9 none within any time that matters.
pub const LABELS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// What every question begins with.
pub fn prefix() -> String {
    "A neural network runs on an accelerator with a small fast memory. Each line describes one access to a tensor: its \
     kind and size, the operator that uses it, how often it was used before, and how many accesses ago. All numbers are \
     rounded to powers of two. The digit at the end of the line tells when the same tensor is used again: 0 at the next \
     access, 1 within 4 accesses, 2 within 16, 3 within 64, 4 within 256, 5 within 1024, 6 within 4096, 7 within 16384, \
     8 within 65536, 9 later or never.\n\
     activations, 1 MiB, written by matmul, never used before. Digit: 0\n\
     weights, 4 MiB, read by matmul, used 4 times before, last 512 accesses ago, and 512 before that. Digit: 5\n\
     gradients, 4 MiB, read by optimizer, used 2 times before, last 128 accesses ago. Digit: 9\n"
        .into()
}

/// The line that asks for each access, in order.
pub fn items(trace: &Trace) -> impl Iterator<Item = String> + '_ {
    let mut past = vec![Past::default(); trace.tensors().len()];
    trace.accesses().iter().enumerate().map(move |(now, &t)| {
        let tensor = &trace.tensors()[t as usize];
        let past = &mut past[t as usize];
        let used = match (past.uses, past.gaps) {
            (0, _) => "never used before".to_owned(),
            (uses, gaps) => {
                let last = rounded(now as u64 - past.last);
                let before = gaps.map_or(String::new(), |gap| format!(", and {} before that", rounded(gap)));
                format!("used {} times before, last {last} accesses ago{before}", rounded(uses))
            }
        };
        *past = Past { gaps: (past.uses > 0).then(|| now as u64 - past.last), last: now as u64, uses: past.uses + 1 };
        let (kind, size) = (tensor.kind.title(), size(tensor.bytes));
        let (mode, op) = (verb(trace.mode(now)), trace.op(now).name());
        format!("{kind}, {size}, {mode} by {op}, {used}. Digit: ")
    })
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
        for line in items(trace) {
            let next = known.len() as u32;
            of.push(*known.entry(line).or_insert(next));
        }
        let mut lines = vec![String::new(); known.len()];
        for (line, at) in known {
            lines[at as usize] = line;
        }
        Self { items: lines, of }
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

/// What is known of a tensor so far.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    uses: u64,
    last: u64,
    /// Accesses between the last two uses.
    gaps: Option<u64>,
}

/// The power of two that is nearest on a logarithmic scale; halfway, in squares, counts up.
fn rounded(n: u64) -> u64 {
    let below = 1u64 << n.max(1).ilog2();
    // n / below >= sqrt(2), in whole numbers.
    if u128::from(n) * u128::from(n) >= 2 * u128::from(below) * u128::from(below) {
        below.saturating_mul(2)
    } else {
        below
    }
}

/// A size as people write it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let rounded = rounded(bytes);
    let unit = (rounded.ilog2() / 10).min(UNITS.len() as u32 - 1);
    format!("{} {}", rounded >> (10 * unit), UNITS[unit as usize])
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
        let lines: Vec<String> = items(&trace(&[4 << 20, 100], &[0, 1, 0, 0, 1, 0])).collect();
        assert_eq!(lines[0], "objects, 4 MiB, read by request, never used before. Digit: ");
        assert_eq!(lines[2], "objects, 4 MiB, read by request, used 1 times before, last 2 accesses ago. Digit: ");
        assert_eq!(
            lines[3],
            "objects, 4 MiB, read by request, used 2 times before, last 1 accesses ago, and 2 before that. Digit: "
        );
        // 3 accesses ago is nearer to 4 than to 2; 100 bytes are nearer to 128.
        assert_eq!(lines[4], "objects, 128 B, read by request, used 1 times before, last 4 accesses ago. Digit: ");
    }

    /// A line says nothing of what comes after it.
    #[test]
    fn nothing_comes_from_the_future() {
        let accesses = [0, 1, 2, 0, 2, 1, 1, 0];
        let all: Vec<String> = items(&trace(&[8, 80, 800], &accesses)).collect();
        for length in 1..accesses.len() {
            assert!(items(&trace(&[8, 80, 800], &accesses[..length])).eq(all[..length].iter().cloned()));
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
        for (n, wanted) in [(0, 1), (1, 1), (2, 2), (3, 4), (5, 4), (6, 8), (u64::MAX, u64::MAX)] {
            assert_eq!(rounded(n), wanted, "{n}");
        }
        assert_eq!(size(1 << 20), "1 MiB");
        assert_eq!(size(700), "512 B");
        assert_eq!(size(0), "1 B");
    }
}
