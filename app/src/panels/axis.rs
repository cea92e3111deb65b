//! What charts over the trace share: columns, each a stretch of accesses, named points and the axis below.

use accel_core::run::Charts;
use accel_core::units::format_count;
use accel_ui::chart::{Canvas, Colour, Failure, Frame, HPos, VPos};

/// The trace from left to right.
pub(super) struct TraceAxis<'c> {
    pub(super) charts: &'c Charts,
    pub(super) accesses: u64,
    pub(super) columns: usize,
    pub(super) frame: Frame,
}

impl TraceAxis<'_> {
    /// The left edge of a column.
    pub(super) fn x(&self, column: usize) -> i32 {
        let Frame { left, right, .. } = self.frame;
        (f64::from(left) + f64::from(right - left) * column as f64 / self.columns as f64) as i32
    }

    /// A line with its name at each named point of the trace.
    pub(super) fn draw_marks(&self, canvas: &Canvas<'_>) -> Result<(), Failure> {
        let Frame { top, bottom, .. } = self.frame;
        let mut free_from = i32::MIN;
        for mark in &self.charts.marks {
            let column = (mark.at / self.charts.accesses_per_column.max(1)) as usize;
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
            let access = format_count((self.charts.accesses_per_column * column as u64).min(self.accesses));
            canvas.text(access, (self.x(column), bottom + 4), position, VPos::Top)?;
        }
        canvas.text("access".into(), (self.x(columns / 2), bottom + 18), HPos::Center, VPos::Top)
    }
}
