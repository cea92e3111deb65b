//! `accel trace convert`, Parquet and files of weights, as a user runs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{accel, refusal};

/// Standard output and standard error of a command that succeeds.
fn both(arguments: &[&str]) -> (String, String) {
    let output = accel(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {error}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), error)
}

fn info(file: &str, more: &[&str]) -> Value {
    serde_json::from_str(&both(&[&["trace", "info", "--json", "--trace", file], more].concat()).0).unwrap()
}

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parquet");
    folder.join(name).display().to_string()
}

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

#[test]
fn a_trace_survives_every_format() {
    let folder = Folder::new();
    let first = folder.path("t.json");
    both(&["trace", "generate", "--synthetic", "MoE", "--num-layers", "40", "--to", "prototype-json", "-o", &first]);
    let wanted = info(&first, &[]);
    assert_eq!(wanted["format"], "prototype-json");
    let policies = ["--policy", "lru,s3-fifo", "--cost", "prototype", "--bounds", "--json"];
    let simulated = both(&[&["simulate", "--trace", &first], &policies[..]].concat()).0;

    let mut last = first;
    for (name, format, losses) in [
        ("a.csv", "prototype-csv", ""),
        ("b.parquet", "parquet", ""),
        ("c.json", "prototype-json", ""),
        ("d.oracleGeneral", "oracle-general", "the operations"),
        ("e.csv", "csv", ""),
        ("f.parquet", "parquet", ""),
        ("g.bin", "oracle-general", ""),
    ] {
        let next = folder.path(name);
        let (_, error) = both(&["trace", "convert", &last, &next]);
        assert!(error.contains(&format!("as {format}\n")), "{error}");
        assert_eq!(error.contains("lost in"), !losses.is_empty(), "{name}: {error}");
        assert!(error.contains(losses), "{error}");
        let found = info(&next, &[]);
        assert_eq!((found["format"].as_str().unwrap(), &found["trace"]), (format, &wanted["trace"]), "{name}");
        let again = both(&[&["simulate", "--trace", &next], &policies[..]].concat()).0;
        let runs = |text: &str| serde_json::from_str::<Value>(text).unwrap()["runs"].clone();
        assert_eq!(runs(&again), runs(&simulated), "{name}");
        last = next;
    }
    // Standard input and output.
    let (text, _) = both(&["trace", "convert", &folder.path("e.csv"), "-", "--to", "csv"]);
    assert_eq!(text, std::fs::read_to_string(folder.path("e.csv")).unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_accel"))
        .args(["trace", "convert", "-", "-", "--to", "csv"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, text.as_bytes());
}

#[test]
fn columns_are_chosen() {
    let folder = Folder::new();
    let csv = folder.file("t.txt", "9;4096;x\n8;512;y\n7;4096;x\n");
    assert!(refusal(&["trace", "info", &csv]).contains("its format cannot be detected"));
    let columns = "obj-id-col=3,obj-size-col=2,time-col=1";
    let found = info(&csv, &["--columns", columns]);
    assert_eq!((&found["format"], &found["trace"]["requested_bytes"]), (&"csv".into(), &8704.into()));
    assert!(found["warnings"][0].as_str().unwrap().contains("earlier time"));
    let out = folder.path("t.bin");
    let (_, error) = both(&["trace", "convert", &csv, &out, "--columns", columns]);
    assert!(error.contains("lost in oracle-general: the names"), "{error}");
    // The recipe of a page's link carries them.
    let recipe = r#"{"workload":{"file":{"name":"t.txt","columns":"obj-id-col=3,obj-size-col=2"}}}"#;
    let recipe = folder.file("recipe.json", recipe);
    let (text, _) = both(&["simulate", "--recipe", &recipe, "--policy", "lru", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["trace"]["tensors"], 2);
}

/// `generate` writes as `convert` does.
#[test]
fn generate_is_told_by_the_name_and_overwrites_nothing() {
    let folder = Folder::new();
    for (name, format) in [("t.parquet", "parquet"), ("t.bin", "oracle-general"), ("t.json", "prototype-json")] {
        let file = folder.path(name);
        let (_, error) = both(&["trace", "generate", "--synthetic", "MLP", "-o", &file]);
        assert!(error.contains(&format!("as {format}\n")), "{error}");
        assert_eq!(error.contains("lost in oracle-general: "), name == "t.bin", "{error}");
        assert_eq!(info(&file, &[])["format"], format);
        assert!(refusal(&["trace", "generate", "--synthetic", "MLP", "-o", &file]).contains("give --force"));
        both(&["trace", "generate", "--synthetic", "MLP", "-o", &file, "--force"]);
    }
    assert!(refusal(&["trace", "generate", "--synthetic", "MLP", "-o", "x.txt"]).contains("does not say a format"));
}

/// Parquet that is piped or packed; two columns of one name.
#[test]
fn parquet_is_read_from_anywhere() {
    let folder = Folder::new();
    let bytes = std::fs::read(fixture("requests.parquet")).unwrap();
    let packed = folder.path("t.parquet.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(std::fs::File::create(&packed).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    encoder.finish().unwrap();
    let plain = info(&fixture("requests.parquet"), &[]);
    assert_eq!(info(&packed, &[])["trace"], plain["trace"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_accel"))
        .args(["trace", "info", "-", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &bytes).unwrap();
    let piped: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(piped["trace"], plain["trace"]);
}

#[test]
fn parquet_of_other_makers() {
    let requests = info(&fixture("requests.parquet"), &[]);
    assert_eq!(requests["format"], "parquet");
    assert_eq!(requests["trace"]["accesses"], 1000);
    let ids: Vec<u64> = (0..1000u64).map(|i| i * i % 37).collect();
    assert_eq!(requests["trace"]["requested_bytes"], ids.iter().map(|i| 512 * (1 + i)).sum::<u64>());
    assert_eq!(requests["warnings"].as_array().unwrap().len(), 0);
    let folder = Folder::new();
    let csv = folder.path("t.csv");
    both(&["trace", "convert", &fixture("requests.parquet"), &csv, "--columns", "id=obj_id,size=3"]);
    assert!(std::fs::read_to_string(&csv).unwrap().starts_with("time,obj_id,obj_size\n0,18446744073709551615,512\n"));

    let small: u64 = ids[..100].iter().map(|i| 512 * (1 + i)).sum();
    for packing in ["zstd", "gzip", "lz4", "brotli", "none"] {
        let named = info(&fixture(&format!("named_{packing}.parquet")), &["--columns", "id=key,size=weight"]);
        assert_eq!(named["trace"]["requested_bytes"], small, "{packing}");
        assert_eq!(named["warnings"].as_array().unwrap().len(), 0);
    }
    let records = info(&fixture("records.parquet"), &[]);
    assert_eq!(records["trace"]["requested_bytes"], 16_500_000);
    let (text, _) = both(&["simulate", "--trace", &fixture("records.parquet"), "--json"]);
    assert!(text.contains("\"runs\""));
}

#[test]
fn weights_are_read_from_their_header() {
    let folder = Folder::new();
    // A header, then data that a sparse file does not hold: reading them would take 64 GB.
    let gigabytes = 1u64 << 36;
    let json =
        format!(r#"{{"model.layers.0.w":{{"dtype":"U8","shape":[{gigabytes}],"data_offsets":[0,{gigabytes}]}}}}"#);
    let header = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let path = folder.file("large.safetensors", &header);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    if file.set_len(gigabytes + header.len() as u64).is_ok() {
        let found = info(&path, &[]);
        assert_eq!((&found["format"], &found["trace"]["unique_bytes"]), (&"safetensors".into(), &gigabytes.into()));
        assert_eq!(found["views"]["kinds"][0][1]["tensors"], 1);
    }
    let text = refusal(&["trace", "convert", &path, &folder.path("t.bin")]);
    assert!(text.contains("sizes below 2^32 only"), "{text}");
}

#[test]
fn refusals_name_the_cure() {
    let folder = Folder::new();
    let csv = folder.file("t.csv", "time,id,size\n0,a,10\n");
    let cut: PathBuf = fixture("requests.parquet").into();
    let cut = folder.file("cut.parquet", &std::fs::read(cut).unwrap()[..4000]);
    let text = folder.file("t.parquet", "PAR1 and no more");
    let index = folder.file("model.safetensors.index.json", r#"{"metadata":{},"weight_map":{"a":"b"}}"#);
    let moe = folder.file("moe.jsonl", r#"{"token":0,"layer":0,"experts":[-1]}"#);
    let out = folder.path("out.bin");
    let [gap, nested, negative, records] =
        ["gap.parquet", "nested.parquet", "negative.parquet", "records.parquet"].map(fixture);
    for (arguments, wanted) in [
        (vec!["trace", "convert", &csv, &csv], "t.csv exists: give --force"),
        (vec!["trace", "convert", &csv, "-"], "standard output has no file name to infer a format from"),
        (vec!["trace", "convert", &csv, &folder.path("t.xyz")], "does not say a format: name one with --to"),
        (vec!["trace", "convert", &csv, &folder.path("t.csv.zst")], "packed files are read, not written"),
        (
            vec!["trace", "convert", &csv, &out, "--to", "gguf"],
            "gguf is read, not written. Choose one of prototype-csv",
        ),
        (vec!["trace", "convert", &csv, &out, "--to", "xlsx"], "no such format. Choose one of prototype-csv"),
        (vec!["trace", "convert", &csv, "/nowhere/t.bin"], "cannot write /nowhere/t.bin: No such file"),
        (vec!["trace", "convert", &csv, &out, "--columns", "id=9"], "line 1: obj-id-col is 9"),
        (vec!["trace", "convert", &csv, &out, "--columns", "id=2", "--from", "oracleGeneral"], "no columns to choose"),
        (vec!["simulate", "--trace", &csv, "--format", "parquet"], "detected by their content: leave the format out"),
        (vec!["simulate", "--trace", &cut], "cut.parquet, whole input: "),
        (vec!["simulate", "--trace", &text], "Check that it is a Parquet file and not damaged"),
        (vec!["simulate", "--trace", &gap], "gap.parquet, record 1: size is null. Choose a column"),
        (vec!["simulate", "--trace", &negative], "record 1: size is -20"),
        (vec!["simulate", "--trace", &nested], "column id is nested"),
        (
            vec!["simulate", "--trace", &records, "--columns", "id=nobody"],
            "there is no column \"nobody\" (found: tensor_id",
        ),
        (vec!["simulate", "--trace", &index], "it is the index of weights in several files"),
        (vec!["simulate", "--trace", &moe], "moe.jsonl, line 1, column"),
    ] {
        let text = refusal(&arguments);
        assert!(text.contains(wanted), "{arguments:?} gave {text}");
    }
    assert!(!Path::new(&out).exists());
    both(&["trace", "convert", &csv, &csv, "--force", "--to", "csv"]);
    assert_eq!(std::fs::read_to_string(&csv).unwrap(), "time,obj_id,obj_size\n0,a,10\n");
}
