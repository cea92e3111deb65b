//! Commands on recipes, models and traces.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{accel, json, refusal, stdout};

fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

#[test]
fn simulate_prints_the_agreed_json() {
    let answer = json(&["simulate", "--synthetic", "cnn", "--capacity", "100MB", "--policy", "lru,fifo", "--json"]);
    assert_eq!(keys(&answer), ["bounds", "cost", "recipe", "runs", "trace"]);
    assert_eq!(keys(&answer["trace"]), ["accesses", "requested_bytes", "tensors", "unique_bytes"]);
    let names = "accesses bandwidth_wait_ms bypassed capacity_bytes evictions hit_bytes hits miss_bytes misses policy total_latency_ms";
    for run in answer["runs"].as_array().unwrap() {
        for name in names.split(' ') {
            assert!(run[name].is_number() || run[name].is_string(), "{name} is missing");
        }
        assert_eq!(run["capacity_bytes"], 100_000_000);
        assert_eq!(run["hits"].as_u64().unwrap() + run["misses"].as_u64().unwrap(), answer["trace"]["accesses"]);
    }
    assert_eq!(json(&["simulate", "--synthetic", "MLP", "--policy", "all", "--json"])["scorer"], "embedded");
}

#[test]
fn recipes_links_and_trace_files_agree() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let flags = ["--synthetic", "MoE", "--num-layers", "40", "--reuse-probability", "0.7", "--seed", "7"];
    let with = |head: &[&str], tail: &[&str]| json(&[head, &flags, tail].concat());
    let direct = with(&["simulate"], &["--json"]);
    assert_eq!(direct["cost"]["by"], "prototype");

    let recipe = stdout(&[&["recipe"], &flags[..]].concat());
    std::fs::write(path("recipe.json"), &recipe).unwrap();
    assert_eq!(json(&["simulate", "--recipe", &path("recipe.json"), "--json"]), direct);

    let link = stdout(&[&["recipe", "--link", "http://127.0.0.1:8000/"], &flags[..]].concat());
    assert!(link.starts_with("http://127.0.0.1:8000/#r="));
    assert_eq!(json(&["simulate", "--recipe", link.trim(), "--json"]), direct);

    for (name, format) in [("t.csv", "prototype-csv"), ("t.bin", "oracleGeneral")] {
        let file = path(name);
        let output = accel(&[&["trace", "generate", "--to", format, "--output", &file], &flags[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // A file does not say that it is the prototype's.
        let flags = ["simulate", "--trace", &file, "--policy", "lru,fifo", "--bounds", "--cost", "prototype", "--json"];
        let from_file = json(&flags);
        assert_eq!(from_file["trace"], direct["trace"]);
        assert_eq!(from_file["runs"][0], direct["runs"][0]);
        assert_eq!(from_file["runs"][1], direct["runs"][1]);
        // A recipe may name the file beside it.
        let recipe = format!(
            r#"{{"workload":{{"file":{{"name":"{name}"}}}},"memory":{{"capacity_bytes":64000000,"cost":"prototype"}},"policies":["lru","fifo"]}}"#
        );
        std::fs::write(path("file.json"), recipe).unwrap();
        let from_recipe = json(&["simulate", "--recipe", &path("file.json"), "--json"]);
        for key in ["trace", "cost", "runs", "bounds"] {
            assert_eq!(from_recipe[key], from_file[key]);
        }
    }
    let printed = stdout(&[&["trace", "generate"], &flags[..]].concat());
    assert_eq!(printed, std::fs::read_to_string(path("t.csv")).unwrap());
}

#[test]
fn info_counts() {
    let info = json(&["trace", "info", "--model", "llama-2-7b", "--decode-tokens", "1", "--json"]);
    assert_eq!(info["model"]["parameters"], 6_738_415_616u64);
    assert_eq!(info["model"]["kv_bytes_per_token"], 2 * 32 * 4096 * 2);
    assert!(stdout(&["trace", "info", "--model", "gpt2-large"]).contains("parameters       774,030,080"));
}

#[test]
fn a_recipe_may_come_from_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_accel"))
        .args(["simulate", "--recipe", "-", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), br#"{"workload":{"synthetic":{}}}"#).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn refusals_name_input_place_and_cure() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let csv = file("wrong.csv", b"tensor_id,size\nQ,4\n");
    let cut = file("cut.bin", &[0; 50]);
    let empty = file("empty.csv", b"");
    let nan = file("nan.csv", b"tensor_id,size_mb,reuse_distance,stride,op,model_type\nQ,NaN,0,1,conv,CNN\n");
    let text = file("notes.txt", b"hello, this is no trace");
    let broken = file("broken.json", b"{\"workload\":\n  3}");
    for (arguments, wanted) in [
        (vec!["simulate"], "nothing to run. Give --recipe FILE"),
        (vec!["simulate", "--trace", &csv], "wrong.csv, line 1: there is no column size_mb"),
        (
            vec!["simulate", "--trace", &cut, "--format", "oracleGeneral"],
            "cut.bin, byte 48: the last record has 2 of 24 bytes",
        ),
        (vec!["simulate", "--trace", &empty], "the file is empty"),
        (vec!["simulate", "--trace", &nan], "nan.csv, line 2: size_mb is NaN"),
        (
            vec!["simulate", "--trace", &text],
            "its format cannot be detected from its content. Name it (one of prototype-csv",
        ),
        (vec!["simulate", "--trace", "/nowhere.csv"], "cannot read /nowhere.csv: No such file"),
        (vec!["simulate", "--trace", &csv, "--format", "xlsx"], "no such format. Choose one of prototype-csv, onnx"),
        (vec!["simulate", "--recipe", &broken, "--model", "x"], "--recipe cannot be combined with --model"),
        (
            vec!["simulate", "--synthetic", "CNN", "--policy", "lru", "--scorer", "http://127.0.0.1:9"],
            "no policy of this run reads scores",
        ),
        (
            vec!["simulate", "--synthetic", "CNN", "--policy", "ml", "--scorer", "dice"],
            "no such scorer. Choose one of embedded, history, heuristic",
        ),
        (
            vec!["explain", "--synthetic", "CNN", "--policy", "ml", "--scorer", "http://127.0.0.1:9/"],
            "only accel simulate asks a server",
        ),
        (
            vec!["simulate", "--synthetic", "CNN", "--policy", "ml", "--scorer", "http://127.0.0.1:9/"],
            "cannot ask http://127.0.0.1:9/v1/score",
        ),
        // A flag that says nothing about the source is refused, never ignored.
        (
            vec!["simulate", "--scenario", "gemm-dataflow", "--dataflow", "ws"],
            "--dataflow belongs to --model; --scenario",
        ),
        (
            vec!["simulate", "--scenario", "moe-24gb", "--batch-size", "3"],
            "--batch-size belongs to --model or --synthetic",
        ),
        (vec!["simulate", "--synthetic", "CNN", "--zipf", "2"], "--zipf belongs to --model, not to --synthetic"),
        (vec!["simulate", "--model", "gpt2", "--pattern", "burst"], "--pattern belongs to --synthetic, not to --model"),
        (vec!["simulate", "--model", "gpt2", "--synthetic", "CNN"], "--model cannot be combined with --synthetic"),
        (vec!["simulate", "--task", "training"], "--task belongs to --model: name one"),
        (vec!["simulate", "--model", "resnet-18", "--kv-dtype", "int8"], "kv_dtype"),
        (vec!["simulate", "--model", "gpt2-large", "--optimizer", "sgd"], "inference updates no weights"),
        (vec!["simulate", "--recipe", &broken], "broken.json, line 2, column"),
        (vec!["simulate", "--recipe", "x#r=!!"], "not a recipe"),
        (vec!["simulate", "--model", "gpt-9"], "no such preset. Choose one of mistral-7b"),
        (vec!["simulate", "--model", "nowhere/config.json"], "no such file. Give a config.json, an ONNX graph"),
        (vec!["simulate", "--model", &broken], "key `model_type`: the key is missing"),
        (
            vec!["simulate", "--model", "mistral-7b", "--capacity", "0"],
            "capacity_bytes is 0: a memory without capacity",
        ),
        (vec!["simulate", "--model", "mistral-7b", "--capacity", "-4MB"], "finite number, zero or more"),
        (vec!["simulate", "--model", "mistral-7b", "--capacity", "NaN"], "capacity_bytes is \"NaN\""),
        (
            vec!["simulate", "--model", "mistral-7b", "--policy", "lru,mru2"],
            "no such policy. Choose one of lru, fifo, clock",
        ),
        (vec!["simulate", "--model", "gpt2-large", "--admission", "never"], "Choose one of always, bypass"),
        (vec!["simulate", "--model", "gpt2-large", "--device", "h101"], "no such device. Choose one of reference"),
        (vec!["simulate", "--model", "gpt2-large", "--device", &broken], "does not describe a device"),
        (
            vec![
                "simulate",
                "--model",
                "gpt2-large",
                "--device",
                "h200",
                "--level",
                "capacity=1GB,gb_s=1,policy=belady",
            ],
            "Choose a policy that decides by the past",
        ),
        (
            vec!["simulate", "--model", "gpt2-large", "--device", "h200", "--level", "size=1"],
            "there is no key \"size\"",
        ),
        (vec!["simulate", "--model", "gpt2-large", "--device", "h200", "--level", "capacity=1GB"], "gb_s is missing"),
        (vec!["curve", "--model", "gpt2-large", "--points", "1"], "curve.points is 1: out of range"),
        (vec!["curve", "--model", "gpt2-large", "--capacities", "1GB,0"], "Choose capacities of at least 1 byte"),
        (
            vec!["explain", "--model", "gpt2-large", "--at", "99999999"],
            "the trace is shorter. Choose an access from 0 to",
        ),
        (vec!["explain", "--model", "gpt2-large", "--policy", "nru"], "no such policy"),
        (vec!["simulate", "--synthetic", "RNN"], "Choose one of Transformer, CNN, MLP, MoE"),
        (vec!["simulate", "--synthetic", "CNN", "--reuse-probability", "-0.5"], "Choose a value from 0 to 1"),
        (vec!["simulate", "--synthetic", "CNN", "--reuse-probability", "NaN"], "Choose a value from 0 to 1"),
        (vec!["simulate", "--model", "gpt2-large", "--prompt-tokens", "2000"], "the model has 1024 positions"),
        (
            vec![
                "trace",
                "generate",
                "--model",
                "mistral-7b",
                "--batch-size",
                "4096",
                "--tile",
                "8GiB",
                "--to",
                "oracleGeneral",
            ],
            "Use smaller tiles",
        ),
    ] {
        let text = refusal(&arguments);
        assert!(text.contains(wanted), "{arguments:?} gave {text}");
    }
    assert!(Path::new(&csv).is_file());
}

const MODEL: [&str; 6] = ["--model", "gpt2-large", "--decode-tokens", "2", "--capacity", "500MB"];

#[test]
fn bounds_curve_and_explain_agree_with_simulate() {
    let with = |head: &[&str], tail: &[&str]| json(&[head, &MODEL, tail, &["--json"]].concat());
    let simulated = with(&["simulate"], &["--policy", "lru,arc"]);
    let bounds = with(&["bounds"], &[]);
    assert_eq!(bounds["lru"]["objects"], simulated["runs"][0]["misses"]);
    let modes: Vec<&str> =
        bounds["bounds"].as_array().unwrap().iter().map(|b| b["admission"].as_str().unwrap()).collect();
    assert_eq!(modes, ["always", "bypass"]);
    assert_eq!(bounds["bounds"][0]["misses"]["lower"], simulated["bounds"]["misses"]["lower"]);

    let explained = with(&["explain"], &["--policy", "arc"]);
    assert_eq!(explained["run"]["misses"], simulated["runs"][1]["misses"]);
    let worst = &explained["run"]["why"]["worst"][0];
    let at = worst["access"].to_string();
    let evictions = with(&["explain"], &["--policy", "arc", "--at", &at]);
    assert!(evictions.as_array().unwrap().contains(worst));
    assert!(stdout(&[&["explain"], &MODEL[..], &["--at", "0"]].concat()).contains("Access 0 evicts nothing"));

    let curve = json(&[
        "curve",
        "--model",
        "gpt2-large",
        "--decode-tokens",
        "2",
        "--policy",
        "lru,arc",
        "--capacities",
        "1GB,500MB",
        "--json",
    ]);
    assert_eq!(keys(&curve), ["bounds", "curves"]);
    let points = curve["curves"][1]["points"].as_array().unwrap();
    assert_eq!(points[0]["capacity_bytes"], 500_000_000);
    let ratio = |run: &Value| run["misses"].as_f64().unwrap() / run["accesses"].as_f64().unwrap();
    assert_eq!(points[0]["miss_ratio"].as_f64().unwrap(), ratio(&simulated["runs"][1]));
    let table = stdout(&["curve", "--model", "gpt2-large", "--decode-tokens", "2", "--policy", "lru", "--points", "4"]);
    assert!(table.contains("proven least") && table.contains("LRU: knee"), "{table}");
}

#[test]
fn devices_and_levels() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.json").display().to_string();
    std::fs::write(&own, r#"{"name": "mine", "dram_gb_s": 100, "tflops": 10}"#).unwrap();
    let level = "name=HBM,capacity=1GB,policy=fifo,gb_s=30,latency_ns=500";
    for device in ["tpu-v4", &own] {
        let flags = ["--policy", "lru", "--device", device, "--prefetch-depth", "4", "--level", level];
        let answer = json(&[&["simulate"], &MODEL[..], &flags, &["--json"]].concat());
        let physical = &answer["runs"][0]["physical"];
        let number = |key: &str| physical[key].as_f64().unwrap();
        assert!((number("compute_ms") + number("stall_ms") - number("total_ms")).abs() < 1e-9);
        assert_eq!(physical["levels"][0]["policy"], "fifo");
        let text = stdout(&[&["simulate"], &MODEL[..], &flags].concat());
        assert!(text.contains("stall ms") && text.contains("LRU over HBM (FIFO)"), "{text}");
    }
}

#[test]
fn a_streamed_trace_gives_the_same_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, csv) = (path("t.bin"), path("t.csv"));
    let (array, lines, experts) = (path("array.json"), path("lines.json"), path("experts.jsonl"));
    for (to, file) in [("oracle-general", &file), ("prototype-csv", &csv), ("prototype-json", &array)] {
        let flags = ["trace", "generate", "--synthetic", "MoE", "--num-layers", "300", "--to", to, "--output", file];
        stdout(&flags);
    }
    let text = std::fs::read_to_string(&array).unwrap();
    let records = text.lines().filter(|line| line.starts_with('{')).map(|line| line.trim_end_matches(','));
    std::fs::write(&lines, records.collect::<Vec<_>>().join("\n")).unwrap();
    for file in [&csv, &array, &lines] {
        let flags = ["simulate", "--trace", file, "--policy", "lru,sieve", "--json", "--no-bounds"];
        let mut held = json(&flags);
        let streamed = json(&[&flags[..], &["--stream"]].concat());
        // It keeps no operations, and says so.
        held["runs"].as_array_mut().unwrap().iter_mut().for_each(|run| run["physical"] = Value::Null);
        assert_eq!((&held["trace"], &held["runs"]), (&streamed["trace"], &streamed["runs"]), "{file}");
        let told = accel(&[&flags[..], &["--stream"]].concat()).stderr;
        assert!(String::from_utf8(told).unwrap().contains("a stream keeps no operations"));
        let broken = path("broken");
        std::fs::write(&broken, std::fs::read_to_string(file).unwrap().replacen("attention", "attending", 1)).unwrap();
        let format = std::path::Path::new(file).extension().map_or("", |end| end.to_str().unwrap());
        let flags = ["simulate", "--policy", "lru", "--trace", &broken, "--format"];
        let named = format!("prototype-{format}");
        let held = refusal(&[&flags[..], &[&named]].concat());
        assert!(held.contains("op is \"attending\""), "{held}");
        assert_eq!(refusal(&[&flags[..], &[&named, "--stream"]].concat()), held);
    }
    std::fs::write(&experts, r#"{"token":0,"layer":0,"experts":[1]}"#).unwrap();
    let flags = ["simulate", "--trace", &file, "--policy", "lru,s3-fifo,w-tinylfu,random", "--admission", "bypass"];
    let part = ["--requests", "500", "--warmup", "0.3", "--interval", "70", "--capacity", "0.1,100MB"];
    let units = ["--ignore-size", "--capacity", "0.1,7", "--cost", "prototype"];
    for more in [&[][..], &part, &units] {
        let held = json(&[&flags[..], more, &["--json", "--no-bounds"]].concat());
        let streamed = json(&[&flags[..], more, &["--json", "--stream"]].concat());
        assert_eq!((&held["trace"], &held["runs"]), (&streamed["trace"], &streamed["runs"]), "{more:?}");
    }
    let streamed = json(&[&flags[..], &["--json", "--stream"]].concat());
    // Packed, it is unpacked while it is read.
    let packed = path("t.bin.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(std::fs::File::create(&packed).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &std::fs::read(&file).unwrap()).unwrap();
    encoder.finish().unwrap();
    let flags = ["simulate", "--trace", &packed, "--policy", "lru", "--admission", "bypass", "--json", "--stream"];
    assert_eq!(json(&flags)["runs"][0], streamed["runs"][0]);
    let bytes = std::fs::read(&packed).unwrap();
    let cut = path("cut.gz");
    std::fs::write(&cut, &bytes[..bytes.len() - 9]).unwrap();
    assert!(refusal(&["simulate", "--stream", "--policy", "lru", "--trace", &cut]).contains("damaged or cut off"));
    for (arguments, wanted) in [
        (["simulate", "--stream", "--policy", "belady", "--trace", &file], "needs to know the whole trace"),
        (["simulate", "--stream", "--policy", "lru", "--trace", &experts], "moe-routing cannot be streamed, only"),
        (["simulate", "--stream", "--policy", "lru", "--trace", "nowhere.bin"], "cannot read nowhere.bin"),
    ] {
        let text = refusal(&arguments);
        assert!(text.contains(wanted), "{arguments:?} gave {text}");
    }
}

/// Requests of `time,obj_id,obj_size,ttl`: a loop over more than fits, with an object in between that comes back late.
const REQUESTS: &str = "time,obj_id,obj_size,ttl
0,a,100,10
1,b,50,10
2,c,50,10
3,a,100,10
4,b,50,10
9,c,50,10
12,a,100,10
13,a,100,10
";

#[test]
fn several_capacities_and_shares_are_rows_of_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv").display().to_string();
    std::fs::write(&file, REQUESTS).unwrap();
    let base = ["simulate", "--trace", &file, "--policy", "lru,fifo", "--capacity", "0.5,150B,200"];
    let answer = json(&[&base[..], &["--json"]].concat());
    let runs = answer["runs"].as_array().unwrap();
    let of_runs = |key: &str| runs.iter().map(|run| run[key].clone()).collect::<Vec<_>>();
    assert_eq!(of_runs("capacity_bytes"), [100, 100, 150, 150, 200, 200]);
    assert_eq!(of_runs("policy"), ["lru", "fifo", "lru", "fifo", "lru", "fifo"]);
    for (i, capacity) in ["100", "150", "200"].iter().enumerate() {
        let alone = json(&["simulate", "--trace", &file, "--policy", "lru,fifo", "--capacity", capacity, "--json"]);
        assert_eq!(alone["runs"].as_array().unwrap()[..], runs[2 * i..2 * i + 2]);
        assert_eq!((&alone["cost"]["by"], &alone["runs"][0]["total_latency_ms"]), (&"nothing".into(), &Value::Null));
    }
    let text = stdout(&base);
    assert!(text.contains("LRU in 150 B") && text.contains("No time is counted"), "{text}");
    let bounds = json(&[&base[..], &["--json", "--bounds"]].concat())["bounds"].clone();
    assert_eq!(bounds.as_array().unwrap()[1]["capacity_bytes"], 150);
    let csv = stdout(&[&base[..], &["--csv"]].concat());
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 7);
    assert!(lines[0].starts_with("policy,capacity_bytes,accesses,hits,misses,hit_ratio,miss_ratio"), "{csv}");
    let fields = lines[0].split(',').count();
    assert!(lines.iter().all(|line| line.split(',').count() == fields), "{csv}");
    assert!(lines[1].starts_with("lru,100,8,") && lines[6].starts_with("fifo,200,8,"), "{csv}");
    // Elsewhere one is enough, and a share of it.
    for command in ["bounds", "explain"] {
        let answer = json(&[command, "--trace", &file, "--capacity", "0.75", "--json"]);
        let capacity = [&answer["capacity_bytes"], &answer["run"]["capacity_bytes"]];
        assert!(capacity.contains(&&150.into()), "{answer}");
        assert!(refusal(&[command, "--trace", &file, "--capacity", "1,2"]).contains("several capacities"));
    }
}

