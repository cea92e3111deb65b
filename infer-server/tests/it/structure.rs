//! The order of the modules: each imports only from those before it.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. The program itself, `main` and `serve`, stands above all of them.
const MODULES: [&str; 11] =
    ["metrics", "health", "scoring", "error", "input", "work", "jobs", "http", "auth", "routes", "service"];

/// The Rust files at `path`, and below it.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        fs::read_dir(path).unwrap().flat_map(|entry| files(&entry.unwrap().path())).collect()
    } else {
        vec![path.to_owned()]
    }
}

/// The modules that `source` names after `crate::`, alone or in braces.
fn imports(source: &str) -> impl Iterator<Item = &str> {
    let after = source.split("crate::").skip(1);
    let names = after.flat_map(|rest| match rest.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
        None => vec![rest],
    });
    let first = |name: &str| name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    names.map(str::trim).map(move |name| &name[..first(name)])
}

#[test]
fn a_module_imports_only_from_those_before_it() {
    // Asked when it runs, not when it is compiled: checkouts may share their build outputs.
    let source = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("src");
    let place = |name: &str| MODULES.iter().position(|module| *module == name);
    let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
    let declared =
        lib.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    let mut count = 0;
    for module in declared {
        count += 1;
        let own = place(module).unwrap_or_else(|| panic!("{module} has no place in the order"));
        let (file, folder) = (source.join(module).with_extension("rs"), source.join(module));
        for file in files(if file.is_file() { &file } else { &folder }) {
            let text = fs::read_to_string(&file).unwrap();
            for import in imports(&text) {
                let below = place(import).is_some_and(|place| place <= own);
                assert!(below, "{} imports {import}, which stands above it", file.display());
            }
        }
    }
    assert_eq!(count, MODULES.len());
}
