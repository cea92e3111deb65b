//! `model.safetensors.index.json`: which of several files holds each weight, and how many bytes all of them take.
//!
//! It has no sizes of layers: with the `config.json` beside it, it says whether the model is counted as it is stored.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::input::{Input, strip_mark};
use super::safetensors;
use super::text::shorten;
use crate::error::{Error, Place};
use crate::progress::Unattended;
use crate::units::format_count;
use crate::workload::ModelRef;
use crate::workload::config::ModelConfig;
use crate::workload::model_run::ModelRun;

/// What an index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Bytes of all weights (`metadata.total_size`), where it says.
    pub total_bytes: Option<u64>,
    /// The names of the files.
    pub shards: BTreeSet<String>,
}

impl Index {
    /// Reads the text of an index; `input` is named in the errors.
    pub fn parse(input: &str, text: &[u8]) -> Result<Self, Error> {
        let bad = |place: Place, problem: String| {
            Error::input(input, place, problem, "Give the index as it stands beside the weights")
        };
        let keys: Map<String, Value> = serde_json::from_slice(strip_mark(text)).map_err(|e| {
            bad(Place::LineColumn(e.line() as u64, e.column() as u64), format!("not a JSON object: {e}"))
        })?;
        let Some(Value::Object(map)) = keys.get("weight_map") else {
            return Err(bad(Place::Key("weight_map".into()), "there is no object of this name".into()));
        };
        let mut shards = BTreeSet::new();
        for (weight, file) in map {
            // A name of a file beside the index, and of nothing else on this machine.
            let name =
                file.as_str().filter(|name| !name.is_empty() && !name.contains(['/', '\\', ':']) && *name != "..");
            let name = name.ok_or_else(|| {
                bad(Place::Key(shorten(weight)), "its file is not the name of one beside the index".into())
            })?;
            shards.insert(name.to_owned());
        }
        let total = keys.get("metadata").and_then(|of| of.get("total_size"));
        // Some tools write it with a point.
        let whole =
            |value: &Value| value.as_u64().or(value.as_f64().filter(|n| (0.0..1e18).contains(n)).map(|n| n as u64));
        Ok(Self { total_bytes: total.and_then(whole), shards })
    }

    /// What does not agree between the index, the model of the `config.json` beside it, and the files that are there:
    /// `head_of` gives the first bytes of a file, its header included.
    pub fn check(&self, config: &ModelConfig, head_of: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Vec<String>, Error> {
        let mut notes = Vec::new();
        if let (Some(total), ModelConfig::Transformer(_)) = (self.total_bytes, config) {
            let run = ModelRun { model: ModelRef::Config(Box::new(config.clone())), ..ModelRun::default() };
            let counted = run.weight_bytes(config)?;
            if counted != total {
                let [total_bytes, counted_bytes] = [total, counted].map(format_count);
                notes.push(format!(
                    "the weights take {total_bytes} bytes, and the layers of config.json {counted_bytes}: the rest is in \
                     parts that are not counted, or in another number format"
                ));
            }
        }
        let (mut stored, mut missing) = (0u64, Vec::new());
        for shard in &self.shards {
            match head_of(shard) {
                Some(head) => {
                    let of = safetensors::header(&Input::new(shard, &head), &mut Unattended)?;
                    stored = stored.saturating_add(of.bytes());
                }
                None => missing.push(shard.as_str()),
            }
        }
        let all = self.shards.len();
        if !missing.is_empty() && missing.len() < all {
            let names = shorten(&missing.join(", "));
            notes.push(format!("{} of its {all} files are not there: {names}", missing.len()));
        } else if let Some(total) = self.total_bytes.filter(|total| missing.is_empty() && *total != stored) {
            let [total, stored] = [total, stored].map(format_count);
            notes.push(format!("it says {total} bytes, and its {all} files hold {stored}"));
        }
        Ok(notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/checkpoints/mistral/");

    fn file(name: &str) -> Option<Vec<u8>> {
        std::fs::read(format!("{FOLDER}{name}")).ok()
    }

    /// A checkpoint that transformers saved in three files (tests/fixtures/checkpoints.py).
    #[test]
    fn a_checkpoint_in_several_files_agrees() {
        let config = ModelConfig::from_json("config.json", &file("config.json").unwrap()).unwrap();
        let text = file("model.safetensors.index.json").unwrap();
        let index = Index::parse("i", &text).unwrap();
        assert_eq!(index.shards.len(), 3);
        assert_eq!(index.check(&config, file).unwrap(), Vec::<String>::new());
        // Fetched in part, and not at all.
        let part = |name: &str| file(name).filter(|_| name.contains("00001"));
        let notes = index.check(&config, part).unwrap();
        assert!(notes.len() == 1 && notes[0].starts_with("2 of its 3 files are not there: model-00002"), "{notes:?}");
        assert!(index.check(&config, |_| None).unwrap().is_empty());
        let other = Index { total_bytes: index.total_bytes.map(|bytes| bytes + 2), ..index };
        let notes = other.check(&config, file).unwrap();
        assert!(notes[0].contains("and the layers of config.json") && notes[1].contains("files hold"), "{notes:?}");
    }

    #[test]
    fn broken_indexes_name_the_place() {
        for (text, wanted) in [
            (&b"{"[..], "line 1, column 1"),
            (b"{}", "key `weight_map`"),
            (b"{\"weight_map\":{\"a\":\"../../secret\"}}", "key `a`: its file is not the name of one beside"),
            (b"{\"weight_map\":{\"a\":1}}", "key `a`"),
        ] {
            let error = Index::parse("i", text).unwrap_err().to_string();
            assert!(error.starts_with("i, ") && error.contains(wanted), "{error}");
        }
        let index =
            Index::parse("i", b"{\"weight_map\":{\"a\":\"x\",\"b\":\"x\"},\"metadata\":{\"total_size\":8.0}}").unwrap();
        assert_eq!((index.total_bytes, index.shards.len()), (Some(8), 1));
    }
}
