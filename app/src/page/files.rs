//! Files: dropped anywhere on the page, or chosen.

use accel_core::import::weights_index::Index;
use accel_core::import::{FORMATS, FileKind, Format, detect_model, gguf, is_model_name, model_of_weights};
use accel_core::recipe::FileSource;
use accel_core::recipe::Recipe;
use accel_core::recipe::fields::Field;
use accel_core::units::format_bytes;
use accel_core::workload::config::ModelConfig;
use accel_ui::files;
use accel_ui::part::Missing;
use accel_ui::view::yes;
use js_sys::{Array, Uint8Array};
use leptos::ev;
use leptos::html::Input;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, File};

use crate::app::App;
use crate::form::Source;
use crate::panels::first_lines;
use crate::view::Tab;

/// The largest trace file taken: its copy in the worker and the parsed trace must fit in 4 GiB.
const MOST_BYTES: f64 = 1e9;
/// The most of a file of weights that its header takes: that of a GGUF file with its vocabulary is some 10 MB long.
const MOST_HEADER: f64 = 256e6;
/// A larger trace file is not read before the user says how much of it.
const LARGE_BYTES: f64 = 100e6;
/// Memory that a trace takes, as a multiple of its file: measured in Chromium, 805 MiB for the 1e7 accesses of an
/// oracleGeneral file of 240 MB.
const MEMORY_FACTOR: f64 = 3.5;
/// What is read of a file to tell what it is.
const HEAD_BYTES: f64 = 4096.0;
/// The largest file that may be a configuration or recipe.
const MOST_JSON_BYTES: f64 = 4e6;

accel_ui::parts! {
    tabs: fn load_files -> fn(App, Given) = take;
}

/// What is given to the page.
enum Given {
    Dropped(Vec<File>),
    Chosen(File),
    /// The address of a file.
    Address(String),
}

/// Loads what reads files, and has it take `given`.
fn give(app: App, given: Given) {
    spawn_local(async move {
        match load_files().await {
            Ok(take) => take(app, given),
            Err(Missing) => {
                let problem = "What reads files could not be loaded. Check the connection and try again";
                app.notice.set(Some(problem.into()));
            }
        }
    });
}

fn take(app: App, given: Given) {
    match given {
        Given::Dropped(files) => take_all(app, files),
        Given::Chosen(file) => take_one(app, file),
        Given::Address(url) => open(app, url),
    }
}

/// Whether a dropped file is for what is shown: source code is read by the module of the Kernel tab itself.
fn takes(app: App) -> bool {
    app.view.tab.get_untracked() != Tab::Kernel || app.view.priced.get_untracked()
}

/// Takes files dropped anywhere, and shows where they will land.
pub(crate) fn drop_anywhere(app: App) -> impl IntoView {
    let over = RwSignal::new(false);
    // Otherwise the browser would not let go of the file here.
    let _ = window_event_listener(ev::dragover, move |event| {
        event.prevent_default();
        over.set(takes(app));
    });
    // Leaving the window has no target to go to; moving between elements does.
    let _ = window_event_listener(ev::dragleave, move |event| {
        if event.related_target().is_none() {
            over.set(false);
        }
    });
    files::on_drop(move |dropped| {
        over.set(false);
        if takes(app) {
            give(app, Given::Dropped(dropped));
        }
    });
    view! {
        <div class="drop" aria-hidden="true" hidden=yes(move || !over.get())>
            "Drop a model, a recipe or a trace file. It stays on your machine."
        </div>
    }
}

/// Chooses a trace file.
pub(crate) fn file_picker(app: App) -> impl IntoView {
    let input = NodeRef::<Input>::new();
    let chosen = move |_| {
        if let Some(file) = files::first(input.get_untracked().and_then(|input| input.files())) {
            app.note.set(None);
            give(app, Given::Chosen(file));
        }
        // So that choosing the same file again, changed meanwhile, is a change.
        if let Some(input) = input.get_untracked() {
            input.set_value("");
        }
    };
    view! { <input type="file" id="file" node_ref=input on:change=chosen /> }
}

