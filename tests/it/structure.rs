//! The invariants of ARCHITECTURE.md that a machine can check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use accel_core::import::FORMATS;
use accel_core::workload::config::FAMILIES;
use accel_core::workload::presets::PRESETS;
use accel_tests::root;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

/// The modules of each library, ground first: a module imports only from those before it.
const ORDERS: [(&str, &[&str]); 16] = [
    ("core/ground/src", &["error", "closed", "units", "math", "rng", "progress", "check", "energy", "device"]),
    ("core/engine/src", &["order", "trace", "score", "tuned", "rules", "policy", "memory", "sim", "bound", "curve"]),
    (
        "core/src",
        &[
            "explain",
            "tiling",
            "workload",
            "fit",
            "validate",
            "import",
            "recipe",
            "traffic",
            "run",
            "sweep",
            "recommend",
            "scenarios",
        ],
    ),
    (
        "core/kernel/src",
        &[
            "expr",
            "normal",
            "nest",
            "operator",
            "functions",
            "source",
            "foreign",
            "report",
            "grid",
            "count",
            "cache",
            "share",
            "cost",
            "list",
            "c",
            "python",
            "stablehlo",
            "predict",
        ],
    ),
    ("core/price/src", &[]),
    ("infer-server/model/src", &["error", "client", "flags", "fetch", "types", "without_candle", "quantize", "local"]),
    ("app/chart/src", &["frame", "canvas", "capacity", "ranking", "heat", "front", "alone", "answer"]),
    (
        "app/ui/src",
        &[
            "built", "view", "number", "part", "theme", "address", "field", "files", "export", "over", "chart",
            "module", "worker", "run",
        ],
    ),
    ("app/worker/src", &["protocol", "extra", "state", "sweep", "worker"]),
    ("app/src", &["view", "places", "engine", "form", "app", "past", "panels", "page"]),
    ("app/kernel/src", &["worker", "engine", "examples", "number", "panels", "form"]),
    ("cli/files/src", &["model", "parquet", "pieces", "trace", "parallel", "stream", "list", "sweep"]),
    (
        "cli/src",
        &[
            "progress",
            "flags",
            "hub",
            "source",
            "table",
            "plot",
            "picture",
            "report",
            "analyze",
            "compare",
            "figures",
            "scores",
            "stream",
            "convert",
            "list",
            "validate",
            "bounds",
            "curve",
            "explain",
            "simulate",
            "model",
            "kernel",
            "sweep",
            "trace",
            "traffic",
            "fit",
            "recommend",
        ],
    ),
    ("python/src", &["error", "attend", "columns", "table", "trace", "experiment", "sweep"]),
    ("trainer/src", &["storage", "points", "eval", "speed", "workloads", "network", "embedded", "questions", "lora"]),
    (
        "infer-server/src",
        &[
            "panics", "store", "metrics", "health", "traces", "tls", "listen", "scoring", "error", "hub", "input",
            "work", "jobs", "http", "auth", "origin", "logs", "schema", "routes", "document", "page", "service",
        ],
    ),
];

/// The crates, ground first: a crate depends only on those before it.
const CRATES: [(&str, &str); 19] = [
    ("accel-ground", "core/ground"),
    ("unicode_names2", "core/kernel/unicode_names2"),
    ("accel-engine", "core/engine"),
    ("accel-core", "core"),
    ("accel-kernel", "core/kernel"),
    ("accel-price", "core/price"),
    ("accel-model", "infer-server/model"),
    ("accel-chart", "app/chart"),
    ("accel-ui", "app/ui"),
    ("accel-extra", "app/extra"),
    ("accel-kernel-page", "app/kernel"),
    ("accel-worker", "app/worker"),
    ("accel-app", "app"),
    ("accel-files", "cli/files"),
    ("accel-cli", "cli"),
    ("accel-python", "python"),
    ("infer-server", "infer-server"),
    ("accel-trainer", "trainer"),
    ("accel-tests", "tests"),
];

/// Whether an item is there for tests only.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test" || condition.starts_with("all (test") || condition.starts_with("all(test")
        }
        _ => false,
    })
}

/// The paths that a file names and that begin at its own crate, as module names from the root of the crate.
struct Paths {
    module: Vec<String>,
    found: BTreeSet<Vec<String>>,
}

