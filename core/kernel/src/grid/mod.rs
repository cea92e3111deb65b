//! Kernels on a grid: what warps ask of the memories, how many blocks a processor holds, and the order in which the
//! threads of a block meet memory.

mod occupancy;
#[cfg(test)]
mod tests;
mod warp;

use super::expr::{Expr, Rounding, Symbol};
use super::nest::{Array, At, Axis, Branch, Condition, Grid, Loop, Node, Program, SymbolInfo, Work};
use super::normal::tidy;
use super::report::{AccessReport, Count, GridReport, SharedReport};
pub(crate) use warp::SECTOR_BYTES;

/// Bytes that a processor's load units pass per cycle: 32 lanes of 4 bytes (CUDA C++ Programming Guide: 32 banks of 32
/// bits; the L1 cache shares their path).
const WAVEFRONT_BYTES: f64 = 128.0;

/// What a kernel's warps do, and what that means for its time.
pub(crate) struct Facts {
    pub(crate) report: GridReport,
    /// Bytes that pass the load units for each byte that loads and stores name.
    pub(crate) widened: f64,
    /// How much longer the busiest processor works than the mean of all.
    pub(crate) uneven: f64,
}

/// Looks at the warps of `grid`, whose `program` counts so much in all. `registers` of a thread are a limit only where
/// somebody says how many there are.
pub(crate) fn facts(
    program: &Program,
    grid: &Grid,
    device: &str,
    registers: Option<i64>,
    flops: Count,
    bytes: Count,
) -> Facts {
    let values = program.values();
    let size = |axes: &[Axis]| -> [u64; 3] {
        let mut sizes = [1; 3];
        for axis in axes {
            let name = program.name(axis.symbol);
            let position = ["x", "y", "z"].iter().position(|axis| name.ends_with(axis)).unwrap_or_default();
            sizes[position] = axis.extent.value(&values).unwrap_or(1).max(0) as u64;
        }
        sizes
    };
    let (grid_size, block_size) = (size(&grid.blocks), size(&grid.threads));
    let blocks: u64 = grid_size.iter().fold(1, |all, size| all.saturating_mul(*size));
    let lanes: u64 = block_size.iter().product();
    let seen = warp::look(program, grid, blocks, lanes);
    let threads = grid.threads_per_block.map_or(lanes, |threads| threads.max(1) as u64);
    let block_size = if grid.threads_per_block.is_some() { [threads, 1, 1] } else { block_size };
    let shared_bytes = shared_bytes(program, grid);
    let stated = registers.or_else(|| grid.blocks_per_sm.map(|least| occupancy::most_registers(threads, least)));
    let occupancy = occupancy::of(device, threads, shared_bytes, stated);
    let sum = |of: &dyn Fn(&warp::Seen) -> f64, shared: bool| {
        seen.accesses.iter().filter(|own| own.shared == shared).map(of).sum::<f64>()
    };
    let sectors = sum(&|own| own.sectors, false);
    let requested = sum(&|own| own.bytes, false);
    let wavefronts = sum(&|own| own.wavefronts, true);
    let ideal = sum(&|own| own.ideal, true);
    let passes = sum(&|own| own.wavefronts, false) + wavefronts;
    let count = |value: f64| match seen.exact && value.fract() == 0.0 && value < 2f64.powi(53) {
        true => Count::Whole(value as u64),
        false => Count::Real(value),
    };
    let per_block = |value: f64| if blocks > 0 { value / blocks as f64 } else { 0.0 };
    let uneven = match &occupancy {
        Some(own) if blocks > 0 => {
            let each = blocks as f64 / own.processors as f64;
            each.ceil() / each
        }
        _ => 1.0,
    };
    let access = |own: &warp::Seen| AccessReport {
        line: own.at.line,
        column: own.at.column,
        array: program.arrays.get(own.array).map(|array| array.name.clone()).unwrap_or_default(),
        write: own.write,
        shared: own.shared,
        requests: count(own.requests),
        bytes: count(own.bytes),
        sectors: (!own.shared).then(|| count(own.sectors)),
        sectors_per_request: (!own.shared && own.requests > 0.0).then(|| own.sectors / own.requests),
        efficiency: (!own.shared && own.sectors > 0.0)
            .then(|| (own.distinct / (own.sectors * SECTOR_BYTES as f64)).min(1.0)),
        bank_conflict_ways: (own.shared && own.ideal > 0.0).then(|| own.wavefronts / own.ideal),
    };
    let report = GridReport {
        grid: grid_size,
        block: block_size,
        blocks,
        threads,
        warps_per_block: threads.div_ceil(warp::LANES as u64),
        flops_per_block: per_block(flops.value()),
        bytes_per_block: per_block(bytes.value()),
        global_bytes: count(requested),
        global_sectors: count(sectors),
        global_sector_bytes: count(sectors * SECTOR_BYTES as f64),
        coalescing: (sectors > 0.0)
            .then(|| (sum(&|own| own.distinct, false) / (sectors * SECTOR_BYTES as f64)).min(1.0)),
        shared: (shared_bytes > 0).then(|| SharedReport {
            bytes_per_block: shared_bytes,
            wavefronts: count(wavefronts),
            without_conflicts: count(ideal),
        }),
        occupancy,
        accesses: seen.accesses.iter().map(access).collect(),
        method: seen.method,
    };
    let widened = if bytes.value() > 0.0 { passes * WAVEFRONT_BYTES / bytes.value() } else { 1.0 };
    Facts { report, widened, uneven }
}

