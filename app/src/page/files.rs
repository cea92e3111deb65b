//! Files: dropped anywhere on the page, or chosen.

use accel_core::import::{FORMATS, FileKind, Format, detect_model, is_model_name};
use accel_core::recipe::FileSource;
use accel_core::recipe::Recipe;
use accel_core::units::format_bytes;
use accel_ui::files;
use accel_ui::view::yes;
use js_sys::Uint8Array;
use leptos::ev;
use leptos::html::Input;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen_futures::JsFuture;
use web_sys::File;

use crate::app::App;
use crate::form::Source;

/// The largest trace file taken: its copy in the worker and the parsed trace must fit in 4 GiB.
const MOST_BYTES: f64 = 1e9;
/// The most of a file of weights that its header takes: that of a GGUF file with its vocabulary is some 10 MB long.
const MOST_HEADER: f64 = 256e6;
/// The largest file that may be a configuration or recipe.
const MOST_JSON_BYTES: f64 = 4e6;

/// Takes files dropped anywhere, and shows where they will land.
pub(crate) fn drop_anywhere(app: App) -> impl IntoView {
    let over = RwSignal::new(false);
    // Otherwise the browser would not let go of the file here.
    let _ = window_event_listener(ev::dragover, move |event| {
        event.prevent_default();
        // The Kernel page takes its files itself.
        over.set(!app.kernel.get_untracked());
    });
    // Leaving the window has no target to go to; moving between elements does.
    let _ = window_event_listener(ev::dragleave, move |event| {
        if event.related_target().is_none() {
            over.set(false);
        }
    });
    files::on_drop(move |file| {
        over.set(false);
        if !app.kernel.get_untracked() {
            take(app, file);
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
            take(app, file);
        }
        // So that choosing the same file again, changed meanwhile, is a change.
        if let Some(input) = input.get_untracked() {
            input.set_value("");
        }
    };
    view! { <input type="file" id="file" node_ref=input on:change=chosen /> }
}

/// Reads `file` and shows what it is: a recipe, a configuration or a trace.
fn take(app: App, file: File) {
    app.notice.set(None);
    // Of a file of weights only the header is read.
    let weights = FORMATS.iter().any(|info| info.kind == FileKind::Weights && info.has_extension(&file.name()));
    if file.size() > MOST_BYTES && !weights {
        app.notice.set(Some(format!(
            "{} has {}, more than the page can hold. Use the command line: accel simulate --trace {0}",
            file.name(),
            format_bytes(file.size() as u64)
        )));
        return;
    }
    let number = app.files.try_update_value(|newest| {
        *newest += 1;
        *newest
    });
    let part = if weights { file.slice_with_f64_and_f64(0.0, MOST_HEADER) } else { Ok(file.clone().into()) };
    spawn_local(async move {
        let buffer = match part {
            Ok(part) => JsFuture::from(part.array_buffer()).await,
            Err(error) => Err(error),
        };
        // A large file may be read more slowly than a smaller one that was dropped after it.
        if app.files.try_get_value() != number {
            return;
        }
        match buffer {
            Ok(buffer) => sort(app, file.name(), Uint8Array::new(&buffer)),
            Err(_) => app.notice.set(Some(format!("{} cannot be read. Was it moved or changed?", file.name()))),
        }
    });
}

fn sort(app: App, name: String, bytes: Uint8Array) {
    let head = bytes.subarray(0, bytes.length().min(4096)).to_vec();
    // A configuration goes into the box, a graph or a topology into a file of its own.
    if is_model_name(&name) || detect_model(&head).is_some_and(|format| format != Format::Config) {
        app.engine.set_file(name.clone(), bytes);
        app.form.show_model_file(name);
        return app.run();
    }
    let json = f64::from(bytes.length()) <= MOST_JSON_BYTES && first_letter(&head) == Some(b'{');
    let text = if json { bytes.to_vec() } else { Vec::new() };
    let has = |key: &str| {
        let quoted = format!("\"{key}\"");
        text.windows(quoted.len()).any(|part| part == quoted.as_bytes())
    };
    // Execution traces, profiles, records and routing logs are JSON objects as well.
    if !json || FORMATS.iter().filter_map(|info| info.json_key).any(has) {
        app.engine.set_file(name.clone(), bytes);
        app.form.file.set(Some(FileSource::named(name)));
        app.form.show(Source::File);
        return app.run();
    }
    let is_recipe = serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|v| v.get("workload").is_some());
    if !is_recipe {
        // Broken JSON lands in the box too: that is where its error is shown.
        app.form.show_config(String::from_utf8_lossy(&text).into_owned());
        return app.run();
    }
    match Recipe::from_json(&name, &text) {
        Ok(recipe) => {
            app.form.set(&recipe);
            app.run();
        }
        Err(error) => app.notice.set(Some(error.to_string())),
    }
}

/// The first byte that is not white space.
fn first_letter(head: &[u8]) -> Option<u8> {
    head.iter().copied().find(|b| !b.is_ascii_whitespace())
}
