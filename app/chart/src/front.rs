//! What costs how much at which capacity, and what nothing else beats in both: the Pareto front.

use accel_ground::units::format_bytes;

use crate::canvas::{Canvas, Colour, Failure, HPos, SERIES, VPos, svg};
use crate::frame::{Frame, LABELS_AND_NAME};

/// A design: its capacity, what it costs, and the series that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// What it costs: time or energy, the less the better.
    pub cost: f64,
    /// The number of its series.
    pub series: usize,
}

/// The places of those points than which none has both less capacity and less cost, by rising capacity. Of equal ones the
/// first is there.
pub fn front(points: &[Point]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).filter(|at| points[*at].cost.is_finite()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&points[*a], &points[*b]);
        a.capacity_bytes.cmp(&b.capacity_bytes).then(a.cost.total_cmp(&b.cost))
    });
    let mut least = f64::INFINITY;
    order.retain(|at| {
        let better = points[*at].cost < least;
        least = least.min(points[*at].cost);
        better
    });
    order
}

/// The mark of a series; those that share a colour with an earlier one have a hole, as in the legend.
fn dot(canvas: &Canvas<'_>, centre: (i32, i32), radius: u32, series: usize, opacity: f64) -> Result<(), Failure> {
    canvas.circle(centre, radius, Colour::series(series).faint(opacity))?;
    if series < SERIES { Ok(()) } else { canvas.circle(centre, radius / 2, Colour::EMPTY) }
}

/// Height of the chart in pixels.
const HEIGHT: u32 = 300;
/// From this ratio of the costs on, their axis is logarithmic.
const WIDE: f64 = 30.0;

/// All points over a logarithmic axis of capacities, and the front as a line; `label` writes a cost.
///
/// # Errors
///
/// Where plotters cannot draw.
pub fn draw(points: &[Point], label: &dyn Fn(f64) -> String, width: u32) -> Result<String, Failure> {
    let frame = Frame::new(width, HEIGHT, 84, LABELS_AND_NAME);
    let log = |capacity: u64| (capacity.max(1) as f64).log2();
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values
            .filter(|x| x.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let (from, to) = ends(&mut points.iter().map(|point| log(point.capacity_bytes)));
    let (low, high) = ends(&mut points.iter().map(|point| point.cost));
    if from > to || low > high {
        return Ok(String::new());
    }
    let logarithmic = low > 0.0 && high / low > WIDE;
    let share = |value: f64, from: f64, to: f64| if to > from { (value - from) / (to - from) } else { 0.5 };
    let x = |capacity: u64| frame.x(0.03 + 0.94 * share(log(capacity), from, to));
    let height = |cost: f64| match logarithmic {
        true => 0.04 + 0.92 * share(cost.log2(), low.log2(), high.log2()),
        false => 0.92 * share(cost, 0.0_f64.min(low), high),
    };
    let at = |share: f64| match logarithmic {
        true => (low.log2() + share * (high.log2() - low.log2())).exp2(),
        false => 0.0_f64.min(low) + share * (high - 0.0_f64.min(low)),
    };
    svg(width, HEIGHT, &|canvas| {
        for step in 0..=4 {
            let cost = at(f64::from(step) / 4.0);
            let y = frame.y(height(cost));
            canvas.line(vec![(frame.left, y), (frame.right, y)], Colour::GRID, 1)?;
            canvas.text(label(cost), (frame.left - 6, y), HPos::Right, VPos::Center)?;
        }
        let best = front(points);
        let mut steps: Vec<(i32, i32)> = Vec::new();
        for point in best.iter().map(|at| &points[*at]) {
            let here = (x(point.capacity_bytes), frame.y(height(point.cost)));
            // More memory costs no more than less does.
            steps.extend(steps.last().map(|last| (here.0, last.1)));
            steps.push(here);
        }
        steps.extend(steps.last().map(|last| (frame.right, last.1)));
        canvas.line(steps, Colour::STRONG, 2)?;
        for point in points.iter().filter(|point| point.cost.is_finite()) {
            let centre = (x(point.capacity_bytes), frame.y(height(point.cost)));
            dot(canvas, centre, 4, point.series, 0.6)?;
        }
        for point in best.iter().map(|at| &points[*at]) {
            dot(canvas, (x(point.capacity_bytes), frame.y(height(point.cost))), 5, point.series, 1.0)?;
        }
        let mut capacities: Vec<u64> = points.iter().map(|point| point.capacity_bytes).collect();
        capacities.sort_unstable();
        capacities.dedup();
        let labels = (width as usize / 110).min(capacities.len()).clamp(1, 7);
        for i in 0..labels {
            let capacity = capacities[i * (capacities.len() - 1) / (labels - 1).max(1)];
            let at = (x(capacity), frame.bottom + 4);
            canvas.text(format_bytes(capacity), at, HPos::Center, VPos::Top)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(capacity_bytes: u64, cost: f64) -> Point {
        Point { capacity_bytes, cost, series: 0 }
    }

    /// None of the front is beaten, and whoever is not on it is.
    #[test]
    fn nothing_beats_the_front() {
        let points: Vec<Point> =
            (0..200u64).map(|i| point(1 + i * 7919 % 31, ((i * 104_729 % 97) + 3) as f64)).collect();
        let best = front(&points);
        let beats = |a: &Point, b: &Point| {
            a.capacity_bytes <= b.capacity_bytes
                && a.cost <= b.cost
                && (a.capacity_bytes, a.cost) != (b.capacity_bytes, b.cost)
        };
        for (at, one) in points.iter().enumerate() {
            let beaten = points.iter().any(|other| beats(other, one));
            let twin = best.iter().any(|other| points[*other] == *one);
            assert_eq!(!beaten, best.contains(&at) || twin, "{one:?}");
        }
        assert!(best.windows(2).all(|pair| points[pair[0]].capacity_bytes < points[pair[1]].capacity_bytes));
        assert_eq!(front(&[point(1, f64::NAN)]), [0usize; 0]);
    }

    #[test]
    fn fronts_of_few_points_are_drawn() {
        let label = |cost: f64| format!("{cost:.1} ms");
        assert!(draw(&[], &label, 600).unwrap().is_empty());
        for points in [vec![point(1, 0.0)], vec![point(1, 1.0), point(1 << 30, 1000.0)], vec![point(8, 2.0); 3]] {
            let svg = draw(&points, &label, 600).unwrap();
            assert!(svg.contains(" ms") && svg.contains("<circle"), "{svg}");
        }
    }
}
