//! Real files, where they lie beside the checkout: the numbers that independent simulators agree on.
#![allow(missing_docs, clippy::unwrap_used)]

use accel_tests::{accel, shared_data};
use serde_json::Value;

/// Misses of LRU and FIFO, and byte misses of LRU, by capacity.
const BLOCK_IO: [(&str, u64, u64, u64); 4] = [
    ("128MiB", 93_374, 93_403, 4_214_303_232),
    ("256MiB", 89_783, 89_386, 4_061_242_368),
    ("512MiB", 81_722, 84_025, 3_660_569_600),
    ("1024MiB", 71_704, 72_140, 3_061_662_720),
];

#[test]
fn block_io_misses_are_exact() {
    let Some(file) = shared_data("block_io.oracleGeneral.bin") else {
        println!("no shared data beside this checkout: nothing to compare");
        return;
    };
    let file = file.to_str().unwrap();
    for (capacity, lru, fifo, lru_bytes) in BLOCK_IO {
        let arguments = ["simulate", "--trace", file, "--capacity", capacity, "--policy", "lru,fifo", "--json"];
        let answer: Value = serde_json::from_str(&accel(arguments).unwrap()).unwrap();
        assert_eq!(answer["trace"]["requested_bytes"], 4_368_040_448u64);
        assert_eq!(answer["trace"]["unique_bytes"], 2_029_769_728u64);
        assert_eq!(answer["runs"][0]["misses"], lru, "LRU at {capacity}");
        assert_eq!(answer["runs"][1]["misses"], fifo, "FIFO at {capacity}");
        assert_eq!(answer["runs"][0]["miss_bytes"], lru_bytes);
    }
}

#[test]
fn configurations_import() {
    for (name, parameters) in [("mistral_7b_instruct_v0_2", 7_241_732_096u64), ("gpt2_large", 774_030_080)] {
        let Some(file) = shared_data(&format!("hf_configs/{name}.json")) else { continue };
        let info = accel(["trace", "info", "--model", file.to_str().unwrap(), "--json"]).unwrap();
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["model"]["parameters"], parameters);
    }
    for name in ["bert", "mixtral_8x7b_instruct", "vit_base_defaults"] {
        let Some(file) = shared_data(&format!("hf_configs/{name}.json")) else { continue };
        let error = accel(["trace", "info", "--model", file.to_str().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("is not supported"), "{error}");
    }
}
