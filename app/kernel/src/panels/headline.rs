//! What it costs: time, energy, and what it waits for.

use accel_kernel::report::Report;
use leptos::prelude::*;

use crate::number::{energy, time};

pub(super) fn headline(report: &Report) -> impl IntoView + use<> {
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