#[test]
fn a_part_of_the_accesses_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv").display().to_string();
    std::fs::write(&file, REQUESTS).unwrap();
    let base = ["simulate", "--trace", &file, "--policy", "lru", "--capacity", "200", "--json"];
    let run = |flags: &[&str]| json(&[&base[..], flags].concat())["runs"][0].clone();
    let counts = |run: &Value| ["accesses", "misses"].map(|key| run[key].as_u64().unwrap());
    assert_eq!(counts(&run(&[])), [8, 3]);
    assert_eq!(counts(&run(&["--warmup", "3"])), [5, 0]);
    assert_eq!(counts(&run(&["--warmup", "0.25"])), [6, 1]);
    assert_eq!(counts(&run(&["--requests", "2"])), [2, 2]);
    let unit = run(&["--ignore-size"]);
    assert_eq!((counts(&unit), unit["miss_bytes"].as_u64()), ([8, 3], Some(3)));
    let intervals = run(&["--interval", "3"])["intervals"].clone();
    let of = |key: &str| intervals.as_array().unwrap().iter().map(|i| i[key].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((of("end"), of("accesses"), of("misses")), (vec![3, 6, 8], vec![3, 3, 2], vec![3, 0, 0]));
    let flags = ["simulate", "--trace", &file, "--policy", "lru,fifo", "--capacity", "200", "--interval", "3", "--csv"];
    let csv = stdout(&flags);
    assert_eq!(csv.lines().count(), 7);
    assert!(csv.contains("\nlru,200,3,3,3,1,200,200,1\n"), "{csv}");
    // Bounds are of what is counted, and the schedules measured alike.
    let answer = json(&[&base[..], &["--warmup", "3", "--bounds"]].concat());
    assert_eq!((&answer["bounds"]["misses"]["lower"], &answer["bounds"]["misses"]["upper"]), (&0.into(), &0.into()));
    for (flags, wanted) in [
        (&["--warmup", "8"][..], "none is left to count"),
        (&["--warmup", "1.5"], "warmup is 1.5: neither a number of accesses nor a share"),
        (&["--interval", "0"], "interval is 0: out of range"),
        (&["--requests", "0"], "requests is 0: out of range"),
    ] {
        let text = refusal(&[&base[..], flags].concat());
        assert!(text.contains(wanted), "{flags:?} gave {text}");
    }
    // In a recipe, and so in a link.
    let flags = ["--synthetic", "CNN", "--warmup", "0.2", "--interval", "25", "--requests", "60"];
    let link = stdout(&[&["recipe"], &flags[..], &["--link", "http://x/"]].concat());
    let by_link = json(&["simulate", "--recipe", link.trim(), "--json"]);
    let direct = json(&[&["simulate"], &flags[..], &["--json"]].concat());
    assert_eq!(by_link, direct);
    assert_eq!(direct["runs"][0]["accesses"], 48);
}

