//! The trace as a file, in every format that is written.

use accel_core::import::{FORMATS, FormatInfo};
use accel_ui::built::{Build, Built};
use accel_ui::export::save_bytes;
use accel_ui::view::choices;
use leptos::prelude::*;

use crate::app::App;

/// The formats to choose from.
fn formats() -> impl Iterator<Item = &'static FormatInfo> {
    FORMATS.iter().filter(|info| info.writable)
}

/// Saves the trace of the newest answer.
pub(super) fn save(app: App) -> Built {
    let chosen = RwSignal::new(0usize);
    let told = RwSignal::new(String::new());
    Effect::new(move |_| {
        let Some((format, written)) = app.engine.written.get() else { return };
        app.engine.written.set(None);
        told.set(match written {
            Ok(written) => {
                let (bytes, lost) = written.as_ref();
                let ending = formats().find(|info| info.name == format).and_then(|info| info.extensions.first());
                let name = format!("trace.{}", ending.copied().unwrap_or_default());
                save_bytes(&name, bytes);
                match lost.is_empty() {
                    true => format!("{name} was saved."),
                    false => {
                        format!("{name} was saved. Lost, because the format does not keep it: {}.", lost.join(", "))
                    }
                }
            }
            Err(error) => error.to_string(),
        });
    });
    let ask = move |_| {
        if let Some(info) = formats().nth(chosen.get_untracked()) {
            told.set("Writing the trace".into());
            app.engine.ask_written(info.name.to_owned());
        }
    };
    let titles = formats().map(|info| info.title.to_owned()).collect();
    view! {
        <section class="panel" id="save-trace">
            <h2>"The trace as a file"</h2>
            <div class="bar">
                <select
                    id="save-format"
                    aria-label="Format"
                    on:change:target=move |event| chosen.set(event.target().value().parse().unwrap_or_default())
                >
                    {choices(titles)}
                </select>
                <button type="button" class="quiet" id="save" on:click=ask>
                    "Save"
                </button>
            </div>
            <p class="hint" role="status">
                {Signal::derive(move || told.get())}
            </p>
        </section>
    }
    .built()
}
