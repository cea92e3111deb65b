//! What warps ask of the memories: 32 threads at a time, access by access, as the hardware takes them together.

use std::collections::{BTreeMap, BTreeSet};

use crate::expr::Expr;
use crate::nest::{Access, At, Condition, Grid, Loop, Node, Program, Work, compares};

/// Threads of a warp, banks of shared memory, bytes of a bank's word (CUDA C++ Programming Guide, compute capabilities).
pub(super) const LANES: usize = 32;
const BANKS: i64 = 32;
const WORD_BYTES: i64 = 4;
/// Bytes that global memory moves at a time (CUDA C++ Best Practices Guide, 10.2.1: transactions of 32 bytes).
pub(crate) const SECTOR_BYTES: i64 = 32;

/// Addresses that are computed to look at every warp; more take a sample. Ours: about a tenth of a second.
const EXACT: u64 = 1 << 20;
/// Addresses that a sample computes at most.
const SAMPLED: u64 = 1 << 22;
/// Blocks and warps of each that a sample looks at.
const BLOCKS: u64 = 4;
const WARPS: u64 = 4;
/// Rounds of a loop that a sample looks at, by how many loops are around it: the 8 elements of 4 bytes after which
/// sectors repeat where a loop steps by one, and four times that for the outermost.
const ROUNDS: [u64; 3] = [32, 8, 2];

/// What an access of the source comes to, over all warps.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: At,
    pub(super) array: usize,
    pub(super) write: bool,
    pub(super) shared: bool,
    /// Instructions of a warp.
    pub(super) requests: f64,
    /// Bytes that threads name.
    pub(super) bytes: f64,
    /// Different bytes among them, by request.
    pub(super) distinct: f64,
    /// Sectors that global memory moves.
    pub(super) sectors: f64,
    /// Cycles of the load units: four sectors, or one word from each bank.
    pub(super) wavefronts: f64,
    /// Cycles in shared memory if no two lanes met in a bank.
    pub(super) ideal: f64,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) accesses: Vec<Seen>,
    pub(super) exact: bool,
    pub(super) method: String,
}

/// Looks at all warps of `grid`, or at some.
pub(super) fn look(program: &Program, grid: &Grid, blocks: u64, threads: u64) -> Look {
    let warps = threads.div_ceil(LANES as u64);
    let mut all = Walk::new(program, grid, threads, EXACT, false);
    if (0..blocks).all(|block| (0..warps).all(|warp| all.warp(block, warp, 1.0).is_some())) {
        let method = format!("every warp of {blocks} blocks");
        return Look { accesses: all.seen(), exact: true, method };
    }
    let mut some = Walk::new(program, grid, threads, SAMPLED, true);
    // The last block may be partly outside of the data: it stands for itself, the others for all before it.
    let inner = blocks.saturating_sub(1).min(BLOCKS);
    let chosen: Vec<(u64, f64)> = (0..inner)
        .map(|i| ((blocks - 1) * i / inner, (blocks - 1) as f64 / inner as f64))
        .chain(blocks.checked_sub(1).map(|last| (last, 1.0)))
        .collect();
    let each = warps.min(WARPS);
    let mut cut = false;
    for (block, weight) in &chosen {
        for i in 0..each {
            let weight = weight * warps as f64 / each as f64;
            cut |= some.warp(*block, warps * i / each, weight).is_none();
        }
    }
    let cut = if cut { "; it was cut short, and the figures are too low" } else { "" };
    let method = format!(
        "a sample: {} of {blocks} blocks, {each} of {warps} warps of each, up to {} rounds of each loop{cut}",
        chosen.len(),
        ROUNDS[0]
    );
    Look { accesses: some.seen(), exact: false, method }
}

struct Walk<'a> {
    program: &'a Program,
    grid: &'a Grid,
    threads: u64,
    left: u64,
    sample: bool,
    /// Values of symbols, lane by lane.
    lanes: Vec<Vec<i64>>,
    dims: Vec<Vec<i64>>,
    seen: BTreeMap<(At, usize, bool), Seen>,
}

