//! A program with the numbers filled in: what all ways of finding misses walk over.

mod address;
mod compile;

pub(super) use address::{Address, Clamped, Even, Part, Row};

use super::meter::EVALUATION;
use crate::expr::{Expr, NoValue, Symbol};
use crate::nest::{self, Access, At, Comparison, Condition, Program};
use crate::source::refuse;
use accel_ground::error::Error;

/// Loops around a place, a bit for each depth.
pub(super) type Depths = u64;

/// A program in numbers.
#[derive(Debug)]
pub(super) struct CachePlan<'a> {
    pub(super) steps: Vec<Step<'a>>,
    pub(super) spaces: Vec<Space>,
    /// The values of parameters by symbol; loop variables are zero.
    pub(super) values: Vec<i64>,
    /// Bytes per line.
    pub(super) line_bytes: u64,
    /// Lines of all arrays.
    pub(super) lines: u64,
    /// Lines of the source that access arrays, ascending.
    pub(super) sources: Vec<u32>,
    /// Whether chance decides a condition or a subscript.
    pub(super) random: bool,
    program: &'a Program,
    /// What makes the draws of this program its own.
    key: u64,
}

/// Where an array lies.
#[derive(Debug)]
pub(super) struct Space {
    /// Its first line.
    pub(super) first: u64,
    elements: u64,
    bytes: u64,
    dims: Vec<i64>,
}

#[derive(Debug)]
pub(super) enum Step<'a> {
    Loop(PlanLoop<'a>),
    Branch(PlanBranch<'a>),
    Touch(Touch<'a>),
}

#[derive(Debug)]
pub(super) struct PlanLoop<'a> {
    source: &'a nest::Loop,
    pub(super) var: usize,
    pub(super) step: i64,
    /// Its own bit.
    pub(super) depth: Depths,
    pub(super) body: Vec<Step<'a>>,
    /// Its first value and its iterations, where other loops do not decide them.
    pub(super) fixed: Option<(i64, u64)>,
    /// Whether the body is nothing but accesses whose addresses move evenly.
    pub(super) straight: bool,
    /// Whether subscripts within are not proven.
    pub(super) doubtful: bool,
    /// What the accesses within depend on, each kind once.
    pub(super) kinds: Vec<Kind>,
    /// After how many iterations the body does the same to other lines.
    pub(super) period: Option<Period>,
    /// It never has more iterations.
    pub(super) most: u64,
    /// One run of it never touches more lines.
    pub(super) lines: u64,
    /// Whether looking at the first and the last touch of each line takes far less work than at all touches.
    pub(super) sparse: bool,
}

/// What an access depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// Loops that decide whether it runs.
    pub(super) domain: Depths,
    /// Loops that decide whether it runs, and which element it is.
    pub(super) mentions: Depths,
}

/// How the lines of a loop move.
#[derive(Debug, Clone)]
pub(super) struct Period {
    /// Iterations of a period.
    pub(super) rounds: u64,
    /// Lines by which arrays move in it, by array; others stay.
    shift: Vec<(u32, i64)>,
}

impl Period {
    /// Lines by which `array` moves in so many periods.
    pub(super) fn moved(&self, array: u32, periods: i64) -> i64 {
        let place = self.shift.binary_search_by_key(&array, |(own, _)| *own);
        place.ok().and_then(|place| self.shift.get(place)).map_or(0, |(_, lines)| lines.wrapping_mul(periods))
    }
}

#[derive(Debug)]
pub(super) struct PlanBranch<'a> {
    condition: &'a Condition,
    pub(super) then: Vec<Step<'a>>,
    pub(super) otherwise: Vec<Step<'a>>,
    at: At,
    draw: Draw,
}

#[derive(Debug)]
pub(super) struct Touch<'a> {
    access: &'a Access,
    pub(super) array: u32,
    pub(super) write: bool,
    /// An index into [`CachePlan::sources`].
    pub(super) source: u32,
    pub(super) address: Address,
    pub(super) kind: Kind,
    /// Whether the extremes of all loops around do not prove the subscripts to lie within the array.
    pub(super) doubtful: bool,
    /// The bit of each loop around, and the most iterations it has.
    loops: Vec<(Depths, u64)>,
    draw: Draw,
}

/// A place where chance decides, and the loop variables that distinguish its draws.
#[derive(Debug, Clone)]
struct Draw {
    site: u64,
    around: Vec<usize>,
}

impl<'a> CachePlan<'a> {
    /// The first value of `l`'s variable, and how many iterations there are.
    pub(super) fn rounds(&self, l: &PlanLoop<'_>, values: &[i64]) -> Result<(i64, u64), Error> {
        if let Some(fixed) = l.fixed {
            return Ok(fixed);
        }
        let lower = value(&l.source.lower, values, l.source.at)?;
        let upper = value(&l.source.upper, values, l.source.at)?;
        Ok((lower, rounds(i128::from(lower), i128::from(upper), l.step)))
    }