#[test]
fn objects_expire() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv").display().to_string();
    std::fs::write(&file, REQUESTS).unwrap();
    let columns = "time-col=1,obj-id-col=2,obj-size-col=3,ttl-col=4";
    let base = ["simulate", "--trace", &file, "--columns", columns, "--policy", "lru,belady", "--capacity", "200"];
    let answer = json(&[&base[..], &["--json", "--bounds"]].concat());
    for run in answer["runs"].as_array().unwrap() {
        // a came in at 0 and is too old at 12; it comes in again, and is hit at 13.
        assert_eq!((run["misses"].as_u64(), run["expired"].as_u64()), (Some(4), Some(1)));
    }
    assert!(answer["bounds"]["misses"]["lower"].as_u64().unwrap() <= 4);
    assert_eq!(answer["bounds"]["misses"]["upper"], 4);
    assert!(stdout(&base).contains("expired"));
}

#[test]
fn tokens_of_a_model_have_times_on_the_device_that_is_stated() {
    let flags = ["--model", "gpt2-large", "--decode-tokens", "4", "--batch-size", "2", "--capacity", "50MiB"];
    let flags = [&flags[..], &["--policy", "lru,belady", "--json"]].concat();
    let by_default = json(&[&["simulate"], &flags[..]].concat());
    assert_eq!((&by_default["cost"]["by"], &by_default["cost"]["device"]), (&"device".into(), &"h100-sxm".into()));
    let named = json(&[&["simulate"], &flags[..], &["--device", "h100-sxm"]].concat());
    assert_eq!(named["runs"], by_default["runs"]);
    for run in by_default["runs"].as_array().unwrap() {
        let tokens = &run["physical"]["tokens"];
        let number = |key: &str| tokens[key].as_f64().unwrap();
        let total = run["physical"]["total_ms"].as_f64().unwrap();
        // Four steps of two tokens each follow the prompts.
        assert!((number("ttft_ms") + 4.0 * number("ms_per_token") - total).abs() < 0.05 * total, "{run}");
        assert!((number("tokens_per_s") * number("ms_per_token") - 2000.0).abs() < 1e-6, "{run}");
    }
    let time = &by_default["bounds"]["time_ms"];
    assert!(time["lower"].as_f64() <= time["upper"].as_f64());
    let prototype = json(&[&["simulate"], &flags[..], &["--cost", "prototype"]].concat());
    assert_eq!(prototype["cost"]["by"], "prototype");
    assert!(prototype["runs"][0]["physical"].is_null() && prototype["runs"][0]["total_latency_ms"].is_number());
    assert!(refusal(&["simulate", "--model", "gpt2", "--cost", "prototype", "--device", "h200"]).contains("--device"));
}