impl<'a> Walk<'a> {
    fn new(program: &'a Program, grid: &'a Grid, threads: u64, left: u64, sample: bool) -> Self {
        let values = program.values();
        let dims = program
            .arrays
            .iter()
            .map(|array| array.dims.iter().map(|dim| dim.value(&values).unwrap_or(0)).collect())
            .collect();
        Self { program, grid, threads, left, sample, lanes: vec![values; LANES], dims, seen: BTreeMap::new() }
    }

    fn seen(self) -> Vec<Seen> {
        self.seen.into_values().collect()
    }

    /// Runs one warp; nothing if the budget is spent.
    fn warp(&mut self, block: u64, warp: u64, weight: f64) -> Option<()> {
        let mut active = 0_u32;
        for lane in 0..LANES {
            let thread = warp * LANES as u64 + lane as u64;
            if thread < self.threads {
                active |= 1 << lane;
            }
            for (axes, number) in [(&self.grid.blocks, block), (&self.grid.threads, thread)] {
                let mut number = number;
                // The last axis is the fastest.
                for axis in axes.iter().rev() {
                    let extent = axis.extent.value(&self.lanes[lane]).unwrap_or(1).max(1) as u64;
                    if let Some(own) = self.lanes[lane].get_mut(axis.symbol.0 as usize) {
                        *own = (number % extent) as i64;
                    }
                    number /= extent;
                }
            }
        }
        let grid = self.grid;
        self.nodes(&grid.body, active, weight, 0)
    }

    fn nodes(&mut self, body: &'a [Node], active: u32, weight: f64, depth: usize) -> Option<()> {
        if active == 0 || weight == 0.0 {
            return Some(());
        }
        for node in body {
            match node {
                Node::Work(work) => self.work(work, active, weight)?,
                Node::Branch(branch) => {
                    let (holds, share) = self.holds(&branch.condition, active);
                    match share {
                        // Data decide: with that share of the threads. The lanes that go there are not known, so all
                        // are looked at, with that weight.
                        Some(share) => {
                            self.nodes(&branch.then, holds, weight * share, depth)?;
                            self.nodes(&branch.otherwise, holds, weight * (1.0 - share), depth)?;
                        }
                        None => {
                            self.nodes(&branch.then, holds, weight, depth)?;
                            self.nodes(&branch.otherwise, active & !holds, weight, depth)?;
                        }
                    }
                }
                Node::Loop(l) if !touches(&l.body) => {}
                Node::Loop(l) if self.grid.lanes.contains(&l.var) && !self.within(&l.body) => {
                    self.tile(l, weight, depth)?;
                }
                Node::Loop(l) => {
                    let mut ranges = [(0_i64, 0_i64, 0_u64); LANES];
                    let mut most = 0;
                    for lane in (0..LANES).filter(|lane| active >> lane & 1 == 1) {
                        let values = &self.lanes[lane];
                        let (Ok(lower), Ok(upper), Ok(step)) =
                            (l.lower.value(values), l.upper.value(values), l.step.value(values))
                        else {
                            continue;
                        };
                        let span = i128::from(upper) - i128::from(lower);
                        let rounds = match step {
                            0 => 0,
                            step => (span + i128::from(step) - i128::from(step.signum())) / i128::from(step),
                        };
                        let rounds = u64::try_from(rounds.max(0)).unwrap_or(u64::MAX);
                        ranges[lane] = (lower, step, rounds);
                        most = most.max(rounds);
                    }
                    let limit = ROUNDS.get(depth).or(ROUNDS.last()).copied().unwrap_or(1);
                    let taken = if self.sample { most.min(limit) } else { most };
                    for i in 0..taken {
                        // A run of rounds from the middle stands for all.
                        let round = if taken == most { i } else { (most - taken) / 2 + i };
                        let mut inside = 0;
                        for lane in (0..LANES).filter(|lane| active >> lane & 1 == 1) {
                            let (lower, step, rounds) = ranges[lane];
                            if round < rounds {
                                inside |= 1 << lane;
                                self.lanes[lane][l.var.0 as usize] =
                                    lower.wrapping_add(step.wrapping_mul(round as i64));
                            }
                        }
                        self.left = self.left.checked_sub(1)?;
                        self.nodes(&l.body, inside, weight * most as f64 / taken as f64, depth + 1)?;
                    }
                }
                Node::Library(_) => {}
            }
        }
        Some(())
    }