impl Paths {
    /// Notes a path, given from where it was written.
    fn note(&mut self, path: &[String]) {
        let (mut at, rest): (Vec<String>, &[String]) = match path.first().map(String::as_str) {
            Some("crate") => (Vec::new(), &path[1..]),
            Some("self") => (self.module.clone(), &path[1..]),
            Some("super") => (self.module[..self.module.len().saturating_sub(1)].to_vec(), &path[1..]),
            _ => return,
        };
        let mut rest = rest.iter();
        let mut next = rest.next();
        while next.is_some_and(|name| name == "super") {
            at.pop();
            next = rest.next();
        }
        at.extend(next.into_iter().chain(rest).cloned());
        self.found.insert(at);
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let mut path = before.to_vec();
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.tree(&path, &part.tree);
            }
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.note(&path);
            }
            UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.note(&path);
            }
            UseTree::Glob(_) => self.note(&path),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Use(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    /// What stands in a macro is no syntax yet: paths are found word by word.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let text = called.tokens.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            if !["crate", "super"].contains(word) || (at > 0 && words[at - 1] == "$") {
                continue;
            }
            let rest = words[at..].chunks(2).take_while(|pair| pair.len() == 1 || pair[1] == "::");
            let path: Vec<String> = rest.map(|pair| pair[0].to_owned()).collect();
            let last = words.get(at + 2 * path.len()).into_iter().map(|name| (*name).to_owned());
            self.note(&path.iter().cloned().chain(last).collect::<Vec<_>>());
        }
        visit::visit_macro(self, called);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&parts);
        visit::visit_path(self, path);
    }
}

/// The modules of a crate and which others each of them names. Modules that are there for tests only are left out.
fn imports(source: &Path) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let mut modules = BTreeMap::new();
    let lib = source.join("lib.rs");
    let root = if lib.is_file() { lib } else { source.join("main.rs") };
    read_module(source, &root, Vec::new(), &mut modules);
    let names: BTreeSet<Vec<String>> = modules.keys().cloned().collect();
    for paths in modules.values_mut() {
        // The module that a path leads into: the longest beginning that is one.
        let into = |path: &Vec<String>| {
            (0..=path.len()).rev().map(|n| &path[..n]).find(|p| names.contains(*p)).unwrap().to_vec()
        };
        *paths = paths.iter().map(into).collect();
    }
    modules
}

fn read_module(
    folder: &Path,
    file: &Path,
    module: Vec<String>,
    modules: &mut BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
) {
    let text = fs::read_to_string(file).unwrap();
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut paths = Paths { module: module.clone(), found: BTreeSet::new() };
    paths.visit_file(&parsed);
    for item in &parsed.items {
        let Item::Mod(child) = item else { continue };
        if child.content.is_some() || for_tests(&child.attrs) {
            continue;
        }
        let name = child.ident.to_string();
        let (flat, deep) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
        let below = folder.join(&name);
        let child: Vec<String> = module.iter().cloned().chain([name]).collect();
        read_module(&below, if flat.is_file() { &flat } else { &deep }, child, modules);
    }
    modules.insert(module, paths.found);
}

/// Which children of `parent` import which others of them, with an example of each.
fn among_children(
    modules: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
    parent: &[String],
) -> BTreeMap<String, BTreeMap<String, String>> {
    let child = |path: &[String]| path.starts_with(parent).then(|| path.get(parent.len()).cloned()).flatten();
    let mut arrows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (module, paths) in modules {
        let Some(from) = child(module) else { continue };
        for path in paths {
            if let Some(to) = child(path).filter(|to| *to != from) {
                let example = format!("{} imports from {}", module.join("::"), path.join("::"));
                arrows.entry(from.clone()).or_default().entry(to).or_insert(example);
            }
        }
    }
    arrows
}

/// A cycle among children, as its arrows.
fn cycle(arrows: &BTreeMap<String, BTreeMap<String, String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        arrows: &BTreeMap<String, BTreeMap<String, String>>,
        way: &mut Vec<(String, String)>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|(from, _)| from == at) {
            return Some(way[start..].iter().map(|(_, example)| example.clone()).collect());
        }
        if !done.contains(at) {
            for (to, example) in arrows.get(at).into_iter().flatten() {
                way.push((at.to_owned(), example.clone()));
                let found = walk(to, arrows, way, done);
                way.pop();
                if found.is_some() {
                    return found;
                }
            }
            done.insert(at.to_owned());
        }
        None
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|start| walk(start, arrows, &mut Vec::new(), &mut done))
}

/// What breaks the order of the modules in `source`, or goes round in it.
fn faults(source: &Path, order: &[&str]) -> Vec<String> {
    let modules = imports(source);
    let mut faults = Vec::new();
    let rank = |name: &str| order.iter().position(|known| *known == name);
    let top: BTreeSet<&String> = modules.keys().filter_map(|module| module.first()).collect();
    faults
        .extend(top.iter().filter(|name| rank(name).is_none()).map(|name| format!("{name} has no place in the order")));
    for (from, targets) in among_children(&modules, &[]) {
        let above = targets.into_iter().filter(|(to, _)| rank(to) > rank(&from));
        faults.extend(above.map(|(_, example)| format!("from above: {example}")));
    }
    for parent in modules.keys().filter(|parent| !parent.is_empty()) {
        if let Some(way) = cycle(&among_children(&modules, parent)) {
            faults.push(format!("a cycle in {}: {}", parent.join("::"), way.join(", ")));
        }
    }
    faults
}

