//! What each line of a program asks of the machine, in seconds at the machine's peak.

use std::collections::BTreeMap;

use super::fresh;
use super::operators::{self, SPECIAL};
use super::stride::Strides;
use super::target::{Target, Unit, lanes};
use super::vector::{self, Vector};
use crate::cache::Misses;
use crate::count::{Counts, NodeCount};
use crate::expr::Symbol;
use crate::nest::{Access, At, Branch, Condition, Element, Library, Loop, Node, Program, Work};
use crate::operator::{Operator, Price};
use crate::report::{Count, OptLevel};

/// Instructions per iteration: add and compare with the branch, as one; without optimisation the counter is loaded,
/// changed, stored, loaded again and compared.
const ROUND: [f64; 4] = [5.0, 2.0, 2.0, 2.0];
/// What reaching an element takes where nothing is kept in registers: the array's address and each subscript are
/// loaded, and each subscript is multiplied and added (what compilers write at O0).
const ADDRESS_LOADS: f64 = 1.0;
const SUBSCRIPT_OPS: f64 = 2.0;
/// How often clang copies a small loop's body (LLVM's loop unroller, and GCC with -funroll-loops: 4 or 8).
const UNROLL: f64 = 4.0;
/// Cycles from a store to a load of the same element, where scalars live in memory and nobody says for the core (Agner Fog: 4
/// to 8 on x86).
const FORWARD_CYCLES: f64 = 5.0;

/// How much longer random accesses take where nothing is kept in registers: instructions between them leave less room for
/// others (a Skylake-SP took 2.5 to 3.5 times as long; `benches/machine`).
const CROWDED: f64 = 2.5;

/// What something asks of the machine, in seconds at its peak.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Demand {
    /// How often it runs.
    pub(super) runs: f64,
    /// What was counted.
    pub(super) load_ops: Sum,
    /// What was counted.
    pub(super) store_ops: Sum,
    /// What was counted.
    pub(super) flops: Sum,
    /// FLOPs in plain code.
    pub(super) compute: f64,
    /// What divisions, special functions and results waited for add to it.
    pub(super) stall: f64,
    /// FLOPs in libraries.
    pub(super) library: f64,
    /// Loads.
    pub(super) loads: f64,
    /// Those of them that a compiler may make once for all rounds of the innermost loop.
    pub(super) kept: f64,
    /// Stores.
    pub(super) stores: f64,
    /// Loop counters and integer arithmetic.
    pub(super) loops: f64,
    /// Conditions, and what they cost where mispredicted.
    pub(super) branches: f64,
    /// Slots to start the arithmetic, the loads and the stores.
    pub(super) issue: [f64; 3],
    /// Bytes to and from what lies below each level.
    pub(super) traffic: Vec<f64>,
    /// Waiting for what lies below, where addresses come from data and one miss follows the other.
    pub(super) latency: f64,
    /// Waiting for lines to store into, which become visible in their order.
    pub(super) ordered: f64,
    /// Looking up translations of addresses.
    pub(super) walks: f64,
    /// Operators, and how often each runs: they are all of the time of what they stand for.
    pub(super) operators: Vec<(Price, f64)>,
    /// Whether something here is no operator.
    pub(super) rest: bool,
}

/// An operator of the program.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Priced {
    /// The line.
    pub(super) line: u32,
    /// What it is called, if it is a call.
    pub(super) name: Option<String>,
    /// What it does.
    pub(super) operator: Operator,
    /// Arrays that it reads.
    pub(super) reads: Vec<usize>,
    /// Arrays that it writes.
    pub(super) writes: Vec<usize>,
    /// What it takes each time, in seconds.
    pub(super) price: Price,
    /// How often it runs.
    pub(super) runs: f64,
}

/// A sum of counts, whole as long as it can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sum(pub(super) Count);

impl Default for Sum {
    fn default() -> Self {
        Self(Count::Whole(0))
    }
}

