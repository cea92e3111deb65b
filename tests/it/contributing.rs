//! The examples of CONTRIBUTING.md, applied as they stand there to a copy of core, compiled and used.
//!
//! A line such as `` `core/engine/src/policy/mod.rs`, below `pub mod slru;`: `` says where the block beneath it goes:
//! `below`, `above` or `in place of` the one line that begins like that (the line after it counts as its continuation),
//! or `a new file`. The copy lies in the folder of build outputs, so that a second run compiles little.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use accel_tests::root;

/// Uses what is added.
const ADDED: &str = include_str!("contributing/added.rs");

/// The sections that add one thing each, and touch two files at most.
const SECTIONS: [&str; 5] = [
    "Adding a policy",
    "Adding a file format",
    "Adding a model family",
    "Adding a field of a recipe",
    "Adding a device",
];

/// Unit tests of core that hold for every row of its tables.
const TESTS: [&str; 5] = ["added::", "families::", "fields::", "policy::tests", "import::tests"];

/// What the copy needs beside `core/src`, `core/engine` and `core/ground`: files that core's unit tests include.
const INCLUDED: [&str; 2] = ["docs/workloads.md", "tests/fixtures/weights"];

/// Where a block goes.
#[derive(Debug, PartialEq)]
enum Place {
    NewFile,
    Below(String),
    Above(String),
    InPlaceOf(String),
}

/// A block of CONTRIBUTING.md that is applied.
#[derive(Debug)]
struct Addition {
    section: String,
    line: usize,
    file: String,
    place: Place,
    text: String,
}

/// The span of code at the start of `text`, and what follows it.
fn code(text: &str) -> Option<(&str, &str)> {
    let ticks = text.len() - text.trim_start_matches('`').len();
    let (mark, rest) = text.split_at(ticks);
    let (span, rest) = rest.split_once(mark).filter(|_| ticks > 0)?;
    // Two ticks around a span that has one itself, with a space where it begins or ends with it.
    Some((span.strip_prefix(' ').unwrap_or(span), rest))
}

/// The file and the place that `line` names; none where it is prose.
fn place(line: &str) -> Option<(String, Place)> {
    let (file, rest) = code(line)?;
    let rest = rest.strip_prefix(", ")?.strip_suffix(':')?;
    if rest == "a new file" {
        return Some((file.into(), Place::NewFile));
    }
    let named = |word: &str| {
        let (anchor, rest) = code(rest.strip_prefix(word)?)?;
        rest.is_empty().then(|| anchor.trim_end().to_owned())
    };
    let below = named("below ").map(Place::Below);
    let place =
        below.or_else(|| named("above ").map(Place::Above)).or_else(|| named("in place of ").map(Place::InPlaceOf));
    Some((file.into(), place?))
}

