//! What came out: time and energy, the roofline, counts, caches, and the source line by line.

use accel_ground::units::{format_bytes, format_count};
use accel_kernel::report::{Count, LineCost, OptLevel, Report, Request};
use leptos::prelude::*;

use crate::engine::Answer;
use crate::number::{bytes, count, energy, time};
use crate::roofline::roofline;

/// Lines of source that are shown.
const MOST_LINES: usize = 2000;

/// Every panel.
pub(crate) fn results(answer: Answer) -> impl IntoView {
    let Answer { request, report } = answer;
    view! {
        {headline(&report)}
        {roofline(&report)}
        {source(&request, &report)}
        {counts(&report)}
        {levels(&report)}
        {parts(&report)}
        {assumptions(&report)}
        {json(&request, &report)}
    }
}

fn headline(report: &Report) -> impl IntoView + use<> {
    let [fastest, slowest] = report.latency_range_ms;
    let [least, most] = report.energy_range_j;
    let what = report.function.as_ref().map_or_else(|| "This fragment".to_owned(), |name| format!("{name}()"));
    let parameters: Vec<String> = report.parameters.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let on = format!(
        "{what} on {}, {:?}{}{}",
        report.device,
        report.opt_level,
        if parameters.is_empty() { "" } else { ", " },
        parameters.join(", ")
    );
    view! {
        <section class="panel" id="kernel-answer">
            <h2>"What it costs"</h2>
            <p class="figures">
                <span>
                    <b id="latency" data-value=report.latency_ms.to_string()>
                        {time(report.latency_ms)}
                    </b>
                    <small>{format!("between {} and {}", time(fastest), time(slowest))}</small>
                </span>
                <span>
                    <b id="energy" data-value=report.energy_j.to_string()>
                        {energy(report.energy_j)}
                    </b>
                    <small>{format!("between {} and {}", energy(least), energy(most))}</small>
                </span>
            </p>
            <p class="hint">{on}</p>
            <div class="words">
                <p id="bottleneck">{report.bottleneck.clone()}</p>
            </div>
        </section>
    }
}

fn source(request: &Request, report: &Report) -> impl IntoView + use<> {
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
            <div class="scroll">
                <table class="source">
                    <thead>
                        <tr>
                            <th scope="col">"Line"</th>
                            <th scope="col" class="name">
                                "Source"
                            </th>
                            <th scope="col">"Share of time"</th>
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
    let cells = match cost {
        None => (0..5 + levels).map(|_| view! { <td></td> }.into_any()).collect_view(),
        Some(cost) => {
            let share = format!("{:.1} %", 100.0 * cost.share);
            let width = format!("width:{:.1}%", (100.0 * cost.share).clamp(0.0, 100.0));
            let numbers = [cost.runs, cost.load_ops, cost.store_ops, cost.flops];
            let mut cells = vec![view! { <td class="bars"><i style=width></i><small>{share}</small></td> }.into_any()];
            cells.extend(numbers.iter().chain(&cost.misses).map(|n| view! { <td>{count(*n)}</td> }.into_any()));
            cells.collect_view()
        }
    };
    view! {
        <tr>
            <th scope="row">{line}</th>
            <td class="name">
                <code>{text.to_owned()}</code>
            </td>
            {cells}
        </tr>
    }
}

fn counts(report: &Report) -> impl IntoView + use<> {
    let features = &report.features;
    let rows = [
        ("num_loops", "Loops", Count::Whole(features.num_loops)),
        ("num_branches", "Conditions", Count::Whole(features.num_branches)),
        ("load_ops", "Loads", features.load_ops),
        ("store_ops", "Stores", features.store_ops),
        ("flops", "FLOPs", features.flops),
        ("mem_bytes", "Bytes loaded and stored", features.mem_bytes),
    ];
    let rows = rows.map(|(key, name, number)| {
        let form = report.closed_forms.get(key).cloned().unwrap_or_default();
        let attributed = report.feature_importance.get(key).copied().unwrap_or_default();
        view! {
            <tr data-feature=key>
                <th scope="row">{name}</th>
                <td data-value=number.value().to_string()>{count(number)}</td>
                <td class="name">
                    <code>{form}</code>
                </td>
                <td>{time(attributed)}</td>
            </tr>
        }
    });
    view! {
        <section class="panel" id="counts">
            <h2>"Counts"</h2>
            <div class="scroll">
                <table>
                    <thead>
                        <tr>
                            <th scope="col" class="name">
                                "Feature"
                            </th>
                            <th scope="col">"Number"</th>
                            <th scope="col" class="name">
                                "Closed form"
                            </th>
                            <th
                                scope="col"
                                title="Shapley values: they add up to the time less that of an empty kernel"
                            >
                                "Attributed time"
                            </th>
                        </tr>
                    </thead>
                    <tbody>{rows.collect_view()}</tbody>
                </table>
            </div>
        </section>
    }
}

