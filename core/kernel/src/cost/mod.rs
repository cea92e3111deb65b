//! Time and energy of a program on a machine: a roofline with a bandwidth for each memory, instructions of a core, and
//! what is known of efficiencies. What it is made of, and how far off it may be, is stated in `docs/kernel.md`.

pub(crate) mod advice;
mod demand;
mod energy;
mod fresh;
mod operators;
mod shapley;
mod stride;
mod target;
mod time;
mod vector;
mod words;

use std::collections::BTreeMap;

pub(super) use target::Target;

use self::demand::{Demand, Demands, demands};
use self::time::{ALL, FEATURES, Luck, Parts};
use super::cache::Misses;
use super::count::Counts;
use super::nest::{Element, Node, Program};
use super::report::{Advice, Compiler, Count, LevelReport, LineCost, OperatorCost, OptLevel, Part, Roof, Roofline};

/// What a program costs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cost {
    /// Time in ms: at least, as expected, at most.
    pub(super) ms: [f64; 3],
    /// Energy in J: at least, at most.
    pub(super) joules: [f64; 2],
    /// See [`super::report::Report`].
    pub(super) feature_importance: BTreeMap<String, f64>,
    /// See [`super::report::Report`].
    pub(super) levels: Vec<LevelReport>,
    /// See [`super::report::Report`].
    pub(super) bottleneck: String,
    /// See [`super::report::Report`].
    pub(super) parts: Vec<Part>,
    /// See [`super::report::Report`].
    pub(super) roofline: Roofline,
    /// See [`super::report::Report`].
    pub(super) lines: Vec<LineCost>,
    /// See [`super::report::Report`].
    pub(super) operators: Vec<OperatorCost>,
    /// See [`super::report::Report`].
    pub(super) advice: Vec<Advice>,
    /// What was assumed.
    pub(super) assumptions: Vec<String>,
}

/// Beginning and ending to share a loop, in ms: at least, as expected, at most. An assumption; EPCC's microbenchmarks of
/// OpenMP find microseconds, more of them with more cores.
const SHARING_MS: [f64; 3] = [0.0, 0.002, 0.02];

impl Cost {
    /// Takes the time of `busiest`, one of several cores that begin to share a loop so often.
    pub(super) fn take_time(&mut self, busiest: Self, begun: f64) {
        let alone = self.ms[1];
        self.ms = busiest.ms;
        for (own, each) in self.ms.iter_mut().zip(SHARING_MS) {
            *own += begun * each;
        }
        if self.ms[1] > 0.0 {
            self.roofline.gflop_s *= alone / self.ms[1];
        }
        self.bottleneck = busiest.bottleneck;
        self.parts = busiest.parts;
        self.parts.push(Part { name: "sharing".to_owned(), ms: begun * SHARING_MS[1] });
        self.feature_importance = busiest.feature_importance;
    }
}

/// What `program`, of which `counts` and `misses` are known, costs on `target`.
pub(super) fn cost(program: &Program, counts: &Counts, misses: &[Misses], target: &Target, opt: OptLevel) -> Cost {
    let gcc = target.compiler == Some(Compiler::Gcc);
    let demands = demands(program, counts, misses, target, (opt, gcc));
    let usual = Parts::of(&demands.timed, target, Luck::Usual, ALL);
    let launch = time::usual_launch(&demands, target);
    let mut seconds = time::time(&demands, target);
    if target.compiler.is_none() && target.core().is_some() && opt == OptLevel::O2 {
        // Nobody said who compiles.
        let others = self::demands(program, counts, misses, target, (opt, true));
        seconds[2] = seconds[2].max(time::time(&others, target)[2]);
    }
    let facts = words::Facts { demands: &demands, parts: &usual, launch, seconds: seconds[1], misses, target, opt };
    let bottleneck = words::bottleneck(&facts);
    let energy = energy::energy(&demands, misses, target);
    let mut assumptions = words::optimisations(&demands, target, opt);
    assumptions.push(
        "energy is that of moving data and of arithmetic: instructions, leakage and idle parts are not in it".into(),
    );
    if special(&program.body) {
        assumptions.push(format!("a special function is taken as {} multiplications", operators::SPECIAL));
    }
    assumptions.extend(words::operators(&demands, target));
    let advice = target.chip.as_ref().map(|chip| advice::advice(program, &demands.operators, chip, seconds[1]));
    Cost {
        operators: operators(&demands),
        advice: advice.unwrap_or_default(),
        ms: seconds.map(|s| s * 1e3),
        joules: [energy.low_j, energy.high_j],
        feature_importance: importance(&demands.timed, target),
        levels: levels(counts, misses, &demands.fresh, target),
        bottleneck,
        parts: parts(&usual, launch, target),
        roofline: roofline(&demands, seconds[1], target),
        lines: lines(&demands, misses, target),
        assumptions,
    }
}

fn operators(demands: &Demands) -> Vec<OperatorCost> {
    let cost = |own: &demand::Priced| {
        let class = own.operator.class.name();
        OperatorCost {
            line: own.line,
            name: own.name.clone().unwrap_or_else(|| class.to_owned()),
            class: class.to_owned(),
            element: own.operator.element,
            runs: own.runs,
            ms: own.runs * own.price.expected * 1e3,
            range_ms: [own.price.least, own.price.most].map(|seconds| own.runs * seconds * 1e3),
            limit: own.price.limit().name().to_owned(),
            bytes: own.operator.bytes(),
            operations: own.operator.all_operations(),
        }
    };
    demands.operators.iter().map(cost).collect()
}

/// Whether the program calls a special function.
fn special(body: &[Node]) -> bool {
    body.iter().any(|node| match node {
        Node::Loop(l) => special(&l.body),
        Node::Branch(branch) => special(&branch.then) || special(&branch.otherwise),
        Node::Work(work) => work.flops.special > 0,
        Node::Library(_) => false,
    })
}