    /// The same for a loop as written: its first value, its iterations and its step.
    pub(super) fn rounds_of(&self, l: &nest::Loop, values: &[i64]) -> Result<(i64, u64, i64), Error> {
        let (lower, upper) = (value(&l.lower, values, l.at)?, value(&l.upper, values, l.at)?);
        let step = value(&l.step, values, l.at)?;
        Ok((lower, rounds(i128::from(lower), i128::from(upper), step), step))
    }

    /// Which arm of `branch` runs.
    pub(super) fn arm<'b>(&self, branch: &'b PlanBranch<'a>, values: &[i64]) -> Result<&'b [Step<'a>], Error> {
        Ok(if self.holds(branch, values)? { &branch.then } else { &branch.otherwise })
    }

    /// Whether the first arm of `branch` runs.
    pub(super) fn holds(&self, branch: &PlanBranch<'_>, values: &[i64]) -> Result<bool, Error> {
        self.decide(branch.condition, branch, values, &mut 0)
    }

    fn decide(
        &self,
        condition: &Condition,
        of: &PlanBranch<'_>,
        values: &[i64],
        draws: &mut u64,
    ) -> Result<bool, Error> {
        Ok(match condition {
            Condition::Compare(a, comparison, b) => compare(a, *comparison, b, values, of.at)?,
            Condition::Chance(probability) => {
                *draws += 1;
                let unit = (self.draw(&of.draw, *draws, values) >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
                unit < *probability
            }
            Condition::And(a, b) => self.decide(a, of, values, draws)? && self.decide(b, of, values, draws)?,
            Condition::Or(a, b) => self.decide(a, of, values, draws)? || self.decide(b, of, values, draws)?,
            Condition::Not(a) => !self.decide(a, of, values, draws)?,
        })
    }

    /// Random bits that depend on nothing but the place and its turn, so that every walk sees the same ones.
    fn draw(&self, draw: &Draw, number: u64, values: &[i64]) -> u64 {
        let turns = draw.around.iter().map(|symbol| values.get(*symbol).copied().unwrap_or_default() as u64);
        turns.fold(mix(mix(self.key ^ draw.site) ^ number), |state, turn| mix(state ^ turn))
    }

    /// The line that `touch` touches.
    pub(super) fn line(&self, touch: &Touch<'_>, values: &[i64]) -> Result<u64, Error> {
        Ok(match &touch.address {
            Address::Even(even) => even.value(values) as u64 / self.line_bytes,
            Address::Clamped(clamped) => clamped.value(values) as u64 / self.line_bytes,
            Address::Subscripts => self.line_of(touch, self.subscripts(touch, values)?),
            Address::Data => {
                let elements = self.spaces.get(touch.array as usize).map_or(0, |space| space.elements);
                let drawn = u128::from(self.draw(&touch.draw, 0, values)) * u128::from(elements);
                self.line_of(touch, (drawn >> 64) as u64)
            }
            Address::Row(row) => {
                let drawn = u128::from(self.draw(&touch.draw, 0, values)) * u128::from(row.rows);
                let first = self.spaces.get(touch.array as usize).map_or(0, |space| space.first);
                let known = row.start.value(values).wrapping_add(row.within.value(values)) as u64;
                first + ((drawn >> 64) as u64 * row.bytes + known) / self.line_bytes
            }
        })
    }

    fn line_of(&self, touch: &Touch<'_>, element: u64) -> u64 {
        let (first, bytes) = self.spaces.get(touch.array as usize).map_or((0, 1), |space| (space.first, space.bytes));
        first + element * bytes / self.line_bytes
    }

    /// How many lines an array has.
    pub(super) fn lines_of(&self, array: u32) -> u64 {
        self.spaces.get(array as usize).map_or(0, |space| (space.elements * space.bytes).div_ceil(self.line_bytes))
    }

    /// Refuses subscripts outside the array.
    pub(super) fn check(&self, touch: &Touch<'_>, values: &[i64]) -> Result<(), Error> {
        self.subscripts(touch, values).map(|_| ())
    }

    /// The number of the element, each subscript checked.
    fn subscripts(&self, touch: &Touch<'_>, values: &[i64]) -> Result<u64, Error> {
        let at = touch.access.at;
        let space = self.spaces.get(touch.array as usize);
        let dims = space.map_or(&[][..], |space| &space.dims);
        let Some(index) = &touch.access.index else {
            return if space.is_some_and(|space| space.elements > 0) { Ok(0) } else { Err(self.outside(touch, &[])) };
        };
        let index = index.iter().map(|i| value(i, values, at)).collect::<Result<Vec<_>, _>>()?;
        if index.iter().zip(dims).any(|(i, dim)| *i < 0 || i >= dim) {
            return Err(self.outside(touch, &index));
        }
        Ok(index.iter().zip(dims).fold(0, |sum, (i, dim)| sum * *dim as u64 + *i as u64))
    }

    fn outside(&self, touch: &Touch<'_>, index: &[i64]) -> Error {
        let dims = self.spaces.get(touch.array as usize).map_or(&[][..], |space| &space.dims);
        let name = self.program.arrays.get(touch.array as usize).map_or("?", |array| &array.name);
        let subscripts: String = index.iter().map(|i| format!("[{i}]")).collect();
        let wrong = index.iter().zip(dims).position(|(i, dim)| *i < 0 || i >= dim);
        let problem = match wrong.and_then(|wrong| dims.get(wrong)) {
            Some(dim) if *dim > 0 && dims.len() == 1 => format!("{name}{subscripts} is outside 0..={}", dim - 1),
            Some(dim) if *dim > 0 => {
                let number = wrong.unwrap_or_default() + 1;
                format!("{name}{subscripts} is outside 0..={} in subscript {number}", dim - 1)
            }
            _ => format!("{name}{subscripts} is outside the array, which has no elements"),
        };
        refuse(touch.access.at, problem, "Give the array a larger shape, or correct the subscript or the loop's bounds")
    }
}

/// The value of `expr`, or an error at `at`.
pub(super) fn value(expr: &Expr, values: &[i64], at: At) -> Result<i64, Error> {
    expr.value(values).map_err(|problem| match problem {
        NoValue::Overflow => refuse(at, "an integer leaves the range of 64 bits", "Use smaller parameters"),
        NoValue::DivisionByZero => refuse(at, "an integer is divided by zero", "Use other parameters"),
    })
}

fn compare(a: &Expr, comparison: Comparison, b: &Expr, values: &[i64], at: At) -> Result<bool, Error> {
    let (a, b) = (value(a, values, at)?, value(b, values, at)?);
    Ok(match comparison {
        Comparison::Less => a < b,
        Comparison::LessEqual => a <= b,
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
    })
}

/// A condition, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) condition: &'a Condition,
    pub(super) at: At,
}

