//! The accesses with their scores: a table of which only the rows in sight are made.

use accel_core::run::{Order, Outcome, Wanted};
use accel_core::score::Scorer;
use accel_core::units::format_count;
use accel_ui::built::{Build, Built};
use accel_ui::run::Phase;
use accel_ui::view::{show_in, yes};
use leptos::html::{Div, Tbody};
use leptos::prelude::*;

use crate::app::App;
use crate::view::Tab;
use accel_worker::protocol::Scored;

/// Rows of the score table in sight.
const ROWS: u64 = 20;
/// Height of a row in pixels, as the style sheet has it.
const ROW_PX: u64 = 32;
/// The most pixels that browsers scroll; where there are more rows, a pixel stands for several.
const MOST_PX: u64 = 8_000_000;

/// The scores of accesses, which the worker hands out as they come into sight.
pub(super) fn scores(app: App, outcome: &Outcome) -> Built {
    let order = RwSignal::new(Order::Score);
    let start = RwSignal::new(0u64);
    let tensor = RwSignal::new(String::new());
    // Where a part of the trace is looked at, the table shows that part.
    Effect::new(move |_| {
        if app.view.tab.get() == Tab::Scores {
            let wanted = Wanted { order: order.get(), part: app.view.part.get(), tensor: tensor.get() };
            app.engine.ask_records(wanted, start.get(), ROWS);
        }
    });
    let row = |r: Scored| {
        let verdict = match r.score {
            s if s < 0.3 => "keep",
            s if s < 0.6 => "moderate",
            _ => "evict first",
        };
        view! {
            <tr>
                <td>{format_count(r.access)}</td>
                <td class="name">{r.tensor}</td>
                <td>{format!("{:.3}", r.size_mb)}</td>
                <td>{r.reuse_distance.to_string()}</td>
                <td>{r.stride.to_string()}</td>
                <td class="name">{r.op}</td>
                <td>
                    <meter min="0" max="1" low="0.3" high="0.6" optimum="0" value=r.score.to_string()></meter>
                    {format!(" {:.3}", r.score)}
                </td>
                <td class="name">{verdict}</td>
            </tr>
        }
    };
    // The worker keeps the accesses of the newest run only: once another has begun, these are gone.
    let gone = move || app.engine.phase.with(|phase| !matches!(phase, Phase::Done { .. }));
    let rows = NodeRef::<Tbody>::new();
    show_in(rows, move || Some(app.engine.records.get().1.into_iter().map(row).collect_view()));
    let total = move || app.engine.records.with(|(total, _)| *total);
    let last_start = move || total().saturating_sub(ROWS);
    // What there is to scroll, beside the rows in sight.
    let height_px = move || (last_start() * ROW_PX).min(MOST_PX);
    let place = NodeRef::<Div>::new();
    let scrolled = move |_| {
        let Some(place) = place.get_untracked() else { return };
        let share = f64::from(place.scroll_top()) / untrack(height_px).max(1) as f64;
        start.set((share.min(1.0) * untrack(last_start) as f64).round() as u64);
    };
    let to_top = move || {
        start.set(0);
        if let Some(place) = place.get_untracked() {
            place.set_scroll_top(0);
        }
    };
    let range = move || match total() {
        0 => "none".to_owned(),
        total => format!(
            "{}–{} of {}",
            format_count(start.get() + 1),
            format_count((start.get() + ROWS).min(total)),
            format_count(total)
        ),
    };
    let by = move |which: Order| {
        move |_| {
            order.set(which);
            to_top();
        }
    };
    view! {
        <section class="panel" id="scores-panel">
            <h2>"Eviction scores"</h2>
            <p class="hint">
                {match outcome.scorer {
                    Scorer::Heuristic => {
                        "Made by the heuristic: 0.4 size + 0.5 reuse distance + 0.1 stride, each divided by the largest in the trace. "
                    }
                    Scorer::History => {
                        "Made by what came back after how long so far, for this tensor and for those like it. "
                    }
                    Scorer::Embedded => {
                        "Made by the trained network, from what came back after how long so far: the logarithm of the accesses until the next use over 18. "
                    }
                    Scorer::Local | Scorer::Remote => {
                        "Made by the server's model, asked for each access how long until the tensor is used again: the mean of its digits over 9. "
                    }
                }} "0.0–0.3 keep, 0.3–0.6 moderate, 0.6–1.0 evict first."
            </p>
            <div class="bar">
                <label class="tick">
                    <input
                        type="radio"
                        name="order"
                        disabled=yes(gone)
                        prop:checked=yes(move || order.get() == Order::Score)
                        on:change=by(Order::Score)
                    />
                    "highest first"
                </label>
                <label class="tick">
                    <input
                        type="radio"
                        name="order"
                        disabled=yes(gone)
                        prop:checked=yes(move || order.get() == Order::Access)
                        on:change=by(Order::Access)
                    />
                    "as the trace runs"
                </label>
                <label>
                    "Tensor "
                    <input
                        type="text"
                        id="find-tensor"
                        autocomplete="off"
                        placeholder="part of its name"
                        on:input:target=move |event| {
                            tensor.set(event.target().value());
                            to_top();
                        }
                    />
                </label>
            </div>
            <div
                class="scroll rows"
                tabindex="0"
                role="region"
                aria-label="Eviction scores"
                node_ref=place
                on:scroll=scrolled
            >
                <table id="scores" aria-rowcount=move || (total() + 1).to_string()>
                    <thead>
                        <tr>
                            <th scope="col">"Access"</th>
                            <th scope="col" class="name">
                                "Tensor"
                            </th>
                            <th scope="col">"Size MB"</th>
                            <th scope="col" title="Earlier uses of this tensor, as the prototype counts them">
                                "Reuse distance"
                            </th>
                            <th scope="col">"Stride"</th>
                            <th scope="col" class="name">
                                "Operation"
                            </th>
                            <th scope="col">"Score"</th>
                            <th scope="col" class="name">
                                "Reads as"
                            </th>
                        </tr>
                    </thead>
                    <tbody node_ref=rows></tbody>
                </table>
                <div style:height=move || format!("{}px", height_px())></div>
            </div>
            <p class="hint" id="scores-range">
                {Signal::derive(range)}
            </p>
            <p class="hint" hidden=yes(move || !gone())>
                "The accesses behind these results are gone: run again to see more of them."
            </p>
        </section>
    }
    .built()
}
