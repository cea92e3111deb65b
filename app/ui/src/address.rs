//! The address of the page: its fragment holds what the form holds, so that the link reopens it.

use crate::built::{Build, Built};
use std::time::Duration;

use accel_ground::error::Error;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

/// The fragment, without its `#`; empty where there is none.
pub fn fragment() -> String {
    window().location().hash().unwrap_or_default().trim_start_matches('#').to_owned()
}

/// Puts `fragment` into the address bar as a step that the browser can go back from; nothing where it stands there.
///
/// # Errors
///
/// Where the browser refuses.
pub fn visit(new: &str) -> Result<(), Error> {
    if fragment() == new {
        return Ok(());
    }
    let failed = |_| Error::Internal("the browser refuses to change the address".into());
    let history = window().history().map_err(failed)?;
    history.push_state_with_url(&JsValue::NULL, "", Some(&format!("#{new}"))).map_err(failed)
}

/// Puts `fragment` into the address bar in the place of what stands there.
///
/// # Errors
///
/// Where the browser refuses.
pub fn show(fragment: &str) -> Result<(), Error> {
    let failed = |_| Error::Internal("the browser refuses to change the address".into());
    let history = window().history().map_err(failed)?;
    history.replace_state_with_url(&JsValue::NULL, "", Some(&format!("#{fragment}"))).map_err(failed)
}

/// The button that copies the address, disabled where it is `bad`. `prepare` brings the address up to date; where it
/// returns false, nothing is copied.
pub fn copy_button(bad: Signal<bool>, prepare: impl Fn() -> bool + 'static) -> Built {
    let label = RwSignal::new("Copy link");
    let click = move |_| {
        if !prepare() {
            return;
        }
        spawn_local(async move {
            let link = window().location().href().unwrap_or_default();
            // Browsers refuse the clipboard to pages served without encryption from other machines.
            let secure = window().is_secure_context();
            let copied = secure && JsFuture::from(window().navigator().clipboard().write_text(&link)).await.is_ok();
            label.set(if copied { "Link copied" } else { "Link is in the address bar" });
            set_timeout(move || label.set("Copy link"), Duration::from_secs(3));
        });
    };
    view! {
        <button
            type="button"
            class="quiet"
            disabled=bad
            on:click=click
            title="A link that reopens this experiment with the same numbers"
        >
            {label}
        </button>
    }
    .built()
}
