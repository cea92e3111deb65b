//! Why a policy misses.

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_core::sim::Report;
use accel_core::sim::why::Why;
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::view::{choices, show_in, table};
use leptos::html::Div;
use leptos::prelude::*;

/// Why a policy misses; one at a time.
pub(super) fn reasons(outcome: &Arc<Outcome>) -> Built {
    let run = RwSignal::new(0usize);
    let policies = choices(outcome.runs.iter().map(|r| r.policy.title()).collect());
    let place = NodeRef::<Div>::new();
    let shown = Arc::clone(outcome);
    show_in(place, move || {
        let report = shown.runs.get(run.get())?;
        report.why.as_ref().map(|why| reasons_of(report, why))
    });
    view! {
        <section class="panel" id="why">
            <h2>"Why it misses"</h2>
            <div class="bar">
                <select
                    id="why-policy"
                    aria-label="Policy"
                    on:change:target=move |e| run.set(e.target().value().parse().unwrap_or(0))
                >
                    {policies}
                </select>
            </div>
            <div node_ref=place></div>
        </section>
    }
    .built()
}

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
        &["", "tensors", "accesses", "misses", "missed", "evictions", "too early"],
        kinds.collect(),
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
            {kinds}
            <h3>"The worst evictions"</h3>
            <p class="hint">
                "By size times how much sooner the tensor was needed than the resident needed last. The cost is the time to load the one again less that to load the other."
            </p>
            {worst}
        </div>
    }
    .built()
}
