//! `accel kernel --model`: what the operators of a model take, one by one.

use std::collections::BTreeSet;
use std::io::Write;

use accel_core::import::Format;
use accel_core::import::input::Input;
use accel_core::memory::device::DeviceRef;
use accel_core::recipe::default_seed;
use accel_core::trace::Op;
use accel_core::workload::plan::listing::{Form, Listed, Listing};
use accel_kernel::list::{Item, PriceList, Priced, price};
use accel_kernel::nest::Element;
use accel_kernel::operator::{Class, Operator, Product, Rows};
use anyhow::bail;
use clap::Args;

use crate::progress::Bar;
use crate::source::ModelArgs;
use crate::table::{numbers, print_json};

/// The device where nobody asks for another: the one that models run on everywhere here.
const DEVICE: &str = "h100-sxm";
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
        let listing = recipe.workload.list((default_seed(), self.layer), input.as_ref(), &mut Bar::new())?;
        let items = self.items(&listing)?;
        let device = device.unwrap_or_else(|| DeviceRef::Known(DEVICE.to_owned()));
        let mut list = price(&items, &device)?;
        list.assumptions.extend(listing.notes);
        if json { print_json(&list, out) } else { print(model, &list, out) }
    }

    /// The operators of the part of the run that is asked for.
    fn items(&self, listing: &Listing) -> anyhow::Result<Vec<Item>> {
        let wanted = |own: &&Listed| self.phase.as_deref().is_none_or(|phase| phase == own.phase);
        let items: Vec<Item> = listing.operators.iter().filter(wanted).map(item).collect();
        match &self.phase {
            Some(phase) if items.is_empty() => {
                let phases: BTreeSet<&str> = listing.operators.iter().map(|own| own.phase).collect();
                let phases: Vec<&str> = phases.into_iter().filter(|phase| !phase.is_empty()).collect();
                match phases[..] {
                    [] => bail!("--phase {phase}: the run of this model has one part. Leave the flag out"),
                    _ => bail!("--phase {phase}: there is no such part. Choose one of {}", phases.join(", ")),
                }
            }
            _ => Ok(items),
        }
    }
}

/// An operator of a model as one of a library.
fn item(own: &Listed) -> Item {
    let element = element(own.bits);
    let (class, sizes, operations) = match own.form {
        Form::Product { batch, m, n, k } => {
            let product = Product { batch: batch as f64, m: m as f64, n: n as f64, k: k as f64 };
            let class = if batch > 1 { Class::Bmm(product) } else { Class::Linear(product) };
            let of = if batch > 1 { format!("{batch} of ") } else { String::new() };
            (class, format!("{of}{m} x {n} x {k}"), 0.0)
        }
        Form::Chain { rows, width } => {
            // As many columns as make the FLOPs: pairs that are masked are no work.
            let (m, k) = (rows as f64, width as f64);
            let n = if m * k > 0.0 { own.flops / (2.0 * m * k) } else { 0.0 };
            let product = Product { batch: 1.0, m, n, k };
            match own.op {
                Op::Attention => (Class::Attention(product), format!("{rows} x {n:.0} x {width}"), 0.0),
                _ => (Class::Linear(product), format!("{rows} x {n:.0} x {width}"), 0.0),
            }
        }
        Form::Rows { rows, columns } => {
            let elements = rows as f64 * columns as f64;
            let shape = Rows { rows: rows as f64, columns: columns as f64 };
            let class = match own.op {
                Op::Norm => Class::Norm(shape),
                Op::Softmax | Op::Gating => Class::Softmax(shape),
                Op::Embedding => Class::Gather { bytes: columns as f64 * own.bits as f64 / 8.0 },
                Op::Pool => Class::Reduction,
                _ => Class::Elementwise,
            };
            // Of what works on elements, no work is known but that there is one operation for each.
            (class, format!("{rows} x {columns}"), own.flops.max(elements))
        }
    };
    let operator = Operator {
        class,
        element,
        read_bytes: own.read_bytes as f64,
        written_bytes: own.written_bytes as f64,
        operations,
    };
    let name = format!("{} {}", own.op.name(), own.name);
    Item { phase: own.phase.to_owned(), name, sizes, operator, runs: own.times }
}

/// The type of elements of that width: of models, widths say enough.
fn element(bits: u64) -> Element {
    match bits {
        0..=8 => Element::I8,
        9..=16 => Element::Bf16,
        17..=32 => Element::F32,
        _ => Element::F64,
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
