//! The header of a safetensors file: eight bytes of length, then JSON with the type, shape and place of every weight.
//!
//! Only the header is read, so that the first bytes of a file are enough. The layout and its limits are those of the
//! safetensors crate (`safetensors/src/tensor.rs`).

use std::io::Read as _;

use serde::Deserialize;
use serde::de::{DeserializeSeed as _, MapAccess};

use super::input::Input;
use super::seed::{Form, Seed, ValueReader};
use super::text::{json_problem, shorten};
use super::weights::{MOST_BYTES, Weight, Weights};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::Trace;
use crate::workload::file::ModelFile;

/// The longest header that safetensors itself reads: `MAX_HEADER_SIZE`.
const MOST_HEADER: u64 = 100_000_000;
/// More dimensions than any tensor library has.
const MOST_DIMENSIONS: usize = 64;

/// Bits of an element: `Dtype::bitsize`.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "C64" | "F64" | "I64" | "U64" => 64,
        _ => return None,
    })
}

/// The header's length, where there are the eight bytes for it.
fn header_length(head: &[u8]) -> Option<u64> {
    head.first_chunk().map(|length| u64::from_le_bytes(*length))
}

/// Bytes from the start of the file that are all that is read of it: the header and its length.
pub(super) fn bytes_to_read(head: &[u8]) -> Option<u64> {
    header_length(head).map(|length| length.min(MOST_HEADER) + 8)
}

/// Whether `head` begins with a length and an object.
pub fn matches(head: &[u8]) -> bool {
    let plausible = header_length(head).is_some_and(|length| (2..=MOST_HEADER).contains(&length));
    let object = head.get(8..).unwrap_or_default();
    let next = object.strip_prefix(b"{").and_then(|rest| rest.trim_ascii_start().first().copied());
    plausible && matches!(next, Some(b'"' | b'}'))
}

/// Whether `head` begins like `model.safetensors.index.json`.
pub(super) fn is_index(head: &[u8]) -> bool {
    let start = &head[..head.len().min(4096)];
    head.trim_ascii_start().starts_with(b"{") && start.windows(12).any(|part| part == b"\"weight_map\"")
}

/// What to do with an index: it names the files that hold the weights.
pub(super) fn index_error(input: &str) -> Error {
    let problem = "it is the index of weights in several files, and has no sizes itself";
    let cure = "Give one of the .safetensors files that it names, or as a model the folder with it and its config.json (--model)";
    Error::input(input, Place::Whole, problem, cure)
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The entries of the header, in its order.
#[derive(Default)]
struct Header {
    tensors: Vec<(String, Info)>,
    metadata: Vec<(String, String)>,
}

impl ValueReader for Header {
    type Value = Self;
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "an object of tensors";

    fn object<'de, A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Self, A::Error> {
        while let Some(name) = entries.next_key::<String>()? {
            if name == "__metadata__" {
                let metadata: std::collections::BTreeMap<String, String> = entries.next_value()?;
                self.metadata = metadata.into_iter().filter(|(key, value)| key.len() + value.len() < 512).collect();
            } else {
                self.tensors.push((name, entries.next_value()?));
            }
        }
        Ok(self)
    }
}

