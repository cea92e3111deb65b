//! The source line by line, with what each line costs.

use accel_kernel::report::{LineCost, Report, Request};
use accel_ui::built::Build;
use leptos::prelude::*;

use crate::number::count;

/// Lines of source that are shown.
const MOST_LINES: usize = 2000;

pub(super) fn source(request: &Request, report: &Report) -> impl IntoView + use<> {
    let names: Vec<String> = report.levels.iter().map(|level| format!("{} misses", level.name)).collect();
    let heads = names.iter().map(|name| view! { <th scope="col">{name.clone()}</th> }).collect_view();
    let levels = names.len();
    let rows = request.code.lines().take(MOST_LINES).enumerate().map(|(i, text)| {
        let line = i as u32 + 1;
        let cost = report.lines.iter().find(|cost| cost.line == line);
        line_row(line, text, cost, levels)
    });
    let rows = rows.collect_view();
    let more = request.code.lines().count().saturating_sub(MOST_LINES);
    view! {
        <section class="panel" id="source">
            <h2>"Line by line"</h2>
            <div class="scroll" tabindex="0" role="region" aria-label="Source">
                <table class="source">
                    <thead>
                        <tr>
                            <th scope="col">"Line"</th>
                            <th scope="col">"Share of time"</th>
                            <th scope="col" class="name">
                                "Source"
                            </th>
                            <th scope="col">"Runs"</th>
                            <th scope="col">"Loads"</th>
                            <th scope="col">"Stores"</th>
                            <th scope="col">"FLOPs"</th>
                            {heads}
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            {(more > 0)
                .then(|| view! { <p class="hint">{format!("{more} more lines are counted and not shown.")}</p> })}
        </section>
    }
}

fn line_row(line: u32, text: &str, cost: Option<&LineCost>, levels: usize) -> impl IntoView + use<> {
    let share = cost.map(|cost| {
        let share = format!("{:.1} %", 100.0 * cost.share);
        let width = format!("{:.1}%", (100.0 * cost.share).clamp(0.0, 100.0));
        view! {
            <i style:width=width></i>
            <small>{share}</small>
        }
    });
    let cells = match cost {
        None => (0..4 + levels).map(|_| view! { <td></td> }.built()).collect_view(),
        Some(cost) => {
            let numbers = [cost.runs, cost.load_ops, cost.store_ops, cost.flops];
            numbers.iter().chain(&cost.misses).map(|n| view! { <td>{count(*n)}</td> }.built()).collect_view()
        }
    };
    view! {
        <tr>
            <th scope="row">{line}</th>
            <td class="bars">{share}</td>
            <td class="name">
                <code>{text.to_owned()}</code>
            </td>
            {cells}
        </tr>
    }
}