/// The blocks of the sections that add something, in order; fails on one without a place.
fn additions(document: &str) -> Result<Vec<Addition>, String> {
    let mut found = Vec::new();
    let mut lines = (1..).zip(document.lines());
    let (mut section, mut before) = (String::new(), (0, ""));
    while let Some((line, text)) = lines.next() {
        if let Some(title) = text.strip_prefix("## ") {
            section = title.into();
        }
        if text.starts_with("```") {
            let block: Vec<&str> = lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```").collect();
            if section.starts_with("Adding ") {
                let (line, text) = before;
                let (file, place) = place(text).ok_or_else(|| {
                    format!("CONTRIBUTING.md, line {line}: it names no file and place for the block below it: {text}")
                })?;
                found.push(Addition { section: section.clone(), line, file, place, text: block.join("\n") + "\n" });
            }
        } else if !text.is_empty() {
            before = (line, text);
        }
    }
    Ok(found)
}

/// The number of the one line of `text` that begins like `anchor`, the line after it counted as its continuation.
fn find(text: &str, anchor: &str) -> Result<usize, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let next = lines[1.min(lines.len())..].iter().chain([&""]);
    let begins = |(line, next): (&&str, &&str)| format!("{line} {next}").starts_with(anchor);
    let found: Vec<usize> =
        lines.iter().zip(next).enumerate().filter(|(_, pair)| begins(*pair)).map(|(number, _)| number).collect();
    match found[..] {
        [number] => Ok(number),
        [] => Err("no line begins like".into()),
        _ => Err(format!("{} lines begin like", found.len())),
    }
}

/// `text` with the block of `addition` in its place, indented like the line it is placed at.
fn applied(addition: &Addition, text: &str) -> Result<String, String> {
    let at = |anchor| find(text, anchor).map_err(|problem| format!("{problem} `{anchor}` in"));
    let range = match &addition.place {
        Place::NewFile => return Err("there is already a".into()),
        Place::Above(anchor) => at(anchor).map(|number| (number, number..number)),
        Place::Below(anchor) => at(anchor).map(|number| (number, number + 1..number + 1)),
        Place::InPlaceOf(anchor) => at(anchor).map(|number| (number, number..number + 1)),
    };
    let (anchor, range) = range?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let indent = lines[anchor][..lines[anchor].len() - lines[anchor].trim_start().len()].to_owned();
    let indented = |line: &str| if line.is_empty() { String::new() } else { format!("{indent}{line}") };
    lines.splice(range, addition.text.lines().map(indented));
    Ok(lines.join("\n") + "\n")
}

/// The files below `folder` of the project, by their paths from its root.
fn read_all(folder: &Path, name: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    let path = folder.join(name);
    if path.is_file() {
        files.insert(name.into(), fs::read(path).unwrap());
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        read_all(folder, &format!("{name}/{}", entry.unwrap().file_name().to_str().unwrap()), files);
    }
}

/// A manifest without the tables whose header `drop` names.
fn manifest(root: &Path, name: &str, drop: impl Fn(&str) -> bool) -> String {
    let text = fs::read_to_string(root.join(name)).unwrap();
    let mut keep = true;
    text.lines()
        .filter(|line| {
            if line.starts_with('[') {
                keep = !drop(line);
            }
            keep
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The files of a workspace of core and what it stands on alone.
fn copy(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in ["Cargo.lock", "core/src", "core/engine", "core/ground"].into_iter().chain(INCLUDED) {
        read_all(root, name, &mut files);
    }
    let workspace = manifest(root, "Cargo.toml", |header| {
        header == "[workspace]" || header.starts_with("[profile") || header.starts_with("[patch")
    });
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"core\", \"core/engine\", \"core/ground\"]\n\n";
    let profile = "[profile.dev]\ndebug = false\n";
    files.insert("Cargo.toml".into(), format!("{members}{workspace}{profile}").into());
    let core = manifest(root, "core/Cargo.toml", |header| header.starts_with("[["));
    // What only benchmarks and the tests of memory need.
    let core: String = core
        .lines()
        .filter(|line| !line.starts_with("dhat") && !line.starts_with("divan"))
        .map(|line| format!("{line}\n"))
        .collect();
    files.insert("core/Cargo.toml".into(), core.into());
    let mut lib = String::from_utf8(files["core/src/lib.rs"].clone()).unwrap();
    lib += "\n#[cfg(test)]\n#[allow(missing_docs, clippy::unwrap_used)]\nmod added;\n";
    files.insert("core/src/lib.rs".into(), lib.into());
    files.insert("core/src/added.rs".into(), ADDED.into());
    files
}

/// Makes `folder` hold exactly `files`; those that are as they should be keep their time, so that cargo does not compile
/// them again. What cargo wrote there stays.
fn write_all(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let mut there = BTreeMap::new();
    for name in ["core", "docs", "tests"].into_iter().filter(|name| folder.join(name).exists()) {
        read_all(folder, name, &mut there);
    }
    for name in there.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, content) in files {
        let path = folder.join(name);
        if fs::read(&path).ok().as_ref() != Some(content) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

/// Where this test lies: a folder for its copy and what is compiled of it.
fn folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("contributing")
}

#[test]
fn the_examples_of_contributing_compile_and_work() {
    let root = root();
    let document = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let additions = additions(&document).unwrap_or_else(|problem| panic!("{problem}"));
    for section in SECTIONS {
        let files: BTreeSet<&str> =
            additions.iter().filter(|it| it.section == section).map(|it| it.file.as_str()).collect();
        assert!((1..=2).contains(&files.len()), "CONTRIBUTING.md, \"{section}\" touches {files:?}");
    }
    let section = additions.iter().map(|addition| &addition.section).find(|it| !SECTIONS.contains(&it.as_str()));
    assert_eq!(section, None, "CONTRIBUTING.md has a section that this test does not know");

    let mut files = copy(&root);
    for addition in &additions {
        let whole = match files.get(&addition.file) {
            None if addition.place == Place::NewFile => Ok(addition.text.clone()),
            None => Err("there is no".into()),
            Some(text) => applied(addition, std::str::from_utf8(text).unwrap()),
        };
        let whole = whole
            .unwrap_or_else(|problem| panic!("CONTRIBUTING.md, line {}: {problem} {}", addition.line, addition.file));
        files.insert(addition.file.clone(), whole.into());
    }

    let folder = folder();
    fs::create_dir_all(&folder).unwrap();
    // Checkouts may share their build outputs: one at a time.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let copy = folder.join("copy");
    write_all(&copy, &files);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&copy).env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_TERM_COLOR", "never");
    command
        .args(["test", "--offline", "--package", "accel-core", "--package", "accel-engine", "--lib", "--"])
        .args(TESTS);
    let output = command.output().unwrap();
    // Quoted, so that nobody takes its results for those of this run.
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(|line| format!("> {line}\n")).collect::<String>();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "core with the examples of CONTRIBUTING.md ({}):\n{stdout}\n{stderr}",
        copy.display()
    );
    assert!(!stderr.contains("warning:"), "core with the examples of CONTRIBUTING.md warns:\n{stderr}");
    for test in ADDED.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next()) {
        assert!(stdout.contains(&format!("test added::{test} ... ok")), "{test} did not run:\n{stdout}");
    }
}

#[test]
fn places_are_read_and_found() {
    let below = |anchor: &str| Some(("a.rs".to_owned(), Place::Below(anchor.into())));
    assert_eq!(place("`a.rs`, below `mod b;`:"), below("mod b;"));
    assert_eq!(place("`a.rs`, below ``| `b` |``:"), below("| `b` |"));
    assert_eq!(place("`a.rs`, a new file:"), Some(("a.rs".into(), Place::NewFile)));
    for prose in ["`a.rs` holds it:", "`a.rs`, beneath `mod b;`:", "`a.rs`, below `mod b;`", "It goes to `a.rs`:"] {
        assert_eq!(place(prose), None, "{prose}");
    }
    let text = "A {\n    name: 1,\n},\nA {\n    name: 2,\n},\n";
    assert_eq!(find(text, "A { name: 2,"), Ok(3));
    assert_eq!(find(text, "name: 1"), Ok(1));
    assert_eq!(find(text, "A {"), Err("2 lines begin like".into()));
    assert_eq!(find(text, "B"), Err("no line begins like".into()));
    let error = additions("## Adding a day\n\nLike this:\n\n```rust\n1\n```\n").unwrap_err();
    assert!(error.starts_with("CONTRIBUTING.md, line 3: it names no file and place"), "{error}");
}
