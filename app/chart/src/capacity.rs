//! How misses fall as memory grows.

use accel_engine::curve::{CurvePoint, Curves};
use accel_ground::units::format_bytes;

use crate::canvas::{Colour, Failure, HPos, VPos, svg};
use crate::frame::{Frame, LABELS_AND_NAME};

/// The logarithmic axis of capacities.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    /// The axis of `curves`.
    pub fn of(curves: &Curves) -> Self {
        let log = |point: Option<&CurvePoint>| point.map_or(0.0, |point| (point.capacity_bytes.max(1) as f64).log2());
        let points = curves.curves.first().map_or(&[][..], |curve| &curve.points);
        Self { from: log(points.first()), to: log(points.last()) }
    }

    /// The axis that holds both.
    pub fn with(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    /// Where a capacity stands, as a share of the width.
    pub fn share(self, capacity: u64) -> f64 {
        ((capacity.max(1) as f64).log2() - self.from) / (self.to - self.from).max(1e-9)
    }

    /// The capacity at a share of the width.
    pub fn capacity(self, share: f64) -> u64 {
        (self.from + share * (self.to - self.from)).exp2().round() as u64
    }
}

/// What is missed, as a share of accesses or of bytes.
pub fn ratio(point: &CurvePoint, by_bytes: bool) -> f64 {
    if by_bytes { point.byte_miss_ratio } else { point.miss_ratio }
}

/// Height of the chart in pixels.
pub const HEIGHT: u32 = 280;

/// Where the chart lies in a drawing of `width`.
pub fn frame(width: u32) -> Frame {
    Frame::new(width, HEIGHT, 48, LABELS_AND_NAME)
}

/// On a logarithmic scale: one line per policy with its knee, and the bounds as a band. The policies whose titles are `pale`
/// are.
///
/// # Errors
///
/// Where plotters cannot draw.
pub fn draw(curves: &Curves, by_bytes: bool, pale: &dyn Fn(&str) -> bool, width: u32) -> Result<String, Failure> {
    let Some(points) = curves.curves.first().map(|curve| &curve.points) else { return Ok(String::new()) };
    let (scale, frame) = (Scale::of(curves), frame(width));
    let Frame { left, right, bottom, .. } = frame;
    let x = |capacity: u64| frame.x(scale.share(capacity));
    let line = |points: &[CurvePoint]| -> Vec<(i32, i32)> {
        points.iter().map(|point| (x(point.capacity_bytes), frame.y(ratio(point, by_bytes)))).collect()
    };
    svg(width, HEIGHT, &|canvas| {
        canvas.percentages(&frame, 1.0, 4)?;
        if let Some(bounds) = &curves.bounds {
            let mut band = line(&bounds.upper);
            band.extend(line(&bounds.lower).into_iter().rev());
            canvas.area(band, Colour::TEXT.faint(0.25))?;
            canvas.line(line(&bounds.lower), Colour::TEXT.faint(0.7), 1)?;
        }
        for (i, curve) in curves.curves.iter().enumerate() {
            let pale = pale(&curve.policy.title());
            canvas.series(line(&curve.points), i, pale)?;
            let knee = curve.knee_bytes.filter(|_| !pale);
            let at = knee.and_then(|knee| curve.points.iter().min_by_key(|point| point.capacity_bytes.abs_diff(knee)));
            if let Some(point) = at {
                canvas.circle((x(point.capacity_bytes), frame.y(ratio(point, by_bytes))), 3, Colour::series(i))?;
            }
        }
        let labels = (width as usize / 110).min(points.len()).clamp(1, 7);
        for i in 0..labels {
            let capacity = points[i * (points.len() - 1) / (labels - 1).max(1)].capacity_bytes;
            let position = match i {
                0 => HPos::Left,
                _ if i + 1 == labels => HPos::Right,
                _ => HPos::Center,
            };
            canvas.text(format_bytes(capacity), (x(capacity), bottom + 4), position, VPos::Top)?;
        }
        canvas.text("capacity".into(), ((left + right) / 2, bottom + 18), HPos::Center, VPos::Top)
    })
}

/// The figures behind it: a row for each capacity of each policy and of the bounds, their heads first.
pub fn figures(curves: &Curves) -> Vec<Vec<String>> {
    let head = ["policy", "capacity_bytes", "miss_ratio", "byte_miss_ratio"].map(str::to_owned).to_vec();
    let lines = curves.curves.iter().map(|curve| (curve.policy.name(), &curve.points));
    let bounds = curves.bounds.iter();
    let bounds = bounds.flat_map(|b| [("best known".to_owned(), &b.upper), ("proven least".to_owned(), &b.lower)]);
    let rows = lines.chain(bounds).flat_map(|(name, points)| {
        points.iter().map(move |point| {
            let CurvePoint { capacity_bytes, miss_ratio, byte_miss_ratio } = point;
            vec![name.clone(), capacity_bytes.to_string(), miss_ratio.to_string(), byte_miss_ratio.to_string()]
        })
    });
    std::iter::once(head).chain(rows).collect()
}
