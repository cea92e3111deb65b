//! `--stream` and `--sample`, as a user runs them: every format gives what the held trace gives, from files and pipes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{json, refusal, stdout};

/// Requests by a rule: popular objects and scans, with sizes that change now and then.
fn requests(count: u64, objects: u64) -> Vec<(u64, u64)> {
    let mix = |x: u64| (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let one = |at: u64| match mix(at) % 10 {
        0 => (1_000_000 + at, 500),
        _ => {
            let id = mix(at * 3 + 1) % objects * (mix(at * 5 + 2) % objects) / objects;
            (id, 100 + id % 900 + 7 * (at / (count / 2)))
        }
    };
    (0..count).map(one).collect()
}

fn csv(requests: &[(u64, u64)], name: impl Fn(u64) -> String) -> String {
    let rows = requests.iter().map(|(id, bytes)| format!("{},{bytes}\n", name(*id)));
    ["obj_id,obj_size\n".to_owned()].into_iter().chain(rows).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A command that gets `content` on its standard input.
fn piped(arguments: &[&str], content: &[u8]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accel"));
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

const POLICIES: [&str; 5] = ["--policy", "lru,sieve,s3-fifo,gdsf", "--capacity", "0.05,0.3,200kB", "--json"];

fn file(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn every_format_streams_as_it_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let requests = requests(30_000, 3_000);
    let numbers = csv(&requests, |id| id.to_string());
    // Names, one of which looks like a number.
    let names = csv(&requests, |id| if id < 10 { format!("00{id}") } else { format!("block {id}") });
    let of_numbers = file(folder.path(), "numbers.csv", numbers.as_bytes());
    let of_names = file(folder.path(), "names.csv", names.as_bytes());
    for (from, to) in [(&of_numbers, "numbers.parquet"), (&of_names, "names.parquet"), (&of_numbers, "numbers.bin")] {
        let format = if to.ends_with("bin") { "oracle-general" } else { "parquet" };
        stdout(&["trace", "convert", from, &path(to), "--to", format]);
    }
    for name in ["numbers.csv", "numbers.parquet", "names.csv"] {
        file(folder.path(), &format!("{name}.gz"), &gzip(&std::fs::read(path(name)).unwrap()));
    }
    let simulate =
        |name: &str, more: &[&str]| json(&[&["simulate", "--trace", &path(name)], &POLICIES[..], more].concat());
    let answer = |answer: &Value| (answer["trace"].clone(), answer["runs"].clone());
    let held = answer(&simulate("numbers.csv", &[]));
    for name in [
        "numbers.csv",
        "numbers.csv.gz",
        "numbers.parquet",
        "numbers.parquet.gz",
        "numbers.bin",
        "names.csv.gz",
        "names.parquet",
    ] {
        assert_eq!(answer(&simulate(name, &["--stream"])), held, "{name}");
        let content = std::fs::read(path(name)).unwrap();
        let arguments = [&["simulate", "--trace", "-", "--stream"], &POLICIES[..]].concat();
        assert_eq!(answer(&piped(&arguments, &content)), held, "{name} from standard input");
    }
    // A part of it, and columns that are chosen.
    let part = ["--requests", "12345", "--warmup", "0.2", "--interval", "1000"];
    let held = answer(&simulate("numbers.csv", &part));
    let columns = [&part[..], &["--stream", "--columns", "obj-id-col=obj_id,obj-size-col=obj_size"]].concat();
    assert_eq!(answer(&simulate("numbers.csv", &columns)), held);
    assert_eq!(answer(&simulate("numbers.parquet", &columns)), held);
    // Curves: the same points at the same capacities, all in one pass.
    let curve = |more: &[&str]| {
        let policies = ["--policy", "lru,s3-fifo", "--points", "9", "--no-bounds", "--json"];
        json(&[&["curve", "--trace", &path("numbers.csv")], &policies[..], more].concat())
    };
    let (held, streamed) = (curve(&[]), curve(&["--stream"]));
    for at in 0..2 {
        assert_eq!(held["curves"][at]["points"], streamed["curves"][at]["points"]);
        assert_eq!(held["curves"][at]["policy"], streamed["curves"][at]["policy"]);
    }
    assert_eq!(held["curves"][1], streamed["curves"][1]);
}

/// A run of a model gives the same counts whether its accesses are held or handed on; and what it cannot is refused.
#[test]
fn models_stream_as_they_are_held() {
    let tiles = ["--tile", "4MiB"];
    let model = |name: &'static str, more: &[&str]| {
        let of = ["simulate", "--model", name, "--policy", "lru,sieve,s3-fifo,gdsf", "--no-bounds", "--json"];
        [&of[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let answer = |arguments: &[String]| json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, more) in [
        ("gpt2-large", &["--capacity", "64MiB", "--decode-tokens", "8"][..]),
        ("resnet-18", &["--capacity", "8MiB"]),
        // Experts are drawn again in the second pass, and are the same.
        ("mixtral-8x7b", &["--capacity", "0.1,0.4,8GiB", "--decode-tokens", "4", tiles[0], tiles[1], "--seed", "5"]),
    ] {
        let held = answer(&model(name, more));
        let streamed = answer(&model(name, &[more, &["--stream"]].concat()));
        assert_eq!(held["trace"], streamed["trace"], "{name}");
        let runs = |answer: &Value| answer["runs"].as_array().unwrap().clone();
        assert_eq!(runs(&held).len(), runs(&streamed).len());
        for (held, streamed) in runs(&held).iter().zip(runs(&streamed)) {
            for count in ["policy", "capacity_bytes", "hits", "misses", "hit_bytes", "miss_bytes", "evictions"] {
                assert_eq!(held[count], streamed[count], "{name}, {count}");
            }
        }
    }
    let curve = ["curve", "--model", "gpt2-large", "--policy", "lru,fifo", "--points", "5", "--no-bounds", "--json"];
    let (held, streamed) = (json(&curve), json(&[&curve[..], &["--stream"]].concat()));
    // Held, LRU's curve is known between the points as well.
    assert_eq!(held["curves"][0]["points"], streamed["curves"][0]["points"]);
    assert_eq!(held["curves"][1], streamed["curves"][1]);
    for (arguments, wanted) in [
        (&["--model", "gpt2-large", "--capacity", "0.1,0.2"][..], "each capacity has tiles of its own"),
        (&["--synthetic", "Transformer"], "only a trace file or a model can be streamed"),
    ] {
        let text = refusal(&[&["simulate", "--stream", "--policy", "lru"], arguments].concat());
        assert!(text.contains(wanted), "{arguments:?} gave {text}");
    }
}

#[test]
fn what_a_stream_cannot_keep_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| file(folder.path(), name, text.as_bytes());
    let aged = write("aged.csv", "time,obj_id,obj_size,ttl\n0,a,10,5\n1,b,10,0\n");
    let large = write("large.csv", "obj_id,obj_size\na,1\nb,4294967296\n");
    let cut = write("cut.csv", "obj_id,obj_size\na,1\nb\n");
    let negative = write("negative.csv", "obj_id,obj_size\na,1\nb,-2\n");
    let fixture = |name: &str| format!("{}/../tests/fixtures/parquet/{name}", env!("CARGO_MANIFEST_DIR"));
    let columns = "time-col=time,obj-id-col=obj_id,obj-size-col=obj_size,ttl-col=ttl";
    for (arguments, wanted) in [
        (vec!["--trace", &aged, "--columns", columns], "a stream does not keep that"),
        (vec!["--trace", &large], "line 3: an object has 4294967296 bytes"),
        (vec!["--trace", &cut], "line 3: 1 fields where the first line has 2"),
        (vec!["--trace", &negative], "line 3"),
        (vec!["--trace", &fixture("gap.parquet")], "gap.parquet, record 1: column size is empty"),
        (vec!["--trace", &fixture("negative.parquet")], "record 1: column size is no number of bytes"),
        (vec!["--trace", &fixture("nested.parquet")], "column id is nested"),
    ] {
        let text = refusal(&[&["simulate", "--stream", "--policy", "lru"], &arguments[..]].concat());
        assert!(text.contains(wanted), "{arguments:?} gave {text}");
    }
}

/// The same estimates whether the trace is held or not; the control is LRU over all of it.
#[test]
fn samples_say_how_sure_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let requests = requests(120_000, 40_000);
    let trace = file(folder.path(), "t.csv", csv(&requests, |id| id.to_string()).as_bytes());
    let simulate = |policies: &str, more: &[&str]| {
        let of = ["simulate", "--trace", &trace, "--capacity", "0.05,0.3", "--json", "--policy", policies];
        json(&[&of[..], more].concat())
    };
    let sampled = simulate("s3-fifo,gdsf", &["--sample", "8192objects"]);
    let streamed = simulate("s3-fifo,gdsf", &["--sample", "8192objects", "--stream"]);
    assert_eq!(sampled["runs"], streamed["runs"]);
    let exact = simulate("lru,s3-fifo,gdsf", &[]);
    let share = |run: &Value| run["misses"].as_f64().unwrap() / run["accesses"].as_f64().unwrap();
    for (at, of) in sampled["sampled"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&of["objects"], &of["samples"]), (&Value::from(8192), &Value::from(5)));
        let lru = &exact["runs"][3 * at];
        assert!((of["control"][0]["miss_ratio"].as_f64().unwrap() - share(lru)).abs() < 1e-12);
        for policy in 0..2 {
            let estimate = &of["estimates"][policy]["miss_ratio"];
            let [low, mean, high] = ["low", "mean", "high"].map(|end| estimate[end].as_f64().unwrap());
            assert!(low <= mean && mean <= high);
            // Some 8,000 objects are off by 0.01 or less in the mean, and by 0.05 at worst (docs/sweeps.md).
            assert!((mean - share(&exact["runs"][3 * at + policy + 1])).abs() < 0.05);
        }
    }
    let text = stdout(&["simulate", "--trace", &trace, "--policy", "lru", "--sample", "0.4", "--capacity", "0.1"]);
    assert!(text.contains("95 % interval") && text.contains("LRU, whole trace"), "{text}");
    let curve = ["curve", "--trace", &trace, "--policy", "lru", "--points", "5", "--sample", "8192objects", "--json"];
    let held = json(&curve);
    assert_eq!(held["curves"], json(&[&curve[..], &["--stream"]].concat())["curves"]);
    assert_eq!(held["sampled"]["control"].as_array().unwrap().len(), 5);
    for (arguments, wanted) in [
        (vec!["simulate", "--trace", &trace, "--sample", "0.01"], "below 8192 it tells little"),
        (vec!["simulate", "--trace", &trace, "--sample", "0.5", "--bounds"], "bounds of a sample would prove nothing"),
        (vec!["bounds", "--trace", &trace, "--sample", "0.5"], "unexpected argument"),
        (vec!["simulate", "--model", "gpt2-large", "--sample", "0.5", "--no-bounds"], "a model has few tensors"),
        (vec!["simulate", "--trace", &trace, "--sample", "many"], "neither a number of objects nor a share"),
    ] {
        let text = refusal(&arguments);
        assert!(text.contains(wanted), "{arguments:?} gave {text}");
    }
    let forced = ["simulate", "--trace", &trace, "--sample", "0.01,force", "--policy", "lru", "--json"];
    assert!(json(&forced)["sampled"][0]["objects"].as_u64().unwrap() < 1000);
}
