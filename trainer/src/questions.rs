//! Questions to a language model, and how often each digit was the answer: data to learn from, in lines of JSON.
//!
//! The first line is the card: the version of the question, and of each split the seed and the named models that it was
//! made of. A file whose splits share one of these is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use accel_core::rng::Rng;
use accel_core::score::prompt::{self, LABELS, Questions, VERSION};
use accel_core::trace::Trace;
use accel_core::trace::reuse::{Future, NEVER};
use accel_core::workload::config::ModelConfig;
use accel_core::workload::presets::{PRESETS, Preset};
use accel_ground::closed;
use accel_ground::math::power;
use anyhow::{Context as _, bail, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::points::{SEED, points};
use crate::workloads;

closed! {
    /// What a question is for.
    pub enum Split("split", "split") {
        /// To learn from.
        Training = "training",
        /// To tell how well that went.
        Validation = "validation",
    }
}

/// What a split was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Which one.
    pub split: Split,
    /// The seed of its workloads.
    pub seed: u64,
    /// The published models among them; workloads of random shapes have none.
    pub models: Vec<String>,
}

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The version of the question.
    pub version: u32,
    /// What the splits were made of.
    pub sources: Vec<Source>,
}

/// A question that was asked at some accesses of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The version of the question.
    pub version: u32,
    /// The line.
    pub question: String,
    /// How often each digit was the answer.
    pub counts: [u64; 10],
    /// Family and number of the workload.
    pub workload: String,
    /// What it is for.
    pub split: Split,
    /// The seed of the workload.
    pub seed: u64,
}

impl Row {
    /// The share of each digit.
    pub fn shares(&self) -> Vec<f32> {
        let all = self.counts.iter().sum::<u64>().max(1) as f64;
        self.counts.iter().map(|count| (*count as f64 / all) as f32).collect()
    }

    /// The least cross-entropy that any answer can have, in nats: the digits' own.
    pub fn entropy(&self) -> f64 {
        self.shares().into_iter().map(f64::from).filter(|share| *share > 0.0).map(|share| -share * share.ln()).sum()
    }
}

/// A file of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// What it was made of.
    pub card: Card,
    /// All questions.
    pub rows: Vec<Row>,
}

/// How many questions of how many workloads are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Amounts {
    /// Workloads of each family, to learn from.
    pub training: usize,
    /// Workloads of each family, to tell how well that went.
    pub validation: usize,
    /// Questions of each workload.
    pub questions: usize,
}

/// Those that are used.
pub const AMOUNTS: Amounts = Amounts { training: 40, validation: 6, questions: 16 };
/// The seeds of the splits; the network that is shipped and the points that are measured have others.
pub const SEEDS: [(Split, u64); 2] = [(Split::Training, 5), (Split::Validation, 6)];

/// How often each digit was the answer to each question, where the trace tells it: not where it ends before the tensor is
/// used again, unless so much of it is left that only the last digit is possible.
fn counted(trace: &Trace) -> Vec<(String, [u64; 10])> {
    let questions = Questions::of(trace);
    let future = Future::of(trace);
    let accesses = trace.accesses().len() as u64;
    let mut counts = vec![[0u64; 10]; questions.items.len()];
    for ((now, next), item) in (0u64..).zip(&future.next_use).zip(questions.of_each()) {
        let digit = match *next {
            NEVER if prompt::digit(Some(accesses - now)) < LABELS.len() - 1 => continue,
            NEVER => LABELS.len() - 1,
            next => prompt::digit(Some(u64::from(next) - now)),
        };
        counts[item as usize][digit] += 1;
    }
    questions.items.into_iter().zip(counts).filter(|(_, counts)| counts.iter().any(|count| *count > 0)).collect()
}

/// Some of a workload's questions: each as often as the root of its accesses, so that rare ones do not drown.
fn drawn(mut counted: Vec<(String, [u64; 10])>, most: usize, rng: &mut Rng) -> Vec<(String, [u64; 10])> {
    // Efraimidis and Spirakis, 2006: the largest of u^(1/w) are a sample without repetition by the weights w.
    let mut keyed: Vec<(f64, usize)> = counted
        .iter()
        .enumerate()
        .map(|(at, (_, counts))| (power(rng.unit(), 1.0 / (counts.iter().sum::<u64>() as f64).sqrt()), at))
        .collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    keyed.truncate(most);
    keyed.into_iter().map(|(_, at)| std::mem::take(&mut counted[at])).collect()
}