/// Takes the file of `dropped` that says most, and tells what becomes of the others.
fn take_all(app: App, dropped: Vec<File>) {
    app.note.set(None);
    app.notice.set(None);
    // A folder has no type and no bytes that a page may read.
    let (folders, mut files): (Vec<File>, Vec<File>) = dropped
        .into_iter()
        .partition(|file| file.type_().is_empty() && file.size() == 0.0 && !file.name().contains('.'));
    if files.is_empty() {
        if let Some(folder) = folders.first() {
            let problem = format!("{} is a folder. Drop the files in it: its config.json, or a trace", folder.name());
            app.notice.set(Some(problem));
        }
        return;
    }
    // Of a model's files its configuration says all; weights say less, and what comes along says nothing.
    let rank = |file: &File| {
        let name = file.name().to_lowercase();
        match name.as_str() {
            "config.json" | "params.json" => 0,
            name if name.ends_with(".index.json") => 2,
            name if [
                "tokenizer",
                "generation_config",
                "special_tokens",
                "vocab",
                "merges",
                "preprocessor",
                "chat_template",
                "readme",
                "license",
                ".gitattributes",
            ]
            .iter()
            .any(|start| name.starts_with(start)) =>
            {
                4
            }
            _ => 1,
        }
    };
    files.sort_by_key(rank);
    let chosen = files.remove(0);
    if !files.is_empty() || !folders.is_empty() {
        let others: Vec<String> = files.iter().chain(&folders).map(File::name).collect();
        let why = match rank(&chosen) {
            0 => "It describes the model; the others are not needed for its experiment",
            _ => "One file is an experiment; drop another one by itself to run it",
        };
        app.note.set(Some(format!("{} was taken. {why}: {}.", chosen.name(), others.join(", "))));
    }
    let index = files.iter().find(|file| file.name().ends_with(".index.json")).filter(|_| rank(&chosen) == 0);
    if let Some(index) = index {
        compare(app, chosen.clone(), index.clone());
    }
    take_one(app, chosen);
}

/// Tells where the index of a model's weights and its configuration do not agree.
fn compare(app: App, config: File, index: File) {
    spawn_local(async move {
        let text =
            async |file: &File| JsFuture::from(file.array_buffer()).await.map(|it| Uint8Array::new(&it).to_vec());
        let (Ok(keys), Ok(weights)) = (text(&config).await, text(&index).await) else { return };
        // What is wrong with the configuration is told where it is shown.
        let Ok(config) = ModelConfig::from_json(&config.name(), &keys) else { return };
        let notes = Index::parse(&index.name(), &weights).and_then(|found| found.check(&config, |_| None));
        match notes {
            Ok(notes) if notes.is_empty() => {}
            Ok(notes) => app.notice.set(Some(format!("{}: {}.", index.name(), notes.join("; ")))),
            Err(error) => app.notice.set(Some(error.to_string())),
        }
    });
}

/// Opens the file or recipe that the address names with `#url=`.
pub(super) fn open_url(app: App) {
    let fragment = accel_ui::address::fragment();
    let Some(url) = fragment.strip_prefix("url=") else { return };
    give(app, Given::Address(js_sys::decode_uri_component(url).map_or_else(|_| url.to_owned(), String::from)));
}

fn open(app: App, url: String) {
    spawn_local(async move {
        let name = url.split(['?', '#']).next().unwrap_or(&url).rsplit('/').next().unwrap_or("file").to_owned();
        match accel_ui::module::fetch(&url).await {
            Some(bytes) => match Blob::new_with_u8_array_sequence(&Array::of1(&Uint8Array::from(bytes.as_slice()))) {
                Ok(blob) => sort(app, name, blob).await,
                Err(_) => app.notice.set(Some(format!("{name} does not fit into memory"))),
            },
            None => app.notice.set(Some(format!(
                "{url} cannot be opened: there is no such file, or its server does not let this page read it (CORS). Download it and drop it here"
            ))),
        }
    });
}

/// Reads `file` and shows what it is: a recipe, a configuration or a trace.
fn take_one(app: App, file: File) {
    app.notice.set(None);
    // Of a file of weights only the header is read.
    let weights = is_weights(&file.name());
    if file.size() > MOST_BYTES && !weights {
        app.notice.set(Some(format!(
            "{} has {}, more than the page can hold. Use the command line: accel simulate --trace {0}",
            file.name(),
            format_bytes(file.size() as u64)
        )));
        return;
    }
    app.files.update_value(|newest| *newest += 1);
    let part = if weights { file.slice_with_f64_and_f64(0.0, MOST_HEADER) } else { Ok(file.clone().into()) };
    spawn_local(async move {
        match part {
            Ok(part) => sort(app, file.name(), part).await,
            Err(_) => app.notice.set(Some(cannot_read(&file.name()))),
        }
    });
}

/// Whether the name of a file is one of weights.
fn is_weights(name: &str) -> bool {
    FORMATS.iter().any(|info| info.kind == FileKind::Weights && info.has_extension(name))
}