/// Reads the header.
pub fn header(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Weights, Error> {
    let bad = |place: Place, problem: String, cure: &str| Error::input(input.name, place, problem, cure);
    if is_index(&input.head()) {
        return Err(index_error(input.name));
    }
    let mut reader = input.reader(progress);
    let mut text = Vec::new();
    (&mut reader).take(8).read_to_end(&mut text).map_err(|e| input.error(&e))?;
    let length = header_length(&text).ok_or_else(|| {
        let problem = format!("the file has {} bytes, and its header is longer", text.len());
        bad(Place::Whole, problem, "Give a safetensors file, or at least its header")
    })?;
    if length > MOST_HEADER {
        let problem = format!("a header of {length} bytes, and safetensors allows {MOST_HEADER}");
        return Err(bad(Place::Byte(0), problem, "Check that it is a safetensors file and not damaged"));
    }
    text.clear();
    let read = (&mut reader).take(length).read_to_end(&mut text).map_err(|e| input.error(&e))?;
    if (read as u64) < length {
        let problem = format!("the header of {length} bytes is cut off after {read}");
        let cure = format!("Give at least the first {} bytes of the file", length + 8);
        return Err(bad(Place::Byte(8 + read as u64), problem, &cure));
    }
    let mut source = serde_json::Deserializer::from_slice(&text);
    let Header { mut tensors, metadata } = Seed(Header::default())
        .deserialize(&mut source)
        .and_then(|header| source.end().map(|()| header))
        .map_err(|e| {
            let before = text.split(|b| *b == b'\n').take(e.line().saturating_sub(1)).map(|line| line.len() + 1);
            let at = 8 + before.sum::<usize>() + e.column().saturating_sub(1);
            bad(Place::Byte(at as u64), json_problem(&e), "Check that the file is not damaged, or write it again")
        })?;

    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let mut weights = Weights { tensors: Vec::with_capacity(tensors.len()), metadata };
    let mut end = 0;
    for (name, Info { dtype, shape, data_offsets: (from, to) }) in tensors {
        let bad = |problem: String| {
            let cure = "Check that the file is not damaged, or write it again with the safetensors library";
            bad(Place::Key(shorten(&name)), problem, cure)
        };
        let bits = bits(&dtype).ok_or_else(|| bad(format!("unknown dtype \"{}\"", shorten(&dtype))))?;
        if shape.len() > MOST_DIMENSIONS {
            return Err(bad(format!("{} dimensions", shape.len())));
        }
        let elements = shape.iter().try_fold(1u64, |all, n| all.checked_mul(*n));
        let bits = elements.and_then(|elements| elements.checked_mul(bits));
        let bits = bits.ok_or_else(|| bad(format!("shape {shape:?} has more than 2^64 bits")))?;
        let bytes = to.checked_sub(from).ok_or_else(|| bad(format!("its data end at {to} and begin at {from}")))?;
        if bits % 8 != 0 || bits / 8 != bytes {
            let problem = format!("shape {shape:?} of {dtype} takes {bits} bits, and its data have {bytes} bytes");
            return Err(bad(problem));
        }
        if from != end {
            let what = if from < end { "overlap the weight before them" } else { "leave a hole before them" };
            return Err(bad(format!("its data begin at {from}, not at {end}: they {what}")));
        }
        if to > MOST_BYTES {
            return Err(bad(format!("its data end at {to}, and no model has more than {MOST_BYTES} bytes")));
        }
        end = to;
        weights.tensors.push(Weight { name, shape, dtype, bytes });
    }
    let mut names: Vec<&str> = weights.tensors.iter().map(|weight| weight.name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
        return Err(bad(Place::Key(shorten(name)), "the name is given twice".into(), "Write the file again"));
    }
    Ok(weights)
}

/// Refuses to take weights for a model: their names and shapes leave heads, windows and experts for each token open.
pub(super) fn model(input: &Input<'_>, _: &mut dyn Progress) -> Result<ModelFile, Error> {
    let problem = "it is a file of weights, which does not say how heads and experts use them";
    let cure =
        "Give the folder that it is in, or its config.json; as a trace (--trace) it is one pass over the weights";
    Err(Error::input(input.name, Place::Whole, problem, cure))
}

/// One pass over the weights, whole or in tiles.
pub fn read(input: &Input<'_>, tile_bytes: Option<u64>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut trace = header(input, progress)?.trace(input.name, tile_bytes)?;
    // `model-00001-of-00003.safetensors`, as Hugging Face names shards.
    let shards = input.name.strip_suffix(".safetensors").and_then(|name| name.rsplit_once("-of-")).map(|(_, all)| all);
    if let Some(shards) = shards.and_then(|all| all.parse::<u32>().ok()).filter(|shards| *shards > 1) {
        trace.warn(format!("the file is one of {shards}: the weights in the others are missing"));
    }
    Ok(trace)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;

    pub(in super::super) fn file(json: &str) -> Vec<u8> {
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat()
    }

    pub(in super::super) const GOOD: &str = r#"{"__metadata__":{"format":"pt"},
        "model.layers.0.w":{"dtype":"BF16","shape":[3,5],"data_offsets":[16,46]},
        "model.embed_tokens.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},
        "lm_head.weight":{"dtype":"F4","shape":[2,3],"data_offsets":[46,49]},
        "none":{"dtype":"I8","shape":[7,0],"data_offsets":[49,49]}}"#;

    #[test]
    fn a_header_is_enough() {
        let bytes = file(GOOD);
        for bytes in [bytes.clone(), [bytes, vec![7; 49]].concat()] {
            let input = Input::new("t", &bytes);
            assert_eq!(detect(&input).unwrap(), Format::Safetensors);
            let weights = header(&input, &mut Unattended).unwrap();
            assert_eq!(weights.metadata, [("format".to_owned(), "pt".to_owned())]);
            assert_eq!(weights.bytes(), 49);
            let trace = read(&input, None, &mut Unattended).unwrap();
            let names: Vec<_> = trace.tensors().iter().map(|t| (t.name.as_str(), t.bytes, t.layer)).collect();
            let wanted = [
                ("model.embed_tokens.weight", 16, None),
                ("model.layers.0.w", 30, Some(0)),
                ("none", 0, None),
                ("lm_head.weight", 3, None),
            ];
            assert_eq!(names, wanted);
            assert!(trace.warnings()[0].contains("neither activations nor the KV cache"));
        }
        assert_eq!(bytes_to_read(&file(GOOD)), Some(GOOD.len() as u64 + 8));
        let shard = file(GOOD);
        let trace = read(&Input::new("model-00001-of-00003.safetensors", &shard), None, &mut Unattended).unwrap();
        assert!(trace.warnings().iter().any(|warning| warning.contains("one of 3")));
    }

    #[test]
    fn broken_files_name_the_place_and_the_cure() {
        let one = |dtype: &str, shape: &str, from: &str, to: &str| {
            file(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}}}"#))
        };
        let good = file(GOOD);
        let two = |offsets: &str| {
            file(&format!(
                r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}}}"#
            ))
        };
        let index = br#"{"metadata":{"total_size":1},"weight_map":{"a":"model-00001-of-00002.safetensors"}}"#.to_vec();
        for (bytes, wanted) in [
            (vec![1, 0, 0], "whole input: the file has 3 bytes"),
            (good[..100].to_vec(), "byte 100: the header of"),
            ([&u64::MAX.to_le_bytes()[..], b"{\"a\""].concat(), "byte 0: a header of 18446744073709551615 bytes"),
            ([&100_000_001u64.to_le_bytes()[..], b"{\"a\""].concat(), "safetensors allows 100000000"),
            (file("{\"a\":3}"), "byte 13: invalid type: integer `3`"),
            (file("[]"), "invalid type: sequence, expected an object of tensors"),
            (file("{} x"), "trailing characters"),
            (file("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}"), "missing field `data_offsets`"),
            (one("F128", "[1]", "0", "16"), "key `a`: unknown dtype \"F128\""),
            (one("U8", "[-1]", "0", "1"), "invalid value: integer `-1`"),
            (one("U8", "[1.5]", "0", "1"), "invalid type: floating point"),
            (one("F32", "[1000000000,1000000000,1000000000]", "0", "4"), "has more than 2^64 bits"),
            (one("U8", "[1000000000,1000000000]", "0", "1000000000000000000"), "no model has more than"),
            (one("U8", "[1152921504606846976]", "0", "1"), "and its data have 1 bytes"),
            (one("F16", "[4]", "0", "7"), "takes 64 bits, and its data have 7 bytes"),
            (one("F4", "[3]", "0", "1"), "takes 12 bits"),
            (one("U8", "[4]", "4", "0"), "its data end at 0 and begin at 4"),
            (one("U8", &format!("[{}1]", "1,".repeat(99)), "0", "1"), "100 dimensions"),
            (two("[2,6]"), "key `b`: its data begin at 2, not at 4: they overlap"),
            (two("[8,12]"), "they leave a hole"),
            (file(&GOOD.replace("none", "lm_head.weight")), "key `lm_head.weight`: the name is given twice"),
            (file("{}"), "the file has no weights"),
            (index, "it is the index of weights in several files"),
        ] {
            let error = read(&Input::new("t", &bytes), None, &mut Unattended).unwrap_err().to_string();
            assert!(error.starts_with("t, ") && error.contains(wanted), "{wanted}: {error}");
        }
    }
}
