//! `accel traffic`: DRAM traffic by the size of fast memory, of an operator or a model.

use std::io::Write;

use accel_core::import::input::Input;
use accel_core::recipe::Workload;
use accel_core::traffic::{Subject, Traffic as Question};
use accel_core::units::{format_bytes, parse_bytes};
use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args};
use serde_json::{Map, Value};

use crate::progress::Bar;
use crate::source::{ExperimentArgs, Source};
use crate::table::{numbers, print_json};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("operator").args(["gemm", "conv", "attention"]))]
pub(crate) struct Traffic {
    #[command(flatten)]
    source: Source,
    /// A matrix product of M x K and K x N elements, such as 1024x1024x1024 or 128x4096x4096,batch=8.
    #[arg(long, value_name = "MxNxK")]
    gemm: Option<String>,
    /// A convolution, such as height=56,width=56,channels=64,filters=64,size=3,stride=1,padding=1,groups=1,batch=1.
    #[arg(long, value_name = "KEY=VALUE,...")]
    conv: Option<String>,
    /// An attention, such as queries=4096,keys=4096,heads=32,kv_heads=8,head_dim=128,batch=1.
    #[arg(long, value_name = "KEY=VALUE,...")]
    attention: Option<String>,
    /// Number format of the operator's elements; float32 where left out.
    #[arg(long, value_name = "TYPE", requires = "operator")]
    dtype: Option<String>,
    /// Sizes of fast memory, separated by commas, such as 64KiB,1MiB; else doublings from 1 KiB to 64 MiB.
    #[arg(long, visible_alias = "capacities", value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true)]
    capacity: Vec<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV.
    #[arg(long)]
    csv: bool,
}

/// The sizes `m=1,n=2` of an operator as JSON, with its number format.
fn sizes(flag: &str, text: &str, dtype: Option<&str>) -> anyhow::Result<Value> {
    let mut sizes = Map::new();
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--{flag} {text}: \"{pair}\" is not KEY=VALUE");
        };
        let number: u64 =
            value.trim().parse().with_context(|| format!("--{flag} {text}: {key} is not a whole number"))?;
        if sizes.insert(key.trim().replace('-', "_"), number.into()).is_some() {
            bail!("--{flag} {text}: {key} is given twice. Give each key once");
        }
    }
    sizes.extend(dtype.map(|dtype| ("dtype".to_owned(), dtype.into())));
    Ok(sizes.into())
}

impl Traffic {
    /// The operator that the flags describe, if they describe one.
    fn operator(&self) -> anyhow::Result<Option<Subject>> {
        let dtype = self.dtype.as_deref();
        let read = |flag: &str, text: &str, of: Value| {
            let subject = serde_json::from_value::<Subject>(Value::Object(Map::from_iter([(flag.to_owned(), of)])));
            subject.with_context(|| format!("--{flag} {text} cannot be read"))
        };
        if let Some(text) = &self.gemm {
            let (sides, rest) = text.split_once(',').unwrap_or((text, ""));
            let [m, n, k] = sides.split(['x', 'X']).collect::<Vec<_>>()[..] else {
                bail!("--gemm {text}: not three sizes, such as 1024x1024x1024");
            };
            let rest = if rest.is_empty() { String::new() } else { format!(",{rest}") };
            return read("gemm", text, sizes("gemm", &format!("m={m},n={n},k={k}{rest}"), dtype)?).map(Some);
        }
        for (flag, text) in [("conv", &self.conv), ("attention", &self.attention)] {
            if let Some(text) = text {
                return read(flag, text, sizes(flag, text, dtype)?).map(Some);
            }
        }
        Ok(None)
    }

    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let capacities = self.capacity.iter().map(|capacity| parse_bytes("capacity", capacity));
        let capacities = capacities.collect::<Result<Vec<u64>, _>>()?;
        let (of, file) = match self.operator()? {
            Some(operator) => (operator, None),
            None => {
                let recipe = self.source.recipe(&ExperimentArgs::default())?;
                let file = match &recipe.workload {
                    Workload::Model(_) => self.source.content(&recipe)?,
                    _ => None,
                };
                (Subject::Workload(recipe.workload), file)
            }
        };
        let input = file.as_ref().map(|(name, bytes)| Input::new(name, bytes));
        let curve = Question { of, capacities }.curve(input.as_ref(), &mut Bar::new())?;
        if self.json {
            return print_json(&curve, out);
        }
        if self.csv {
            writeln!(out, "capacity_bytes,compulsory_bytes,bound_bytes,attained_bytes,ratio,mapping")?;
            for point in &curve.points {
                let least = &point.least;
                let mapping = point.mapping.as_deref().unwrap_or_default();
                let (compulsory, bound, attained) = (least.compulsory_bytes, least.bound_bytes, least.attained_bytes);
                writeln!(
                    out,
                    "{},{compulsory},{bound},{attained},{:.4},\"{mapping}\"",
                    point.capacity_bytes, point.ratio
                )?;
            }
            return Ok(());
        }
        let rows = curve.points.iter().map(|point| {
            [
                format_bytes(point.capacity_bytes),
                format_bytes(point.least.bound_bytes),
                format_bytes(point.least.attained_bytes),
                format!("{:.3}", point.ratio),
                point.mapping.clone().unwrap_or_else(|| "-".into()),
            ]
        });
        writeln!(out, "{}", numbers(["capacity", "at least", "attained", "attained / least", "mapping"], rows))?;
        let compulsory = curve.points.first().map_or(0, |point| point.least.compulsory_bytes);
        writeln!(out, "With every operand of every operator moved once: {}.", format_bytes(compulsory))?;
        Ok(())
    }
}
