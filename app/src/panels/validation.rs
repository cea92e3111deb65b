//! Whether a random trace matches its own generator.

use accel_core::units::format_count;
use accel_core::validate::{Fit, Validation};
use accel_ui::built::{Build, Built};
use leptos::prelude::*;

/// The test of a random trace against its generator.
pub(super) fn validation(validation: Option<&Validation>) -> Built {
    let body = match validation {
        None => view! {
            <p>
                "This trace is computed from shapes or read from a file, not drawn at random: it has no distribution to be tested against. The synthetic workload is tested here against its generator."
            </p>
        }
        .built(),
        Some(v) => view! {
            <p id="interpretation">{v.interpretation.clone()}</p>
            <div class="fits">
                {fit_table("Reuses of a tensor (chi-square)", &v.reuse)}
                {fit_table("Sizes (Kolmogorov–Smirnov, exact for a discrete law)", &v.size)}
            </div>
        }
        .built(),
    };
    view! {
        <section class="panel" id="validation">
            <h2>"Validation"</h2>
            {body}
        </section>
    }
    .built()
}

fn fit_table(title: &'static str, fit: &Fit) -> Built {
    let p_value = fit.p_value.map_or("too few tensors for a test".to_owned(), |p| format!("p = {p:.4}"));
    let most = fit.observed.iter().map(|o| *o as f64).chain(fit.expected.iter().copied()).fold(1.0, f64::max);
    let rows = fit
        .categories
        .iter()
        .zip(&fit.observed)
        .zip(&fit.expected)
        .map(|((category, observed), expected)| {
            let bar = format!("{:.1}%", 100.0 * *observed as f64 / most);
            let tick = format!("{:.1}%", 100.0 * expected / most);
            view! {
                <tr>
                    <th scope="row">{category.clone()}</th>
                    <td>{format_count(*observed)}</td>
                    <td>{format!("{expected:.1}")}</td>
                    <td class="bars">
                        <i style:width=bar></i>
                        <b style:left=tick></b>
                    </td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <div>
            <h3>{title}</h3>
            <p class="hint">
                {format!(
                    "{}: statistic {:.4}{}, {p_value}.",
                    fit.claim,
                    fit.statistic,
                    fit.degrees_of_freedom.map_or(String::new(), |d| format!(", {d} degrees of freedom")),
                )}
            </p>
            <table>
                <thead>
                    <tr>
                        <td></td>
                        <th scope="col">"observed"</th>
                        <th scope="col">"expected"</th>
                        <td></td>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .built()
}
