//! The choice of a workload.

use accel_core::workload::config::Dtype;
use accel_core::workload::presets::PRESETS;
use accel_core::workload::synthetic::{ModelType, Pattern};
use leptos::prelude::*;

use super::field::{Field, at_fault, invalid, problem_line};
use super::files::file_picker;
use super::{App, yes};
use crate::form::{CUSTOM, Source};

fn pairs(names: impl IntoIterator<Item = &'static str>) -> Vec<(String, String)> {
    names.into_iter().map(|name| (name.to_owned(), name.to_owned())).collect()
}

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
            <div class="tabs">
                {tab(Source::Model, "source-model", "Model")}
                {tab(Source::Synthetic, "source-synthetic", "Synthetic")}
                {tab(Source::File, "source-file", "Trace file")}
            </div>
            // All three are there all the time: hiding is lighter than building anew.
            <div hidden=hidden(Source::Model)>{model_form(app)}</div>
            <div hidden=hidden(Source::Synthetic)>{synthetic_form(app)}</div>
            <div hidden=hidden(Source::File)>{file_form(app)}</div>
        </fieldset>
    }
}

fn model_form(app: App) -> impl IntoView {
    let form = app.form;
    let mut models: Vec<_> = PRESETS.iter().map(|p| (p.name.to_owned(), p.title.to_owned())).collect();
    models.push((CUSTOM.to_owned(), "Your config.json".to_owned()));
    let dtypes = |default: &str| {
        let mut options = vec![(String::new(), default.to_owned())];
        options.extend(pairs(Dtype::ALL.map(Dtype::name)));
        options
    };
    view! {
        {Field::new("model", "Model", form.model).choice(app, models)}
        <div class="field" hidden=yes(move || form.model.get() != CUSTOM)>
            <label for="config">"config.json (Llama, Mistral or GPT-2 from Hugging Face): paste it, or drop the file anywhere"</label>
            <textarea
                id="config" aria-invalid=invalid(app, "config") aria-describedby="config-problem" rows="7" spellcheck="false" placeholder="{ \"model_type\": \"llama\", \"hidden_size\": 4096, … }"
                prop:value=form.config
                on:input:target=move |event| form.config.set(event.target().value())
            ></textarea>
            {problem_line(app, "config", "config")}
        </div>
        <div class="pair">
            {Field::new("prompt_tokens", "Prompt tokens", form.prompt_tokens).slider("1", "4096", "1").input(app)}
            {Field::new("decode_tokens", "Decoded tokens", form.decode_tokens).slider("0", "64", "1").input(app)}
        </div>
        {Field::new("batch_size", "Batch size", form.model_batch).slider("1", "64", "1").input(app)}
        <details open=at_fault(app, &["weight_dtype", "kv_dtype", "tile_bytes"])>
            <summary>"Storage"</summary>
            <div class="pair">
                {Field::new("weight_dtype", "Weights", form.weight_dtype).choice(app, dtypes("the model's own"))}
                {Field::new("kv_dtype", "KV cache", form.kv_dtype).choice(app, dtypes("as activations"))}
            </div>
            {Field::new("tile_bytes", "Tile", form.tile).hint("The largest block that moves as one.").input(app)}
        </details>
    }
}

fn synthetic_form(app: App) -> impl IntoView {
    let form = app.form;
    view! {
        {Field::new("model_type", "Model type", form.model_type).choice(app, pairs(ModelType::ALL.map(ModelType::name)))}
        {Field::new("num_layers", "Layers", form.num_layers).slider("4", "48", "1").input(app)}
        {Field::new("reuse_probability", "Reuse probability", form.reuse_probability).slider("0", "1", "0.01").input(app)}
        <div class="pair">
            {Field::new("batch_size", "Batch size", form.batch_size).id("synthetic_batch_size").slider("1", "256", "1").input(app)}
            {Field::new("seq_length", "Sequence length", form.seq_length).slider("32", "1024", "1").input(app)}
        </div>
        <p class="hint">"This generator draws sizes by chance and does not use batch size and sequence length; the models do."</p>
        <details open=at_fault(app, &["pattern", "max_tensors_per_layer"])>
            <summary>"More"</summary>
            {Field::new("pattern", "Order of reuses", form.pattern)
                .hint("burst: back to back, as the prototype wrote them; every policy then gets the same hits.")
                .choice(app, pairs(Pattern::ALL.map(Pattern::name)))}
            {Field::new("max_tensors_per_layer", "Most tensors of a layer", form.max_tensors).input(app)}
        </details>
    }
}

fn file_form(app: App) -> impl IntoView {
    let chosen = move || app.form.file.with(|f| f.as_ref().map_or(String::new(), |f| format!("Chosen: {}", f.name)));
    view! {
        <div class="field">
            <label for="file">"The prototype's CSV or oracleGeneral: choose a file, or drop it anywhere"</label>
            {file_picker(app)}
            <p class="hint">{Signal::derive(chosen)}</p>
            {problem_line(app, "file", "file")}
        </div>
    }
}
