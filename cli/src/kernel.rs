//! `accel kernel`: what source code costs.

use std::collections::BTreeMap;
use std::io::{Read as _, Write};

use accel_core::units::{format_bytes, format_joules};
use accel_kernel::nest::Element;
use accel_kernel::predict;
use accel_kernel::report::{
    AccessReport, Compiler, GridReport, Language, LineCost, OperatorCost, OptLevel, Report, Request, define, level,
};
use accel_kernel::source::MAX_BYTES;
use anyhow::{Context as _, bail};
use clap::Args;

use crate::flags::one_of;
use crate::model::{Model, ms};
use crate::progress::Bar;
use crate::source::device_ref;
use crate::table::{numbers, print_json};

/// More operators are left to `--json`.
const MOST_OPERATORS: usize = 40;

#[derive(Debug, Args)]
pub(crate) struct Kernel {
    /// The source: a C, Python or StableHLO file, or - for standard input; or an ONNX graph.
    #[arg(value_name = "FILE", required_unless_present = "model", conflicts_with = "model")]
    file: Option<String>,
    /// The value of a parameter, such as N=1024; may be given several times.
    #[arg(long = "define", value_name = "NAME=VALUE", allow_hyphen_values = true)]
    defines: Vec<String>,
    /// The shape of an array, such as `a: f32[M,K]`; may be given several times.
    #[arg(long = "shape", value_name = "SHAPE")]
    shapes: Vec<String>,
    /// The function or class to look at, such as f, Net or Net.forward; needed if there are several that nothing else uses.
    #[arg(long, visible_alias = "entry", value_name = "NAME")]
    function: Option<String>,
    /// The device: its name or a JSON file that describes it; without it epyc-7452 for C and Python, and h100-sxm for CUDA,
    /// Triton and models.
    #[arg(long, value_name = "NAME|FILE")]
    device: Option<String>,
    /// A cache instead of the device's own, such as L1=32KiB; may be given several times, the nearest first.
    #[arg(long = "level", value_name = "NAME=SIZE")]
    levels: Vec<String>,
    /// Bytes of a cache line.
    #[arg(long, value_name = "BYTES")]
    line_bytes: Option<u64>,
    /// How the code is compiled.
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true, value_parser = one_of::<OptLevel>())]
    opt_level: Option<OptLevel>,
    /// Who compiles C: at O2, clang makes vectors, and GCC few; without it the range holds both.
    #[arg(long, value_name = "NAME", value_parser = one_of::<Compiler>())]
    compiler: Option<Compiler>,
    /// Add the backward pass: the gradients of what array operations in Python compute.
    #[arg(long)]
    backward: bool,
    /// Caches hold what the run before left: what fits is not fetched.
    #[arg(long)]
    warm: bool,
    /// Cores that share loops marked as parallel (`#pragma omp parallel for`, `prange`).
    #[arg(long, value_name = "COUNT")]
    cores: Option<u32>,
    /// How much work the misses of caches may take, in lines touched (about 10 ns each); beyond it they are sampled.
    #[arg(long, value_name = "LINES")]
    budget: Option<u64>,
    /// The type of elements where nobody says, such as f64.
    #[arg(long, value_name = "TYPE")]
    element: Option<String>,
    /// How often a condition on data holds, from 0 to 1.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    probability: Option<f64>,
    /// The language; detected from the file's name, or else from the code, if left out.
    #[arg(long, value_name = "NAME", value_parser = one_of::<Language>())]
    language: Option<Language>,
    /// The blocks (Triton: programs) that a GPU kernel is launched with, such as 4096 or 64,64.
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = size)]
    grid: Option<Size>,
    /// The threads of a block, such as 256 or 16,16.
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = size)]
    block: Option<Size>,
    /// Registers of a thread, as the compiler reports them; without it they limit nothing.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(1..=255))]
    registers: Option<i64>,
    #[command(flatten)]
    model: Model,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A size along x, y and z.
