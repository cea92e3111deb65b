//! The policies as bars: what each fetches from DRAM, the least first.

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_core::units::format_bytes;
use accel_ui::built::{Build, Built};
use accel_ui::view::{SERIES, dot, yes};
use leptos::prelude::*;

use crate::app::App;

/// A bar for each policy, with the proven bound as a mark. A click on a name makes the others pale in every chart.
pub(super) fn policies(app: App, outcome: &Arc<Outcome>) -> Built {
    let most = outcome.runs.iter().map(|run| run.miss_bytes).max().unwrap_or_default().max(1);
    let share = |bytes: u64| 100.0 * bytes as f64 / most as f64;
    let least = outcome.bounds.as_ref().map(|bounds| share(bounds.miss_bytes.lower));
    let mut runs: Vec<_> = outcome.runs.iter().enumerate().collect();
    runs.sort_by_key(|(_, run)| run.miss_bytes);
    let rows = runs.into_iter().map(|(i, run)| {
        let title = run.policy.title();
        let pale = yes({
            let title = title.clone();
            move || app.view.is_pale(&title)
        });
        let alone = yes({
            let title = title.clone();
            move || app.view.isolated.with(|isolated| isolated.as_deref() == Some(title.as_str()))
        });
        let click = {
            let title = title.clone();
            move |_| app.view.isolate(&title)
        };
        let tick = least.map(|least| view! { <b style:left=format!("{least:.2}%")></b> });
        view! {
            <li class:pale=pale>
                <button
                    type="button"
                    class="series"
                    title=run.policy.info().about
                    aria-pressed=move || if alone.get() { "true" } else { "false" }
                    on:click=click
                >
                    <span class=dot(i)></span>
                    {title}
                </button>
                <div class="rank" aria-hidden="true">
                    <i class=format!("s{}", i % SERIES) style:width=format!("{:.2}%", share(run.miss_bytes))></i>
                    {tick}
                </div>
                <span>{format_bytes(run.miss_bytes)}</span>
            </li>
        }
    });
    let hint = match least {
        Some(_) => "The least first. The mark is what no policy can go below. A click on a name makes the others pale.",
        None => "The least first. A click on a name makes the others pale.",
    };
    view! {
        <section class="panel" id="policies">
            <h2>"What each policy fetches from DRAM"</h2>
            <ul class="ranking">{rows.collect_view()}</ul>
            <p class="hint">{hint}</p>
        </section>
    }
    .built()
}
