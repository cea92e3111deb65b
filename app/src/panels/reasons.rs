//! Why a policy misses.

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_core::sim::Report;
use accel_core::sim::why::Why;
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::view::{options, show_in, table};
use leptos::html::Div;
use leptos::prelude::*;

use super::treemap;
use crate::app::App;
use crate::view::View;

/// Why a policy misses; one at a time, the one of the heatmap.
pub(super) fn reasons(app: App, outcome: &Arc<Outcome>) -> Built {
    let titles: Vec<String> = outcome.runs.iter().map(|run| run.policy.title()).collect();
    let place = NodeRef::<Div>::new();
    let shown = Arc::clone(outcome);
    let chosen = titles.clone();
    show_in(place, move || {
        let report = shown.runs.get(View::chosen(app.view.policy, &chosen))?;
        report.why.as_ref().map(|why| reasons_of(report, why))
    });
    let value =
        RwSignal::new(untrack(|| titles.get(View::chosen(app.view.policy, &titles)).cloned().unwrap_or_default()));
    let names = titles.into_iter().map(|title| (title.clone(), title)).collect();
    view! {
        <div class="bar">
            <select
                id="why-policy"
                aria-label="Policy"
                on:change:target=move |event| app.view.policy.set(Some(event.target().value()))
            >
                {options(value, names)}
            </select>
        </div>
        <div node_ref=place></div>
    }
    .built()
}

/// Rows of the table of families.
const FAMILIES: usize = 15;

fn reasons_of(report: &Report, why: &Why) -> Built {
    let kinds = why.kinds.iter().map(|k| {
        vec![
            k.kind.title().to_owned(),
            format_count(k.tensors),
            format_count(k.accesses),
            format_count(k.misses),
            format_bytes(k.miss_bytes),
            format_count(k.evictions),
            format_count(k.evicted_too_early),
        ]
    });
    let kinds = table(
        "kinds-table",
        &["kind", "tensors", "accesses", "misses", "missed", "evictions", "too early"],
        kinds.collect(),
    );
    let families = why.families.iter().filter(|family| family.misses > 0).map(|f| {
        vec![
            f.family.clone(),
            format_count(f.tensors),
            format_count(f.accesses),
            format_count(f.misses),
            format_bytes(f.miss_bytes),
            format_count(f.evictions),
            format_count(f.evicted_too_early),
        ]
    });
    let families = table(
        "families-table",
        &["family", "tensors", "accesses", "misses", "missed", "evictions", "too early"],
        families.take(FAMILIES).collect(),
    );
    let when = |next: Option<u64>| next.map_or("never".into(), format_count);
    let predicted = why.worst.iter().any(|e| e.prediction.is_some());
    let worst = why.worst.iter().map(|e| {
        let mut row = vec![
            format_count(e.access),
            format!("{} ({})", e.tensor, format_bytes(e.bytes)),
            when(e.next_use),
            format!("{} ({})", e.best_tensor, format_bytes(e.best_bytes)),
            when(e.best_next_use),
            e.cost_ms.map_or("–".into(), |ms| format!("{ms:.4} ms")),
        ];
        if let Some(prediction) = &e.prediction {
            let distrusted = if prediction.distrusted { " (LRU followed)" } else { "" };
            row.push(format!("{}{distrusted}", when(prediction.next_use)));
            row.push(format!("at {}: {}", format_count(prediction.last_use), prediction.reason));
        }
        row
    });
    let head = [
        "access",
        "evicted",
        "needed next",
        "best victim",
        "needed next",
        "cost of the difference",
        "predicted",
        "because, at its last use",
    ];
    let head = &head[..if predicted { head.len() } else { head.len() - 2 }];
    let worst: Vec<Vec<String>> = worst.collect();
    let worst = (!worst.is_empty()).then(|| table("worst-table", head, worst));
    view! {
        <div>
            <p>
                {format!(
                    "{} evicts {} times; {} of these tensors were used again, and {} choices were as good as the best.",
                    report.policy.title(),
                    format_count(report.evictions),
                    format_count(why.evicted_too_early),
                    format_count(why.best_choices),
                )}
            </p>
            {treemap::treemap(why)}
            {kinds}
            <h3>"By family: tensors whose names differ only in numbers"</h3>
            {families}
            <h3>"The worst evictions"</h3>
            <p class="hint">
                "By size times how much sooner the tensor was needed than the resident needed last. The cost is the time to load the one again less that to load the other."
            </p>
            {worst}
        </div>
    }
    .built()
}