/// Bytes of shared memory of a block: those that the launch asks for, and the arrays that are not in them.
fn shared_bytes(program: &Program, grid: &Grid) -> u64 {
    let values = program.values();
    let asked = grid.dynamic.as_ref().and_then(|(bytes, arrays)| Some((bytes.value(&values).ok()?, arrays)));
    let apart = |number: &&usize| !asked.is_some_and(|(_, arrays)| arrays.contains(number));
    let bytes = |array: &Array| {
        array.dims.iter().fold(array.element.bytes(), |bytes, dim| {
            bytes.saturating_mul(dim.value(&values).unwrap_or(0).max(0) as u64)
        })
    };
    let arrays = grid.shared.iter().filter(apart).filter_map(|number| program.arrays.get(*number));
    arrays.map(bytes).fold(asked.map_or(0, |(bytes, _)| bytes.max(0) as u64), u64::saturating_add)
}

/// The same kernel as its blocks run: all threads of a block go through a statement before the next one, loops around
/// them go on together, and what lies in shared memory is left out.
pub(crate) fn lockstep(program: &Program, grid: &Grid) -> Program {
    let mut made = program.clone();
    let mut walk = Lockstep { grid, symbols: &mut made.symbols };
    let body = walk.block(&grid.body);
    made.body = within(&grid.blocks, body, At::default());
    made
}

impl Grid {
    /// `body` within loops over the blocks and their threads.
    pub(crate) fn around(&self, body: Vec<Node>, at: At) -> Vec<Node> {
        within(&self.blocks, within(&self.threads, body, at), at)
    }

    /// How many loops are the grid's own, not the source's.
    pub(crate) fn loops(&self) -> u64 {
        (self.blocks.len() + self.threads.len()) as u64
    }
}

/// `body` within loops over `axes`, the first outermost.
fn within(axes: &[Axis], body: Vec<Node>, at: At) -> Vec<Node> {
    axes.iter().rev().fold(body, |body, axis| {
        let (lower, step) = (Expr::Const(0), Expr::Const(1));
        vec![Node::Loop(Loop { var: axis.symbol, lower, upper: axis.extent.clone(), step, body, at })]
    })
}

struct Lockstep<'a> {
    grid: &'a Grid,
    symbols: &'a mut Vec<SymbolInfo>,
}