#[test]
fn modules_import_only_from_those_before_them() {
    for (source, order) in ORDERS {
        let faults = faults(&root().join(source), order);
        assert!(faults.is_empty(), "{source}:\n{}", faults.join("\n"));
    }
}

/// The test above would notice: here are a crate with a back-arrow, one with a cycle, and one without fault.
#[test]
fn a_back_arrow_and_a_cycle_are_found() {
    let write = |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    };
    let lib = ("lib.rs", "mod ground; mod top;");
    let back = write(&[lib, ("ground.rs", "fn f() { crate::top::g() }"), ("top.rs", "pub fn g() {}")]);
    assert_eq!(faults(back.path(), &["ground", "top"]), ["from above: ground imports from top"]);
    let grouped = write(&[lib, ("ground.rs", "use super::{top::{self, g}};"), ("top.rs", "pub fn g() {}")]);
    assert_eq!(faults(grouped.path(), &["ground", "top"]), ["from above: ground imports from top"]);
    let unknown = write(&[lib, ("ground.rs", ""), ("top.rs", "")]);
    assert_eq!(faults(unknown.path(), &["ground"]), ["top has no place in the order"]);
    let round = write(&[
        ("lib.rs", "mod top;"),
        ("top/mod.rs", "mod a; mod b;"),
        ("top/a.rs", "use super::b::B;"),
        ("top/b.rs", "use crate::top::a::A;"),
    ]);
    let found = faults(round.path(), &["top"]);
    assert!(
        found[0].starts_with("a cycle in top: top::a imports from top::b, top::b imports from top::a"),
        "{found:?}"
    );
    let good = write(&[
        lib,
        ("ground.rs", "pub struct A; #[cfg(test)] mod tests { use crate::top::g; }"),
        ("top.rs", "use crate::ground::A; #[cfg(test)] mod far;"),
    ]);
    assert!(faults(good.path(), &["ground", "top"]).is_empty());
}

#[test]
fn crates_depend_only_on_those_before_them() {
    for (at, (name, folder)) in CRATES.iter().enumerate() {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for (later, _) in &CRATES[at + 1..] {
            let depends = manifest
                .lines()
                .any(|line| line.starts_with(&format!("{later}.workspace")) || line.starts_with(&format!("{later} =")));
            assert!(!depends, "{name} depends on {later}");
        }
    }
}

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
    for folder in ["core/ground/src", "core/src", "core/kernel/src", "core/price/src"] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 100);
    // Tests may print tables, and try what a small stack holds.
    for (path, text) in found.into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for forbidden in [
            "std::fs",
            "std::net",
            "std::thread",
            "std::time",
            "HashMap::new",
            "StdRng",
            "web_sys",
            "println!",
            "powf(",
        ] {
            assert!(!code.contains(forbidden), "{path} uses {forbidden}");
        }
    }
}

#[test]
fn core_knows_no_user_of_its_own() {
    for folder in ["core/ground", "core", "core/kernel", "core/price"] {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for user in ["axum", "tokio", "leptos", "wasm-bindgen", "clap"] {
            assert!(!manifest.contains(user), "{folder} depends on {user}");
        }
    }
}

/// The page's policy forbids attributes that hold styles; `style:width=...` sets them another way.
#[test]
fn views_set_styles_one_by_one() {
    for folder in ["app/src", "app/ui/src", "app/kernel/src"] {
        let mut files = Vec::new();
        sources(&root().join(folder), &mut files);
        for (name, text) in files {
            let found = text.lines().find(|line| line.contains(" style="));
            assert_eq!(found, None, "{name}: write style:width=... (or another property)");
        }
    }
}

#[test]
fn wasm_bindgen_is_pinned_to_one_version_everywhere() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let manifest = read("Cargo.toml");
    let version = manifest.split("wasm-bindgen = \"=").nth(1).unwrap().split('"').next().unwrap();
    assert!(read("Trunk.toml").contains(&format!("wasm_bindgen = \"{version}\"")));
    assert!(manifest.contains(&format!("wasm-bindgen-cli-support = \"={version}\"")));
}

/// README says in one row which files are read and in another how many models are known: the tables know.
#[test]
fn readme_names_every_format_and_counts_families_and_presets() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let row = |name: &str| {
        let start = format!("| {name} |");
        readme.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("README.md has no row {name}"))
    };
    for format in FORMATS {
        assert!(row("Files").contains(format.title), "README.md, \"Files\": {} is missing", format.title);
    }
    let families = FAMILIES.iter().filter(|family| ["Transformer", "MoE"].contains(&family.kind())).count();
    let counts = [format!("{families} Transformer families"), format!("models by preset ({})", PRESETS.len())];
    for count in counts {
        assert!(row("Workloads").contains(&count), "README.md, \"Workloads\": it should say {count}");
    }
}
