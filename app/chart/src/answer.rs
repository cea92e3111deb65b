//! What runs and curves answer, as figures.

use accel_engine::curve::Curves;
use accel_engine::sim::Report;
use accel_ground::units::format_bytes;

use crate::alone::Figure;
use crate::canvas::Failure;
use crate::{capacity, ranking};

/// What each policy fetches from DRAM; `least` is what no schedule is below, where it is known.
///
/// # Errors
///
/// Where plotters cannot draw.
pub fn of_runs(runs: &[Report], least: Option<u64>, width: u32) -> Result<Figure, Failure> {
    let same = runs.windows(2).all(|pair| pair[0].capacity_bytes == pair[1].capacity_bytes);
    let name = |run: &Report| match same {
        true => run.policy.title(),
        false => format!("{}, {}", run.policy.title(), format_bytes(run.capacity_bytes)),
    };
    let bytes: Vec<(String, u64)> = runs.iter().map(|run| (name(run), run.miss_bytes)).collect();
    let svg = ranking::draw(&bytes, least, width)?;
    let head = ["policy", "capacity_bytes", "hits", "misses", "miss_bytes", "time_ms"].map(str::to_owned).to_vec();
    let row = |run: &Report| {
        let numbers = [run.capacity_bytes, run.hits, run.misses, run.miss_bytes].map(|number| number.to_string());
        let time = run.time_ms().map_or(String::new(), |ms| ms.to_string());
        [run.policy.name()].into_iter().chain(numbers).chain([time]).collect()
    };
    let rows = [head].into_iter().chain(runs.iter().map(row)).collect();
    Ok(Figure { title: "What each policy fetches from DRAM".into(), legend: Vec::new(), svg, rows })
}

/// How misses fall as memory grows.
///
/// # Errors
///
/// Where plotters cannot draw.
pub fn of_curves(curves: &Curves, width: u32) -> Result<Figure, Failure> {
    let svg = capacity::draw(curves, true, &|_| false, width)?;
    let legend = curves.curves.iter().map(|curve| curve.policy.title()).collect();
    let title = "Bytes missed per byte requested, by the capacity of fast memory".into();
    Ok(Figure { title, legend, svg, rows: capacity::figures(curves) })
}