impl<'a> Choice<'a> {
    fn of(self, condition: &'a Condition) -> Self {
        Self { condition, at: self.at }
    }

    /// How often it holds: 0 or 1, or in between where chance decides; chances are independent.
    pub(super) fn share(self, values: &[i64]) -> Result<f64, Error> {
        Ok(match self.condition {
            Condition::Compare(a, comparison, b) => f64::from(u8::from(compare(a, *comparison, b, values, self.at)?)),
            Condition::Chance(probability) => probability.clamp(0.0, 1.0),
            Condition::And(a, b) => self.of(a).share(values)? * self.of(b).share(values)?,
            Condition::Or(a, b) => {
                let (a, b) = (self.of(a).share(values)?, self.of(b).share(values)?);
                a + b - a * b
            }
            Condition::Not(a) => 1.0 - self.of(a).share(values)?,
        })
    }

    /// Whether it mentions `symbol`.
    pub(super) fn mentions(self, symbol: Symbol) -> bool {
        match self.condition {
            Condition::Compare(a, _, b) => a.mentions(symbol) || b.mentions(symbol),
            Condition::Chance(_) => false,
            Condition::And(a, b) | Condition::Or(a, b) => self.of(a).mentions(symbol) || self.of(b).mentions(symbol),
            Condition::Not(a) => self.of(a).mentions(symbol),
        }
    }
}

fn rounds(lower: i128, upper: i128, step: i64) -> u64 {
    let step = i128::from(step);
    let far = if step > 0 { upper - lower } else { lower - upper };
    if far <= 0 || step == 0 {
        return 0;
    }
    u64::try_from((far - 1) / step.abs() + 1).unwrap_or(u64::MAX)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

impl Touch<'_> {
    /// Work to find out which line it touches, beside touching it.
    pub(super) fn evaluation(&self) -> u64 {
        if matches!(self.address, Address::Even(_) | Address::Clamped(_)) { 0 } else { EVALUATION }
    }

    /// How many lines data decide on at once, at most.
    pub(super) fn lot(&self, line_bytes: u64) -> f64 {
        if let Address::Row(row) = &self.address { row.bytes.div_ceil(line_bytes).max(1) as f64 } else { 1.0 }
    }

    /// How many lines draws that come one after the other are from, where others are from other lines.
    pub(super) fn turn(&self, line_bytes: u64) -> Option<u64> {
        let Address::Row(row) = &self.address else { return None };
        row.by_turns.then(|| row.rows.saturating_mul(row.bytes) / line_bytes + 2)
    }

    /// Whether data decide on the same place for `other`.
    pub(super) fn drawn_with(&self, other: &Self) -> bool {
        self.array == other.array && self.draw.site == other.draw.site
    }

    /// The iterations of the loops at `depth` and further in, of those in `of`.
    fn rounds(&self, depth: Depths, of: Depths) -> u64 {
        let loops = self.loops.iter().filter(|(own, _)| *own >= depth && own & of != 0);
        loops.fold(1, |product, (_, most)| product.saturating_mul(*most))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
