//! What a language model's answers are worth: on questions that it did not learn from, and as predictions of `ml-reuse`
//! beside the scorers that are shipped; and what they cost.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use accel_core::policy::PolicyKind;
use accel_core::score::prompt::{self, Questions};
use accel_core::score::{BuiltIn, Scorer, Scores};
use accel_core::trace::Trace;
use accel_model::{DeviceKind, LocalModel};
use anyhow::Context as _;
use indicatif::ProgressBar;

use super::batches::Reader;
use super::open;
use crate::eval::measure::{Unit, by_scores, measure as evaluate};
use crate::points::{Point, points};
use crate::questions::{DataSet, Split};

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub struct MeasureArgs {
    /// The model: a GGUF file of Llama architecture
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// An adapter for it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Questions, as `questions` makes them: those for validation are asked
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// At most so many of these, spread over the file
    #[arg(long, value_name = "N", default_value_t = usize::MAX)]
    pub most: usize,
    /// A point of docs/evaluation.md, such as "decode gpt2-large 500 MB"; may be repeated
    #[arg(long, value_name = "POINT")]
    pub point: Vec<String>,
    /// Where to compute
    #[arg(long, default_value_t)]
    pub device: DeviceKind,
}

/// Questions that are asked at once.
const ASKED: usize = 64;

/// A model that answers questions.
struct Asked {
    model: LocalModel,
    /// Tokens of all questions so far, each prefix once.
    tokens: usize,
    seconds: f64,
}

impl Asked {
    /// The probabilities of the digits, as they are served, and how likely any digit was, one row for each question.
    fn ask(&mut self, questions: &[&str]) -> anyhow::Result<Vec<([f64; 10], f64)>> {
        let tokenizer = self.model.tokenizer();
        let reader = Reader::new(&tokenizer)?;
        let bar = ProgressBar::new(questions.len() as u64);
        let began = Instant::now();
        let mut answers = Vec::with_capacity(questions.len());
        for part in questions.chunks(ASKED) {
            let prompt = reader.prompt(part.iter().copied())?;
            self.tokens += prompt.items.iter().map(Vec::len).sum::<usize>();
            for logs in self.model.score(&prompt, &|| false)? {
                let mass: f64 = logs.iter().map(|log| f64::from(*log).exp()).sum();
                let mut digits = [0.0; 10];
                for (digit, log) in digits.iter_mut().zip(&logs) {
                    *digit = f64::from(*log).exp() / mass;
                }
                answers.push((digits, mass));
            }
            bar.inc(part.len() as u64);
        }
        bar.finish_and_clear();
        self.seconds += began.elapsed().as_secs_f64();
        Ok(answers)
    }
}

/// Prints the table of what `args` name.
///
/// # Errors
/// What is wrong with the model, the questions or a point, with the cure.
pub fn measure(args: &MeasureArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let points = args.point.iter().map(|name| find(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut asked = Asked { model: open(&args.model, args.adapter.clone(), args.device)?, tokens: 0, seconds: 0.0 };
    asked.model.warm_up()?;
    if let Some(path) = &args.data {
        held_out(&DataSet::read(path)?, args.most, &mut asked, out)?;
    }
    if !points.is_empty() {
        writeln!(out, "| objects / bytes | questions | tokens | seconds | lirs | history | embedded | this model |")?;
        writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    }
    for point in &points {
        line(point, &mut asked, out)?;
    }
    Ok(())
}

/// Cross-entropies on the questions for validation.
fn held_out(data: &DataSet, most: usize, asked: &mut Asked, out: &mut dyn Write) -> anyhow::Result<()> {
    let all = data.of(Split::Validation);
    let rows: Vec<_> = all.iter().step_by(all.len().div_ceil(most.max(1))).collect();
    let questions: Vec<&str> = rows.iter().map(|row| row.question.as_str()).collect();
    let answers = asked.ask(&questions)?;
    let (mut loss, mut mass, mut least) = (0.0, 0.0, 0.0);
    for (row, (digits, of_digits)) in rows.iter().zip(&answers) {
        let logs = row.shares().into_iter().zip(digits).map(|(share, p)| f64::from(share) * p.max(1e-30).ln());
        (loss, mass, least) = (loss - logs.sum::<f64>(), mass + of_digits, least + row.entropy());
    }
    let n = rows.len() as f64;
    let uniform = 10f64.ln();
    writeln!(
        out,
        "{n} questions of workloads never seen: cross-entropy {:.3}, all digits alike {uniform:.3}, least possible {:.3}",
        loss / n,
        least / n
    )?;
    writeln!(
        out,
        "mass of the digits {:.3}; {:.2} questions/s, {:.1} tokens each",
        mass / n,
        n / asked.seconds,
        asked.tokens as f64 / n
    )?;
    Ok(())
}

/// The point of a name.
fn find(name: &str) -> anyhow::Result<Point> {
    points().find(|point| point.name() == name).with_context(|| {
        let names: Vec<String> = points().map(|point| format!("{:?}", point.name())).collect();
        format!("no point {name:?}. Name one of {}", names.join(", "))
    })
}

/// The line of a point.
fn line(point: &Point, asked: &mut Asked, out: &mut dyn Write) -> anyhow::Result<()> {
    let trace = point.row.trace(point.place.capacity_bytes)?;
    (asked.tokens, asked.seconds) = (0, 0.0);
    let (questions, scores) = scores(&trace, asked)?;
    let ours = by_scores(&point.row.workload()?, point.place, &trace, scores)?;
    let known = evaluate(point)?;
    let cell = |cost: &dyn Fn(Unit) -> Option<u64>| {
        [Unit::Objects, Unit::Bytes].map(|unit| show(known.gap(unit, cost(unit)))).join(" / ")
    };
    let reuse = |scorer: BuiltIn| cell(&|unit| known.cost(PolicyKind::MlReuse, Some(scorer.name()), unit));
    writeln!(
        out,
        "| {} | {questions} | {} | {:.0} | {} | {} | {} | {} |",
        point.name(),
        asked.tokens,
        asked.seconds,
        cell(&|unit| known.cost(PolicyKind::Lirs, None, unit)),
        reuse(BuiltIn::History),
        reuse(BuiltIn::Embedded),
        cell(&|unit| ours.get(unit)),
    )?;
    Ok(())
}

fn show(gap: Option<f64>) -> String {
    gap.map_or_else(|| "-".to_owned(), |gap| format!("{gap:.2}"))
}

/// How many questions `trace` asks, and a score for each access.
fn scores(trace: &Trace, asked: &mut Asked) -> anyhow::Result<(usize, Scores)> {
    let questions = Questions::of(trace);
    let lines: Vec<&str> = questions.items.iter().map(String::as_str).collect();
    let answers: Vec<f64> = asked.ask(&lines)?.iter().map(|(digits, _)| prompt::score(digits)).collect();
    Ok((answers.len(), Scores { values: questions.of_accesses(&answers)?.into(), scorer: Scorer::Local }))
}