    /// Whether a loop over a tile stands in `body`.
    fn within(&self, body: &[Node]) -> bool {
        body.iter().any(|node| match node {
            Node::Loop(l) => self.grid.lanes.contains(&l.var) || self.within(&l.body),
            Node::Branch(branch) => self.within(&branch.then) || self.within(&branch.otherwise),
            Node::Work(_) | Node::Library(_) => false,
        })
    }

    /// The innermost loop over a tile: its iterations are the lanes of as many warps as it takes.
    fn tile(&mut self, l: &'a Loop, weight: f64, depth: usize) -> Option<()> {
        let base = self.lanes.first()?.clone();
        let (Ok(lower), Ok(upper)) = (l.lower.value(&base), l.upper.value(&base)) else { return Some(()) };
        let rounds = u64::try_from(i128::from(upper) - i128::from(lower)).unwrap_or(0);
        let warps = rounds.div_ceil(LANES as u64);
        let limit = ROUNDS.get(depth).or(ROUNDS.last()).copied().unwrap_or(1);
        let taken = if self.sample { warps.min(limit) } else { warps };
        for i in 0..taken {
            let warp = if taken == warps { i } else { (warps - taken) / 2 + i };
            let mut active = 0_u32;
            for (lane, values) in self.lanes.iter_mut().enumerate() {
                let element = warp * LANES as u64 + lane as u64;
                values.clone_from(&base);
                if element < rounds {
                    active |= 1 << lane;
                    *values.get_mut(l.var.0 as usize)? = lower.wrapping_add(element as i64);
                }
            }
            self.left = self.left.checked_sub(1)?;
            self.nodes(&l.body, active, weight * warps as f64 / taken as f64, depth + 1)?;
        }
        // What stands behind sees the loops around it as they were.
        self.lanes.iter_mut().for_each(|values| values.clone_from(&base));
        Some(())
    }

    /// The lanes for which a condition holds; where data decide, all, and how likely it is.
    fn holds(&self, condition: &Condition, active: u32) -> (u32, Option<f64>) {
        match condition {
            Condition::Compare(a, comparison, b) => {
                let mut holds = 0;
                for lane in (0..LANES).filter(|lane| active >> lane & 1 == 1) {
                    let (Ok(a), Ok(b)) = (a.value(&self.lanes[lane]), b.value(&self.lanes[lane])) else { continue };
                    let own = compares(a, *comparison, b);
                    holds |= u32::from(own) << lane;
                }
                (holds, None)
            }
            Condition::Chance(share) => (active, Some(*share)),
            Condition::And(a, b) => {
                let (first, p) = self.holds(a, active);
                let (second, q) = self.holds(b, first);
                (second, p.or(q).map(|_| p.unwrap_or(1.0) * q.unwrap_or(1.0)))
            }
            Condition::Or(a, b) => {
                let (first, p) = self.holds(a, active);
                let (second, q) = self.holds(b, active);
                let share = match (p, q) {
                    (None, None) => None,
                    (p, q) => Some(1.0 - (1.0 - p.unwrap_or(0.0)) * (1.0 - q.unwrap_or(0.0))),
                };
                (first | second, share)
            }
            Condition::Not(a) => match self.holds(a, active) {
                (holds, None) => (active & !holds, None),
                (holds, Some(share)) => (holds, Some(1.0 - share)),
            },
        }
    }

    fn work(&mut self, work: &'a Work, active: u32, weight: f64) -> Option<()> {
        let mut rest = work.accesses.as_slice();
        while let Some(first) = rest.first() {
            // The units of one struct (`float4`) go in one instruction.
            let alike = |own: &&Access| own.at == first.at && own.array == first.array && own.write == first.write;
            let units = rest.iter().take_while(alike).count().min(4);
            let (group, after) = rest.split_at(units.max(1));
            self.request(group, active, weight)?;
            rest = after;
        }
        Some(())
    }

