//! Capacity, policies and seed.

use accel_core::policy::POLICIES;
use leptos::prelude::*;

use super::field::{Field, problem_line};
use super::{App, yes};

/// Everything of the experiment but the workload.
pub(crate) fn memory_form(app: App) -> impl IntoView {
    let form = app.form;
    let policies = POLICIES
        .iter()
        .map(|row| {
            let kind = row.kind;
            let on = yes(move || form.policies.with(|chosen| chosen.contains(&kind)));
            view! {
                <label class="tick" title=row.about>
                    <input type="checkbox" id=format!("policy-{}", row.name) prop:checked=on on:change=move |_| form.toggle(kind) />
                    {row.title}
                </label>
            }
        })
        .collect_view();
    let new_seed = move |_| match getrandom::u32() {
        Ok(seed) => form.seed.set(seed.to_string()),
        Err(error) => app.notice.set(Some(format!("The browser gives no random numbers: {error}"))),
    };
    view! {
        <fieldset>
            <legend>"Fast memory"</legend>
            {Field::new("capacity_bytes", "Capacity", form.capacity).hint("Such as 64MB, 128MiB or 8GiB.").input(app)}
        </fieldset>
        <fieldset>
            <legend>"Policies"</legend>
            <div class="ticks">{policies}</div>
            {problem_line(app, "policies", "policies")}
        </fieldset>
        <fieldset>
            <legend>"Chance"</legend>
            <div class="seed">
                {Field::new("seed", "Seed", form.seed).input(app)}
                <button type="button" class="quiet" on:click=new_seed>"Draw another"</button>
            </div>
        </fieldset>
    }
}