/// What each feature adds to the time in ms, on average over all orders of adding them.
fn importance(demand: &Demand, target: &Target) -> BTreeMap<String, f64> {
    let worth = |set| 1e3 * Parts::of(demand, target, Luck::Usual, set).overlapped();
    let values: [f64; FEATURES.len()] = shapley::values(worth);
    FEATURES.iter().map(|name| (*name).to_owned()).zip(values).collect()
}

fn levels(counts: &Counts, misses: &[Misses], fresh: &BTreeMap<u32, f64>, target: &Target) -> Vec<LevelReport> {
    let mut accesses = demand::Sum(counts.load_ops.count);
    accesses.add(counts.store_ops.count);
    let bytes = |lines: f64, whole: Option<u64>| match whole.and_then(|lines| lines.checked_mul(target.line_bytes)) {
        Some(bytes) => Count::Whole(bytes),
        None => Count::Real(lines * target.line_bytes as f64),
    };
    let report = |(level, misses): (&super::report::Level, &Misses)| {
        let mut lines = demand::Sum(misses.compulsory);
        lines.add(misses.capacity);
        let spared: f64 = fresh.values().sum::<f64>() / target.line_bytes as f64;
        if spared > 0.0 {
            let fetched = (lines.0.value() - spared.floor().min(misses.compulsory.value())).max(0.0);
            lines = demand::Sum(match lines.0 {
                Count::Whole(_) => Count::Whole(fetched as u64),
                Count::Real(_) => Count::Real(fetched),
            });
        }
        let whole = |count: Count| match count {
            Count::Whole(count) => Some(count),
            Count::Real(_) => None,
        };
        LevelReport {
            name: level.name.clone(),
            capacity_bytes: level.capacity_bytes,
            line_bytes: target.line_bytes,
            accesses: accesses.0,
            compulsory_misses: misses.compulsory,
            capacity_misses: misses.capacity,
            capacity_misses_range: misses.capacity_range,
            bytes: bytes(lines.0.value(), whole(lines.0)),
            written_bytes: bytes(misses.write_backs.value(), whole(misses.write_backs)),
            method: misses.method.clone(),
        }
    };
    target.levels.iter().zip(misses).map(report).collect()
}

fn parts(usual: &Parts, launch: f64, target: &Target) -> Vec<Part> {
    let [_, compute, memory] = usual.operators;
    let last = target.below.len().saturating_sub(1);
    let below = target.below.iter().enumerate().map(|(i, below)| {
        let own = usual.traffic.get(i).copied().unwrap_or_default();
        (below.name.as_str(), own + if i == last { memory } else { 0.0 })
    });
    let named = [("compute", usual.compute + compute), ("loads and stores", usual.nearest)].into_iter().chain(below);
    let rest = [("latency", usual.latency), ("loops", usual.loops), ("branches", usual.branches), ("launch", launch)];
    let part = |(name, seconds): (&str, f64)| Part { name: name.to_owned(), ms: seconds * 1e3 };
    named.chain(rest).map(part).collect()
}

/// The ceiling of arithmetic in FLOP/s: a library's, if there is one.
fn peak(demands: &Demands, target: &Target) -> f64 {
    let element = demands.element.unwrap_or(Element::F32);
    if demands.library { target.matrix_peak(element) } else { target.vector_peak(element) }
}

fn roofline(demands: &Demands, seconds: f64, target: &Target) -> Roofline {
    let peak = peak(demands, target);
    let flops = demands.all.flops.0.value();
    let per_byte = |bytes: f64| (bytes > 0.0).then(|| flops / bytes);
    let nearest = target.levels.first().zip(target.nearest()).map(|(level, rate)| Roof {
        name: level.name.clone(),
        gb_s: rate / 1e9,
        // What a library keeps in registers is its own affair.
        flop_per_byte: per_byte(demands.bytes[0]).filter(|_| !demands.library),
    });
    let below = target.below.iter().zip(&demands.all.traffic).filter_map(|(below, bytes)| {
        Some(Roof { name: below.name.clone(), gb_s: below.gb_s?, flop_per_byte: per_byte(*bytes) })
    });
    Roofline {
        peak_gflop_s: peak.is_finite().then_some(peak / 1e9),
        gflop_s: if seconds > 0.0 { flops / seconds / 1e9 } else { 0.0 },
        roofs: nearest.into_iter().chain(below).collect(),
    }
}

/// Each line's share is that of the sum of its parts.
fn lines(demands: &Demands, misses: &[Misses], target: &Target) -> Vec<LineCost> {
    let own = |demand: &Demand| {
        let starts: f64 = demand.operators.iter().map(|(price, runs)| runs * price.start).sum();
        Parts::of(demand, target, Luck::Usual, ALL).sum() + starts
    };
    let all: f64 = demands.lines.values().map(own).sum();
    // By line and level, so that no line is looked for in a list.
    let missed: Vec<BTreeMap<u32, Count>> =
        misses.iter().map(|level| level.by_line.iter().copied().collect()).collect();
    let line = |(line, demand): (&u32, &Demand)| LineCost {
        line: *line,
        runs: if demand.runs.fract() == 0.0 && demand.runs < 2f64.powi(53) {
            Count::Whole(demand.runs as u64)
        } else {
            Count::Real(demand.runs)
        },
        load_ops: demand.load_ops.0,
        store_ops: demand.store_ops.0,
        flops: demand.flops.0,
        misses: missed.iter().map(|level| level.get(line).copied().unwrap_or(Count::Whole(0))).collect(),
        share: if all > 0.0 { own(demand) / all } else { 0.0 },
    };
    demands.lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