impl Sum {
    pub(super) fn add(&mut self, count: Count) {
        self.0 = match (self.0, count) {
            (Count::Whole(a), Count::Whole(b)) if a.checked_add(b).is_some() => Count::Whole(a + b),
            (a, b) => Count::Real(a.value() + b.value()),
        };
    }
}

impl Demand {
    fn add(&mut self, other: &Self) {
        self.runs = self.runs.max(other.runs);
        self.load_ops.add(other.load_ops.0);
        self.store_ops.add(other.store_ops.0);
        self.flops.add(other.flops.0);
        let pairs = [
            (&mut self.compute, other.compute),
            (&mut self.stall, other.stall),
            (&mut self.library, other.library),
            (&mut self.loads, other.loads),
            (&mut self.kept, other.kept),
            (&mut self.stores, other.stores),
            (&mut self.loops, other.loops),
            (&mut self.branches, other.branches),
            (&mut self.latency, other.latency),
            (&mut self.ordered, other.ordered),
            (&mut self.walks, other.walks),
        ];
        for (own, other) in pairs.into_iter().chain(self.issue.iter_mut().zip(other.issue)) {
            *own += other;
        }
        self.operators.extend(&other.operators);
        self.rest |= other.rest;
        self.traffic.resize(self.traffic.len().max(other.traffic.len()), 0.0);
        for (own, other) in self.traffic.iter_mut().zip(&other.traffic) {
            *own += other;
        }
    }
}

/// What a program asks, line by line.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Demands {
    /// By line of the source.
    pub(super) lines: BTreeMap<u32, Demand>,
    /// All together.
    pub(super) all: Demand,
    /// What takes time beside operators: as above, without what moves for operators.
    pub(super) timed: Demand,
    /// Operators, in order.
    pub(super) operators: Vec<Priced>,
    /// Kernels that are started, on a device that computes as a whole.
    pub(super) launches: f64,
    /// The widest type of floating-point elements.
    pub(super) element: Option<Element>,
    /// Bytes that loads and stores move, and those of them in libraries.
    pub(super) bytes: [f64; 2],
    /// FLOPs by the type of the elements they work on.
    pub(super) flops: Vec<(Element, f64)>,
    /// Bytes that are written in whole lines and not fetched first, by line of the source.
    pub(super) fresh: BTreeMap<u32, f64>,
    /// Whether libraries compute something.
    pub(super) library: bool,
    /// Which innermost loops became vectors, or why not.
    pub(super) vectors: Vec<(u32, Vector)>,
    /// What strides cost on a core.
    pub(super) strides: Strides,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy)]
struct Inside {
    /// Elements in a vector; one where there are no vectors.
    lanes: f64,
    /// The type of the elements around, where a step names none.
    element: Element,
    /// Whether it is part of an operator, which has its price.
    priced: bool,
}

struct Walk<'a> {
    program: &'a Program,
    counts: &'a Counts,
    target: &'a Target,
    opt: OptLevel,
    /// Whether GCC compiles it.
    gcc: bool,
    next: usize,
    values: Vec<i64>,
    /// Lines with accesses whose subscripts come from data.
    indirect: BTreeMap<u32, f64>,
    /// Steps of the program itself that are operators.
    top: usize,
    /// Variables of the loops around.
    around: Vec<Symbol>,
    out: Demands,
}

