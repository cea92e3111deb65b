//! What the best possible schedule needs, between a proven and an attained figure.

use accel_core::bound::Bounds;
use accel_core::explain::schedule_name;
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::view::table;
use leptos::prelude::*;

use super::metrics::milliseconds;

/// Between which figures the best possible schedule lies.
pub(super) fn bounds(bounds: &Bounds) -> Built {
    let line = |what: &str, lower: String, upper: String, by: &str| vec![what.into(), lower, upper, schedule_name(by)];
    let Bounds { admission, misses, miss_bytes, time_ms, .. } = bounds;
    let mut rows = vec![
        line("DRAM accesses", format_count(misses.lower), format_count(misses.upper), &misses.schedule),
        line("DRAM traffic", format_bytes(miss_bytes.lower), format_bytes(miss_bytes.upper), &miss_bytes.schedule),
    ];
    if let Some(time) = time_ms {
        rows.push(line("Time", milliseconds(time.lower), milliseconds(time.upper), &time.schedule));
    }
    view! {
        <div>
            <p class="hint">
                {format!(
                    "With {} admission, no schedule needs less than the first figure, and one is known that needs the second. Whatever the policy, half of the reuses cannot hit below {}.",
                    admission.name(),
                    format_bytes(bounds.half_of_hits_bytes),
                )}
            </p>
            {table("bounds-table", &["of", "proven at least", "attained", "by"], rows)}
        </div>
    }
    .built()
}