    fn request(&mut self, group: &'a [Access], active: u32, weight: f64) -> Option<()> {
        let Some(first) = group.first() else { return Some(()) };
        let lanes = active.count_ones();
        self.left = self.left.checked_sub(u64::from(lanes) * group.len() as u64)?;
        let bytes = self.program.arrays.get(first.array).map_or(4, |array| array.element.bytes()) as i64;
        let shared = self.grid.shared.contains(&first.array);
        // By lane, the first byte of each unit; none where data decide.
        let mut addresses: Vec<(usize, i64)> = Vec::with_capacity(LANES);
        for access in group {
            for lane in (0..LANES).filter(|lane| active >> lane & 1 == 1) {
                if let Some(address) = self.address(access, lane) {
                    addresses.push((lane, address * bytes));
                }
            }
        }
        let wide = bytes * group.len() as i64;
        let random = group.iter().any(|access| access.index.is_none());
        let mut own = Seen {
            at: first.at,
            array: first.array,
            write: first.write,
            shared,
            requests: 1.0,
            bytes: f64::from(lanes) * wide as f64,
            distinct: 0.0,
            sectors: 0.0,
            wavefronts: 0.0,
            ideal: 0.0,
        };
        let starts: BTreeSet<i64> = addresses.iter().map(|(_, address)| *address).collect();
        own.distinct = (starts.len() as i64 * bytes) as f64;
        if shared {
            // 8 bytes go by half warps, 16 by quarters.
            let parts = (wide / WORD_BYTES).clamp(1, 4) as usize;
            let parts = if parts == 3 { 4 } else { parts };
            for part in 0..parts {
                let inside = |lane: usize| lane * parts / LANES == part;
                let mut words: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
                for (lane, address) in addresses.iter().filter(|(lane, _)| inside(*lane)) {
                    let _ = lane;
                    for word in address.div_euclid(WORD_BYTES)..=(address + bytes - 1).div_euclid(WORD_BYTES) {
                        words.entry(word.rem_euclid(BANKS)).or_default().insert(word);
                    }
                }
                let busiest = words.values().map(BTreeSet::len).max().unwrap_or(usize::from(random));
                own.wavefronts += busiest as f64;
                own.ideal += f64::from(u8::from(busiest > 0));
            }
        } else {
            own.sectors = match random {
                // Each lane somewhere else.
                true => f64::from(lanes),
                false => {
                    let sectors: BTreeSet<i64> = starts
                        .iter()
                        .flat_map(|address| {
                            address.div_euclid(SECTOR_BYTES)..=(address + bytes - 1).div_euclid(SECTOR_BYTES)
                        })
                        .collect();
                    sectors.len() as f64
                }
            };
            if random {
                own.distinct = own.bytes;
            }
            own.wavefronts = (own.sectors / 4.0).ceil().max(1.0);
        }
        let sum = self.seen.entry((first.at, first.array, first.write)).or_insert_with(|| Seen {
            requests: 0.0,
            bytes: 0.0,
            distinct: 0.0,
            sectors: 0.0,
            wavefronts: 0.0,
            ideal: 0.0,
            ..own.clone()
        });
        for (sum, own) in [
            (&mut sum.requests, own.requests),
            (&mut sum.bytes, own.bytes),
            (&mut sum.distinct, own.distinct),
            (&mut sum.sectors, own.sectors),
            (&mut sum.wavefronts, own.wavefronts),
            (&mut sum.ideal, own.ideal),
        ] {
            *sum += weight * own;
        }
        Some(())
    }

    /// The number of the element in its array.
    fn address(&self, access: &Access, lane: usize) -> Option<i64> {
        let index = access.index.as_ref()?;
        let dims = self.dims.get(access.array)?;
        let value = |expr: &Expr| expr.value(&self.lanes[lane]).ok();
        index
            .iter()
            .zip(dims)
            .try_fold(0_i64, |sum, (index, dim)| Some(sum.wrapping_mul(*dim).wrapping_add(value(index)?)))
    }
}

/// Whether anything in `body` touches memory.
fn touches(body: &[Node]) -> bool {
    body.iter().any(|node| match node {
        Node::Loop(l) => touches(&l.body),
        Node::Branch(branch) => touches(&branch.then) || touches(&branch.otherwise),
        Node::Work(work) => !work.accesses.is_empty(),
        Node::Library(_) => false,
    })
}
