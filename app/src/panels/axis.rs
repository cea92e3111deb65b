//! What charts over the trace share: columns, each a stretch of accesses, named points and the axis below.

use std::sync::Arc;

use accel_core::run::{Charts, Outcome};
use accel_core::units::format_count;
use accel_ui::chart::{Canvas, Colour, Failure, Frame, HPos, VPos};

/// What the charts show: the whole trace, or the part that was brushed.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) outcome: Arc<Outcome>,
    /// The charts of the part.
    pub(super) window: Option<Arc<Charts>>,
    /// The first access behind what is shown.
    pub(super) end: u64,
}

impl Shown {
    pub(super) fn charts(&self) -> &Charts {
        self.window.as_ref().map_or(&self.outcome.charts, |charts| charts)
    }

    pub(super) fn columns(&self) -> usize {
        self.charts().timelines.first().map_or(1, |timeline| timeline.hits.len().max(1))
    }

    /// The accesses between two shares of the width.
    pub(super) fn part(&self, (from, to): (f64, f64)) -> (u64, u64) {
        let first = self.charts().first_access;
        let at = |share: f64| first + (share * (self.end - first) as f64).round() as u64;
        (at(from), at(to).max(at(from) + 1).min(self.end))
    }
}

/// The trace, or a part of it, from left to right.
pub(super) struct TraceAxis<'c> {
    pub(super) charts: &'c Charts,
    /// The first access behind the last column.
    pub(super) end: u64,
    pub(super) columns: usize,
    pub(super) frame: Frame,
}

/// The column at a share of the width, 0 to 1.
pub(super) fn column_at(share: f64, columns: usize) -> usize {
    ((share * columns as f64) as usize).min(columns.saturating_sub(1))
}

/// The accesses of a column: the first, and the first one behind.
pub(super) fn accesses_of(charts: &Charts, end: u64, column: usize) -> (u64, u64) {
    let from = charts.first_access + charts.accesses_per_column * column as u64;
    (from, (from + charts.accesses_per_column).min(end))
}

impl TraceAxis<'_> {
    /// The left edge of a column.
    pub(super) fn x(&self, column: usize) -> i32 {
        let Frame { left, right, .. } = self.frame;
        (f64::from(left) + f64::from(right - left) * column as f64 / self.columns.max(1) as f64) as i32
    }

    /// The middle of a column.
    pub(super) fn middle(&self, column: usize) -> i32 {
        (self.x(column) + self.x(column + 1)) / 2
    }

    /// A line with its name at each named point of the trace.
    pub(super) fn draw_marks(&self, canvas: &Canvas<'_>) -> Result<(), Failure> {
        let Frame { top, bottom, .. } = self.frame;
        let first = self.charts.first_access;
        let mut free_from = i32::MIN;
        for mark in self.charts.marks.iter().filter(|mark| (first..self.end).contains(&mark.at)) {
            let column = ((mark.at - first) / self.charts.accesses_per_column.max(1)) as usize;
            let at = self.x(column.min(self.columns));
            canvas.line(vec![(at, top), (at, bottom)], Colour::TEXT.faint(0.5), 1)?;
            // Names that would run into the one before are left out; their lines stay.
            if at >= free_from {
                canvas.text(mark.label.clone(), (at + 2, top - 2), HPos::Left, VPos::Bottom)?;
                free_from = at + 8 * mark.label.len() as i32 + 8;
            }
        }
        Ok(())
    }

    /// The axis of access numbers.
    pub(super) fn draw(&self, canvas: &Canvas<'_>) -> Result<(), Failure> {
        let (columns, bottom) = (self.columns, self.frame.bottom);
        canvas.line(vec![(self.x(0), bottom), (self.x(columns), bottom)], Colour::GRID, 1)?;
        for quarter in 0..=4 {
            let column = columns * quarter / 4;
            let position = match quarter {
                0 => HPos::Left,
                4 => HPos::Right,
                _ => HPos::Center,
            };
            let (access, _) = accesses_of(self.charts, self.end, column);
            canvas.text(format_count(access.min(self.end)), (self.x(column), bottom + 4), position, VPos::Top)?;
        }
        canvas.text("access".into(), (self.x(columns / 2), bottom + 18), HPos::Center, VPos::Top)
    }
}