type Size = [i64; 3];

/// Reads a size: `64,64`.
fn size(text: &str) -> Result<Size, String> {
    let mut size = [1; 3];
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > size.len() {
        return Err("give at most three numbers, for x, y and z".into());
    }
    for (own, part) in size.iter_mut().zip(parts) {
        let number = part.trim().parse().ok().filter(|number| (1..=i64::from(i32::MAX)).contains(number));
        *own = number.ok_or_else(|| format!("\"{part}\" is no number of blocks or threads; write 64,64"))?;
    }
    Ok(size)
}

/// Lines shown in the table, at most.
const SHOWN: usize = 10;

impl Kernel {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let json = self.json;
        if let Some(model) = self.model.named(self.file.as_deref())? {
            self.refuse_source_flags()?;
            let device = self.device.as_deref().map(device_ref).transpose()?;
            return self.model.run(&model, device, json, out);
        }
        let report = predict(&self.request()?, &mut Bar::new())?;
        if json { print_json(&report, out) } else { print(&report, out) }
    }

    /// Fails where a flag was given that says nothing of a model's operators.
    fn refuse_source_flags(&self) -> anyhow::Result<()> {
        let given = [
            ("define", !self.defines.is_empty()),
            ("shape", !self.shapes.is_empty()),
            ("function", self.function.is_some()),
            ("level", !self.levels.is_empty()),
            ("line-bytes", self.line_bytes.is_some()),
            ("opt-level", self.opt_level.is_some()),
            ("compiler", self.compiler.is_some()),
            ("backward", self.backward),
            ("warm", self.warm),
            ("cores", self.cores.is_some()),
            ("budget", self.budget.is_some()),
            ("element", self.element.is_some()),
            ("probability", self.probability.is_some()),
            ("language", self.language.is_some()),
            ("grid", self.grid.is_some()),
            ("block", self.block.is_some()),
            ("registers", self.registers.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => bail!("--{flag} says something of source code, and a model has none: leave it out"),
            None => Ok(()),
        }
    }

    fn request(self) -> anyhow::Result<Request> {
        let base = Request::default();
        let file = self.file.context("there is no source. Give a file, or --model")?;
        let mut defines: BTreeMap<String, i64> =
            self.defines.iter().map(|text| define(text)).collect::<Result<_, _>>()?;
        for (name, size) in [("gridDim", self.grid), ("blockDim", self.block)] {
            for (axis, number) in ["x", "y", "z"].into_iter().zip(size.into_iter().flatten()) {
                defines.insert(format!("{name}_{axis}"), number);
            }
        }
        defines.extend(self.registers.map(|count| ("registers_per_thread".to_owned(), count)));
        Ok(Request {
            code: read(&file)?,
            language: self.language.or_else(|| Language::of_file(&file)),
            function: self.function,
            defines,
            shapes: self.shapes,
            element: match &self.element {
                Some(name) => Element::named(name).with_context(|| {
                    format!("--element {name}: there is no such type. Give f64, f32, f16, bf16, i32 …")
                })?,
                None => base.element,
            },
            probability: self.probability.unwrap_or(base.probability),
            device: self.device.as_deref().map(device_ref).transpose()?,
            levels: match self.levels.is_empty() {
                true => None,
                false => Some(self.levels.iter().map(|text| level(text)).collect::<Result<_, _>>()?),
            },
            line_bytes: self.line_bytes,
            opt_level: self.opt_level.unwrap_or(base.opt_level),
            compiler: self.compiler,
            backward: self.backward,
            warm: self.warm,
            cores: self.cores.unwrap_or(base.cores),
            budget: self.budget.unwrap_or(base.budget),
        })
    }
}

