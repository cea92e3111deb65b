//! Capacity, policies and seed.

use accel_core::policy::POLICIES;
use leptos::prelude::*;

use super::App;
use super::field::{Input, Problem};

#[component]
pub(crate) fn MemoryForm() -> impl IntoView {
    let app = expect_context::<App>();
    let form = app.form;
    let policies = POLICIES
        .iter()
        .map(|row| {
            let kind = row.kind;
            let on = move || form.policies.with(|chosen| chosen.contains(&kind));
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
            <Input name="capacity_bytes" label="Capacity" value=form.capacity hint="Such as 64MB, 128MiB or 8GiB." />
        </fieldset>
        <fieldset>
            <legend>"Policies"</legend>
            <div class="ticks">{policies}</div>
            <Problem name="policies" />
        </fieldset>
        <fieldset>
            <legend>"Chance"</legend>
            <div class="seed">
                <Input name="seed" label="Seed" value=form.seed />
                <button type="button" class="quiet" on:click=new_seed>"Draw another"</button>
            </div>
        </fieldset>
    }
}
