//! The choice of a workload.

use accel_core::import::{FORMATS, FileKind};
use accel_core::recipe::fields::Part;
use accel_core::scenarios::{self, SCENARIOS};
use accel_core::workload::presets::PRESETS;
use accel_ui::view::yes;
use leptos::prelude::*;

use super::field::{folded_fields, invalid, labelled, open_fields, problem_line};
use super::files::file_picker;
use crate::app::App;
use crate::form::{CUSTOM, MODEL_FILE, Source};

/// Model, synthetic workload or trace file.
pub(crate) fn workload_form(app: App) -> impl IntoView {
    let source = app.form.source;
    let tab = move |which: Source, id: &'static str, text: &'static str| {
        let on = yes(move || source.get() == which);
        view! {
            <label class="tab">
                <input type="radio" name="source" id=id prop:checked=on on:change=move |_| app.form.show(which) />
                <span>{text}</span>
            </label>
        }
    };
    let hidden = move |which: Source| yes(move || source.get() != which);
    view! {
        <fieldset>
            <legend>"Workload"</legend>
            {scenario_choice(app)}
            <div class="tabs">
                {tab(Source::Model, "source-model", "Model")} {tab(Source::Synthetic, "source-synthetic", "Synthetic")}
                {tab(Source::File, "source-file", "Trace file")} {tab(Source::Json, "source-json", "JSON")}
            </div>
            // All are there all the time: hiding is lighter than building anew.
            <div hidden=hidden(Source::Model)>{model_form(app)}</div>
            <div hidden=hidden(Source::Synthetic)>{synthetic_form(app)}</div>
            <div hidden=hidden(Source::File)>{file_form(app)}</div>
            <div hidden=hidden(Source::Json)>{json_form(app)}</div>
        </fieldset>
    }
}

/// Questions that come with their experiment.
fn scenario_choice(app: App) -> impl IntoView {
    let options = SCENARIOS
        .iter()
        .map(|scenario| view! { <option value=scenario.name>{scenario.question}</option> })
        .collect_view();
    let choose = move |name: String| {
        if let Ok(scenario) = scenarios::find(&name) {
            app.form.set(&scenario.recipe());
            app.run();
        }
    };
    view! {
        <div class="field">
            <label for="scenario">"Start from a question"</label>
            <select id="scenario" on:change:target=move |event| choose(event.target().value())>
                <option value="">"Your own"</option>
                {options}
            </select>
        </div>
    }
}

fn model_form(app: App) -> impl IntoView {
    let form = app.form;
    let mut models: Vec<_> =
        PRESETS.iter().map(|p| (p.name.to_owned(), format!("{} ({})", p.title, p.family))).collect();
    models.push((CUSTOM.to_owned(), "Your config.json".to_owned()));
    models.push((MODEL_FILE.to_owned(), "Your ONNX graph or SCALE-Sim topology".to_owned()));
    let file = move || match form.model_file.get() {
        name if name.is_empty() => "Drop the file anywhere on the page.".to_owned(),
        name => format!("Chosen: {name}"),
    };
    view! {
        {labelled(app, "model", "Model", form.model).choice(models)}
        <p class="hint" hidden=yes(move || form.model.get() != MODEL_FILE)>
            {Signal::derive(file)}
        </p>
        <div class="field" hidden=yes(move || form.model.get() != CUSTOM)>
            <label for="config">"config.json of a model on Hugging Face: paste it, or drop the file anywhere"</label>
            <textarea
                id="config"
                aria-invalid=invalid(app, "config")
                aria-describedby="config-problem"
                rows="7"
                spellcheck="false"
                placeholder="{ \"model_type\": \"llama\", \"hidden_size\": 4096, … }"
                prop:value=form.config
                on:input:target=move |event| form.config.set(event.target().value())
            ></textarea>
            {problem_line(app, "config", "config")}
        </div>
        {open_fields(app, Part::Model)}
        {folded_fields(app, Part::Model)}
    }
}

fn json_form(app: App) -> impl IntoView {
    let form = app.form;
    view! {
        <div class="field">
            <label for="workload">"Any workload as JSON, such as tenants that share a memory"</label>
            <textarea
                id="workload"
                aria-invalid=invalid(app, "workload")
                aria-describedby="workload-problem"
                rows="12"
                spellcheck="false"
                placeholder="{ \"tenants\": { \"tenants\": [ { \"name\": \"a\", \"workload\": { \"model\": { \"model\": \"bert-base\" } } } ] } }"
                prop:value=form.workload
                on:input:target=move |event| form.workload.set(event.target().value())
            ></textarea>
            {problem_line(app, "workload", "workload")}
        </div>
    }
}

fn synthetic_form(app: App) -> impl IntoView {
    view! {
        {open_fields(app, Part::Synthetic)}
        <p class="hint">
            "This generator draws sizes by chance and does not use batch size and sequence length; the models do."
        </p>
        {folded_fields(app, Part::Synthetic)}
    }
}

fn file_form(app: App) -> impl IntoView {
    let titles: Vec<&str> = FORMATS.iter().filter(|row| row.kind != FileKind::Model).map(|row| row.title).collect();
    let chosen = move || app.form.file.with(|f| f.as_ref().map_or(String::new(), |f| format!("Chosen: {}", f.name)));
    view! {
        <div class="field">
            <label for="file">
                {format!("Choose a file, or drop it anywhere: {}; packed with gzip or zstd, or not", titles.join(", "))}
            </label>
            {file_picker(app)}
            <p class="hint">{Signal::derive(chosen)}</p>
            {problem_line(app, "file", "file")}
        </div>
        {open_fields(app, Part::File)}
    }
}
