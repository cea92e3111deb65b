//! `accel sweep`, as a user runs it: stopped, killed, in shards, into folders that are not its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;

use crate::{accel, json, refusal, stdout};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.path().join(name), content).unwrap();
        self.path(name)
    }
}

fn parts(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "parquet")).collect()
}

/// The rows of all parts by key, without what differs from run to run.
fn rows(folder: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut rows = BTreeMap::new();
    for part in parts(folder) {
        let reader = SerializedFileReader::new(std::fs::File::open(part).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let fields = row.get_column_iter().filter(|(name, _)| *name != "seconds");
            let fields: BTreeMap<String, String> =
                fields.map(|(name, field)| (name.clone(), field.to_string())).collect();
            assert!(rows.insert(fields["key"].clone(), fields).is_none(), "a key is there twice");
        }
    }
    rows
}

const GRID: &str = r#"{
    "recipe": {"workload": {"synthetic": {"num_layers": 40}}, "policies": ["lru", "s3-fifo", "ml", "belady"], "bounds": false},
    "axes": [{"/workload/synthetic/model_type": ["CNN", "MLP"]},
             {"/memory/capacity_bytes": {"from": "64MB", "to": "1GB", "points": 10}}, {"/seed": [1, 2, 3]}]
}"#;

#[test]
fn a_sweep_is_what_simulate_says_of_each_cell() {
    let folder = Folder::new();
    let (grid, out) = (folder.file("grid.json", GRID), folder.path("out"));
    let said = stdout(&["sweep", &grid, "--out", &out]);
    assert!(said.starts_with("240 rows were made; 240 of 240 are in "), "{said}");
    let all = rows(&out);
    assert_eq!(all.len(), 240);
    // Three of them against the command for one.
    for row in all.values().step_by(80) {
        let text = |name: &str| row[name].trim_matches('"').to_owned();
        let answer = json(&["simulate", "--recipe", &text("recipe"), "--json"]);
        let run = &answer["runs"][0];
        for name in ["capacity_bytes", "accesses", "hits", "misses", "hit_bytes", "miss_bytes", "evictions", "bypassed"]
        {
            assert_eq!(run[name].to_string(), text(name), "{name}");
        }
        assert_eq!(run["policy"], text("policy").as_str());
        assert_eq!(text("key").len(), 32);
    }
    // Nothing is left to do, and one policy more runs alone.
    assert!(stdout(&["sweep", &grid, "--out", &out]).starts_with("0 rows were made"));
    let more = folder.file("more.json", GRID.replace("\"lru\"", "\"lru\", \"arc\""));
    assert!(stdout(&["sweep", &more, "--out", &out]).starts_with("60 rows were made; 300 of 300"));
    // Now the first grid would leave rows over.
    let error = refusal(&["sweep", &grid, "--out", &out]);
    assert!(error.contains("rows are of another sweep. Name another folder"), "{error}");
    let before = rows(&out);
    let said = stdout(&["sweep", &more, "--out", &out, "--compact"]);
    assert!(said.contains("All of them are in "), "{said}");
    assert_eq!((rows(&out), parts(&out).len()), (before, 1));
}

#[test]
fn shards_and_formats_give_the_same_rows() {
    let folder = Folder::new();
    let (grid, whole) = (folder.file("grid.json", GRID), folder.path("whole"));
    stdout(&["sweep", &grid, "--out", &whole]);
    let toml = r#"
        [recipe]
        policies = ["lru", "s3-fifo", "ml", "belady"]
        bounds = false
        workload.synthetic.num_layers = 40
        [[axes]]
        "/workload/synthetic/model_type" = ["CNN", "MLP"]
        [[axes]]
        "/memory/capacity_bytes" = {from = "64MB", to = "1GB", points = 10}
        [[axes]]
        "/seed" = [1, 2, 3]
    "#;
    let yaml = "
recipe:
  policies: [lru, s3-fifo, ml, belady]
  bounds: false
  workload: {synthetic: {num_layers: 40}}
axes:
  - /workload/synthetic/model_type: [CNN, MLP]
  - /memory/capacity_bytes: {from: 64MB, to: 1GB, points: 10}
  - /seed: [1, 2, 3]
";
    let grids = [folder.file("grid.toml", toml), folder.file("grid.yaml", yaml)];
    let out = folder.path("shards");
    for (number, grid) in grids.iter().enumerate() {
        stdout(&["sweep", grid, "--out", &out, "--shard", &format!("{}/2", number + 1)]);
    }
    assert!(parts(&out).len() > 1);
    assert_eq!(rows(&out), rows(&whole));
    let list = stdout(&["sweep", &grid, "--list"]);
    let first: Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    assert_eq!((list.lines().count(), first["axes"]["/seed"].as_u64()), (60, Some(1)));
    let key = format!("{}", first["keys"]["lru"]);
    assert!(rows(&whole).contains_key(&key), "{key}");
    let price = stdout(&["sweep", &grid, "--dry-run"]);
    assert!(price.starts_with("60 cells with 240 rows are left, on 6 traces."), "{price}");
}

