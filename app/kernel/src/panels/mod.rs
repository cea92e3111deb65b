//! What came out: one panel per file, with its chart beside it.

mod assumptions;
mod counts;
mod headline;
mod json;
mod levels;
mod parts;
mod roofline;
mod source;

use leptos::prelude::*;

use crate::engine::Answer;

/// Every panel.
pub(crate) fn panels(answer: Answer) -> impl IntoView {
    let Answer { request, report } = answer;
    view! {
        {headline::headline(&report)}
        {roofline::roofline(&report)}
        {source::source(&request, &report)}
        {counts::counts(&report)}
        {levels::levels(&report)}
        {parts::parts(&report)}
        {assumptions::assumptions(&report)}
        {json::json(&request, &report)}
    }
}