impl DataSet {
    /// As many workloads of each family, and as many questions of each workload; `progress` hears of each workload.
    pub fn make(amounts: &Amounts, mut progress: impl FnMut(&str)) -> Self {
        let sources = SEEDS.map(|(split, seed)| Source { split, seed, models: Vec::new() }).to_vec();
        let mut rows = Vec::new();
        for (split, seed) in SEEDS {
            let wanted = match split {
                Split::Training => amounts.training,
                Split::Validation => amounts.validation,
            };
            let mut rng = Rng::new(seed, "questions");
            let mut missing: BTreeMap<&str, usize> = workloads::families().into_iter().map(|it| (it, wanted)).collect();
            for number in 0.. {
                let family = workloads::family(number);
                if missing.values().all(|left| *left == 0) {
                    break;
                }
                let Some(left) = missing.get_mut(family).filter(|left| **left > 0) else { continue };
                let Some(trace) = workloads::trace(seed, number) else { continue };
                *left -= 1;
                let workload = format!("{family} {number}");
                progress(&format!("{split} {workload}"));
                let row = |(question, counts)| Row {
                    version: VERSION,
                    question,
                    counts,
                    workload: workload.clone(),
                    split,
                    seed,
                };
                rows.extend(drawn(counted(&trace), amounts.questions, &mut rng).into_iter().map(row));
            }
        }
        Self { card: Card { version: VERSION, sources }, rows }
    }

    /// Those of a split.
    pub fn of(&self, split: Split) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.split == split).collect()
    }

    /// The lines of the file.
    pub fn text(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string(&self.card)?;
        for row in &self.rows {
            write!(text, "\n{}", serde_json::to_string(row)?)?;
        }
        text.push('\n');
        Ok(text)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// What is broken, with the line and the cure: splits that share a seed or a model, another version of the question.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{name} cannot be read: make one with `accel-trainer questions`"))?;
        Self::parse(&text).with_context(|| format!("{name} is refused"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        const ANEW: &str = "Make it anew with `accel-trainer questions`";
        let mut lines = text.lines().enumerate();
        let (_, card) = lines.next().with_context(|| format!("line 1: the card is missing. {ANEW}"))?;
        let card: Card = serde_json::from_str(card).with_context(|| format!("line 1: it is no card. {ANEW}"))?;
        ensure!(
            card.version == VERSION,
            "line 1: version {} of the question, and this is {VERSION}. {ANEW}",
            card.version
        );
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut seeds = BTreeMap::from([(SEED, "what is measured")]);
        for source in &card.sources {
            let name = source.split.name();
            ensure!(seen.insert(name), "line 1: {name} is there twice. {ANEW}");
            if let Some(other) = seeds.insert(source.seed, name) {
                bail!("line 1: {name} and {other} share the seed {}. {ANEW}, of other seeds", source.seed);
            }
        }
        for (at, source) in card.sources.iter().enumerate() {
            let others = card.sources[..at].iter().flat_map(|other| &other.models);
            let measured = measured();
            if let Some(model) = others.chain(&measured).find(|model| source.models.contains(model)) {
                bail!(
                    "line 1: {} shares the model {model} with another split or what is measured. {ANEW}, without it",
                    source.split
                );
            }
        }
        let mut rows = Vec::new();
        let mut splits: BTreeMap<String, (Split, usize)> = BTreeMap::new();
        for (at, line) in lines {
            let row: Row =
                serde_json::from_str(line).with_context(|| format!("line {}: it is no question. {ANEW}", at + 1))?;
            let refuse = |problem: String| anyhow::anyhow!("line {}: {problem}. {ANEW}", at + 1);
            let source = card.sources.iter().find(|source| source.split == row.split);
            if row.version != VERSION || source.is_none_or(|source| source.seed != row.seed) {
                return Err(refuse("its version, split or seed is not the card's".into()));
            }
            if row.question.trim().is_empty() || row.counts.iter().all(|count| *count == 0) {
                return Err(refuse("a question without words or answers".into()));
            }
            let (split, first) = *splits.entry(format!("{} {}", row.seed, row.workload)).or_insert((row.split, at + 1));
            if split != row.split {
                return Err(refuse(format!("its workload is of the {split} split at line {first}")));
            }
            rows.push(row);
        }
        let whole = Self { card, rows };
        for (split, _) in SEEDS {
            ensure!(!whole.of(split).is_empty(), "it has no questions of the {split} split: it is cut off. {ANEW}");
        }
        Ok(whole)
    }
}

/// Makes the questions into a file, and tells `out` how many there are.
///
/// # Errors
/// Where it cannot be written.
pub fn write(path: &Path, out: &mut dyn std::io::Write) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    let data = DataSet::make(&AMOUNTS, |what| bar.set_message(what.to_owned()));
    bar.finish_and_clear();
    let shown = path.display();
    std::fs::write(path, data.text()?).with_context(|| format!("cannot write {shown}: name another file"))?;
    let [training, validation] = [Split::Training, Split::Validation].map(|split| data.of(split).len());
    writeln!(out, "{shown}: {training} questions to learn from, {validation} to tell how well that went")?;
    Ok(())
}

