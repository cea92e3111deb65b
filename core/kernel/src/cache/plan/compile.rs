//! Fills in the numbers of a program: extents, addresses, and what they depend on.

use std::collections::BTreeMap;

use super::{
    Address, CachePlan, Clamped, Depths, Draw, Even, Kind, Part, Period, PlanBranch, PlanLoop, Row, Space, Step, Touch,
    gcd, rounds, value,
};
use crate::expr::{Expr, Rounding, Symbol};
use crate::nest::{self, Access, At, Condition, Node, Program};
use crate::source::refuse;
use accel_ground::error::Error;
use accel_ground::rng::Rng;

/// Arrays may take this many bytes together, so that no address leaves 64 bits.
const MAX_BYTES: i128 = 1 << 62;
/// Loops nest less deep than this: a set of them is a word.
const MAX_LOOPS: usize = 64;
/// Iterations after which a loop's lines repeat are looked for up to here; a line has fewer elements.
const MAX_PERIOD: u64 = 1 << 16;

/// What compiling a place must know of what stands around it.
#[derive(Debug, Clone, Default)]
struct Around {
    /// Symbols of the loops around, outermost first.
    loops: Vec<usize>,
    /// The most iterations that each of them has.
    most: Vec<u64>,
    /// Those that bounds and conditions around depend on.
    domain: Depths,
}

/// The iterations of a loop whose bounds are numbers.
#[derive(Debug, Clone, Copy)]
struct Rounds {
    var: usize,
    step: i64,
    first: i64,
    most: u64,
    depth: Depths,
}

struct Compiler<'a> {
    program: &'a Program,
    values: Vec<i64>,
    /// Between which values each symbol lies.
    ranges: Vec<(i128, i128)>,
    spaces: Vec<Space>,
    sources: Vec<u32>,
    line_bytes: u64,
    sites: u64,
    random: bool,
}

impl<'a> CachePlan<'a> {
    pub(in crate::cache) fn new(program: &'a Program, line_bytes: u64) -> Result<Self, Error> {
        let values = program.values();
        let (spaces, lines) = lay_out(program, &values, line_bytes)?;
        let ranges = values.iter().map(|value| (i128::from(*value), i128::from(*value))).collect();
        let mut sources = Vec::new();
        collect_sources(&program.body, &mut sources);
        sources.sort_unstable();
        sources.dedup();
        let mut compiler = Compiler { program, values, ranges, spaces, sources, line_bytes, sites: 0, random: false };
        let steps = compiler.steps(&program.body, &Around::default())?;
        let Compiler { values, spaces, sources, random, .. } = compiler;
        let mut rng = Rng::new(0, "kernel chance");
        let key = u64::from(rng.below(u32::MAX)) << 32 | u64::from(rng.below(u32::MAX));
        Ok(Self { steps, spaces, values, line_bytes, lines, sources, random, program, key })
    }
}

