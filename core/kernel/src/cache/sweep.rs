//! Accesses that, in all iterations of the loops around, touch all lines between two, in whatever order.

use std::ops::Range;

use super::plan::{Address, CachePlan, Clamped, Even, Part, PlanLoop, Step, Touch};

/// No more accesses than this are looked at together.
const MOST: usize = 64;

/// Such an access.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    pub(super) array: u32,
    pub(super) source: u32,
    pub(super) write: bool,
    /// The lowest and the highest byte.
    pub(super) low: i64,
    pub(super) high: i64,
}

/// A loop around: its variable's index and first value, how far it moves, and its iterations.
type Around = (usize, i64, i64, u64);

impl Sweep {
    /// Collects the accesses of `steps`, with the touch of each, where `values` hold those of variables around; false
    /// where there are others, or too many.
    pub(super) fn each<'s, 'a>(
        plan: &CachePlan<'_>,
        steps: &'s [Step<'a>],
        values: &[i64],
        found: &mut Vec<(&'s Touch<'a>, Self)>,
    ) -> bool {
        walk(plan, steps, values, &mut Vec::new(), found, None)
    }

    /// The same, where data may decide some accesses: adds each of those to `draws` with how often it runs.
    pub(super) fn and_draws<'s, 'a>(
        plan: &CachePlan<'_>,
        steps: &'s [Step<'a>],
        values: &[i64],
        found: &mut Vec<(&'s Touch<'a>, Self)>,
        draws: &mut Vec<(&'s Touch<'a>, f64)>,
    ) -> bool {
        walk(plan, steps, values, &mut Vec::new(), found, Some(draws))
    }

    /// The same, without touches.
    pub(super) fn collect(plan: &CachePlan<'_>, steps: &[Step<'_>], values: &[i64], sweeps: &mut Vec<Self>) -> bool {
        let mut found = Vec::new();
        let all = Self::each(plan, steps, values, &mut found);
        sweeps.extend(found.into_iter().map(|(_, sweep)| sweep));
        all
    }

    /// The lowest and the highest line.
    pub(super) fn lines(&self, line_bytes: u64) -> (u64, u64) {
        (self.low as u64 / line_bytes, self.high as u64 / line_bytes)
    }
}

/// The iterations of `l`, of `rounds` from where `values` stand, in which no subscript is kept at a bound; all where it is
/// not known.
pub(super) fn inside(l: &PlanLoop<'_>, values: &[i64], rounds: u64) -> Range<u64> {
    let mut inside = 0..i128::from(rounds);
    let known = narrow(l, &l.body, values, &mut Vec::new(), &mut inside);
    let round = |value: i128| u64::try_from(value.max(0)).map_or(rounds, |value| value.min(rounds));
    if known.is_some() { round(inside.start)..round(inside.end) } else { 0..rounds }
}

fn narrow(
    l: &PlanLoop<'_>,
    steps: &[Step<'_>],
    values: &[i64],
    around: &mut Vec<Around>,
    inside: &mut Range<i128>,
) -> Option<()> {
    for step in steps {
        match step {
            Step::Loop(inner) => {
                let (first, rounds) = inner.fixed?;
                around.push((inner.var, first, inner.step, rounds));
                narrow(l, &inner.body, values, around, inside)?;
                around.pop();
            }
            Step::Branch(_) => return None,
            Step::Touch(Touch { address: Address::Clamped(clamped), .. }) => {
                for Part { of, bounds, .. } in &clamped.parts {
                    let by = of.by(l.var).checked_mul(l.step)?;
                    if by == 0 {
                        continue;
                    }
                    let (start, moves) = moves(of, values, around)?;
                    let (low, high, _) = reached(start, moves)?;
                    // How far it may still go down and up before a value is beyond a bound.
                    let (down, up) = (i128::from(low) - i128::from(bounds.0), i128::from(bounds.1) - i128::from(high));
                    let (behind, before) = if by > 0 { (down, up) } else { (up, down) };
                    let by = i128::from(by.unsigned_abs());
                    let (from, to) = (-behind.div_euclid(by), before.div_euclid(by) + 1);
                    *inside = inside.start.max(from)..inside.end.min(to);
                }
            }
            Step::Touch(_) => {}
        }
    }
    Some(())
}

fn walk<'s, 'a>(
    plan: &CachePlan<'_>,
    steps: &'s [Step<'a>],
    values: &[i64],
    around: &mut Vec<Around>,
    found: &mut Vec<(&'s Touch<'a>, Sweep)>,
    mut draws: Option<&mut Vec<(&'s Touch<'a>, f64)>>,
) -> bool {
    steps.iter().all(|step| match step {
        Step::Loop(l) => {
            let Some((first, rounds)) = l.fixed else { return false };
            around.push((l.var, first, l.step, rounds));
            let all = rounds == 0 || walk(plan, &l.body, values, around, found, draws.as_deref_mut());
            around.pop();
            all
        }
        Step::Branch(_) => false,
        Step::Touch(touch) => {
            if let (Address::Data | Address::Row(_), false, Some(draws)) = (&touch.address, touch.doubtful, &mut draws)
            {
                draws.push((touch, lines_drawn(plan, touch, values, around)));
                return draws.len() <= MOST;
            }
            let sweep = whole(plan, touch, values, around).filter(|_| found.len() < MOST);
            found.extend(sweep.map(|sweep| (touch, sweep)));
            sweep.is_some()
        }
    })
}