#[test]
fn answers_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, flags: &[&str]| {
        let flags = [&["simulate", "--synthetic", "CNN", "--json", "--policy", "lru,fifo"], flags].concat();
        std::fs::write(path(name), stdout(&flags)).unwrap();
        path(name)
    };
    let (a, b) = (write("a.json", &[]), write("b.json", &["--capacity", "100MB", "--seed", "7"]));
    let same = accel(&["compare", &a, &a]);
    assert_eq!((same.status.code(), same.stdout.as_slice()), (Some(0), &b"The answers are equal.\n"[..]));
    let differ = accel(&["compare", &a, &b]);
    let text = String::from_utf8(differ.stdout).unwrap();
    assert_eq!(differ.status.code(), Some(1));
    assert!(text.contains("/memory/capacity_bytes") && text.contains("Only A has lru in 64000000 bytes."), "{text}");
    let c = write("c.json", &["--admission", "bypass"]);
    let differ = accel(&["compare", &a, &c, "--json"]);
    let answer: Value = serde_json::from_slice(&differ.stdout).unwrap();
    assert_eq!((differ.status.code(), &answer["equal"]), (Some(1), &false.into()));
    assert_eq!(answer["recipe"][0]["field"], "/memory/admission");
    assert!(answer["runs"].as_array().unwrap().iter().all(|run| !run["figures"].as_array().unwrap().is_empty()));
    let trouble = accel(&["compare", &a, &path("none.json")]);
    assert_eq!(trouble.status.code(), Some(2));
    std::fs::write(path("d.json"), "{}").unwrap();
    assert!(
        refusal(&["compare", &a, &path("d.json")]).contains("has no runs: it is no answer of accel simulate --json")
    );
}