/// The published models that are measured.
fn measured() -> Vec<String> {
    let shapes: Vec<ModelConfig> = points().filter_map(|point| point.row.models().ok()).flatten().collect();
    let among = |preset: &&Preset| preset.config().is_ok_and(|config| shapes.contains(&config));
    PRESETS.iter().filter(among).map(|preset| preset.name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use accel_core::trace::testing::trace;

    use super::*;

    const FEW: Amounts = Amounts { training: 1, validation: 1, questions: 3 };

    #[test]
    fn labels_cut_off_by_the_end_are_left_out() {
        // Every question is of its own size.
        let counted = counted(&trace(&[8, 64, 512], &[0, 1, 0, 1, 1, 2]));
        let all: u64 = counted.iter().flat_map(|(_, counts)| counts).sum();
        assert_eq!(all, 3, "{counted:?}");
        assert_eq!(counted[0].1, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        // So much is left that nothing but the last digit is possible.
        let order: Vec<u32> = std::iter::once(0).chain(std::iter::repeat_n(1, 65_537)).collect();
        assert_eq!(super::counted(&trace(&[8, 64], &order))[0].1[9], 1);
        assert!(super::counted(&trace(&[8, 64], &order[..65_530])).iter().all(|(_, counts)| counts[9] == 0));
    }

    #[test]
    fn families_and_workloads_weigh_alike_and_the_file_is_read_again() {
        let data = DataSet::make(&FEW, |_| ());
        assert_eq!(data.rows.len(), 2 * 3 * workloads::families().len());
        assert_eq!(data.of(Split::Training).len(), data.of(Split::Validation).len());
        let text = data.text().unwrap();
        assert_eq!(DataSet::parse(&text).unwrap(), data);
        assert_eq!(DataSet::make(&FEW, |_| ()), data);
    }

    #[test]
    fn broken_files_are_refused_with_place_and_cure() {
        let row = |split, seed, workload: &str| Row {
            version: VERSION,
            question: "q: ".into(),
            counts: [1; 10],
            workload: workload.into(),
            split,
            seed,
        };
        let source = |split, seed, model: &str| Source { split, seed, models: vec![model.into()] };
        let sources = vec![source(Split::Training, 5, "a"), source(Split::Validation, 6, "b")];
        let rows = vec![row(Split::Training, 5, "x"), row(Split::Validation, 6, "x")];
        let good = DataSet { card: Card { version: VERSION, sources }, rows };
        assert!(DataSet::parse(&good.text().unwrap()).is_ok());
        let refused = |edit: &dyn Fn(&mut DataSet)| {
            let mut data = good.clone();
            edit(&mut data);
            let error = format!("{:#}", DataSet::parse(&data.text().unwrap()).unwrap_err());
            assert!(error.contains("Make it anew"), "{error}");
            error
        };
        assert!(refused(&|data| data.card.version = 1).contains("line 1: version 1 of the question"));
        let shared = refused(&|data| data.card.sources[1].seed = 5);
        assert!(shared.contains("validation and training share the seed 5"), "{shared}");
        assert!(refused(&|data| data.card.sources[0].seed = SEED).contains("training and what is measured share"));
        assert!(refused(&|data| data.card.sources[1].models = vec!["a".into()]).contains("shares the model a"));
        assert!(
            refused(&|data| data.card.sources[1].models = vec!["gpt2-large".into()]).contains("the model gpt2-large")
        );
        assert!(refused(&|data| data.rows[1].seed = 5).contains("line 3: its version, split or seed"));
        assert!(refused(&|data| data.rows[0].counts = [0; 10]).contains("line 2: a question without"));
        assert!(refused(&|data| data.rows.truncate(1)).contains("cut off"));
        let text = good.text().unwrap();
        for length in [0, 5, text.len() - 20] {
            let error = format!("{:#}", DataSet::parse(&text[..length]).unwrap_err());
            assert!(error.contains("line ") && error.contains("Make it anew"), "{error}");
        }
    }

    /// The network that is shipped, its points and these questions come from different seeds.
    #[test]
    fn seeds_differ() {
        let seeds: BTreeSet<u64> =
            SEEDS.iter().map(|(_, seed)| *seed).chain([SEED, crate::embedded::SHIPPED.seed]).collect();
        assert_eq!(seeds.len(), 4);
    }
}
