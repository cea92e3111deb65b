//! The files that lie beside the page: WASM modules, which `start.js` loads, and others.

use accel_ground::error::{Error, Place};
use js_sys::Uint8Array;
use leptos::prelude::{document, window};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

/// The address that the element `selector` of the page's head names.
pub fn link(selector: &str) -> Option<String> {
    attribute(selector, "href")
}

/// The whole address that an attribute of the page's head stands for.
fn attribute(selector: &str, name: &str) -> Option<String> {
    let element = document().query_selector(selector).ok().flatten()?;
    js_sys::Reflect::get(&element, &name.into()).ok()?.as_string()
}

/// The bytes of the file at `address`; none where there is no such file, or no way to it.
pub async fn fetch(address: &str) -> Option<Vec<u8>> {
    let answer: Response = JsFuture::from(window().fetch_with_str(address)).await.ok()?.dyn_into().ok()?;
    let bytes = if answer.ok() { JsFuture::from(answer.array_buffer().ok()?).await.ok()? } else { return None };
    Some(Uint8Array::new(&bytes).to_vec())
}

/// The script that loads modules, as `index.html` names it: a worker runs it as well.
pub fn start_script() -> Option<String> {
    attribute("#start", "src")
}

/// The module `name`, loaded and started unless it was before; asked again after a failure, it is tried again.
///
/// # Errors
///
/// Why `what` cannot be loaded, in words.
pub async fn load(name: &str, what: &str) -> Result<JsValue, Error> {
    load_module(name).await.map_err(|error| {
        let reason = error.dyn_into::<js_sys::Error>().map(|error| String::from(error.message())).unwrap_or_default();
        let problem = format!("it could not be loaded: {reason}");
        Error::input(what, Place::Whole, problem, "Check the connection and try again")
    })
}

#[wasm_bindgen]
extern "C" {
    /// Of `start.js`.
    #[wasm_bindgen(catch, js_name = loadModule)]
    async fn load_module(name: &str) -> Result<JsValue, JsValue>;
}