/// The source; no more of it than is needed to see that it is too long.
fn read(file: &str) -> anyhow::Result<String> {
    let most = MAX_BYTES as u64 + 4;
    let mut bytes = Vec::new();
    match file {
        "-" => std::io::stdin().lock().take(most).read_to_end(&mut bytes).context("cannot read standard input")?,
        file => {
            let open = std::fs::File::open(file).with_context(|| format!("cannot read {file}"))?;
            open.take(most).read_to_end(&mut bytes).with_context(|| format!("cannot read {file}"))?
        }
    };
    let error = match String::from_utf8(bytes) {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    let valid = error.utf8_error().valid_up_to();
    if valid < MAX_BYTES {
        bail!("{file}: byte {valid} is not UTF-8. Convert the source to UTF-8");
    }
    // Too long, and cut within a character.
    Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn print(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let what = report.function.as_ref().map_or("The fragment".into(), |name| format!("The function {name}"));
    writeln!(out, "{what} on {} at {:?}. {}", report.device, report.opt_level, report.bottleneck)?;
    let [low, high] = report.latency_range_ms;
    let [low_j, high_j] = report.energy_range_j;
    writeln!(
        out,
        "Time: {} ms, from {} to {} ms. Energy: {}.",
        ms(report.latency_ms),
        ms(low),
        ms(high),
        format_joules(low_j, high_j)
    )?;
    if !report.parameters.is_empty() {
        let parameters = report.parameters.iter().map(|(name, value)| format!("{name} = {value}"));
        writeln!(out, "Parameters: {}.", parameters.collect::<Vec<_>>().join(", "))?;
    }
    print_features(report, out)?;
    if let Some(grid) = &report.grid {
        print_grid(grid, out)?;
    }
    print_levels(report, out)?;
    let parts = report.parts.iter().filter(|part| part.ms > 0.0).map(|part| [part.name.clone(), ms(part.ms)]);
    writeln!(out, "{}", numbers(["part, by itself", "ms"], parts))?;
    print_lines(report, out)?;
    print_operators(report, out)?;
    writeln!(out, "Assumptions:")?;
    for assumption in &report.assumptions {
        writeln!(out, "- {assumption}")?;
    }
    Ok(())
}

/// What each operator takes, and what would help.
fn print_operators(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let row = |own: &OperatorCost| {
        let [low, high] = own.range_ms.map(ms);
        [own.line.to_string(), own.name.clone(), own.limit.clone(), ms(own.ms), format!("{low} to {high}")]
    };
    if !report.operators.is_empty() {
        let rows = report.operators.iter().take(MOST_OPERATORS).map(row);
        writeln!(out, "{}", numbers(["line", "operator", "bound by", "ms", "between"], rows))?;
    }
    if report.operators.len() > MOST_OPERATORS {
        writeln!(out, "{} more operators: see --json.", report.operators.len() - MOST_OPERATORS)?;
    }
    for advice in &report.advice {
        writeln!(out, "Would help: {}: {} ms, {:.2} times as fast.", advice.change, ms(advice.ms), advice.factor)?;
    }
    Ok(())
}

fn print_features(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let features = &report.features;
    let rows = [
        ("num_loops", features.num_loops.to_string()),
        ("num_branches", features.num_branches.to_string()),
        ("load_ops", features.load_ops.text()),
        ("store_ops", features.store_ops.text()),
        ("flops", features.flops.text()),
        ("int_ops", features.int_ops.text()),
        ("mem_bytes", features.mem_bytes.text()),
    ];
    let row = |(name, count): (&str, String)| {
        let form = report.closed_forms.get(name).cloned().unwrap_or_default();
        let share = report.feature_importance.get(name).copied().unwrap_or_default();
        [name.to_owned(), count, form, ms(share)]
    };
    writeln!(out, "{}", numbers(["feature", "count", "closed form", "ms due to it"], rows.map(row)))?;
    Ok(())
}

/// Blocks, warps and what they ask of the memories.
fn print_grid(grid: &GridReport, out: &mut dyn Write) -> anyhow::Result<()> {
    let by = |size: [u64; 3]| size.map(|n| n.to_string()).join(" x ");
    writeln!(
        out,
        "Grid: {} blocks ({}) of {} threads ({}), {} warps each; a block computes {:.0} FLOPs and names {}.",
        grid.blocks,
        by(grid.grid),
        grid.threads,
        by(grid.block),
        grid.warps_per_block,
        grid.flops_per_block,
        format_bytes(grid.bytes_per_block as u64),
    )?;
    let share = grid.coalescing.map(|share| format!(", {:.0} % of them used", 100.0 * share)).unwrap_or_default();
    writeln!(
        out,
        "Global memory: {} named, {} moved in sectors of 32 bytes{share} ({}).",
        format_bytes(grid.global_bytes.value() as u64),
        format_bytes(grid.global_sector_bytes.value() as u64),
        grid.method,
    )?;
    if let Some(shared) = &grid.shared {
        let conflicts = shared.wavefronts.value() / shared.without_conflicts.value().max(1.0);
        writeln!(
            out,
            "Shared memory: {} for each block; bank conflicts make its accesses take {conflicts:.2} times as long.",
            format_bytes(shared.bytes_per_block),
        )?;
    }
    if let Some(own) = &grid.occupancy {
        let registers = own.registers_per_thread.map_or_else(
            || "registers are not stated and limit nothing".to_owned(),
            |registers| format!("{registers} registers for each thread"),
        );
        writeln!(
            out,
            "Occupancy: {:.0} % ({} blocks, {} warps on each of {} processors), limited by {}; {registers}.",
            100.0 * own.share,
            own.blocks_per_processor,
            own.warps_per_processor,
            own.processors,
            own.limit,
        )?;
    }
    let row = |access: &AccessReport| {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        [
            format!("{}:{}", access.line, access.column),
            format!("{} {}", if access.write { "store" } else { "load" }, access.array),
            access.requests.text(),
            figure(access.sectors_per_request),
            figure(access.efficiency),
            figure(access.bank_conflict_ways),
        ]
    };
    let header = ["at", "access", "requests", "sectors each", "share used", "conflict ways"];
    let rows = grid.accesses.iter().take(4 * SHOWN).map(row);
    writeln!(out, "{}", numbers(header, rows))?;
    Ok(())
}

fn print_levels(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let rows = report.levels.iter().map(|level| {
        let range = level.capacity_misses_range.map(|[low, high]| format!(" ({low:.0} to {high:.0})"));
        [
            format!("{}, {}", level.name, format_bytes(level.capacity_bytes)),
            level.accesses.text(),
            level.compulsory_misses.text(),
            format!("{}{}", level.capacity_misses.text(), range.unwrap_or_default()),
            format_bytes(level.bytes.value() as u64),
            format_bytes(level.written_bytes.value() as u64),
        ]
    });
    let header = ["cache", "accesses", "compulsory misses", "capacity misses", "brought in", "written back"];
    writeln!(out, "{}", numbers(header, rows))?;
    for level in &report.levels {
        writeln!(out, "{}: {}.", level.name, level.method)?;
    }
    Ok(())
}

/// The lines that take most of the time, in the order of the source.
fn print_lines(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut lines: Vec<&LineCost> = report.lines.iter().collect();
    lines.sort_by(|a, b| b.share.total_cmp(&a.share));
    lines.truncate(SHOWN);
    lines.sort_by_key(|line| line.line);
    let rows = lines.iter().map(|line| {
        let misses = line.misses.iter().map(|count| count.text()).collect::<Vec<_>>().join(" / ");
        [
            line.line.to_string(),
            line.runs.text(),
            line.load_ops.text(),
            line.store_ops.text(),
            line.flops.text(),
            misses,
            format!("{:.1}", 100.0 * line.share),
        ]
    });
    writeln!(out, "{}", numbers(["line", "runs", "loads", "stores", "FLOPs", "misses", "% of time"], rows))?;
    Ok(())
}