impl Lockstep<'_> {
    fn block(&mut self, body: &[Node]) -> Vec<Node> {
        let (mut out, mut alone) = (Vec::new(), Vec::new());
        for node in body {
            let together = match node {
                Node::Loop(l) if self.same(&l.lower) && self.same(&l.upper) && self.same(&l.step) => {
                    let body = self.block(&l.body);
                    Some(Node::Loop(Loop { body, ..l.clone() }))
                }
                Node::Loop(l) if self.same(&l.upper) && self.same(&l.step) => self.strided(l),
                Node::Branch(branch) if self.decided(&branch.condition) => {
                    let (then, otherwise) = (self.block(&branch.then), self.block(&branch.otherwise));
                    Some(Node::Branch(Branch { then, otherwise, ..branch.clone() }))
                }
                _ => None,
            };
            match together {
                Some(node) => {
                    self.each(&mut alone, &mut out);
                    out.push(node);
                }
                None => alone.push(self.global(node)),
            }
        }
        self.each(&mut alone, &mut out);
        out
    }

    /// Puts what each thread does by itself into loops over the threads.
    fn each(&self, alone: &mut Vec<Node>, out: &mut Vec<Node>) {
        if let Some(first) = alone.first() {
            let at = at(first);
            out.extend(within(&self.grid.threads, std::mem::take(alone), at));
        }
    }

    /// `for (i = thread; i < n; i += threads)`: the threads take their first rounds together, then their second.
    fn strided(&mut self, l: &Loop) -> Option<Node> {
        let Expr::Const(0) = tidy(&l.step.clone().minus(l.step.clone())) else { return None };
        let first = l.lower.replaced(&|symbol| self.thread(symbol).then_some(Expr::Const(0)));
        let var = Symbol(self.symbols.len() as u32);
        self.symbols.push(SymbolInfo { name: "round".into(), value: None });
        let span = l.upper.clone().minus(first).plus(l.step.clone()).minus(1);
        let rounds = tidy(&span.over(l.step.clone(), Rounding::Floor).max(0));
        let start = tidy(&l.lower.clone().plus(l.step.clone().times(var)));
        let upper = start.clone().plus(1).min(l.upper.clone());
        let body: Vec<Node> = l.body.iter().map(|node| self.global(node)).collect();
        let own = Node::Loop(Loop { lower: start, upper, step: Expr::Const(1), body, ..l.clone() });
        let body = within(&self.grid.threads, vec![own], l.at);
        Some(Node::Loop(Loop { var, lower: Expr::Const(0), upper: rounds, step: Expr::Const(1), body, at: l.at }))
    }

    /// Whether a symbol is the index of a thread.
    fn thread(&self, symbol: Symbol) -> bool {
        self.grid.threads.iter().any(|axis| axis.symbol == symbol)
    }

    /// Whether an expression is the same for all threads of a block.
    fn same(&self, expr: &Expr) -> bool {
        !self.grid.threads.iter().any(|axis| expr.mentions(axis.symbol))
    }

    /// Whether all threads of a block decide alike.
    fn decided(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Compare(a, _, b) => self.same(a) && self.same(b),
            Condition::Chance(_) => false,
            Condition::And(a, b) | Condition::Or(a, b) => self.decided(a) && self.decided(b),
            Condition::Not(a) => self.decided(a),
        }
    }

    /// A node without what it does in shared memory.
    fn global(&self, node: &Node) -> Node {
        let all = |body: &[Node]| body.iter().map(|node| self.global(node)).collect();
        match node {
            Node::Loop(l) => Node::Loop(Loop { body: all(&l.body), ..l.clone() }),
            Node::Branch(branch) => {
                Node::Branch(Branch { then: all(&branch.then), otherwise: all(&branch.otherwise), ..branch.clone() })
            }
            Node::Work(work) => {
                let accesses = work.accesses.iter().filter(|access| !self.grid.shared.contains(&access.array));
                Node::Work(Work { accesses: accesses.cloned().collect(), ..work.clone() })
            }
            Node::Library(_) => node.clone(),
        }
    }
}

fn at(node: &Node) -> At {
    match node {
        Node::Loop(l) => l.at,
        Node::Branch(branch) => branch.at,
        Node::Work(work) => work.at,
        Node::Library(library) => library.at,
    }
}
