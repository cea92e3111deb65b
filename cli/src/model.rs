//! `accel kernel --model`: what the operators of a model take, one by one.

use std::io::Write;

use accel_core::import::Format;
use accel_core::import::input::Input;
use accel_core::memory::device::DeviceRef;
use accel_price::{PriceList, Priced, Question};
use anyhow::bail;
use clap::Args;

use crate::progress::Bar;
use crate::source::ModelArgs;
use crate::table::{numbers, print_json};

/// More operators are left to `--json`.
const MOST_OPERATORS: usize = 60;

#[derive(Debug, Args)]
pub(crate) struct Model {
    #[command(flatten)]
    source: ModelArgs,
    /// The layer of the model, counted from 0; without it all of them, and what stands outside.
    #[arg(long, value_name = "N")]
    layer: Option<u32>,
    /// The part of the model's run, such as prefill or decode; without it all parts.
    #[arg(long, value_name = "NAME")]
    phase: Option<String>,
}

impl Model {
    /// The model that is asked about, if it is no source code: a file of a graph is one by its name.
    pub(crate) fn named(&self, file: Option<&str>) -> anyhow::Result<Option<String>> {
        let graph = file.filter(|file| Format::Onnx.info().has_extension(file));
        let model = self.source.model.as_deref().or(graph).map(str::to_owned);
        if model.is_none() {
            self.source.refuse_fields()?;
            for (flag, given) in [("layer", self.layer.is_some()), ("phase", self.phase.is_some())] {
                if given {
                    bail!("--{flag} belongs to --model: name one, or leave it out");
                }
            }
        }
        Ok(model)
    }

    /// Prices the operators of `model`.
    pub(crate) fn run(
        &self,
        model: &str,
        device: Option<DeviceRef>,
        json: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let recipe = self.source.recipe(model)?;
        let file = self.source.content(&recipe)?;
        let input = file.as_ref().map(|(name, bytes)| Input::new(name, bytes));
        let question = Question { workload: recipe.workload, layer: self.layer, phase: self.phase.clone(), device };
        let list = question.answer(input.as_ref(), &mut Bar::new())?;
        if json { print_json(&list, out) } else { print(model, &list, out) }
    }
}

/// Milliseconds with as many digits as say something.
pub(crate) fn ms(ms: f64) -> String {
    if ms == 0.0 {
        "0".into()
    } else if ms < 0.001 {
        format!("{ms:.2e}")
    } else {
        format!("{ms:.4}")
    }
}

fn print(model: &str, list: &PriceList, out: &mut dyn Write) -> anyhow::Result<()> {
    let [low, high] = list.latency_range_ms.map(ms);
    writeln!(out, "{model} on {}: {} ms, from {low} to {high} ms.", list.device, ms(list.latency_ms))?;
    let row = |own: &Priced| {
        let [low, high] = own.range_ms.map(ms);
        let share = if list.latency_ms > 0.0 { 100.0 * own.ms / list.latency_ms } else { 0.0 };
        [
            format!("{} {}", own.phase, own.name).trim().to_owned(),
            own.class.clone(),
            own.sizes.clone(),
            own.runs.to_string(),
            own.limit.clone(),
            ms(own.ms),
            format!("{low} to {high}"),
            format!("{share:.1}"),
        ]
    };
    let header = ["operator", "priced as", "sizes", "runs", "bound by", "ms", "between", "% of all"];
    writeln!(out, "{}", numbers(header, list.operators.iter().take(MOST_OPERATORS).map(row)))?;
    if list.operators.len() > MOST_OPERATORS {
        let rest = list.operators.iter().skip(MOST_OPERATORS);
        writeln!(out, "{} more operators, {} ms: see --json.", rest.clone().count(), ms(rest.map(|own| own.ms).sum()))?;
    }
    for advice in &list.advice {
        writeln!(out, "Would help: {}: {} ms, {:.2} times as fast.", advice.change, ms(advice.ms), advice.factor)?;
    }
    writeln!(out, "Assumptions:")?;
    for assumption in &list.assumptions {
        writeln!(out, "- {assumption}")?;
    }
    Ok(())
}