/// What `program` asks of `target`.
pub(super) fn demands(
    program: &Program,
    counts: &Counts,
    misses: &[Misses],
    target: &Target,
    (opt, gcc): (OptLevel, bool),
) -> Demands {
    let values = program.values();
    let out = Demands::default();
    let mut walk = Walk {
        program,
        counts,
        target,
        opt,
        gcc,
        next: 0,
        values,
        indirect: BTreeMap::new(),
        top: 0,
        around: Vec::new(),
        out,
    };
    let element = program.arrays.iter().map(|array| array.element).max_by_key(|element| element.bytes());
    walk.nodes(&program.body, Inside { lanes: 1.0, element: element.unwrap_or(Element::F32), priced: false });
    if target.core().is_none() {
        walk.out.fresh = fresh::bytes(program, &program.values());
    }
    walk.traffic(misses);
    let Walk { mut out, top, .. } = walk;
    // Operators have their own start.
    let kernels = program.body.iter().filter(|node| matches!(node, Node::Loop(_) | Node::Library(_))).count();
    out.launches = kernels.saturating_sub(top) as f64;
    for line in out.lines.values() {
        out.all.add(line);
        let mut timed = line.clone();
        if !line.operators.is_empty() && !line.rest {
            timed.traffic = Vec::new();
            timed.latency = 0.0;
        }
        out.timed.add(&timed);
    }
    out
}

