//! The WASM modules that lie beside the page: the page's own, and those loaded on demand.

use js_sys::Uint8Array;
use leptos::prelude::{document, window};
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

/// The address that the element `selector` of the page's head names.
pub fn link(selector: &str) -> Option<String> {
    let element = document().query_selector(selector).ok().flatten()?;
    js_sys::Reflect::get(&element, &"href".into()).ok()?.as_string()
}

/// The bytes of the file at `address`; none where there is no such file, or no way to it.
pub async fn fetch(address: &str) -> Option<Vec<u8>> {
    let answer: Response = JsFuture::from(window().fetch_with_str(address)).await.ok()?.dyn_into().ok()?;
    let bytes = if answer.ok() { JsFuture::from(answer.array_buffer().ok()?).await.ok()? } else { return None };
    Some(Uint8Array::new(&bytes).to_vec())
}

/// A module: the addresses of its two files.
///
/// They may stand between double quotes in a script, for they hold none: browsers write them as %22.
#[derive(Debug, Clone)]
pub struct Module {
    /// The address of its script.
    pub script: String,
    /// The address of its WASM.
    pub wasm: String,
}

impl Module {
    /// The module that the page was started from: its hashed names are in the page's head. None where they are not.
    pub fn of_the_page() -> Option<Self> {
        Some(Self { script: link("link[rel=modulepreload]")?, wasm: link("link[rel=preload][as=fetch]")? })
    }

    /// The module `name`, which lies beside the module of the page, called `page`.
    ///
    /// Its name has no hash: that of the page's keeps it in step with the page.
    pub fn beside(&self, page: &str, name: &str) -> Self {
        let (folder, file) = self.wasm.rsplit_once('/').unwrap_or(("", &self.wasm));
        let version = file.trim_start_matches(page).trim_end_matches(".wasm");
        let address = |ending: &str| format!("{folder}/{name}{ending}?v={version}");
        Self { script: address(".js"), wasm: address("_bg.wasm") }
    }

    /// The script that starts it.
    pub fn start(&self) -> String {
        let Self { script, wasm } = self;
        format!(r#"import init from "{script}"; await init({{ module_or_path: "{wasm}" }});"#)
    }
}