fn whole(plan: &CachePlan<'_>, touch: &Touch<'_>, values: &[i64], around: &[Around]) -> Option<Sweep> {
    if touch.doubtful {
        return None;
    }
    let (start, moves) = match &touch.address {
        Address::Even(even) => moves(even, values, around)?,
        Address::Clamped(clamped) => within_bounds(clamped, values, around)?,
        Address::Subscripts | Address::Data | Address::Row(_) => return None,
    };
    // Lines that follow each other leave none out.
    let (low, high, gap) = reached(start, moves)?;
    (low >= 0 && gap <= i64::try_from(plan.line_bytes).ok()?).then_some(Sweep {
        array: touch.array,
        source: touch.source,
        write: touch.write,
        low,
        high,
    })
}

/// How many lines draws visit: each its own, but places next to each other in a row, one after the other, only those that
/// they lie in.
fn lines_drawn(plan: &CachePlan<'_>, touch: &Touch<'_>, values: &[i64], around: &[Around]) -> f64 {
    let rounds = |around: &[Around]| around.iter().map(|(.., rounds)| *rounds as f64).product::<f64>();
    let all = rounds(around);
    let Address::Row(row) = &touch.address else { return all };
    let stays = |(var, .., rounds): &Around| *rounds <= 1 || row.within.by(*var) == 0;
    let inner = around.iter().rposition(stays).map_or(0, |last| last + 1);
    let Some((draws, places)) = around.split_at_checked(inner) else { return all };
    let together = moves(&row.within, values, places).and_then(|(start, moves)| reached(start, moves));
    let line = plan.line_bytes as f64;
    match together {
        Some((low, high, gap)) if gap <= plan.line_bytes as i64 => {
            // Rows begin anywhere in a line, unless they are made of whole ones.
            let (low, high) = (low as f64, high as f64);
            let whole = row.bytes % plan.line_bytes == 0;
            let lines = if whole { (high / line).floor() - (low / line).floor() } else { (high - low) / line };
            rounds(draws) * (lines + 1.0)
        }
        _ => all,
    }
}

/// The first value of a sum in the loops around, and how far and how often each moves it.
fn moves(even: &Even, values: &[i64], around: &[Around]) -> Option<(i64, Vec<(i64, i64)>)> {
    let mut start = even.value(values);
    let mut moves = Vec::with_capacity(around.len());
    for (var, first, step, rounds) in around {
        let by = even.by(*var);
        let from = first.checked_sub(values.get(*var).copied()?)?;
        start = start.checked_add(by.checked_mul(from)?)?;
        moves.push((by.checked_mul(*step)?, i64::try_from(*rounds).ok()? - 1));
    }
    Some((start, moves))
}

/// The lowest and the highest of the values that `moves` reach from `start`, and the largest step between two that follow
/// each other.
fn reached(start: i64, mut moves: Vec<(i64, i64)>) -> Option<(i64, i64, i64)> {
    moves.retain(|(by, more)| *by != 0 && *more > 0);
    moves.sort_unstable_by_key(|(by, _)| by.unsigned_abs());
    // Between the lowest and the highest, and from the first down to the lowest.
    let (mut reach, mut below, mut gap) = (0i64, 0i64, 0i64);
    for (by, more) in moves {
        let size = by.checked_abs()?;
        gap = gap.max(size - reach);
        let far = size.checked_mul(more)?;
        reach = reach.checked_add(far)?;
        below = below.checked_add(if by < 0 { far } else { 0 })?;
    }
    let low = start.checked_sub(below)?;
    Some((low, low.checked_add(reach)?, gap))
}

/// The same as [`moves`], where each subscript between bounds has loops of its own: it moves from the lowest value that it
/// takes to the highest.
fn within_bounds(clamped: &Clamped, values: &[i64], around: &[Around]) -> Option<(i64, Vec<(i64, i64)>)> {
    let hangs = |even: &Even, (var, .., rounds): &Around| *rounds > 1 && even.by(*var) != 0;
    let several = around.iter().any(|own| {
        let parts = clamped.parts.iter().filter(|part| hangs(&part.of, own)).count();
        parts + usize::from(hangs(&clamped.rest, own)) > 1
    });
    if several {
        return None;
    }
    let (mut start, mut all) = moves(&clamped.rest, values, around)?;
    for Part { bytes, of, bounds } in &clamped.parts {
        let (first, own) = moves(of, values, around)?;
        let (low, high, gap) = reached(first, own)?;
        let inside = |value: i64| value.max(bounds.0).min(bounds.1);
        let (low, high) = (inside(low), inside(high));
        start = start.checked_add(low.checked_mul(*bytes)?)?;
        let gap = gap.max(1);
        // Steps that do not end at the highest value would reach beyond it.
        if (high - low) % gap != 0 {
            return None;
        }
        all.push((gap.checked_mul(*bytes)?, (high - low) / gap));
    }
    Some((start, all))
}
