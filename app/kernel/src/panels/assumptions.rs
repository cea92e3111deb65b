//! What was assumed.

use accel_kernel::report::Report;
use leptos::prelude::*;

pub(super) fn assumptions(report: &Report) -> impl IntoView + use<> {
    let items = report.assumptions.iter().map(|text| view! { <li>{text.clone()}</li> }).collect_view();
    view! {
        <section class="panel" id="assumptions">
            <h2>"Assumptions"</h2>
            <ul>{items}</ul>
        </section>
    }
}