fn cannot_read(name: &str) -> String {
    format!("{name} cannot be read. Was it moved or changed?")
}

/// The first bytes of `file`, at most `most`.
async fn first_bytes(file: &Blob, most: f64) -> Option<Vec<u8>> {
    let part = file.slice_with_f64_and_f64(0.0, most).ok()?;
    JsFuture::from(part.array_buffer()).await.ok().map(|bytes| Uint8Array::new(&bytes).to_vec())
}

/// Reads as much of `file` as tells what it is: whoever needs the rest reads it.
async fn sort(app: App, name: String, file: Blob) {
    let (number, size) = (app.files.try_get_value(), file.size());
    let small = file.size() <= MOST_JSON_BYTES;
    let read = first_bytes(&file, if small { MOST_JSON_BYTES } else { HEAD_BYTES }).await;
    // A file may be read more slowly than one that was dropped after it.
    if app.files.try_get_value() != number {
        return;
    }
    let Some(mut text) = read else { return app.notice.set(Some(cannot_read(&name))) };
    let head = text[..text.len().min(HEAD_BYTES as usize)].to_vec();
    // A configuration goes into the box, a graph or a topology into a file of its own.
    if is_model_name(&name) || detect_model(&head).is_some_and(|format| format != Format::Config) {
        app.engine.set_file(name.clone(), file);
        app.form.show_model_file(name);
        return run_model(app);
    }
    // The header of whole weights describes a model; what holds a part of one is a trace of what it holds.
    let mut note = None;
    if gguf::matches(&head) {
        let Some(header) = first_bytes(&file, MOST_HEADER).await else {
            return app.notice.set(Some(cannot_read(&name)));
        };
        match model_of_weights(&name, &header) {
            Ok(config) => {
                app.form.show_model(config);
                return run_model(app);
            }
            Err(error) => note = Some(format!("{error}. It is shown as one pass over its weights.")),
        }
    }
    let json = small && first_letter(&head) == Some(b'{');
    if !json {
        text.clear();
    }
    let has = |key: &str| {
        let quoted = format!("\"{key}\"");
        text.windows(quoted.len()).any(|part| part == quoted.as_bytes())
    };
    // Execution traces, profiles, records and routing logs are JSON objects as well.
    if !json || FORMATS.iter().filter_map(|info| info.json_key).any(has) {
        app.engine.set_file(name.clone(), file);
        app.preview.set(Some((name.clone(), first_lines(&head))));
        app.form.file.set(Some(FileSource::named(name.clone())));
        app.form.show(Source::File);
        if size > LARGE_BYTES && !is_weights(&name) && app.form.text(Field::Accesses).with_untracked(String::is_empty) {
            return app.note.set(Some(format!(
                "{name} has {}, of which all takes about {} of memory. Press Run to read it all, or first set “Accesses, at most” under “What counts”: then only its beginning is read.",
                format_bytes(size as u64),
                format_bytes((MEMORY_FACTOR * size) as u64),
            )));
        }
        if note.is_some() {
            app.note.set(note);
        }
        return app.run();
    }
    let is_recipe = serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|v| v.get("workload").is_some());
    if !is_recipe {
        // Broken JSON lands in the box too: that is where its error is shown.
        app.form.show_config(String::from_utf8_lossy(&text).into_owned());
        return run_model(app);
    }
    match Recipe::from_json(&name, &text) {
        Ok(recipe) => {
            app.form.set(&recipe);
            app.run();
        }
        Err(error) => app.notice.set(Some(error.to_string())),
    }
}

/// The share of a model's bytes at which policies differ: a memory of all ties them, and so does one of nothing.
const SHARE: f64 = 0.5;

/// Sets the capacity to where policies differ, says so, and runs.
fn run_model(app: App) {
    let bytes = untrack(|| app.form.recipe()).ok().and_then(|recipe| recipe.workload.model_facts().ok().flatten());
    if let Some(facts) = bytes {
        let capacity = format_bytes((facts.weight_bytes as f64 * SHARE) as u64);
        app.form.text(Field::Capacity).set(capacity.clone());
        app.note.set(Some(format!(
            "Capacity set to {capacity}, half of the model's {}: a memory that holds all of it makes every policy alike.",
            format_bytes(facts.weight_bytes)
        )));
    }
    app.run();
}

/// The first byte that is not white space.
fn first_letter(head: &[u8]) -> Option<u8> {
    head.iter().copied().find(|b| !b.is_ascii_whitespace())
}
