//! Questions as a model reads them, and the order in which it learns from them.

use accel_core::rng::Rng;
use accel_core::score::prompt::{self, LABELS};
use accel_model::{Prompt, TextTokenizer};
use anyhow::Context as _;

use crate::questions::Row;

/// A text's tokens before all items, and those of the digits.
pub(super) struct Reader<'a> {
    tokenizer: &'a TextTokenizer,
    prefix: Vec<u32>,
    labels: Vec<u32>,
}

impl<'a> Reader<'a> {
    /// Reads with `tokenizer`.
    ///
    /// # Errors
    /// Where a digit is not one token of its own.
    pub(super) fn new(tokenizer: &'a TextTokenizer) -> anyhow::Result<Self> {
        let labels = tokenizer.label_tokens(prompt::END, &LABELS.map(str::to_owned));
        let labels = labels.context("this tokenizer does not take the question")?;
        Ok(Self { tokenizer, prefix: tokenizer.encode(&prompt::prefix(), true)?, labels })
    }

    /// What to ask for `questions`.
    pub(super) fn prompt<'t>(&self, questions: impl Iterator<Item = &'t str>) -> anyhow::Result<Prompt> {
        let items = questions.map(|question| self.tokenizer.encode(question, false)).collect::<Result<_, _>>()?;
        Ok(Prompt { prefix: self.prefix.clone(), items, labels: self.labels.clone() })
    }
}

/// The rows of step `step`: every row comes once before any comes again, in an order by `seed`.
pub(super) fn batch<'r>(rows: &[&'r Row], size: usize, seed: u64, step: u64) -> Vec<&'r Row> {
    let mut order: Vec<usize> = Vec::new();
    let mut round = u64::MAX;
    let places = step * size as u64..(step + 1) * size as u64;
    places
        .map(|place| {
            if place / rows.len() as u64 != round {
                round = place / rows.len() as u64;
                let mut rng = Rng::new(seed.wrapping_add(round << 32), "order");
                order = (0..rows.len()).collect();
                for i in (1..order.len() as u32).rev() {
                    order.swap(i as usize, rng.below(i + 1) as usize);
                }
            }
            rows[order[(place % rows.len() as u64) as usize]]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use accel_core::score::prompt::VERSION;

    use super::*;
    use crate::questions::Split;

    #[test]
    fn every_question_comes_once_before_any_comes_again() {
        let row = |n: usize| Row {
            version: VERSION,
            question: n.to_string(),
            counts: [1; 10],
            workload: String::new(),
            split: Split::Training,
            seed: 0,
        };
        let rows: Vec<Row> = (0..10).map(row).collect();
        let rows: Vec<&Row> = rows.iter().collect();
        let all: Vec<&str> =
            (0..5).flat_map(|step| batch(&rows, 4, 3, step)).map(|row| row.question.as_str()).collect();
        for round in all.chunks(10) {
            assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 10, "{all:?}");
        }
        assert_ne!(all[..10], all[10..]);
        assert_ne!(batch(&rows, 4, 3, 0), batch(&rows, 4, 4, 0));
    }
}
