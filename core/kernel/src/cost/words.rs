//! What takes the time, in words.

use super::demand::Demands;
use super::target::Target;
use super::time::Parts;
use super::vector::Vector;
use crate::cache::Misses;
use crate::report::OptLevel;
use accel_ground::units::format_bytes;

/// More lines are not listed one by one.
const MOST_LINES: usize = 6;

/// What the sentences are made of.
pub(super) struct Facts<'a> {
    pub(super) demands: &'a Demands,
    pub(super) parts: &'a Parts,
    pub(super) launch: f64,
    pub(super) seconds: f64,
    pub(super) misses: &'a [Misses],
    pub(super) target: &'a Target,
    pub(super) opt: OptLevel,
}

/// What takes most of the time.
enum Bound {
    Launch,
    Compute,
    Nearest,
    Loops,
    Branches,
    Below(usize),
    Latency,
    Nothing,
}

/// Milliseconds, or what suits.
pub(super) fn format_seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s if s >= 1e-6 => format!("{:.2} µs", s * 1e6),
        s => format!("{:.2} ns", s * 1e9),
    }
}

/// What takes the time, and what would help.
pub(super) fn bottleneck(facts: &Facts) -> String {
    let bound = bound(facts);
    let (kind, what, seconds) = named(facts, &bound);
    if let Bound::Nothing = bound {
        return "Nothing takes time: no loop runs, nothing is computed and nothing moves.".into();
    }
    let (seconds, all) = (format_seconds(seconds), format_seconds(facts.seconds));
    let intensity = intensity(facts).map(|text| format!(" {text}")).unwrap_or_default();
    format!(
        "{kind}: {what} {seconds} of {all}, some of it at the same time as other parts.{intensity} {}",
        advice(facts, &bound)
    )
}

fn bound(facts: &Facts) -> Bound {
    let parts = facts.parts;
    let mut candidates = vec![
        (facts.launch, Bound::Launch),
        (parts.compute + parts.operators[1], Bound::Compute),
        (parts.nearest, Bound::Nearest),
        (parts.loops, Bound::Loops),
        (parts.branches, Bound::Branches),
        (parts.latency, Bound::Latency),
    ];
    candidates.extend((0..facts.target.below.len()).map(|i| (below(facts, i), Bound::Below(i))));
    let longest = candidates.into_iter().filter(|(seconds, _)| *seconds > 0.0);
    longest.max_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(Bound::Nothing, |(_, bound)| bound)
}

/// What a memory takes: operators know the last one alone.
fn below(facts: &Facts, i: usize) -> f64 {
    let last = i + 1 == facts.target.below.len();
    let own = facts.parts.traffic.get(i).copied().unwrap_or_default();
    own + if last { facts.parts.operators[2] } else { 0.0 }
}

fn named(facts: &Facts, bound: &Bound) -> (&'static str, String, f64) {
    let parts = facts.parts;
    match bound {
        Bound::Launch => ("Bound by launches", "starting kernels takes".into(), facts.launch),
        Bound::Compute => ("Compute-bound", "arithmetic takes".into(), parts.compute + parts.operators[1]),
        Bound::Nearest => {
            ("Bound by loads and stores", "moving elements to and from registers takes".into(), parts.nearest)
        }
        Bound::Loops => ("Bound by loop overhead", "loop counters and integer arithmetic take".into(), parts.loops),
        Bound::Branches => ("Bound by branches", "conditions and their mispredictions take".into(), parts.branches),
        Bound::Latency => ("Latency-bound", "waiting for single lines takes".into(), parts.latency),
        Bound::Below(i) => {
            let name = facts.target.below.get(*i).map_or("memory", |below| below.name.as_str());
            ("Memory-bound", format!("{name} takes"), below(facts, *i))
        }
        Bound::Nothing => ("", String::new(), 0.0),
    }
}

/// Where the kernel stands under the roof of the memory below all caches.
fn intensity(facts: &Facts) -> Option<String> {
    let flops = facts.demands.all.flops.0.value();
    let (moved, below) = (facts.demands.all.traffic.last()?, facts.target.below.last()?);
    let peak = super::peak(facts.demands, facts.target);
    let ridge = peak / (below.gb_s? * 1e9);
    let known = flops > 0.0 && *moved > 0.0 && ridge.is_finite();
    known.then(|| format!("{:.2} FLOP per byte of {} against a ridge of {ridge:.1}.", flops / moved, below.name))
}

