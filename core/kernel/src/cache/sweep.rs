//! Accesses that, in all iterations of the loops around, touch all lines between two, in whatever order.

use super::plan::{Address, CachePlan, Step, Touch};

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
            if let (Address::Data, false, Some(draws)) = (&touch.address, touch.doubtful, &mut draws) {
                draws.push((touch, around.iter().map(|(.., rounds)| *rounds as f64).product()));
                return draws.len() <= MOST;
            }
            let sweep = whole(plan, touch, values, around).filter(|_| found.len() < MOST);
            found.extend(sweep.map(|sweep| (touch, sweep)));
            sweep.is_some()
        }
    })
}

fn whole(plan: &CachePlan<'_>, touch: &Touch<'_>, values: &[i64], around: &[Around]) -> Option<Sweep> {
    let Address::Even(even) = &touch.address else { return None };
    if touch.doubtful {
        return None;
    }
    let mut start = even.value(values);
    let mut moves = Vec::with_capacity(around.len());
    for (var, first, step, rounds) in around {
        let by = even.by(*var);
        let from = first.checked_sub(values.get(*var).copied()?)?;
        start = start.checked_add(by.checked_mul(from)?)?;
        moves.push((by.checked_mul(*step)?, i64::try_from(*rounds).ok()? - 1));
    }
    moves.retain(|(by, more)| *by != 0 && *more > 0);
    moves.sort_unstable_by_key(|(by, _)| by.unsigned_abs());
    // Bytes between the lowest and the highest touched, and from the first down to the lowest.
    let (mut reach, mut below) = (0i64, 0i64);
    for (by, more) in moves {
        let size = by.checked_abs()?;
        if size > reach.checked_add(i64::try_from(plan.line_bytes).ok()?)? {
            return None;
        }
        let far = size.checked_mul(more)?;
        reach = reach.checked_add(far)?;
        below = below.checked_add(if by < 0 { far } else { 0 })?;
    }
    let low = start.checked_sub(below).filter(|low| *low >= 0)?;
    let high = low.checked_add(reach)?;
    Some(Sweep { array: touch.array, source: touch.source, write: touch.write, low, high })
}
