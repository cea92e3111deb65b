//! The WASM modules that lie beside the page: the page's own, and those loaded on demand.

use leptos::prelude::document;

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
        let link = |selector: &str| {
            let element = document().query_selector(selector).ok().flatten();
            element.and_then(|e| js_sys::Reflect::get(&e, &"href".into()).ok()).and_then(|href| href.as_string())
        };
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