fn advice(facts: &Facts, bound: &Bound) -> String {
    match bound {
        Bound::Below(i) => match facts.misses.get(*i) {
            Some(level) => traffic(level),
            None => String::new(),
        },
        Bound::Compute | Bound::Nearest | Bound::Loops
            if facts.opt == OptLevel::O0 && facts.target.core().is_some() =>
        {
            "Compile with optimisation: without it every scalar lives in memory and every subscript is computed.".into()
        }
        Bound::Compute if facts.demands.all.stall > facts.demands.all.compute => {
            "Divisions, special functions or sums that wait for themselves take more than the rest of the arithmetic: \
             several partial sums or fewer divisions would help."
                .into()
        }
        Bound::Compute | Bound::Nearest | Bound::Loops => match scalar(facts) {
            Some((line, reason)) => {
                format!(
                    "The loop in line {line} does not work on vectors, because {reason}; if it did, that would help."
                )
            }
            None if matches!(bound, Bound::Nearest) => {
                "Keeping elements in registers from one iteration to the next (blocking for registers) would help."
                    .into()
            }
            None => "It is near what the machine computes: fewer operations or a smaller type of elements would help."
                .into(),
        },
        Bound::Branches => "A sum or a choice without a branch, or sorted data, would help.".into(),
        Bound::Latency => "Addresses that are known before (sorted or packed indices) would help.".into(),
        Bound::Launch => "One larger kernel instead of several small ones would help.".into(),
        Bound::Nothing => String::new(),
    }
}

/// What would spare traffic.
fn traffic(level: &Misses) -> String {
    let (compulsory, capacity) = (level.compulsory.value(), level.capacity.value());
    if capacity > compulsory {
        let share = (100.0 * capacity / (capacity + compulsory)).floor();
        let size = format_bytes(level.capacity_bytes);
        return format!(
            "{share:.0} % of the lines come again after they had to leave: loops in blocks that fit into {size} would \
             spare most of them."
        );
    }
    "Most lines come only once: only fewer or smaller elements would help, or more work on each while it is here."
        .into()
}

/// The innermost loop that is left without vectors and costs the most.
fn scalar(facts: &Facts) -> Option<(u32, &'static str)> {
    let lines = &facts.demands.lines;
    let cost = |line: u32| lines.get(&line).map_or(0.0, |demand| demand.runs);
    let scalar = facts.demands.vectors.iter().filter_map(|(line, vector)| match vector {
        Vector::No(reason) => Some((*line, *reason)),
        Vector::Of(_) => None,
    });
    scalar.max_by(|(a, _), (b, _)| cost(*a).total_cmp(&cost(*b)))
}

/// How operators were priced.
pub(super) fn operators(demands: &Demands, target: &Target) -> Option<String> {
    let chip = target.chip.as_ref().filter(|_| !demands.operators.is_empty())?;
    let measured = if chip.is_measured() {
        "constants fitted to measurements on it"
    } else {
        "constants fitted to measurements on other GPUs"
    };
    Some(format!(
        "operators are priced one after the other by tiles, waves and bytes, with {measured} (docs/kernel.md)"
    ))
}

/// What the optimisation level was taken to do, and where.
pub(super) fn optimisations(demands: &Demands, target: &Target, opt: OptLevel) -> Vec<String> {
    let mut out = Vec::new();
    if target.core().is_none() {
        out.push(match opt {
            OptLevel::O0 => "O0: scalars live in memory; everything else is up to the device".into(),
            _ => format!("{opt:?}: scalars live in registers; everything else is up to the device"),
        });
        return out;
    }
    out.push(match opt {
        OptLevel::O0 => {
            "O0: scalars and loop counters live in memory, subscripts are computed, nothing is fused or in vectors"
                .into()
        }
        OptLevel::O1 => {
            "O1: scalars live in registers, addresses are stepped, additions fuse with multiplications".into()
        }
        OptLevel::O2 if target.compiler.is_none() => {
            "O2: as O1, and innermost loops work on vectors where they can, as clang makes them; the range holds GCC, which \
             makes fewer"
                .into()
        }
        OptLevel::O2 => "O2: as O1, and innermost loops work on vectors where they can".into(),
        OptLevel::O3 => "O3: as O2, and innermost loops are unrolled four times".into(),
    });
    out.extend(demands.strides.notes.iter().take(MOST_LINES).cloned());
    if opt < OptLevel::O2 {
        return out;
    }
    for (line, vector) in demands.vectors.iter().take(MOST_LINES) {
        out.push(match vector {
            Vector::Of(element) => {
                let lanes = target.core().map_or(1.0, |core| super::target::lanes(core, *element));
                format!("line {line}: a loop takes {lanes} elements at a time")
            }
            Vector::No(reason) => format!("line {line}: a loop takes one element at a time, because {reason}"),
        });
    }
    if demands.vectors.len() > MOST_LINES {
        out.push(format!("{} more innermost loops are not listed", demands.vectors.len() - MOST_LINES));
    }
    out
}