impl<'a> Compiler<'a> {
    fn steps(&mut self, nodes: &'a [Node], around: &Around) -> Result<Vec<Step<'a>>, Error> {
        let mut steps = Vec::new();
        for node in nodes {
            match node {
                Node::Loop(l) => steps.extend(self.repeat(l, around)?.map(Step::Loop)),
                Node::Branch(branch) => steps.push(Step::Branch(self.branch(branch, around)?)),
                Node::Work(work) => {
                    let first = steps.len();
                    for access in &work.accesses {
                        let mut touch = self.touch(access, around)?;
                        let own = steps.get(first..).unwrap_or_default();
                        if let Some(read) = self.read_before(own, access) {
                            touch.draw.site = read;
                        }
                        steps.push(Step::Touch(touch));
                    }
                }
                Node::Library(library) => steps.append(&mut self.steps(&library.sweep, around)?),
            }
        }
        Ok(steps)
    }

    /// Where data decide on a place to store to that was read just before, and no integer since: where that was drawn.
    fn read_before(&self, steps: &[Step<'a>], access: &Access) -> Option<u64> {
        let floats =
            |touch: &Touch<'_>| self.program.arrays.get(touch.array as usize).is_some_and(|a| a.element.is_float());
        let touches =
            steps.iter().rev().map_while(|step| if let Step::Touch(touch) = step { Some(touch) } else { None });
        let same = |touch: &&Touch<'_>| touch.access.array == access.array && touch.access.index.is_none();
        let since = touches.take_while(|touch| same(touch) || floats(touch));
        let mut before = since.filter(same).filter(|touch| !touch.write && touch.access.known == access.known);
        let stores = access.write && access.index.is_none();
        before.next().filter(|_| stores).map(|touch| touch.draw.site)
    }

    /// A loop; none where it never runs or accesses nothing.
    fn repeat(&mut self, source: &'a nest::Loop, around: &Around) -> Result<Option<PlanLoop<'a>>, Error> {
        if around.loops.len() + 1 >= MAX_LOOPS {
            return Err(refuse(source.at, format!("loops nest deeper than {}", MAX_LOOPS - 1), "Nest fewer loops"));
        }
        let step = value(&source.step, &self.values, source.at)?;
        if step == 0 {
            return Err(refuse(source.at, "the loop's step is zero", "Give it another step"));
        }
        let mut within = around.clone();
        within.domain |=
            self.depths(&source.lower, around, source.at)? | self.depths(&source.upper, around, source.at)?;
        within.loops.push(source.var.0 as usize);
        let (lower, upper) = (self.range(&source.lower), self.range(&source.upper));
        let (low, high, most) = if step > 0 {
            let gap = self.gap(&source.upper, &source.lower);
            (lower.0, upper.1 - 1, rounds(lower.0, upper.1, step).min(rounds(0, gap, step)))
        } else {
            let gap = self.gap(&source.lower, &source.upper);
            (upper.0 + 1, lower.1, rounds(lower.1, upper.0, step).min(rounds(gap, 0, step)))
        };
        let var = source.var.0 as usize;
        if most == 0 {
            return Ok(None);
        }
        if let Some(range) = self.ranges.get_mut(var) {
            *range = (low, high);
        }
        within.most.push(most);
        let mut body = self.steps(&source.body, &within)?;
        let depth = 1 << around.loops.len();
        let (mut var, mut step, mut most, mut fixed) = (var, step, most, None);
        let number = |expr: &Expr| self.even(expr).and_then(|even| even.constant());
        let own = number(&source.lower).zip(number(&source.upper)).map(|(first, end)| {
            let most = rounds(first.into(), end.into(), step);
            Rounds { var, step, first, most, depth }
        });
        if let Some((rounds, inner)) = own.and_then(|own| merged(own, &mut body)) {
            (var, step, most) = (rounds.var, rounds.step, rounds.most);
            (fixed, body) = (Some((rounds.first, most)), inner);
        }
        let mut touches = Vec::new();
        all_touches(&body, &mut touches);
        if touches.is_empty() {
            return Ok(None);
        }
        let mut kinds: Vec<Kind> = touches.iter().map(|touch| touch.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let straight = body.iter().all(|step| matches!(step, Step::Touch(Touch { address: Address::Even(_), .. })));
        let doubtful = touches.iter().any(|touch| touch.doubtful);
        let (lines, sparse) = (self.lines_of(&touches, depth), is_sparse(&touches, depth));
        let period = self.period(&touches, var, step, depth);
        let fixed = fixed.or(own.map(|own| (own.first, own.most)));
        Ok(Some(PlanLoop {
            source,
            var,
            step,
            depth,
            body,
            fixed,
            straight,
            doubtful,
            kinds,
            period,
            most,
            lines,
            sparse,
        }))
    }

    /// After how many iterations all of `touches` have moved by whole lines, those of each array together.
    fn period(&self, touches: &[&Touch<'a>], var: usize, step: i64, depth: Depths) -> Option<Period> {
        let mut moves: BTreeMap<u32, i64> = BTreeMap::new();
        for touch in touches {
            if touch.kind.domain & depth != 0 {
                return None;
            }
            let own = match touch.address.by(var) {
                Some(by) => by.checked_mul(step)?,
                None if touch.kind.mentions & depth != 0 => return None,
                None => 0,
            };
            if *moves.entry(touch.array).or_insert(own) != own {
                return None;
            }
        }
        let mut rounds = 1u64;
        for own in moves.values() {
            let alone = self.line_bytes / gcd(self.line_bytes, own.unsigned_abs());
            rounds = rounds / gcd(rounds, alone) * alone;
            if rounds > MAX_PERIOD {
                return None;
            }
        }
        let lines = |(array, own): (u32, i64)| {
            let bytes = i128::from(own) * i128::from(rounds);
            i64::try_from(bytes / i128::from(self.line_bytes)).ok().map(|lines| (array, lines))
        };
        Some(Period { rounds, shift: moves.into_iter().map(lines).collect::<Option<_>>()? })
    }

    /// How many lines one run of a loop touches at most: of each array no more than it has, nor more than its accesses.
    fn lines_of(&self, touches: &[&Touch<'a>], depth: Depths) -> u64 {
        let mut sums: BTreeMap<u32, u64> = BTreeMap::new();
        for touch in touches {
            let sum = sums.entry(touch.array).or_default();
            *sum = sum.saturating_add(touch.rounds(depth, touch.kind.mentions));
        }
        let whole = |array: u32| {
            let space = self.spaces.get(array as usize);
            space.map_or(0, |space| (space.elements * space.bytes).div_ceil(self.line_bytes))
        };
        sums.into_iter().fold(0, |lines, (array, sum)| lines.saturating_add(sum.min(whole(array))))
    }

    fn branch(&mut self, source: &'a nest::Branch, around: &Around) -> Result<PlanBranch<'a>, Error> {
        let mut within = around.clone();
        within.domain |= self.decided_by(&source.condition, around, source.at)?;
        let draw = self.place(around);
        let then = self.steps(&source.then, &within)?;
        let otherwise = self.steps(&source.otherwise, &within)?;
        Ok(PlanBranch { condition: &source.condition, then, otherwise, at: source.at, draw })
    }

    /// The loops that decide `condition`: all of them where chance does.
    fn decided_by(&mut self, condition: &Condition, around: &Around, at: At) -> Result<Depths, Error> {
        Ok(match condition {
            Condition::Compare(a, _, b) => self.depths(a, around, at)? | self.depths(b, around, at)?,
            Condition::Chance(_) => {
                self.random = true;
                around.all()
            }
            Condition::And(a, b) | Condition::Or(a, b) => {
                self.decided_by(a, around, at)? | self.decided_by(b, around, at)?
            }
            Condition::Not(a) => self.decided_by(a, around, at)?,
        })
    }

    fn touch(&mut self, access: &'a Access, around: &Around) -> Result<Touch<'a>, Error> {
        let broken = || Error::Internal("an access does not fit its array".into());
        let space = self.spaces.get(access.array).ok_or_else(broken)?;
        let (dims, first, bytes) = (space.dims.clone(), space.first, space.bytes as i64);
        let source = self.sources.binary_search(&access.at.line).map_err(|_| broken())? as u32;
        let mut own = around.all();
        let address;
        let mut doubtful = space.elements == 0;
        if let Some(index) = &access.index {
            if index.len() != dims.len() {
                return Err(broken());
            }
            own = 0;
            for (i, dim) in index.iter().zip(&dims) {
                own |= self.depths(i, around, access.at)?;
                let (low, high) = self.range(i);
                doubtful |= low < 0 || high >= i128::from(*dim);
            }
            let start = i64::try_from(first * self.line_bytes).ok();
            let even = start.and_then(|start| self.address(index, &dims, bytes, start));
            address = even.unwrap_or(Address::Subscripts);
        } else {
            self.random = true;
            address = self.row(access, &dims, bytes, around).map_or(Address::Data, Address::Row);
        }
        let mut draw = self.place(around);
        if let Address::Row(row) = &address {
            // All places of a row are in the same row.
            draw.around.retain(|symbol| row.within.by(*symbol) == 0);
        }
        let kind = Kind { domain: around.domain, mentions: around.domain | own };
        let array = access.array as u32;
        let loops = around.most.iter().enumerate().map(|(depth, most)| (1 << depth, *most)).collect();
        Ok(Touch { access, array, write: access.write, source, address, kind, doubtful, loops, draw })
    }

    /// The rows that the first axes leave, and the place in one of them.
    fn row(&self, access: &Access, dims: &[i64], bytes: i64, around: &Around) -> Option<Row> {
        let [head, tail] = &access.known;
        let (before, rest) = dims.split_at_checked(head.len())?;
        let (decided, own) = rest.split_at_checked(rest.len().checked_sub(tail.len())?)?;
        let inside = |(index, dim): (&Expr, &i64)| {
            let (low, high) = self.range(index);
            low >= 0 && high < i128::from(*dim)
        };
        if head.len() + tail.len() == 0 || !head.iter().zip(before).chain(tail.iter().zip(own)).all(inside) {
            return None;
        }
        let product = |dims: &[i64]| dims.iter().try_fold(1i64, |product, dim| product.checked_mul(*dim));
        let row = product(own)?.checked_mul(bytes)?;
        let Address::Even(within) = self.address(tail, own, bytes, 0)? else { return None };
        let Address::Even(start) = self.address(head, before, product(decided)?.checked_mul(row)?, 0)? else {
            return None;
        };
        let run = |(_, most): &(&usize, &u64)| **most > 1;
        let mut loops = around.loops.iter().zip(&around.most).filter(run).skip_while(|(var, _)| start.by(**var) != 0);
        let by_turns = !head.is_empty() && loops.all(|(var, _)| start.by(*var) == 0);
        Some(Row { start, rows: product(decided)?.try_into().ok()?, bytes: row.try_into().ok()?, within, by_turns })
    }

    /// Where the element lies, where that is a sum of loop variables times constants, some of them between bounds.
    fn address(&self, index: &[Expr], dims: &[i64], bytes: i64, start: i64) -> Option<Address> {
        let mut rest = Even { constant: start, terms: Vec::new() };
        let mut parts = Vec::new();
        let mut each = bytes;
        for (i, dim) in index.iter().zip(dims).rev() {
            match (self.even(i), self.clamped(i)) {
                (Some(even), _) => rest = rest.plus(&even.scaled(each)?)?,
                (None, Some((of, bounds))) => parts.push(Part { bytes: each, of, bounds }),
                (None, None) => return None,
            }
            each = each.checked_mul(*dim)?;
        }
        Some(if parts.is_empty() { Address::Even(rest) } else { Address::Clamped(Clamped { rest, parts }) })
    }

    /// A sum of loop variables between two numbers.
    fn clamped(&self, expr: &Expr) -> Option<(Even, (i64, i64))> {
        let number = |expr: &Expr| self.even(expr).and_then(|even| even.constant());
        let (Expr::Min(a, b) | Expr::Max(a, b)) = expr else {
            return self.even(expr).map(|even| (even, (i64::MIN, i64::MAX)));
        };
        let (of, bound) = number(b).map(|bound| (a, bound)).or_else(|| Some((b, number(a)?)))?;
        let (even, (low, high)) = self.clamped(of)?;
        let nearer = |own: i64| if matches!(expr, Expr::Min(..)) { own.min(bound) } else { own.max(bound) };
        Some((even, (nearer(low), nearer(high))))
    }

    fn even(&self, expr: &Expr) -> Option<Even> {
        let number = |constant| Even { constant, terms: Vec::new() };
        Some(match expr {
            Expr::Const(constant) => number(*constant),
            Expr::Symbol(symbol) => match self.program.symbols.get(symbol.0 as usize)?.value {
                Some(value) => number(value),
                None => Even { constant: 0, terms: vec![(symbol.0 as usize, 1)] },
            },
            Expr::Add(a, b) => self.even(a)?.plus(&self.even(b)?)?,
            Expr::Mul(a, b) => {
                let (a, b) = (self.even(a)?, self.even(b)?);
                match (a.constant(), b.constant()) {
                    (Some(factor), _) => b.scaled(factor)?,
                    (_, Some(factor)) => a.scaled(factor)?,
                    _ => return None,
                }
            }
            Expr::Div(a, b, _)
            | Expr::Rem(a, b, _)
            | Expr::Min(a, b)
            | Expr::Max(a, b)
            | Expr::Power(a, b)
            | Expr::Digits(a, b) => {
                // Only where it is a number.
                self.even(a)?.constant()?;
                self.even(b)?.constant()?;
                number(expr.value(&self.values).ok()?)
            }
        })
    }

    /// The loops that `expr` mentions.
    fn depths(&self, expr: &Expr, around: &Around, at: At) -> Result<Depths, Error> {
        match expr {
            Expr::Const(_) => Ok(0),
            Expr::Symbol(symbol) => {
                if let Some(depth) = around.loops.iter().position(|own| *own == symbol.0 as usize) {
                    return Ok(1 << depth);
                }
                match self.program.symbols.get(symbol.0 as usize) {
                    Some(info) if info.value.is_some() => Ok(0),
                    _ => {
                        let problem = format!("{} has no value here", self.program.name(*symbol));
                        Err(refuse(at, problem, "Use it inside its loop only, or define it"))
                    }
                }
            }
            Expr::Add(a, b)
            | Expr::Mul(a, b)
            | Expr::Div(a, b, _)
            | Expr::Rem(a, b, _)
            | Expr::Min(a, b)
            | Expr::Max(a, b)
            | Expr::Power(a, b)
            | Expr::Digits(a, b) => Ok(self.depths(a, around, at)? | self.depths(b, around, at)?),
        }
    }

    /// Between which values `expr` lies for all values of the loops around; perhaps farther apart than needed.
    fn range_of(&self, even: &Even) -> (i128, i128) {
        let constant = i128::from(even.constant);
        even.terms.iter().fold((constant, constant), |(low, high), (symbol, term)| {
            let (from, to) = self.ranges.get(*symbol).copied().unwrap_or_default();
            let (a, b) = (from.saturating_mul((*term).into()), to.saturating_mul((*term).into()));
            (low.saturating_add(a.min(b)), high.saturating_add(a.max(b)))
        })
    }

    /// How far `upper` is above `lower` at most: less than their ranges say where both move together, as in tiles.
    fn gap(&self, upper: &Expr, lower: &Expr) -> i128 {
        match (upper, lower) {
            (Expr::Min(a, b), _) => self.gap(a, lower).min(self.gap(b, lower)),
            (Expr::Max(a, b), _) => self.gap(a, lower).max(self.gap(b, lower)),
            (_, Expr::Max(a, b)) => self.gap(upper, a).min(self.gap(upper, b)),
            (_, Expr::Min(a, b)) => self.gap(upper, a).max(self.gap(upper, b)),
            _ => {
                let apart = self.range(upper).1.saturating_sub(self.range(lower).0);
                let together = self.even(upper).zip(self.even(lower).and_then(|lower| lower.scaled(-1)));
                let together = together.and_then(|(upper, lower)| upper.plus(&lower));
                together.map_or(apart, |difference| self.range_of(&difference).1.min(apart))
            }
        }
    }

    fn range(&self, expr: &Expr) -> (i128, i128) {
        match expr {
            Expr::Const(value) => (i128::from(*value), i128::from(*value)),
            Expr::Symbol(Symbol(symbol)) => self.ranges.get(*symbol as usize).copied().unwrap_or_default(),
            Expr::Add(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
            }
            Expr::Mul(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                ends([
                    a.0.saturating_mul(b.0),
                    a.0.saturating_mul(b.1),
                    a.1.saturating_mul(b.0),
                    a.1.saturating_mul(b.1),
                ])
            }
            Expr::Div(a, b, rounding) => {
                let (a, b) = (self.range(a), self.range(b));
                if b.0 <= 0 {
                    let far = a.0.saturating_abs().max(a.1.saturating_abs()).saturating_add(1);
                    return (far.saturating_neg(), far);
                }
                let over = |a: i128, b: i128| match rounding {
                    Rounding::Floor => a.div_euclid(b),
                    Rounding::Zero => a / b,
                };
                ends([over(a.0, b.0), over(a.0, b.1), over(a.1, b.0), over(a.1, b.1)])
            }
            Expr::Rem(a, b, rounding) => {
                let (a, b) = (self.range(a), self.range(b));
                let far = b.0.saturating_abs().max(b.1.saturating_abs()).saturating_sub(1).max(0);
                if a.0 >= 0 && b.0 > 0 {
                    return (if a.1 < b.0 { a.0 } else { 0 }, a.1.min(far));
                }
                if b.0 > 0 && *rounding == Rounding::Floor { (0, far) } else { (-far, far) }
            }
            Expr::Min(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                (a.0.min(b.0), a.1.min(b.1))
            }
            Expr::Max(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                (a.0.max(b.0), a.1.max(b.1))
            }
            Expr::Power(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                let power = |a: i128, b: i128| a.max(0).saturating_pow(u32::try_from(b.max(0)).unwrap_or(u32::MAX));
                (power(a.0, b.0), power(a.1, b.1))
            }
            Expr::Digits(a, _) => (0, i128::from(self.range(a).1.max(0).checked_ilog2().map_or(0, |most| most + 1))),
        }
    }

    /// A new place where chance may decide.
    fn place(&mut self, around: &Around) -> Draw {
        self.sites += 1;
        Draw { site: self.sites, around: around.loops.clone() }
    }
}

/// One loop in place of `outer` around another, where each access moves on from the last iteration of the inner loop to
/// the first of the next as it does within the loop: rows of a matrix that are gone through from end to end.
fn merged<'a>(outer: Rounds, body: &mut [Step<'a>]) -> Option<(Rounds, Vec<Step<'a>>)> {
    let [Step::Loop(inner)] = body else { return None };
    let (first, rounds) = inner.fixed?;
    let own = Rounds { var: inner.var, step: inner.step, first, most: rounds, depth: inner.depth };
    // Of two loops, that of a single iteration says nothing about how accesses move.
    let (kept, gone) = if rounds == 1 { (outer, own) } else { (own, outer) };
    let most = outer.most.checked_mul(rounds)?;
    let both = outer.depth | own.depth;
    let goes_on = |touch: &Touch<'_>| {
        let by = |rounds: Rounds| touch.address.by(rounds.var)?.checked_mul(rounds.step);
        let row = by(kept).zip(i64::try_from(kept.most).ok()).and_then(|(by, most)| by.checked_mul(most));
        let plain = matches!(touch.address, Address::Even(_) | Address::Clamped(_));
        touch.kind.domain & both == 0 && plain && (gone.most == 1 || (row.is_some() && by(gone) == row))
    };
    let mut touches = Vec::new();
    all_touches(&inner.body, &mut touches);
    if inner.doubtful || !touches.into_iter().all(goes_on) {
        return None;
    }
    let depths = |depths: Depths| if depths & both == 0 { depths } else { depths & !both | outer.depth };
    each(
        &mut inner.body,
        &|kind| *kind = Kind { domain: depths(kind.domain), mentions: depths(kind.mentions) },
        &|touch| {
            touch.address.fix(gone.var, gone.first);
            touch.loops.retain(|(depth, _)| *depth & both == 0);
            touch.loops.push((outer.depth, most));
        },
    );
    Some((Rounds { most, ..kept }, std::mem::take(&mut inner.body)))
}

/// Changes what the accesses of `steps` depend on, and the accesses.
fn each(steps: &mut [Step<'_>], kind: &dyn Fn(&mut Kind), touch: &dyn Fn(&mut Touch<'_>)) {
    for step in steps {
        match step {
            Step::Loop(l) => {
                l.kinds.iter_mut().for_each(kind);
                each(&mut l.body, kind, touch);
            }
            Step::Branch(branch) => {
                each(&mut branch.then, kind, touch);
                each(&mut branch.otherwise, kind, touch);
            }
            Step::Touch(own) => {
                kind(&mut own.kind);
                touch(own);
            }
        }
    }
}

/// Puts the arrays one after another, each at the start of a line; also says how many lines they take.
fn lay_out(program: &Program, values: &[i64], line_bytes: u64) -> Result<(Vec<Space>, u64), Error> {
    let too_large = |name: &str| Error::TooLarge {
        problem: format!("the arrays up to {name} take more than 2^62 bytes"),
        cure: "Use smaller shapes".into(),
    };
    let mut end = 0i128;
    let mut spaces = Vec::with_capacity(program.arrays.len());
    for array in &program.arrays {
        let dims: Vec<i64> = array
            .dims
            .iter()
            .map(|dim| dim.value(values).map(|dim| dim.max(0)).map_err(|_| too_large(&array.name)))
            .collect::<Result<_, _>>()?;
        let bytes = array.element.bytes();
        let elements = if dims.contains(&0) {
            0
        } else {
            let product = dims.iter().try_fold(1i128, |product, dim| {
                Some(product * i128::from(*dim)).filter(|product| *product <= MAX_BYTES)
            });
            product.ok_or_else(|| too_large(&array.name))?
        };
        let lines = (elements * i128::from(bytes) + i128::from(line_bytes) - 1) / i128::from(line_bytes);
        let first = end / i128::from(line_bytes);
        end += lines * i128::from(line_bytes);
        if end > MAX_BYTES {
            return Err(too_large(&array.name));
        }
        spaces.push(Space { first: first as u64, elements: elements as u64, bytes, dims });
    }
    Ok((spaces, (end / i128::from(line_bytes)) as u64))
}

fn collect_sources(nodes: &[Node], sources: &mut Vec<u32>) {
    for node in nodes {
        match node {
            Node::Loop(l) => collect_sources(&l.body, sources),
            Node::Branch(branch) => {
                collect_sources(&branch.then, sources);
                collect_sources(&branch.otherwise, sources);
            }
            Node::Work(work) => sources.extend(work.accesses.iter().map(|access| access.at.line)),
            Node::Library(library) => {
                sources.push(library.at.line);
                collect_sources(&library.sweep, sources);
            }
        }
    }
}

/// Whether a loop at `depth` touches most lines many times.
fn is_sparse(touches: &[&Touch<'_>], depth: Depths) -> bool {
    let sum = |of: &dyn Fn(&Touch<'_>) -> Depths| {
        touches.iter().fold(0u64, |sum, touch| sum.saturating_add(touch.rounds(depth, of(touch))))
    };
    // The first and the last touches are two walks, which must pay.
    sum(&|_| Depths::MAX) / 8 > sum(&|touch| touch.kind.mentions)
}

impl Around {
    /// All loops around.
    fn all(&self) -> Depths {
        (1 << self.loops.len()) - 1
    }
}

fn ends(values: [i128; 4]) -> (i128, i128) {
    let [first, ..] = values;
    values.iter().fold((first, first), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// All accesses of `steps`, in the order in which they stand.
fn all_touches<'s, 'a>(steps: &'s [Step<'a>], touches: &mut Vec<&'s Touch<'a>>) {
    for step in steps {
        match step {
            Step::Loop(l) => all_touches(&l.body, touches),
            Step::Branch(branch) => {
                all_touches(&branch.then, touches);
                all_touches(&branch.otherwise, touches);
            }
            Step::Touch(touch) => touches.push(touch),
        }
    }
}
