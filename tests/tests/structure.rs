//! The invariants of ARCHITECTURE.md that a machine can check.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use accel_tests::root;

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn core_knows_no_files_threads_clocks_or_chance_of_its_own() {
    let mut found = Vec::new();
    sources(&root().join("core/src"), &mut found);
    assert!(found.len() > 15);
    // Tests may print tables, and try what a small stack holds.
    for (path, text) in found.into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for forbidden in
            ["std::fs", "std::net", "std::thread", "std::time", "HashMap::new", "StdRng", "web_sys", "println!"]
        {
            assert!(!code.contains(forbidden), "{path} uses {forbidden}");
        }
    }
}

#[test]
fn core_imports_none_of_its_users() {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).unwrap();
    for user in ["accel-app", "infer-server", "accel-cli", "axum", "tokio", "leptos", "wasm-bindgen"] {
        assert!(!manifest.contains(user), "core depends on {user}");
    }
}

#[test]
fn wasm_bindgen_is_pinned_to_one_version_everywhere() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let manifest = read("Cargo.toml");
    let version = manifest.split("wasm-bindgen = \"=").nth(1).unwrap().split('"').next().unwrap();
    assert!(read("Trunk.toml").contains(&format!("wasm_bindgen = \"{version}\"")));
    assert!(read("xtask/src/tools.rs").contains(&format!("WASM_BINDGEN: &str = \"{version}\"")));
}