#[test]
fn a_trace_is_analyzed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv").display().to_string();
    let plots = folder.path().join("plots");
    std::fs::write(&file, REQUESTS).unwrap();
    let answer = json(&["trace", "analyze", &file, "--json", "--plots", plots.to_str().unwrap()]);
    assert_eq!(answer["popularity"]["ranks"][0], serde_json::json!({"rank": 1, "accesses": 4}));
    assert_eq!(answer["sizes"]["of_tensors"]["most"], 100);
    assert_eq!(answer["views"]["cold"], 3);
    for name in ["popularity", "sizes", "reuse", "stack_distances", "working_set"] {
        let svg = std::fs::read_to_string(plots.join(name).with_extension("svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{name}");
        assert!(!svg.contains("NaN"), "{name}");
    }
    let text = stdout(&["trace", "analyze", "--model", "gpt2-large", "--decode-tokens", "2"]);
    for wanted in ["Zipf exponent", "are used once", "Sizes", "first uses", "Working set"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    // A single object has no law, and plots all the same.
    std::fs::write(&file, "0,a,1\n1,a,1\n").unwrap();
    assert!(
        json(&["trace", "analyze", &file, "--json", "--plots", plots.to_str().unwrap()])["popularity"]["zipf"]
            .is_null()
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_accel"))
        .args(["trace", "generate", "--synthetic", "CNN", "--num-layers", "1024"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_fits_a_device() {
    let answer = json(&["fit", "--model", "llama-3.1-8b", "--on", "24GB", "--json"]);
    assert_eq!((answer["fits"].as_bool(), answer["longest_context"].as_u64()), (Some(true), Some(60_571)));
    let text = stdout(&["fit", "--model", "llama-3.1-8b", "--on", "h100-sxm", "--prompt-tokens", "8192"]);
    assert!(text.contains("keys and values") && text.contains("131,072 (all that the model has"), "{text}");
    for (arguments, says) in [
        (vec!["fit", "--model", "gemma-2b", "--on", "much"], "much"),
        (vec!["fit", "--model", "resnet-18", "--on", "1GB"], "no context"),
        (vec!["fit", "--synthetic", "cnn", "--on", "1GB"], "only a model"),
    ] {
        assert!(refusal(&arguments).contains(says), "{arguments:?}: {}", refusal(&arguments));
    }
}

#[test]
fn traffic_by_the_size_of_fast_memory() {
    let answer = json(&["traffic", "--gemm", "256x256x256", "--dtype", "bf16", "--json"]);
    let points = answer["points"].as_array().unwrap();
    assert_eq!((points.len(), points[0]["capacity_bytes"].as_u64()), (17, Some(1024)));
    assert_eq!(points[16]["attained_bytes"], 3 * 2 * 256 * 256);
    let table = stdout(&[
        "traffic",
        "--attention",
        "queries=512,keys=512,heads=8,kv-heads=2,head_dim=64",
        "--capacity",
        "64KiB",
    ]);
    assert!(table.contains("65.5 kB") && table.contains("rows with"), "{table}");
    let conv = "height=58,width=58,channels=64,filters=64,size=3";
    let csv = stdout(&["traffic", "--conv", conv, "--capacity", "256KiB", "--csv"]);
    assert!(csv.lines().nth(1).unwrap().starts_with("262144,1811456,1811456,1811456,1.0000,"), "{csv}");
    let model = json(&["traffic", "--model", "bert-base", "--capacity", "64KiB,64MiB", "--json"]);
    assert!(model["points"][0]["attained_bytes"].as_u64() > model["points"][1]["attained_bytes"].as_u64());
    for (arguments, says) in [
        (vec!["traffic", "--gemm", "12x12"], "not three sizes"),
        (vec!["traffic", "--gemm", "12x12x12", "--capacity", "8"], "Choose at least 12"),
        (vec!["traffic", "--conv", "height=8,width=8,channels=3,filters=4,size=9"], "larger than"),
        (vec!["traffic", "--synthetic", "cnn"], "no operators"),
        (vec!["traffic"], "nothing to run"),
    ] {
        assert!(refusal(&arguments).contains(says), "{arguments:?}: {}", refusal(&arguments));
    }
}

/// A product of 12.6 MB in a kilobyte moves far more, and a tile that does not fit with its partners is refused.
#[test]
fn tiles_follow_the_capacity() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gemm.json").display().to_string();
    std::fs::write(&path, r#"{"model_type":"gemm","m":256,"n":256,"k":256}"#).unwrap();
    let missed = |flags: &[&str]| {
        let answer = json(&[&["simulate", "--model", &path, "--policy", "lru", "--json"], flags].concat());
        let bound = answer["io_bound_bytes"].as_u64().unwrap();
        let (lower, upper) = (&answer["bounds"]["miss_bytes"]["lower"], &answer["bounds"]["miss_bytes"]["upper"]);
        assert!(upper.as_u64().unwrap() >= bound && lower.as_u64() <= upper.as_u64());
        // 2MNK / sqrt(S) - 2S words of 4 bytes, in 250 words.
        assert!(bound as f64 >= 4.0 * (2.0 * 256f64.powi(3) / 250f64.sqrt() - 500.0));
        answer["runs"][0]["miss_bytes"].as_u64().unwrap()
    };
    let (own, fixed) =
        (missed(&["--capacity", "1KB"]), missed(&["--capacity", "1KB", "--dataflow", "output_stationary"]));
    assert!(own < fixed && fixed > 8_000_000, "{own} {fixed}");
    let refused =
        refusal(&["simulate", "--model", &path, "--dataflow", "os", "--tile", "256KiB", "--capacity", "96KiB"]);
    assert!(refused.contains("tile_bytes is 262144") && refused.contains("Choose at most 32768"), "{refused}");
}

/// Rules beside the policy, as flags: what they do, and how what makes no sense is refused.
#[test]
fn rules_beside_the_policy() {
    let misses = |rules: &[&str]| {
        let model = ["simulate", "--model", "gpt2-large", "--capacity", "500MB", "--policy", "lru", "--json"];
        json(&[&model[..], rules].concat())["runs"][0]["miss_bytes"].as_u64().unwrap()
    };
    let plain = misses(&[]);
    // Weights in a loop: who stays for good hits from the second round on.
    assert!(misses(&["--pin", "*.h.0.*"]) < plain);
    assert!(misses(&["--share", "weights=0.5"]) <= plain);
    for rule in ["size(most=1MiB)", "probability(share=0.1)", "size-probability", "second-request", "adaptsize"] {
        misses(&["--admission", rule]);
    }
    misses(&["--watermark", "0.5", "--share", "weights/layer=0.9"]);
    let refused = |rules: &[&str]| {
        let model = ["simulate", "--model", "gpt2-large", "--capacity", "500MB", "--policy", "lru"];
        refusal(&[&model[..], rules].concat())
    };
    for (rules, text) in [
        (&["--pin", "nobody*"][..], "the trace has no such tensor. Choose a kind (weights,"),
        (&["--pin", "*"], "leaves no room for the rest. Pin less, or choose a capacity of more than"),
        (&["--share", "weights=0.9,kv_cache=0.9"], "they add up to 1.8. Choose shares that add up to 1 at most"),
        (&["--share", "weights"], "Write TENSORS=SHARE"),
        (&["--watermark", "0"], "out of range"),
        (&["--admission", "size(least=1)"], "Its parameters are most (a number of bytes, such as 64KiB)"),
    ] {
        let error = refused(rules);
        assert!(error.contains(text), "{rules:?}: {error}");
    }
}

/// A stand-in for the hub that knows one file and answers until it is dropped; how often it was asked for the content.
fn hub(path: &'static str, content: &'static [u8]) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::io::{BufRead as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let found = first.split(' ').nth(1) == Some(path);
            let (status, body) = if found { ("200 OK", content) } else { ("404 Not Found", &b""[..]) };
            let head = format!(
                "HTTP/1.1 {status}\r\netag: \"x{}\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len(),
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            if first.starts_with("GET") {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                stream.write_all(body).unwrap();
            }
        }
    });
    (address, asked)
}

#[test]
fn a_model_by_its_name_on_the_hub_is_fetched_once() {
    const CONFIG: &str = r#"{"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
        "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":100,"max_position_embeddings":2048,"torch_dtype":"bfloat16"}"#;
    let (address, asked) = hub("/owner/name/resolve/main/config.json", CONFIG.as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, CONFIG).unwrap();
    let run = |model: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_accel"));
        command.args(["simulate", "--json", "--capacity", "1MB", "--policy", "lru", "--model", model]);
        command.env("HF_ENDPOINT", &address).env("ACCEL_HUB_CACHE", folder.path()).output().unwrap()
    };
    let by_file = run(file.to_str().unwrap());
    for _ in 0..2 {
        let by_name = run("owner/name");
        assert!(by_name.status.success(), "{}", String::from_utf8_lossy(&by_name.stderr));
        assert_eq!(by_name.stdout, by_file.stdout);
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    let missing = String::from_utf8(run("owner/other").stderr).unwrap();
    assert!(missing.contains("404 Not Found") && missing.contains("Check --repo"), "{missing}");
}

/// A folder with a model in several files, and headers of GGUF files (tests/fixtures).
#[test]
fn files_of_weights_are_models() {
    let fixture = |name: &str| format!("{}/../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let weights = |model: &str| {
        let answer = json(&["fit", "--model", model, "--on", "1GB", "--prompt-tokens", "8", "--json"]);
        answer["held"].as_array().unwrap().iter().find(|held| held["what"] == "weights").unwrap()["bytes"].as_u64()
    };
    let index = fixture("checkpoints/mistral/model.safetensors.index.json");
    let says: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    assert_eq!(weights(&fixture("checkpoints/mistral")), says["metadata"]["total_size"].as_u64());
    assert_eq!(weights(&index), says["metadata"]["total_size"].as_u64());
    for name in ["mistral/f32.gguf", "mistral/q4_k.gguf", "mistral/q8_0.gguf"] {
        let length = std::fs::metadata(fixture(name)).unwrap().len();
        assert!(weights(&fixture(name)).is_some_and(|bytes| bytes < length && bytes > length / 2), "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("model.safetensors.index.json");
    std::fs::copy(&index, &alone).unwrap();
    let text = refusal(&["fit", "--model", alone.to_str().unwrap(), "--on", "1GB"]);
    assert!(text.contains("it is the index of weights in several files, and there is no config.json"), "{text}");
    let text = refusal(&["fit", "--model", &fixture("mistral/qwen2.gguf"), "--on", "1GB"]);
    assert!(text.contains("qwen2.gguf") && text.contains("Give"), "{text}");
}

#[test]
fn a_log_of_requests_is_served_by_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("azure.csv");
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0,37,4\n2023-11-16 18:15:46.1,39,2\n";
    std::fs::write(&log, text).unwrap();
    let log = log.to_str().unwrap();
    let model =
        ["simulate", "--json", "--model", "gpt2-large", "--capacity", "1GB", "--policy", "lru", "--batch-size", "2"];
    let by_log = stdout(&[&model[..], &["--request-log", log, "--request-step-ms", "50"]].concat());
    assert_eq!(by_log, stdout(&[&model[..], &["--requests", "37+4, 39+2@2"]].concat()));
    let alone = refusal(&["simulate", "--trace", log, "--capacity", "1GB"]);
    assert!(
        alone.contains("it is a log of requests to a language model") && alone.contains("--request-log"),
        "{alone}"
    );
}

#[test]
fn answers_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let of = ["--synthetic", "MLP", "--policy", "lru,belady"];
    stdout(&[&["simulate", "--capacity", "64MB", "--plot", &path("runs.svg")], &of[..]].concat());
    stdout(&[&["curve", "--plot", &path("curve.html")], &of[..]].concat());
    let svg = std::fs::read_to_string(path("runs.svg")).unwrap();
    assert!(svg.starts_with("<svg xmlns=") && svg.contains("Belady") && !svg.contains("var(--"), "{svg}");
    let page = std::fs::read_to_string(path("curve.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("byte_miss_ratio") && page.contains("proven least"), "{page}");
    let text = refusal(&[&["curve", "--plot", &path("curve.gif")], &of[..]].concat());
    assert!(text.contains("curve.gif") && text.contains(".svg, .png or .html"), "{text}");
}

#[test]
fn designs_are_recommended() {
    let of = ["recommend", "--synthetic", "CNN", "--capacity", "64MB", "--policy", "lru,mru"];
    let answer = json(&[&of[..], &["--json"]].concat());
    let designs = answer["designs"].as_array().unwrap();
    let times: Vec<f64> = designs.iter().map(|design| design["time_ms"].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] <= answer["baseline"]["time_ms"].as_f64().unwrap());
    assert!(answer["left"]["miss_bytes"].as_u64() <= designs[0]["miss_bytes"].as_u64());
    let text = stdout(&of);
    assert!(text.contains("designs were tried") && text.contains("no schedule fetches less than"), "{text}");
    assert!(refusal(&[&of[..], &["--goal", "energy"]].concat()).contains("device"));
}
