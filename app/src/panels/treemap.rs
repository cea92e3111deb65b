//! What the misses consist of: an area for each family of tensors, gathered by kind.

use std::sync::Arc;

use accel_core::sim::why::{FamilySummary, Why};
use accel_core::units::format_bytes;
use accel_ui::built::Built;
use accel_ui::chart::{Chart, Colour, Failure, Frame, HPos, VPos, svg};
use accel_ui::over::{Over, Point};
use leptos::prelude::*;

/// Height of the map in pixels.
const HEIGHT: u32 = 220;

/// A rectangle: left, top, width and height as shares of the map.
type Area = [f64; 4];

/// The map of the bytes that missed.
pub(super) fn treemap(why: &Why) -> Option<Built> {
    let mut families: Vec<FamilySummary> =
        why.families.iter().filter(|family| family.miss_bytes > 0).cloned().collect();
    // By kind, the largest kind first; within a kind they come largest first already.
    let of_kind = |kind| families.iter().filter(|f| f.kind == kind).map(|f| f.miss_bytes).sum::<u64>();
    let mut kinds: Vec<_> = why.kinds.iter().map(|kind| (of_kind(kind.kind), kind.kind)).collect();
    kinds.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let place = |family: &FamilySummary| kinds.iter().position(|(_, kind)| *kind == family.kind).unwrap_or(0);
    families.sort_by_key(place);
    let all = families.iter().map(|family| family.miss_bytes).sum::<u64>();
    if all == 0 {
        return None;
    }
    // A strip for each kind, and a part of the strip for each family.
    let (mut areas, mut left) = (Vec::new(), 0.0);
    for (i, (bytes, kind)) in kinds.iter().enumerate().filter(|(_, (bytes, _))| *bytes > 0) {
        let (wide, mut top) = (*bytes as f64 / all as f64, 0.0);
        for family in families.iter().filter(|family| family.kind == *kind) {
            let high = family.miss_bytes as f64 / *bytes as f64;
            areas.push((i, [left, top, wide, high], family.clone()));
            top += high;
        }
        left += wide;
    }
    let (drawn, exported) = (Arc::new(areas), families);
    let areas = Arc::clone(&drawn);
    let read = move |at: Point| {
        let at = areas.iter().find(|(_, [x, y, w, h], _)| at.x >= *x && at.x <= x + w && at.y >= *y && at.y <= y + h);
        at.map_or(String::new(), |(_, _, family)| {
            format!(
                "{} ({}): {} missed, {:.1} % of all",
                family.family,
                family.kind.title(),
                format_bytes(family.miss_bytes),
                100.0 * family.miss_bytes as f64 / all as f64
            )
        })
    };
    let over = Over {
        frame: Arc::new(frame),
        at: RwSignal::new(None),
        steps: (24, 12),
        read: Arc::new(read),
        hint: "The area is what was fetched; a strip is a kind of tensor. Point to read.",
        brushed: None,
        picked: None,
        handle: None,
    };
    let rows = move || {
        let head = ["family", "kind", "misses", "miss_bytes"].map(str::to_owned).to_vec();
        let row = |f: &FamilySummary| {
            vec![f.family.clone(), f.kind.name().to_owned(), f.misses.to_string(), f.miss_bytes.to_string()]
        };
        std::iter::once(head).chain(exported.iter().map(row)).collect()
    };
    let draw = move |width| draw(&drawn, width);
    Some(
        Chart::new("treemap", "What was fetched, by kind and family of tensors", Arc::new(draw))
            .over(over)
            .rows(Arc::new(rows))
            .view(),
    )
}

fn frame(width: u32) -> Frame {
    Frame { left: 0, right: width as i32, top: 0, bottom: HEIGHT as i32 }
}

fn draw(areas: &[(usize, Area, FamilySummary)], width: u32) -> Result<String, Failure> {
    let frame = frame(width);
    svg(width, HEIGHT, &|canvas| {
        for (i, (kind, [x, y, w, h], family)) in areas.iter().enumerate() {
            let corner = |x: f64, y: f64| (frame.x(x), frame.y(1.0 - y));
            let ((left, top), (right, bottom)) = (corner(*x, *y), corner(x + w, y + h));
            let shade = if i % 2 == 0 { 0.45 } else { 0.3 };
            canvas.rectangle(
                [(left, top), ((right - 1).max(left), (bottom - 1).max(top))],
                Colour::series(*kind).faint(shade),
            )?;
            // A name needs its room: some 7 pixels a letter.
            let room = ((right - left - 8) / 7).max(0) as usize;
            if bottom - top >= 16 && room >= 4 {
                let name: String = family.family.chars().take(room).collect();
                canvas.text(name, (left + 4, top + 8), HPos::Left, VPos::Center)?;
            }
        }
        Ok(())
    })
}
