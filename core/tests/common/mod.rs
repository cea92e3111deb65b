//! What test binaries and benchmarks share: fixtures, and a trace as long as wanted.

use std::io::Read as _;
use std::path::PathBuf;

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(root().join("tests/fixtures").join(name)).unwrap()
}

pub(crate) fn unpacked(name: &str) -> Vec<u8> {
    let bytes = fixture(name);
    let mut content = Vec::new();
    if name.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut content).unwrap();
        return content;
    }
    bytes
}

/// The nodes of the transformer's step again and again, each time with new ids, up to `size` bytes.
pub(crate) fn long_trace(size: usize) -> Vec<u8> {
    let step: Value = serde_json::from_slice(&unpacked("et/transformer_train.json.gz")).unwrap();
    let mut out = Vec::from(&b"{\"schema\": \"1.1.1-chakra.0.0.4\", \"nodes\": ["[..]);
    let mut from = 0;
    while out.len() < size {
        for node in step["nodes"].as_array().unwrap() {
            let mut node = node.clone();
            for key in ["id", "ctrl_deps"] {
                node[key] = (node[key].as_u64().unwrap() + from).into();
            }
            if out.last() != Some(&b'[') {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, &node).unwrap();
        }
        from += 10_000;
    }
    out.extend(b"]}");
    out
}