fn levels(report: &Report) -> impl IntoView + use<> {
    let rows = report.levels.iter().map(|level| {
        let range = level.capacity_misses_range.map(|[low, high]| {
            view! { <small>{format!("between {} and {}", format_count(low as u64), format_count(high as u64))}</small> }
        });
        view! {
            <tr data-level=level.name.clone()>
                <th scope="row">{format!("{}, {}", level.name, format_bytes(level.capacity_bytes))}</th>
                <td>{count(level.accesses)}</td>
                <td data-value=level.compulsory_misses.value().to_string()>{count(level.compulsory_misses)}</td>
                <td data-value=level.capacity_misses.value().to_string()>{count(level.capacity_misses)}{range}</td>
                <td>{bytes(level.bytes)}</td>
                <td>{bytes(level.written_bytes)}</td>
            </tr>
        }
    });
    let mut methods: Vec<String> = report.levels.iter().map(|l| format!("{}: {}.", l.name, l.method)).collect();
    methods.dedup();
    view! {
        <section class="panel" id="caches">
            <h2>"Caches"</h2>
            <div class="scroll">
                <table>
                    <caption>"Each cache is fully associative with LRU and sees every access."</caption>
                    <thead>
                        <tr>
                            <th scope="col" class="name">
                                "Cache"
                            </th>
                            <th scope="col">"Accesses"</th>
                            <th scope="col">"Compulsory misses"</th>
                            <th scope="col">"Capacity misses"</th>
                            <th scope="col">"Read from below"</th>
                            <th scope="col">"Written back"</th>
                        </tr>
                    </thead>
                    <tbody>{rows.collect_view()}</tbody>
                </table>
            </div>
            <p class="hint">{methods.join(" ")}</p>
        </section>
    }
}

fn parts(report: &Report) -> impl IntoView + use<> {
    let most = report.parts.iter().map(|part| part.ms).fold(f64::MIN_POSITIVE, f64::max);
    let rows = report.parts.iter().filter(|part| part.ms > 0.0).map(|part| {
        let width = format!("width:{:.1}%", 100.0 * part.ms / most);
        view! {
            <tr>
                <th scope="row">{part.name.clone()}</th>
                <td>{time(part.ms)}</td>
                <td class="bars">
                    <i style=width></i>
                </td>
            </tr>
        }
    });
    view! {
        <section class="panel" id="parts">
            <h2>"What takes the time"</h2>
            <div class="scroll">
                <table>
                    <caption>"The time of each part alone; the parts overlap."</caption>
                    <tbody>{rows.collect_view()}</tbody>
                </table>
            </div>
        </section>
    }
}

fn assumptions(report: &Report) -> impl IntoView + use<> {
    let items = report.assumptions.iter().map(|text| view! { <li>{text.clone()}</li> }).collect_view();
    view! {
        <section class="panel" id="assumptions">
            <h2>"Assumptions"</h2>
            <ul>{items}</ul>
        </section>
    }
}

/// The same from the command line and as JSON.
fn json(request: &Request, report: &Report) -> impl IntoView + use<> {
    let extension = report.language.extensions()[0];
    let mut command = format!("accel kernel kernel.{extension}");
    for (name, value) in &request.defines {
        command += &format!(" --define {name}={value}");
    }
    for shape in &request.shapes {
        command += &format!(" --shape '{shape}'");
    }
    if let Some(function) = &request.function {
        command += &format!(" --function {function}");
    }
    if let accel_ground::device::DeviceRef::Known(name) = &request.device {
        command += &format!(" --device {name}");
    }
    for level in request.levels.iter().flatten() {
        command += &format!(" --level {}={}", level.name, level.capacity_bytes);
    }
    if let Some(line) = request.line_bytes {
        command += &format!(" --line-bytes {line}");
    }
    if request.opt_level != OptLevel::default() {
        command += &format!(" --opt-level {:?}", request.opt_level);
    }
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    view! {
        <section class="panel" id="kernel-json">
            <h2>"The same prediction elsewhere"</h2>
            <p>
                <code>{command}</code>
            </p>
            <details>
                <summary>"Everything as JSON"</summary>
                <textarea
                    id="kernel-outcome"
                    rows="16"
                    readonly
                    aria-label="The prediction as JSON"
                    prop:value=text
                ></textarea>
            </details>
        </section>
    }
}
