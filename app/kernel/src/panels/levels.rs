//! The caches: what each level misses and moves.

use accel_ground::units::{format_bytes, format_count};
use accel_kernel::report::Report;
use leptos::prelude::*;

use crate::number::{bytes, count};

pub(super) fn levels(report: &Report) -> impl IntoView + use<> {
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
            <div class="scroll" tabindex="0" role="region" aria-label="Levels of memory">
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
