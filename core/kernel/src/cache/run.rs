//! Iterations of a straight loop, those that touch the same lines taken together.

use super::plan::{Address, CachePlan, PlanLoop, Step, Touch};

/// An access of a straight loop: the line it touches, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub(super) line: u64,
    pub(super) array: u32,
    pub(super) write: bool,
    pub(super) source: u32,
    /// The byte it touches in iteration 0, and how far it moves each iteration.
    start: i64,
    stride: i64,
    /// The first iteration in which the line may be another.
    next: u64,
}

impl Cursor {
    /// `touch` in iteration `from` and on, where `values` hold the loop's first iteration; backwards if `step` says so.
    pub(super) fn new(touch: &Touch<'_>, var: usize, step: i64, values: &[i64]) -> Option<Self> {
        let Address::Even(even) = &touch.address else { return None };
        let stride = even.by(var).wrapping_mul(step);
        let (start, next) = (even.value(values), 0);
        Some(Self { line: 0, array: touch.array, write: touch.write, source: touch.source, start, stride, next })
    }

    /// Goes to iteration `now`.
    #[inline]
    fn seek(&mut self, now: u64, line_bytes: u64) {
        if now < self.next {
            return;
        }
        let byte = self.start.wrapping_add(self.stride.wrapping_mul(now as i64)) as u64;
        // Lines are nearly always of a power of two bytes, and shifting takes much less time than dividing.
        let (line, within) = if line_bytes.is_power_of_two() {
            (byte >> line_bytes.trailing_zeros(), byte & (line_bytes - 1))
        } else {
            (byte / line_bytes, byte % line_bytes)
        };
        let size = self.stride.unsigned_abs();
        let left = if self.stride < 0 { within } else { line_bytes - 1 - within };
        self.line = line;
        self.next = match size {
            0 => u64::MAX,
            _ if size > left => now + 1,
            _ if size.is_power_of_two() => now + (left >> size.trailing_zeros()) + 1,
            _ => now + left / size + 1,
        };
    }
}

/// The accesses of `l` that `keep` keeps, at its first iteration.
pub(super) fn cursors(l: &PlanLoop<'_>, values: &[i64], keep: impl Fn(&Touch<'_>) -> bool, cursors: &mut Vec<Cursor>) {
    cursors.clear();
    let touches = l.body.iter().filter_map(|step| match step {
        Step::Touch(touch) if keep(touch) => Cursor::new(touch, l.var, l.step, values),
        _ => None,
    });
    cursors.extend(touches);
}

/// Calls `visit` for the iterations `from..to`, in order: the cursors, each at its line, and how many iterations stay
/// like that.
pub(super) fn each_round<E>(
    plan: &CachePlan<'_>,
    cursors: &mut [Cursor],
    (from, to): (u64, u64),
    mut visit: impl FnMut(&[Cursor], u64) -> Result<(), E>,
) -> Result<(), E> {
    for cursor in &mut *cursors {
        cursor.next = 0;
    }
    let mut now = from;
    while now < to {
        let mut next = to;
        for cursor in &mut *cursors {
            cursor.seek(now, plan.line_bytes);
            next = next.min(cursor.next);
        }
        visit(cursors, next - now)?;
        now = next;
    }
    Ok(())
}

/// The same iterations, last first, the accesses of each in reverse: the cursors must be reversed too.
pub(super) fn reverse(cursors: &mut [Cursor], rounds: u64) {
    cursors.reverse();
    for cursor in cursors {
        cursor.start = cursor.start.wrapping_add(cursor.stride.wrapping_mul(rounds.wrapping_sub(1) as i64));
        cursor.stride = cursor.stride.wrapping_neg();
    }
}

impl Cursor {
    /// The first and the last line of `rounds` iterations, where it touches all lines between.
    pub(super) fn lines_without_gaps(&self, rounds: u64, line_bytes: u64) -> Option<(u64, u64)> {
        if self.stride.unsigned_abs() > line_bytes {
            return None;
        }
        let [a, b] = self.ends(rounds).map(|byte| byte / line_bytes);
        Some((a.min(b), a.max(b)))
    }

    /// The bytes that it touches in the first and in the last iteration.
    fn ends(&self, rounds: u64) -> [u64; 2] {
        let last = self.start.wrapping_add(self.stride.wrapping_mul(rounds.wrapping_sub(1) as i64));
        [self.start as u64, last as u64]
    }
}

impl Cursor {
    /// The iteration in which it first touches the line of number `visit`, of the lines that it goes to one after
    /// another in `rounds` iterations.
    pub(super) fn round_of(&self, visit: u64, rounds: u64, line_bytes: u64) -> Option<u64> {
        let size = self.stride.unsigned_abs();
        if size >= line_bytes {
            return Some(visit).filter(|visit| *visit < rounds);
        }
        let [first, last] = self.ends(rounds).map(|byte| byte / line_bytes);
        let start = self.start as u64;
        if visit == 0 {
            return Some(0);
        }
        if visit > first.abs_diff(last) {
            return None;
        }
        Some(if self.stride > 0 {
            ((first + visit) * line_bytes - start).div_ceil(size)
        } else {
            (start - (first - visit + 1) * line_bytes) / size + 1
        })
    }
}

impl Cursor {
    /// Whether it moves, and never past a line.
    pub(super) fn moves_within(&self, line_bytes: u64) -> bool {
        (1..=line_bytes).contains(&self.stride.unsigned_abs())
    }

    /// The lowest and the highest line of the iterations `from..to`, where it leaves no line out.
    pub(super) fn lines(&self, (from, to): (u64, u64), line_bytes: u64) -> (u64, u64) {
        let byte = |round: u64| self.start.wrapping_add(self.stride.wrapping_mul(round as i64)) as u64;
        let [a, b] = [byte(from), byte(to.saturating_sub(1))].map(|byte| byte / line_bytes);
        (a.min(b), a.max(b))
    }
}
