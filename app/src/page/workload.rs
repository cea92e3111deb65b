//! The choice of a workload.

use accel_core::scenarios::{self, SCENARIOS};
use accel_core::workload::dtype::Dtype;
use accel_core::workload::model_run::{Convolution, Task};
use accel_core::workload::plan::Dataflow;
use accel_core::workload::presets::PRESETS;
use accel_core::workload::synthetic::{ModelType, Pattern};
use accel_core::workload::train::Optimizer;
use accel_ui::view::yes;
use leptos::prelude::*;

use super::field::{Field, at_fault, invalid, problem_line};
use super::files::file_picker;
use crate::app::App;
use crate::form::{CUSTOM, MODEL_FILE, Source};

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
            {scenario_choice(app)}
            <div class="tabs">
                {tab(Source::Model, "source-model", "Model")}
                {tab(Source::Synthetic, "source-synthetic", "Synthetic")}
                {tab(Source::File, "source-file", "Trace file")}
                {tab(Source::Json, "source-json", "JSON")}
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
    let dtypes = |default: &str| {
        let mut options = vec![(String::new(), default.to_owned())];
        options.extend(pairs(Dtype::ALL.map(Dtype::name)));
        options
    };
    let dataflows = || {
        let mut options = vec![(String::new(), "each tile once".to_owned())];
        options.extend(Dataflow::ALL.map(|flow| (flow.name().to_owned(), flow.name().replace('_', " "))));
        options
    };
    let fields = Memo::new(move |_| form.fields());
    // Requests say how many tokens they have.
    let own_tokens = move || fields.get().requests && form.requests.with(|text| !text.trim().is_empty());
    let file = move || match form.model_file.get() {
        name if name.is_empty() => "Drop the file anywhere on the page.".to_owned(),
        name => format!("Chosen: {name}"),
    };
    view! {
        {Field::new("model", "Model", form.model).choice(app, models)}
        <p class="hint" hidden=yes(move || form.model.get() != MODEL_FILE)>{Signal::derive(file)}</p>
        <div class="field" hidden=yes(move || form.model.get() != CUSTOM)>
            <label for="config">"config.json of a model on Hugging Face (16 families): paste it, or drop the file anywhere"</label>
            <textarea
                id="config" aria-invalid=invalid(app, "config") aria-describedby="config-problem" rows="7" spellcheck="false" placeholder="{ \"model_type\": \"llama\", \"hidden_size\": 4096, … }"
                prop:value=form.config
                on:input:target=move |event| form.config.set(event.target().value())
            ></textarea>
            {problem_line(app, "config", "config")}
        </div>
        {Field::new("task", "Task", form.task).choice(app, pairs(Task::ALL.map(Task::name)))}
        <div class="pair" hidden=yes(move || !fields.get().prompt_tokens || own_tokens())>
            {Field::new("prompt_tokens", "Tokens read", form.prompt_tokens).placeholder("128").slider("1", "4096", "1").input(app)}
            <div hidden=yes(move || !fields.get().decode_tokens)>
                {Field::new("decode_tokens", "Tokens decoded", form.decode_tokens).placeholder("16").slider("0", "64", "1").input(app)}
            </div>
        </div>
        <div class="pair">
            {Field::new("batch_size", "Batch size", form.model_batch).slider("1", "64", "1").input(app)}
            <div hidden=yes(move || !fields.get().steps)>
                {Field::new("steps", "Steps", form.steps).slider("1", "16", "1").input(app)}
            </div>
        </div>
        <div hidden=yes(move || !fields.get().requests)>
            {Field::new("requests", "Requests instead", form.requests)
                .hint("Such as 512+64, 3x128+32@4: tokens read and decoded, how many, and the step before which they come. As many as the batch size run at once.")
                .input(app)}
        </div>
        <details open=at_fault(app, &["weight_dtype", "kv_dtype", "tile_bytes", "dataflow", "convolution", "optimizer"])>
            <summary>"Storage and order"</summary>
            <div class="pair">
                {Field::new("weight_dtype", "Weights", form.weight_dtype).choice(app, dtypes("the model's own"))}
                <div hidden=yes(move || !fields.get().kv_dtype)>
                    {Field::new("kv_dtype", "KV cache", form.kv_dtype).choice(app, dtypes("as activations"))}
                </div>
            </div>
            <div class="pair">
                {Field::new("tile_bytes", "Tile", form.tile).hint("The largest block that moves as one.").input(app)}
                {Field::new("dataflow", "Dataflow", form.dataflow).choice(app, dataflows())}
            </div>
            <div class="pair">
                <div hidden=yes(move || !fields.get().convolution)>
                    {Field::new("convolution", "Convolutions", form.convolution).choice(app, pairs(Convolution::ALL.map(Convolution::name)))}
                </div>
                <div hidden=yes(move || !fields.get().optimizer)>
                    {Field::new("optimizer", "Optimizer", form.optimizer).choice(app, pairs(Optimizer::ALL.map(Optimizer::name)))}
                </div>
            </div>
        </details>
        <details open=at_fault(app, &["zipf", "stickiness"]) hidden=yes(move || !fields.get().routing)>
            <summary>"Experts"</summary>
            <div class="pair">
                {Field::new("zipf", "Popularity (Zipf)", form.zipf).hint("0: all experts alike.").input(app)}
                {Field::new("stickiness", "Stickiness", form.stickiness).hint("How likely the next token keeps an expert.").input(app)}
            </div>
        </details>
    }
}

fn json_form(app: App) -> impl IntoView {
    let form = app.form;
    view! {
        <div class="field">
            <label for="workload">"Any workload as JSON, such as tenants that share a memory"</label>
            <textarea
                id="workload" aria-invalid=invalid(app, "workload") aria-describedby="workload-problem" rows="12" spellcheck="false"
                placeholder="{ \"tenants\": { \"tenants\": [ { \"name\": \"a\", \"workload\": { \"model\": { \"model\": \"bert-base\" } } } ] } }"
                prop:value=form.workload
                on:input:target=move |event| form.workload.set(event.target().value())
            ></textarea>
            {problem_line(app, "workload", "workload")}
        </div>
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
            <label for="file">"Choose a file, or drop it anywhere: PyTorch execution traces, Chakra, Kineto, oracleGeneral, CSV, JSON records, routing logs, safetensors or GGUF headers; gzip or zstd"</label>
            {file_picker(app)}
            <p class="hint">{Signal::derive(chosen)}</p>
            {problem_line(app, "file", "file")}
        </div>
        {Field::new("columns", "Columns of a CSV", app.form.columns)
            .placeholder("told from the file")
            .hint("Such as time-col=1,obj-id-col=2,obj-size-col=3,has-header=true,delimiter=,")
            .input(app)}
    }
}
