//! Capacity, policies and seed.

use accel_core::memory::device::DEVICES;
use accel_core::policy::POLICIES;
use accel_core::recipe::fields::Field::Seed;
use accel_core::recipe::fields::Part;
use accel_ui::view::yes;
use leptos::prelude::*;

use super::field::{folded_fields, invalid, labelled, open_fields, problem_line};
use crate::app::App;
use crate::form::{CUSTOM, FITTING, PROTOTYPE};

/// The choices of the device model.
fn devices() -> Vec<(String, String)> {
    let mut devices = vec![
        (FITTING.to_owned(), "What fits the workload".to_owned()),
        (PROTOTYPE.to_owned(), "The prototype's constants".to_owned()),
    ];
    devices.extend(DEVICES.iter().map(|d| (d.name.to_owned(), d.title.to_owned())));
    devices.push((CUSTOM.to_owned(), "Your own, as JSON".to_owned()));
    devices
}

/// What an own device model looks like.
const EXAMPLE: &str = r#"{ "device": { "name": "mine", "dram_gb_s": 100, "tflops": 10 }, "prefetch_depth": 4,
  "below": [{ "name": "HBM", "capacity_bytes": 80000000000, "policy": "lru", "gb_s": 63 }] }"#;

/// Time and energy: on which device, if any.
fn device_form(app: App) -> impl IntoView {
    let form = app.form;
    let source = move || {
        let known = DEVICES.iter().find(|d| form.device.with(|name| name == d.name));
        known.map_or(String::new(), |d| format!("{}.", d.source))
    };
    view! {
        <fieldset>
            <legend>"Device"</legend>
            {labelled(app, "device", "Time and energy on", form.device).choice(devices())}
            <p class="hint">{Signal::derive(source)}</p>
            <div hidden=yes(move || !form.names_a_device())>{open_fields(app, Part::Device)}</div>
            <div class="field" hidden=yes(move || form.device.with(|d| d != CUSTOM))>
                <label for="physical">"Device, prefetch depth and levels below as JSON"</label>
                <textarea
                    id="physical"
                    rows="6"
                    spellcheck="false"
                    placeholder=EXAMPLE
                    aria-invalid=invalid(app, "physical")
                    aria-describedby="physical-problem"
                    prop:value=form.physical
                    on:input:target=move |event| form.physical.set(event.target().value())
                ></textarea>
                {problem_line(app, "physical", "physical")}
                {problem_line(app, "prefetch_depth", "own-prefetch_depth")}
            </div>
        </fieldset>
    }
}

/// A box to tick.
fn tick(id: &'static str, text: &'static str, about: &'static str, value: RwSignal<bool>) -> impl IntoView {
    view! {
        <label class="tick" title=about>
            <input type="checkbox" id=id prop:checked=value on:change=move |_| value.update(|on| *on = !*on) />
            {text}
        </label>
    }
}

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
                    <input
                        type="checkbox"
                        id=format!("policy-{}", row.name)
                        prop:checked=on
                        on:change=move |_| form.toggle(kind)
                    />
                    {row.title}
                </label>
            }
        })
        .collect_view();
    let new_seed = move |_| match getrandom::u32() {
        Ok(seed) => form.text(Seed).set(seed.to_string()),
        Err(error) => app.notice.set(Some(format!("The browser provides no random numbers: {error}"))),
    };
    view! {
        <fieldset>
            <legend>"Fast memory"</legend>
            {open_fields(app, Part::Memory)}
            {folded_fields(app, Part::Memory)}
        </fieldset>
        {device_form(app)}
        <fieldset>
            <legend>"Policies"</legend>
            <div class="ticks">{policies}</div>
            {problem_line(app, "policies", "policies")}
            {labelled(app, "policy", "Policies with parameters", form.tuned)
                .placeholder("s3-fifo(small=0.2), slru(segments=2)")
                .hint("Further policies to compare; accel list parameters tells what there is.")
                .input()}
            <div hidden=yes(move || {
                !form.reads_scores()
            })>
                {open_fields(app, Part::Scores)}
                {labelled(app, "scorer", "Scores by the model of a server", form.scorer)
                    .placeholder("http://127.0.0.1:8000")
                    .hint("Instead of the above. A server: infer-server --model FILE.")
                    .input()}
            </div>
        </fieldset>
        <fieldset>
            <legend>"Beyond policies"</legend>
            <div class="ticks">
                {tick(
                    "bounds",
                    "Bounds",
                    "How good any policy could be: takes about as long as five policies.",
                    form.bounds,
                )} {tick("curve", "Capacity curve", "Runs everything at many capacities.", form.curve)}
            </div>
            <div hidden=yes(move || {
                !form.curve.get()
            })>{open_fields(app, Part::Curve)} {problem_line(app, "curve.capacities", "capacities")}</div>
        </fieldset>
        <fieldset>
            <legend>"What counts"</legend>
            {open_fields(app, Part::Measure)}
        </fieldset>
        <fieldset>
            <legend>"Chance"</legend>
            <div class="seed">
                {open_fields(app, Part::Experiment)} <button type="button" class="quiet" on:click=new_seed>
                    "Draw another"
                </button>
            </div>
        </fieldset>
    }
}