/// Killed in the middle, the same command goes on.
#[test]
#[cfg(unix)]
fn a_sweep_that_is_killed_goes_on() {
    let folder = Folder::new();
    let text = r#"{
        "recipe": {"workload": {"synthetic": {"num_layers": 1000}}, "policies": ["lru", "gdsf"], "bounds": false},
        "axes": [{"/seed": {"from": 1, "to": 20, "points": 20}},
                 {"/memory/capacity_bytes": {"from": "64MB", "to": "1GB", "points": 40}}]
    }"#;
    let (grid, out, whole) = (folder.file("grid.json", text), folder.path("out"), folder.path("whole"));
    let mut killed = 0;
    for _ in 0..20 {
        let mut running = Command::new(env!("CARGO_BIN_EXE_accel"))
            .args(["sweep", &grid, "--out", &out])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let had = if Path::new(&out).is_dir() { parts(&out).len() } else { 0 };
        // Once another part is there, or the run has ended.
        let ended = loop {
            if let Some(status) = running.try_wait().unwrap() {
                break Some(status);
            }
            if Path::new(&out).is_dir() && parts(&out).len() > had {
                break None;
            }
            std::thread::yield_now();
        };
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
        running.kill().unwrap();
        running.wait().unwrap();
        killed += 1;
    }
    assert!(killed > 0, "it was over before it could be killed");
    stdout(&["sweep", &grid, "--out", &whole]);
    assert_eq!(rows(&out).len(), 1600);
    assert_eq!(rows(&out), rows(&whole));
}

#[test]
fn a_cell_that_fails_is_a_row_and_the_status_says_so() {
    let folder = Folder::new();
    let text = r#"{"recipe": {"workload": {"synthetic": {}}, "policies": ["lru"]},
        "axes": [{"/memory/capacity_bytes": [0, 64000000]}]}"#;
    let (grid, out) = (folder.file("grid.json", text), folder.path("out"));
    for _ in 0..2 {
        let output = accel(&["sweep", &grid, "--out", &out]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("1 rows could not be computed. The column error says why"), "{error}");
    }
    let rows = rows(&out);
    let failed: Vec<_> = rows.values().filter(|row| row["error"] != "null").collect();
    assert_eq!((rows.len(), failed.len()), (2, 1));
    assert!(failed[0]["error"].contains("capacity_bytes is 0"));
    assert_eq!((failed[0]["misses"].as_str(), failed[0]["capacity_bytes"].as_str()), ("null", "0"));
}

