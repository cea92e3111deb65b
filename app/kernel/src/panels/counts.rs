//! The counts, with their closed forms and what each adds to the time.

use accel_kernel::report::{Count, Report};
use leptos::prelude::*;

use crate::number::{count, time};

pub(super) fn counts(report: &Report) -> impl IntoView + use<> {
    let features = &report.features;
    let rows = [
        ("num_loops", "Loops", Count::Whole(features.num_loops)),
        ("num_branches", "Conditions", Count::Whole(features.num_branches)),
        ("load_ops", "Loads", features.load_ops),
        ("store_ops", "Stores", features.store_ops),
        ("flops", "FLOPs", features.flops),
        ("int_ops", "Operations on integers", features.int_ops),
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
            <div class="scroll" tabindex="0" role="region" aria-label="Counts">
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
