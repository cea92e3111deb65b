//! The choice of a workload.

use accel_core::workload::config::Dtype;
use accel_core::workload::presets::PRESETS;
use accel_core::workload::synthetic::{ModelType, Pattern};
use leptos::prelude::*;

use super::App;
use super::field::{Choice, Input, Problem, Slider};
use super::files::FilePicker;
use crate::form::{CUSTOM, Source};

fn pairs(names: impl IntoIterator<Item = &'static str>) -> Vec<(String, String)> {
    names.into_iter().map(|name| (name.to_owned(), name.to_owned())).collect()
}

/// Model, synthetic workload or trace file.
#[component]
pub(crate) fn WorkloadForm() -> impl IntoView {
    let app = expect_context::<App>();
    let source = app.form.source;
    let tab = move |which: Source, id: &'static str, text: &'static str| {
        view! {
            <label class="tab">
                <input type="radio" name="source" id=id prop:checked=move || source.get() == which on:change=move |_| source.set(which) />
                <span>{text}</span>
            </label>
        }
    };
    view! {
        <fieldset>
            <legend>"Workload"</legend>
            <div class="tabs">
                {tab(Source::Model, "source-model", "Model")}
                {tab(Source::Synthetic, "source-synthetic", "Synthetic")}
                {tab(Source::File, "source-file", "Trace file")}
            </div>
            // All three are there all the time: hiding is lighter than building anew.
            <div hidden=move || source.get() != Source::Model><ModelForm /></div>
            <div hidden=move || source.get() != Source::Synthetic><SyntheticForm /></div>
            <div hidden=move || source.get() != Source::File><FileForm /></div>
        </fieldset>
    }
}

#[component]
fn ModelForm() -> impl IntoView {
    let form = expect_context::<App>().form;
    let mut models: Vec<_> = PRESETS.iter().map(|p| (p.name.to_owned(), p.title.to_owned())).collect();
    models.push((CUSTOM.to_owned(), "Your config.json".to_owned()));
    let dtypes = |default: &str| {
        let mut options = vec![(String::new(), default.to_owned())];
        options.extend(pairs(Dtype::ALL.map(Dtype::name)));
        options
    };
    view! {
        <Choice name="model" label="Model" value=form.model options=models />
        <div class="field" hidden=move || form.model.get() != CUSTOM>
                <label for="config">"config.json (Llama, Mistral or GPT-2 from Hugging Face): paste it, or drop the file anywhere"</label>
                <textarea
                    id="config" rows="7" spellcheck="false" placeholder="{ \"model_type\": \"llama\", \"hidden_size\": 4096, … }"
                    prop:value=move || form.config.get()
                    on:input:target=move |event| form.config.set(event.target().value())
                ></textarea>
                <Problem name="config" />
            </div>
        <div class="pair">
            <Input name="prompt_tokens" label="Prompt tokens" value=form.prompt_tokens slider=Slider { min: "1", max: "4096", step: "1" } />
            <Input name="decode_tokens" label="Decoded tokens" value=form.decode_tokens slider=Slider { min: "0", max: "64", step: "1" } />
        </div>
        <Input name="batch_size" label="Batch size" value=form.model_batch slider=Slider { min: "1", max: "64", step: "1" } />
        <details>
            <summary>"Storage"</summary>
            <div class="pair">
                <Choice name="weight_dtype" label="Weights" value=form.weight_dtype options=dtypes("the model's own") />
                <Choice name="kv_dtype" label="KV cache" value=form.kv_dtype options=dtypes("as activations") />
            </div>
            <Input name="tile_bytes" label="Tile: the largest block that moves as one" value=form.tile />
        </details>
    }
}

#[component]
fn SyntheticForm() -> impl IntoView {
    let form = expect_context::<App>().form;
    view! {
        <Choice name="model_type" label="Model type" value=form.model_type options=pairs(ModelType::ALL.map(ModelType::name)) />
        <Input name="num_layers" label="Layers" value=form.num_layers slider=Slider { min: "4", max: "48", step: "1" } />
        <Input name="reuse_probability" label="Reuse probability" value=form.reuse_probability slider=Slider { min: "0", max: "1", step: "0.01" } />
        <div class="pair">
            <Input name="batch_size" id="synthetic_batch_size" label="Batch size" value=form.batch_size slider=Slider { min: "1", max: "256", step: "1" } />
            <Input name="seq_length" label="Sequence length" value=form.seq_length slider=Slider { min: "32", max: "1024", step: "1" } />
        </div>
        <p class="hint">"This generator draws sizes by chance and does not use batch size and sequence length; the models do."</p>
        <details>
            <summary>"More"</summary>
            <Choice name="pattern" label="Order of reuses" value=form.pattern options=pairs(Pattern::ALL.map(Pattern::name))
                hint="burst: back to back, as the prototype wrote them; every policy then gets the same hits." />
            <Input name="max_tensors_per_layer" label="Most tensors of a layer" value=form.max_tensors />
        </details>
    }
}

#[component]
fn FileForm() -> impl IntoView {
    let form = expect_context::<App>().form;
    view! {
        <div class="field">
            <label for="file">"The prototype's CSV or oracleGeneral: choose a file, or drop it anywhere"</label>
            <FilePicker />
            <p class="hint">{move || form.file.with(|f| f.as_ref().map(|f| format!("Chosen: {}", f.name)))}</p>
            <Problem name="file" />
        </div>
    }
}
