//! What the time is made of.

use accel_kernel::report::Report;
use leptos::prelude::*;

use crate::number::time;

pub(super) fn parts(report: &Report) -> impl IntoView + use<> {
    let most = report.parts.iter().map(|part| part.ms).fold(f64::MIN_POSITIVE, f64::max);
    let rows = report.parts.iter().filter(|part| part.ms > 0.0).map(|part| {
        let width = format!("{:.1}%", 100.0 * part.ms / most);
        view! {
            <tr>
                <th scope="row">{part.name.clone()}</th>
                <td>{time(part.ms)}</td>
                <td class="bars">
                    <i style:width=width></i>
                </td>
            </tr>
        }
    });
    view! {
        <section class="panel" id="parts">
            <h2>"What takes the time"</h2>
            <div class="scroll" tabindex="0" role="region" aria-label="Parts">
                <table>
                    <caption>"The time of each part alone; the parts overlap."</caption>
                    <tbody>{rows.collect_view()}</tbody>
                </table>
            </div>
        </section>
    }
}