impl Walk<'_> {
    fn nodes(&mut self, body: &[Node], inside: Inside) {
        for node in body {
            let Some(count) = self.counts.nodes.get(self.next).copied() else { return };
            self.next += 1;
            match node {
                Node::Loop(l) => self.rounds(l, &count, inside),
                Node::Branch(branch) => self.branch(branch, &count, inside),
                Node::Work(work) => self.work(work, &count, inside),
                Node::Library(library) => self.library(library, &count),
            }
        }
    }

    /// Adds to the line at `at`.
    fn add(&mut self, at: At, count: &NodeCount, mut demand: Demand) {
        demand.runs = count.runs.value();
        demand.load_ops.add(count.load_ops);
        demand.store_ops.add(count.store_ops);
        demand.flops.add(count.flops);
        self.out.lines.entry(at.line).or_default().add(&demand);
    }

    fn cycle(&self) -> f64 {
        self.target.core().map_or(0.0, |core| 1e-9 / core.clock_ghz)
    }

    fn rounds(&mut self, l: &Loop, count: &NodeCount, inside: Inside) {
        if let Ok(lower) = l.lower.value(&self.values)
            && let Some(value) = self.values.get_mut(l.var.0 as usize)
        {
            *value = lower;
        }
        let mut inner = Inside { lanes: 1.0, ..inside };
        if !inside.priced
            && let Some(operator) = self.nest(l)
        {
            inner.priced = true;
            let runs = self.entries(l, count);
            self.price(None, operator, runs, l.at);
        }
        let innermost = !l.body.iter().any(|node| matches!(node, Node::Loop(_) | Node::Library(_)));
        let mut demand = Demand::default();
        if let Some(core) = self.target.core() {
            if innermost {
                self.out.strides.add(self.program, l, &mut self.values, self.target, count.runs.value());
            }
            let mut instructions = ROUND.get(self.opt as usize).copied().unwrap_or_default();
            if innermost && self.opt >= OptLevel::O2 {
                let mut vector = vector::of(self.program, l, &mut self.values);
                if let Vector::Of(element) = vector
                    && self.gcc
                    && self.opt == OptLevel::O2
                    && !vector::divides(l, lanes(core, element))
                {
                    vector = Vector::No("GCC does not know at O2 that vectors divide its rounds");
                }
                if let Vector::Of(element) = vector {
                    inner.lanes = lanes(core, element);
                }
                self.out.vectors.push((l.at.line, vector));
            }
            if innermost && self.opt == OptLevel::O3 {
                instructions /= UNROLL;
            }
            demand.loops = count.runs.value() * instructions / (core.issue * inner.lanes) * self.cycle();
        }
        self.add(l.at, count, demand);
        self.around.push(l.var);
        self.nodes(&l.body, inner);
        self.around.pop();
    }

    /// The operator that a loop nest is, on a device that works as a whole.
    fn nest(&self, l: &Loop) -> Option<operators::Own> {
        // Inside a loop, only what each round repeats on the same arrays, such as a step in time.
        let alone = !self.around.iter().any(|var| operators::mentions(&l.body, *var));
        self.target.chip.as_ref().filter(|_| alone).and_then(|_| operators::of_nest(self.program, l, &self.values))
    }

    /// How often a loop is begun: its iterations over those of each time.
    fn entries(&self, l: &Loop, count: &NodeCount) -> f64 {
        let value = |expr: &crate::expr::Expr| expr.value(&self.values).map_or(0.0, |value| value as f64);
        let rounds = ((value(&l.upper) - value(&l.lower)) / value(&l.step)).ceil();
        if rounds >= 1.0 { count.runs.value() / rounds } else { 0.0 }
    }

    /// Adds an operator that runs so often.
    fn price(&mut self, name: Option<&str>, own: operators::Own, runs: f64, at: At) {
        let Some(chip) = &self.target.chip else { return };
        let operators::Own { operator, reads, writes } = own;
        self.top += usize::from(self.around.is_empty());
        // Arithmetic on registers is part of the call that it follows.
        if operator.bytes() == 0.0
            && let Some(before) = self.out.operators.last_mut().filter(|before| before.line == at.line)
            && let Some(line) = self.out.lines.get_mut(&at.line)
        {
            before.operator.operations += operator.operations * runs / before.runs.max(1.0);
            before.price = chip.price(&before.operator);
            if let Some((price, _)) = line.operators.last_mut() {
                *price = before.price;
            }
            return;
        }
        let price = chip.price(&operator);
        self.out.lines.entry(at.line).or_default().operators.push((price, runs));
        let name = name.map(str::to_owned);
        self.out.operators.push(Priced { line: at.line, name, operator, reads, writes, price, runs });
    }

    fn branch(&mut self, branch: &Branch, count: &NodeCount, inside: Inside) {
        let mut demand = Demand::default();
        if let Some(core) = self.target.core() {
            // With outcomes that do not depend on each other, the best a predictor can do is to foretell the likelier.
            let p = chance(&branch.condition);
            let wrong = p.min(1.0 - p) * core.mispredict_cycles.unwrap_or_default();
            demand.branches = count.runs.value() * (2.0 / core.issue + wrong) * self.cycle();
        }
        self.add(branch.at, count, demand);
        let inside = Inside { lanes: 1.0, ..inside };
        self.nodes(&branch.then, inside);
        self.nodes(&branch.otherwise, inside);
    }

    fn element(&self, accesses: &[Access]) -> Option<Element> {
        let elements = accesses.iter().filter_map(|access| self.program.arrays.get(access.array)).map(|a| a.element);
        elements.max_by_key(|element| (element.is_float(), element.bytes()))
    }

    fn flops(&mut self, element: Element, flops: f64) {
        if flops > 0.0 {
            let widest = self.out.element.is_none_or(|widest| element.bytes() > widest.bytes());
            self.out.element = if widest { Some(element) } else { self.out.element };
            match self.out.flops.iter_mut().find(|(known, _)| *known == element) {
                Some((_, sum)) => *sum += flops,
                None => self.out.flops.push((element, flops)),
            }
        }
    }

    fn work(&mut self, work: &Work, count: &NodeCount, inside: Inside) {
        let element = self.element(&work.accesses).unwrap_or(inside.element);
        for access in work.accesses.iter().filter(|access| access.index.is_none()) {
            // Of lines next to each other the first is waited for: the others come ahead of their turn.
            let together = vector::together(self.program, access, &self.values, self.around.last().copied());
            let first = (self.target.line_bytes as f64 / together).min(1.0);
            let own = self.indirect.entry(access.at.line).or_insert(first);
            *own = own.max(first);
        }
        self.flops(element, count.flops.value());
        let runs = count.runs.value();
        // Without optimisation scalars live in memory.
        let spilled = if self.opt == OptLevel::O0 { work.scalars } else { Default::default() };
        let subscripts: usize = work.accesses.iter().flat_map(|access| &access.index).map(Vec::len).sum();
        let (accesses, subscripts) = match self.target.unit {
            Unit::Core(_) if self.opt == OptLevel::O0 => (work.accesses.len() as f64, subscripts as f64),
            _ => (0.0, 0.0),
        };
        let found = runs * (ADDRESS_LOADS * accesses + subscripts);
        let loads = count.load_ops.value() + runs * f64::from(spilled.reads) + found;
        let stores = count.store_ops.value() + runs * f64::from(spilled.writes);
        let size = element.bytes() as f64;
        self.out.bytes[0] += count.mem_bytes.value() + runs * size * f64::from(spilled.reads + spilled.writes);
        let mut demand = Demand { rest: !inside.priced, ..Demand::default() };
        match &self.target.unit {
            Unit::Whole { .. } if inside.priced => {}
            Unit::Core(core) => {
                let cycle = self.cycle();
                let flops = work.flops;
                let fused = if self.opt == OptLevel::O0 { 0 } else { flops.add.min(flops.mul) };
                let simple = f64::from(flops.add) + f64::from(flops.mul) - f64::from(fused) + f64::from(flops.min_max);
                let divisions = f64::from(flops.div) + f64::from(flops.sqrt);
                let slots = (simple + divisions + f64::from(flops.special)) / inside.lanes;
                let busy = slots / core.pipes;
                let divide = divisions * (core.divide_cycles.unwrap_or(0.0) - 1.0 / core.pipes / inside.lanes).max(0.0);
                let special = f64::from(flops.special) * (SPECIAL - 1.0) / core.pipes / inside.lanes;
                // One result after the other: the sum of the last iteration must be there before the next can be added.
                let forward = core.forward_cycles.unwrap_or(FORWARD_CYCLES);
                let forward = if self.opt == OptLevel::O0 { forward } else { 0.0 };
                let chained = work.carried && simple + divisions > 0.0;
                let apart = self.gcc && core.sums_apart;
                let result = if fused > 0 && !apart { core.fma_cycles } else { core.add_cycles };
                let chain = if chained { (result + forward - busy).max(0.0) } else { 0.0 };
                demand.compute = runs * busy * cycle;
                demand.stall = runs * (divide + special).max(chain) * cycle;
                demand.loads = loads / (core.loads * inside.lanes) * cycle;
                demand.kept = runs * self.unmoved(work) / (core.loads * inside.lanes) * cycle;
                demand.stores = stores / (core.stores * inside.lanes) * cycle;
                // Subscripts are computed without optimisation; with it, addresses are stepped by the loop.
                let integer = self.opt == OptLevel::O0 || !element.is_float();
                let integer_ops = if integer { f64::from(work.integer_ops) / inside.lanes } else { 0.0 };
                let integer_ops = integer_ops + SUBSCRIPT_OPS * subscripts;
                demand.loops = runs * integer_ops / core.issue * cycle;
                let start = cycle / core.issue;
                demand.issue = [runs * slots * start, loads / inside.lanes * start, stores / inside.lanes * start];
            }
            Unit::Whole { load_store, .. } => {
                let uneven = self.target.uneven;
                let tensor = self.target.tensor_lines.contains(&work.at.line);
                let peak = if tensor { self.target.matrix_peak(element) } else { self.target.vector_peak(element) };
                demand.compute = uneven * count.flops.value() / peak;
                if let Some(rate) = load_store {
                    // By their share of the bytes: a node's loads and stores mostly have one type.
                    let each = if loads + stores > 0.0 {
                        (count.mem_bytes.value() + runs * size * f64::from(spilled.reads + spilled.writes))
                            / (loads + stores)
                    } else {
                        0.0
                    };
                    let each = each * self.target.widened * uneven;
                    (demand.loads, demand.stores) = (loads * each / rate, stores * each / rate);
                }
            }
        }
        self.add(work.at, count, demand);
    }

    /// How many elements it reads that are the same in all rounds of the loop around.
    fn unmoved(&self, work: &Work) -> f64 {
        let Some(var) = self.around.last().filter(|_| self.opt > OptLevel::O0) else { return 0.0 };
        let stays = |access: &&Access| {
            !access.write && access.index.as_ref().is_some_and(|index| !index.iter().any(|index| index.mentions(*var)))
        };
        work.accesses.iter().filter(stays).count() as f64
    }

    fn library(&mut self, library: &Library, count: &NodeCount) {
        let flops = count.flops.value();
        self.flops(library.element, flops);
        self.out.bytes[0] += count.mem_bytes.value();
        self.out.bytes[1] += count.mem_bytes.value();
        let operator = self.target.chip.as_ref().and_then(|_| operators::of_library(library, &self.values));
        self.out.library |= count.runs.value() > 0.0;
        let demand = match operator {
            Some(operator) => {
                self.price(Some(&library.name), operator, count.runs.value(), library.at);
                Demand::default()
            }
            None => {
                let library = flops / self.target.matrix_peak(library.element);
                Demand { library, rest: true, ..Demand::default() }
            }
        };
        self.add(library.at, count, demand);
    }

    /// Spreads the traffic of each level over the lines that cause it.
    fn traffic(&mut self, misses: &[Misses]) {
        let mut above = 0.0;
        for (i, (level, below)) in misses.iter().zip(&self.target.below).enumerate() {
            // What is found here is not waited for further down. Where a latency is unknown, it is that of the level
            // before.
            let latency = below.latency_ns.unwrap_or(above).max(above);
            let lines = level.compulsory.value() + level.capacity.value();
            let spared =
                self.out.fresh.values().sum::<f64>().min(level.compulsory.value() * self.target.line_bytes as f64);
            let bytes = (lines + level.write_backs.value()) * self.target.line_bytes as f64 - spared;
            let known: f64 = level.by_line.iter().map(|(_, count)| count.value()).sum();
            for (line, count) in &level.by_line {
                let demand = self.out.lines.entry(*line).or_default();
                demand.traffic.resize(misses.len(), 0.0);
                if let Some(own) = demand.traffic.get_mut(i)
                    && known > 0.0
                {
                    *own = bytes * count.value() / known;
                }
                if let Some(first) = self.indirect.get(line) {
                    let crowded = if self.opt == OptLevel::O0 { CROWDED } else { 1.0 };
                    demand.latency += crowded * first * count.value() * (latency - above) * 1e-9;
                }
                let conflicts = self.out.strides.conflicts.get(line).and_then(|own| own.get(i));
                let [misses, stores] = conflicts.copied().unwrap_or_default();
                if misses > count.value()
                    && let Some(own) = demand.traffic.get_mut(i)
                {
                    let share = 1.0 - count.value() / misses;
                    *own += share * (misses + stores) * self.target.line_bytes as f64;
                }
                if let Some(scattered) = self.out.strides.scattered.get(line) {
                    demand.ordered += count.value().max(stores).min(*scattered) * (latency - above) * 1e-9;
                }
            }
            above = latency;
        }
        let page = self.target.below.first().and_then(|below| below.latency_ns).unwrap_or_default();
        for (line, walks) in &self.out.strides.walks {
            self.out.lines.entry(*line).or_default().walks = walks * page * 1e-9;
        }
    }
}

/// How likely the condition holds as far as data decide; what loop variables decide is predicted.
fn chance(condition: &Condition) -> f64 {
    match condition {
        Condition::Compare(..) => 1.0,
        Condition::Chance(p) => *p,
        Condition::And(a, b) => chance(a) * chance(b),
        Condition::Or(a, b) => match (&**a, &**b) {
            (Condition::Compare(..), other) | (other, Condition::Compare(..)) => chance(other),
            (a, b) => 1.0 - (1.0 - chance(a)) * (1.0 - chance(b)),
        },
        Condition::Not(a) => match &**a {
            Condition::Compare(..) => 1.0,
            a => 1.0 - chance(a),
        },
    }
}
