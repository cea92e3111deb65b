//! What has a name, and how names are found.

use crate::{json, refusal, stdout};

#[test]
fn every_list_is_a_table_and_json() {
    let lists = ["models", "policies", "parameters", "devices", "formats", "families", "scenarios", "profiles"];
    let all = json(&["list", "--json"]);
    assert_eq!(all.as_object().unwrap().len(), lists.len());
    for list in lists {
        let one = json(&["list", list, "--json"]);
        assert_eq!(one[list], all[list]);
        let text = stdout(&["list", list]);
        for row in one[list].as_array().unwrap() {
            assert!(text.contains(row["name"].as_str().unwrap()), "{row} is not in\n{text}");
        }
    }
    let of =
        |list: &str, name: &str| all[list].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!(of("models", "llama-2-7b")["parameters"], 6_738_415_616u64);
    assert_eq!(of("policies", "belady")["knows"], "future");
    assert_eq!(of("policies", "slru")["parameters"], "segments=4,lowest=0");
    assert_eq!(of("parameters", "segments")["most"], 16.0);
    assert_eq!(of("devices", "h100-sxm")["dram_gb_s"], 3350.0);
    assert_eq!(of("formats", "onnx")["yields"], "model");
    assert_eq!(of("formats", "parquet")["written"], true);
    // What was there before there were lists.
    assert_eq!(stdout(&["models"]), stdout(&["list", "models", "scenarios", "profiles"]));
    assert!(refusal(&["list", "planets"]).contains("no such list. Choose one of models, policies"));
}

#[test]
fn names_are_found_whatever_their_case() {
    let recipe = |flags: &[&str]| json(&[&["recipe"], flags].concat());
    let synthetic = recipe(&["--synthetic", "cnn", "--pattern", "BURST"]);
    assert_eq!(synthetic["workload"]["synthetic"]["model_type"], "CNN");
    assert_eq!(synthetic["workload"]["synthetic"]["pattern"], "burst");
    let model =
        ["--model", "gpt2-large", "--task", "Training", "--dataflow", "Weight-Stationary", "--optimizer", "SGD"];
    let model =
        recipe(&[&model[..], &["--weight-dtype", "BF16", "--admission", "Bypass", "--policy", "S3FIFO"]].concat());
    let run = &model["workload"]["model"];
    assert_eq!([&run["task"], &run["dataflow"], &run["optimizer"]], ["training", "weight_stationary", "sgd"]);
    assert_eq!(run["weight_dtype"], "bfloat16");
    assert_eq!((&model["memory"]["admission"], &model["policies"][0]), (&"bypass".into(), &"s3-fifo".into()));
}

#[test]
fn help_shows_the_names_of_closed_lists() {
    // Lines are broken where the terminal ends.
    let help = stdout(&["simulate", "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    for names in [
        "[possible values: inference, training]",
        "[possible values: interleaved, burst]",
        "[possible values: always, bypass, size, probability, size-probability, second-request, adaptsize]",
        "[possible values: Transformer, CNN, MLP, MoE]",
    ] {
        assert!(help.contains(names), "{names} is not in\n{help}");
    }
}

#[test]
fn refusals_of_values_name_the_field_and_the_cure() {
    for (flags, wanted) in [
        (
            ["--model", "gpt2-large", "--steps", "many"],
            "steps is \"many\": not a number this field can hold. Write a number from 1 to 1000",
        ),
        (["--model", "gpt2-large", "--tile", "big"], "tile_bytes is \"big\""),
        (["--model", "gpt2-large", "--requests", ""], "requests is empty: there is no value"),
        (["--model", "gpt2-large", "--scenario", "lunch"], "no such scenario"),
        (["--synthetic", "CNN", "--pattern", "zigzag"], "no such pattern. Choose one of interleaved, burst"),
        (["--synthetic", "CNN", "--num-layers", "0"], "num_layers is 0: out of range. Choose a value from 1 to 1024"),
    ] {
        let text = refusal(&[&["recipe"], &flags[..]].concat());
        assert!(text.contains(wanted), "{flags:?} gave {text}");
    }
}