#[test]
fn files_are_beside_the_grid_and_part_of_the_key() {
    let folder = Folder::new();
    let csv = |sizes: [u32; 3]| {
        let lines: Vec<String> = (0..90).map(|i| format!("{},o{},{}", i, i % 3, sizes[i % 3])).collect();
        format!("time,id,size\n{}\n", lines.join("\n"))
    };
    folder.file("t.csv", csv([5, 6, 7]));
    let text = r#"{"recipe": {"workload": {"file": {"name": "t.csv"}}, "policies": ["lru", "fifo"]},
        "axes": [{"/memory/capacity_bytes": {"from": 5, "to": 18, "points": 14, "scale": "linear"}}]}"#;
    let (grid, out) = (folder.file("grid.json", text), folder.path("out"));
    assert!(stdout(&["sweep", &grid, "--out", &out]).starts_with("28 rows were made"));
    // Another content is another sweep.
    folder.file("t.csv", csv([7, 6, 5]));
    assert!(refusal(&["sweep", &grid, "--out", &out]).contains("rows are of another sweep"));
    std::fs::remove_file(folder.path("t.csv")).unwrap();
    let error = refusal(&["sweep", &grid, "--out", &out]);
    assert!(
        error.contains("t.csv, whole input: cannot be read") && error.contains("beside the file of the sweep"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = Folder::new();
    let out = folder.path("out");
    let grid = |name: &str, text: &str| refusal(&["sweep", &folder.file(name, text), "--out", &out]);
    for (name, text, wanted) in [
        ("a.json", "{\n \"recipe\": {,", "a.json, line 2, column 13"),
        ("a.json", r#"{"axis": []}"#, "unknown field `axis`, expected `recipe` or `axes`"),
        ("a.toml", "[recipe]\nx = = 1", "a.toml, line 2, column 5"),
        ("a.yaml", "recipe: {\naxes: - x", "a.yaml, line 2"),
        ("b.yaml", "recipe: {}\naxes:\n  - /seed: [1]\n    /seed: [2]\n", "b.yaml"),
        (
            "a.json",
            r#"{"recipe": {"workload": {"synthetic": {}}}, "axes": [{"/sede": [1]}]}"#,
            "axis /sede is 1: unknown field",
        ),
        ("a.json", r#"{"recipe": {"workload": {"synthetic": {}}}, "axes": [{"/seed": []}]}"#, "the axis is empty"),
        ("a.json", r#"{"axes": [{"/seed": [1]}]}"#, "missing field `workload`"),
    ] {
        let error = grid(name, text);
        assert!(error.contains(wanted), "{text}: {error}");
    }
    assert!(!Path::new(&out).exists(), "nothing was begun");
    let good = folder.file("good.json", r#"{"recipe": {"workload": {"synthetic": {}}}}"#);
    assert!(refusal(&["sweep", &good]).contains("there is no place for the rows. Name a folder: --out DIR"));
    assert!(refusal(&["sweep", &folder.path("none.json"), "--out", &out]).contains("cannot read"));
    assert!(refusal(&["sweep", &good, "--out", &out, "--shard", "3/2"]).contains("Write I/N"));
    // A part that is damaged is told, and stays.
    stdout(&["sweep", &good, "--out", &out]);
    let part = parts(&out).pop().unwrap();
    let content = std::fs::read(&part).unwrap();
    for damage in [&content[..content.len() / 2], &content[..content.len() - 1], b"", b"PAR1"] {
        std::fs::write(&part, damage).unwrap();
        let error = refusal(&["sweep", &good, "--out", &out]);
        assert!(
            error.contains("part-") && error.contains("move it away, and the sweep makes its rows again"),
            "{error}"
        );
        assert_eq!(std::fs::read(&part).unwrap(), damage);
    }
    // One that was written twice is read once.
    std::fs::write(&part, &content).unwrap();
    std::fs::copy(&part, part.with_file_name("part-copy.parquet")).unwrap();
    assert!(stdout(&["sweep", &good, "--out", &out, "--compact"]).contains("0 rows were made; 3 of 3"));
    assert_eq!(rows(&out).len(), 3);
}

/// A disk without room: what was there stays, and the error says what to do.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_loses_nothing() {
    let folder = Folder::new();
    let (grid, out) = (folder.file("grid.json", GRID), folder.path("out"));
    stdout(&["sweep", &grid, "--out", &out]);
    let before = rows(&out);
    let more = folder.file("more.json", GRID.replace("\"lru\"", "\"lru\", \"arc\""));
    // No file may grow beyond one block: as on a full disk, but that the error has another number.
    let script = format!("ulimit -f 1; trap '' XFSZ; exec \"$0\" sweep '{more}' --out '{out}'");
    let output = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_accel")]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("cannot be written") && error.contains("Make room"), "{error}");
    assert_eq!(rows(&out), before);
    assert!(std::fs::read_dir(&out).unwrap().count() == parts(&out).len(), "something unfinished was left");
    assert!(stdout(&["sweep", &more, "--out", &out]).starts_with("60 rows were made; 300 of 300"));
}

/// Types that other programs rely on: whole numbers are unsigned, texts are texts, nothing is nested.
#[test]
fn columns_are_typed() {
    let folder = Folder::new();
    let text = r#"{"recipe": {"workload": {"synthetic": {}}, "policies": ["lru"]},
        "axes": [{"/workload/synthetic/reuse_probability": [0.5, 0.75]}, {"/bounds": [true, false]}]}"#;
    let (grid, out) = (folder.file("grid.json", text), folder.path("out"));
    stdout(&["sweep", &grid, "--out", &out]);
    let reader = SerializedFileReader::new(std::fs::File::open(parts(&out).pop().unwrap()).unwrap()).unwrap();
    let row = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
    let fields: BTreeMap<String, Field> =
        row.get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect();
    assert!(matches!(fields["misses"], Field::ULong(_)) && matches!(fields["key"], Field::Str(_)));
    assert!(matches!(fields["reuse_probability"], Field::Double(_)) && matches!(fields["bounds"], Field::Bool(_)));
    let schema = Arc::new(reader.metadata().file_metadata().schema().clone());
    assert!(schema.get_fields().iter().all(|field| field.is_primitive()));
    // The figures of the CSV that `accel simulate` prints are all there, under the same names.
    let csv = stdout(&["simulate", "--synthetic", "MLP", "--policy", "lru", "--csv"]);
    for name in csv.lines().next().unwrap().split(',') {
        assert!(fields.contains_key(name), "{name}");
    }
}

/// A report is one file that opens without a network; a picture of it is made where the system has letters.
#[test]
fn a_sweep_is_drawn() {
    let folder = Folder::new();
    let grid = folder.file("grid.json", GRID);
    let (out, page) = (folder.path("out"), folder.path("report.html"));
    let said = stdout(&["sweep", &grid, "--out", &out, "--plot", &page]);
    assert!(said.contains("Its report is "), "{said}");
    let html = std::fs::read_to_string(&page).unwrap();
    for wanted in [
        "The best policy in each memory",
        "Bytes missed per byte requested, by policy and capacity: model_type CNN",
        "Capacity against time, and the designs that nothing beats in both: model_type MLP",
        "240 rows: 4 policies in 10 memories, 2 groups",
        "Belady",
    ] {
        assert!(html.contains(wanted), "{wanted}: {html}");
    }
    for outside in ["http://", "https://", "src=", "<script", "<link"] {
        let without = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!without.contains(outside), "{outside}");
    }
    // The rows are there: nothing is run again. Each figure of the report is one of theirs.
    let svg = folder.path("report.svg");
    assert!(stdout(&["sweep", &grid, "--out", &out, "--plot", &svg]).starts_with("0 rows were made"));
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg xmlns="));
    let rows = rows(&out);
    let all: Vec<&BTreeMap<String, String>> =
        rows.values().filter(|row| row["model_type"] == "\"CNN\"" && row["policy"] == "\"lru\"").collect();
    let least = all.iter().map(|row| row["capacity_bytes"].parse::<u64>().unwrap()).min().unwrap();
    let of: Vec<f64> = all
        .iter()
        .filter(|row| row["capacity_bytes"] == least.to_string())
        .map(|row| row["byte_miss_ratio"].parse().unwrap())
        .collect();
    let mean = of.iter().sum::<f64>() / of.len() as f64;
    assert!(html.contains(&format!("{:.0} %", 100.0 * mean)), "{mean}");
    let png = accel(&["sweep", &grid, "--out", &out, "--plot", &folder.path("report.png")]);
    match png.status.success() {
        true => assert!(std::fs::read(folder.path("report.png")).unwrap().starts_with(b"\x89PNG")),
        false => assert!(String::from_utf8_lossy(&png.stderr).contains("no font is installed")),
    }
}
