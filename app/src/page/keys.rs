//! Keys that act anywhere on the page, the sheet that lists them, and undo.

use accel_ui::built::{Build, Built};
use leptos::ev::{self, KeyboardEvent};
use leptos::html::Dialog;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

use crate::app::App;
use crate::view::Tab;

/// Each key, and what it does.
const KEYS: [(&str, &str); 10] = [
    ("Ctrl + Enter", "run"),
    ("Escape", "cancel the run, or show the whole trace again"),
    ("Ctrl + Z, outside a field", "undo the last change of the form"),
    ("Ctrl + Shift + Z", "do it again"),
    ("1 … 5, outside a field", "Lab, Trace, Scores, Kernel, Compare"),
    ("p", "pin the experiment as A, to compare with"),
    ("←  →", "read a chart, step by step (Tab goes to it)"),
    ("Shift + ←  →, then Enter", "see a part of the charts over the trace closer"),
    ("Enter on a chart", "what happened in that cell"),
    ("?", "this list"),
];

/// What was typed whenever the form stood for a recipe: before and behind the present one, which is `now`.
#[derive(Default)]
struct Steps {
    before: Vec<Step>,
    behind: Vec<Step>,
    now: Option<Step>,
}

/// A recipe as JSON, and the texts of the form that stood for it.
type Step = (String, Vec<String>);

/// Steps that are kept.
const MOST: usize = 100;

/// Listens to keys; the button that shows the list of them.
pub(super) fn keys(app: App) -> Built {
    let dialog = NodeRef::<Dialog>::new();
    let steps = StoredValue::new(Steps::default());
    Effect::new(move |_| {
        let Ok(recipe) = app.recipe.get() else { return };
        let draft = untrack(|| app.form.draft());
        steps.update_value(|steps| {
            if steps.now.as_ref().is_some_and(|(now, _)| *now == recipe) {
                return;
            }
            if let Some(before) = steps.now.replace((recipe, draft)) {
                steps.before.push(before);
                if steps.before.len() > MOST {
                    steps.before.remove(0);
                }
                steps.behind.clear();
            }
        });
    });
    let step = move |back: bool| {
        let to = steps.try_update_value(|steps| {
            let Steps { before, behind, now } = steps;
            let (from, other) = if back { (before, behind) } else { (behind, before) };
            let to = from.pop()?;
            other.extend(now.replace(to.clone()));
            Some(to)
        });
        if let Some((_, draft)) = to.flatten() {
            app.form.set_draft(&draft);
        }
    };
    let show = move || {
        if let Some(dialog) = dialog.get_untracked() {
            // A browser that cannot show it modally is older than those that run this page.
            let _ = dialog.show_modal();
        }
    };
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    let _ = window_event_listener(ev::keydown, move |event: KeyboardEvent| {
        let typing =
            event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok()).is_some_and(|element| {
                matches!(element.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT")
                    || element.closest("#kernel").is_ok_and(|e| e.is_some())
            });
        let ctrl = event.ctrl_key() || event.meta_key();
        let key = event.key();
        match key.as_str() {
            "Enter" if ctrl && app.view.tab.get_untracked() != Tab::Kernel => app.run(),
            "z" | "Z" if ctrl && !typing => step(!event.shift_key()),
            "Escape" if app.engine.phase.with_untracked(accel_ui::run::Phase::is_running) => app.engine.cancel(),
            "Escape" if !typing && app.view.part.with_untracked(Option::is_some) => app.view.part.set(None),
            "Escape" if app.view.sheet.get_untracked() => app.view.sheet.set(false),
            _ if typing || ctrl || event.alt_key() => return,
            "?" => show(),
            "p" => app.pin(),
            digit => {
                let place = digit.parse::<usize>().ok().and_then(|number| Tab::ALL.get(number.checked_sub(1)?));
                let Some((tab, ..)) = place else { return };
                return super::tabs::go(app, *tab);
            }
        }
        event.prevent_default();
    });
    let rows = KEYS.map(|(key, does)| {
        view! {
            <dt>
                <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
        }
    });
    view! {
        <button type="button" class="quiet" id="help" aria-label="Keyboard shortcuts" on:click=move |_| show()>
            "?"
        </button>
        <dialog node_ref=dialog aria-label="Keyboard shortcuts">
            <h2>"Keyboard shortcuts"</h2>
            <dl class="keys">{rows.into_iter().collect_view()}</dl>
            <button type="button" on:click=move |_| close()>
                "Close"
            </button>
        </dialog>
    }
    .built()
}
