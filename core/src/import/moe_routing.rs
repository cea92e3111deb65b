//! Which experts a mixture of experts sent its tokens to: JSON lines such as `{"token":0,"layer":3,"experts":[1,6]}`.
//!
//! Lines may come in any order and leave tokens or layers out; other fields, such as gate weights, are ignored.

use serde::de::{DeserializeSeed as _, Error as _, IgnoredAny, SeqAccess};
use serde::{Deserialize, Deserializer};

use super::input::Input;
use super::seed::{Form, Seed, ValueReader};
use super::text::{Lines, json_problem, parse_line};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::{Kind, MAX_ACCESSES, Op, Tensor, Trace, TraceBuilder};
use crate::workload::routing::ExpertLog;

/// Bytes of an expert where the log is read without its model: Mixtral 8x7B in bf16, three matrices of hidden size
/// 4096 by intermediate size 14336 (its `config.json`), two bytes per element.
pub const MIXTRAL_EXPERT_BYTES: u64 = 3 * 4096 * 14336 * 2;
/// Layers and experts are counted in 16 bits: models have up to a few hundred of either.
const MOST: u64 = 1 << 16;

/// The most entries: a million tokens through 50 layers. They take 28 bytes each while they are read.
const MOST_ENTRIES: usize = 50_000_000;

const CURE: &str = "Write lines as {\"token\":0,\"layer\":3,\"experts\":[1,6]}, all numbers whole and zero or more";

/// Which experts each token used in each layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutingLog {
    /// Token and layer of each entry, ascending.
    keys: Vec<(u32, u16)>,
    /// Where the experts of each entry end.
    ends: Vec<u32>,
    experts: Vec<u16>,
    layer_count: u32,
    expert_count: u32,
}

/// One line.
#[derive(Debug, Deserialize)]
struct Line {
    token: u32,
    layer: u16,
    #[serde(deserialize_with = "experts")]
    experts: Vec<u16>,
}

/// Expert ids; the fields of a line are as long as the line allows, so they are counted as they come.
struct Experts;

impl ValueReader for Experts {
    type Value = Vec<u16>;
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of expert numbers";

    fn list<'de, A: SeqAccess<'de>>(self, mut ids: A) -> Result<Vec<u16>, A::Error> {
        let mut experts = Vec::new();
        while let Some(id) = ids.next_element()? {
            if experts.len() as u64 == MOST {
                while ids.next_element::<IgnoredAny>()?.is_some() {}
                return Err(A::Error::custom("more than 65536 experts"));
            }
            experts.push(id);
        }
        Ok(experts)
    }
}

fn experts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    Seed(Experts).deserialize(deserializer)
}

impl RoutingLog {
    /// Reads a log.
    pub fn parse(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Self, Error> {
        let mut lines = Lines::new(*input, input.text(progress)?);
        // Where each entry's experts are, and its line for errors.
        let mut entries: Vec<(u32, u16, u32, u64)> = Vec::new();
        let (mut experts, mut starts) = (Vec::<u16>::new(), vec![0u32]);
        let mut log = Self::default();
        // The last line that named each expert.
        let mut named = vec![0u64; MOST as usize];
        while let Some((line, text)) = lines.next()? {
            let bad = |place: Place, problem: String, cure: &str| Error::input(input.name, place, problem, cure);
            let entry: Line = parse_line(text)
                .map_err(|e| bad(Place::LineColumn(line, e.column() as u64), json_problem(&e), CURE))?;
            for &expert in &entry.experts {
                if std::mem::replace(&mut named[usize::from(expert)], line) == line {
                    let problem = format!("expert {expert} is listed twice");
                    return Err(bad(Place::Line(line), problem, "List each expert of a token once"));
                }
                log.expert_count = log.expert_count.max(u32::from(expert) + 1);
            }
            log.layer_count = log.layer_count.max(u32::from(entry.layer) + 1);
            if experts.len() + entry.experts.len() > MAX_ACCESSES || entries.len() >= MOST_ENTRIES {
                return Err(Error::TooLarge {
                    problem: format!("{} has more than {MOST_ENTRIES} lines or {MAX_ACCESSES} experts", input.name),
                    cure: "Give a log of fewer tokens".into(),
                });
            }
            entries.push((entry.token, entry.layer, entries.len() as u32, line));
            experts.extend(entry.experts);
            starts.push(experts.len() as u32);
        }
        entries.sort_unstable();
        if let Some([_, again]) = entries.array_windows().find(|[a, b]| (a.0, a.1) == (b.0, b.1)) {
            return Err(Error::input(
                input.name,
                Place::Line(again.3),
                format!("token {} has an earlier line for layer {}", again.0, again.1),
                "Give each token one line per layer; number the tokens of different sequences differently",
            ));
        }
        log.experts.reserve_exact(experts.len());
        for &(token, layer, entry, _) in &entries {
            let range = starts[entry as usize] as usize..starts[entry as usize + 1] as usize;
            log.experts.extend_from_slice(&experts[range]);
            log.keys.push((token, layer));
            log.ends.push(log.experts.len() as u32);
        }
        Ok(log)
    }

    /// One more than the last layer.
    pub fn layers(&self) -> u32 {
        self.layer_count
    }

    /// One more than the highest expert.
    pub fn experts(&self) -> u32 {
        self.expert_count
    }

    /// Number of entries: pairs of a token and a layer.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// One more than the last token.
    pub fn tokens(&self) -> u64 {
        self.keys.last().map_or(0, |(token, _)| u64::from(*token) + 1)
    }

    fn of(&self, entry: usize) -> &[u16] {
        let start = if entry == 0 { 0 } else { self.ends[entry - 1] as usize };
        &self.experts[start..self.ends[entry] as usize]
    }

    /// The experts of `token` in `layer`, in the order of the log; none where it has no such line.
    pub fn experts_of(&self, token: u32, layer: u16) -> &[u16] {
        self.keys.binary_search(&(token, layer)).map_or(&[], |entry| self.of(entry))
    }

    /// Token, layer and experts of every entry, by token and then layer.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u16, &[u16])> {
        self.keys.iter().enumerate().map(|(entry, (token, layer))| (*token, *layer, self.of(entry)))
    }

    /// The uses of experts of `expert_bytes` each, token by token; `input` is named in the errors.
    pub fn trace(&self, input: &str, expert_bytes: u64) -> Result<Trace, Error> {
        let mut builder = TraceBuilder::new("MoE");
        let mut index = rustc_hash::FxHashMap::default();
        for (_, layer, experts) in self.entries() {
            for &expert in experts {
                let tensor = match index.get(&(layer, expert)) {
                    Some(tensor) => *tensor,
                    None => {
                        let tensor = builder.tensor(Tensor {
                            name: format!("layers.{layer}.experts.{expert}"),
                            bytes: expert_bytes,
                            layer: Some(layer.into()),
                            stride: 1,
                            kind: Kind::Weights,
                        })?;
                        index.insert((layer, expert), tensor);
                        tensor
                    }
                };
                builder.access(tensor, Op::Matmul)?;
            }
        }
        builder.finish(input)
    }
}

impl ExpertLog for RoutingLog {
    fn experts(&self, token: u64, layer: u32) -> Result<&[u16], Error> {
        let missing = || {
            let problem =
                format!("the log, of {} tokens, has no experts for token {token} in layer {layer}", self.tokens());
            let cure = "Choose fewer tokens or a smaller batch, or give a longer log";
            Error::input("the routing log", Place::Item(token), problem, cure)
        };
        let key = u32::try_from(token).ok().zip(u16::try_from(layer).ok()).ok_or_else(missing)?;
        let experts = self.experts_of(key.0, key.1);
        if experts.is_empty() { Err(missing()) } else { Ok(experts) }
    }
}

/// Whether the first line of `head` is an object with a token, a layer and experts.
pub fn matches(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|b| *b == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(4096)];
    let has = |key: &[u8]| line.windows(key.len()).any(|part| part == key);
    line.starts_with(b"{") && has(b"\"token\"") && has(b"\"layer\"") && has(b"\"experts\"")
}

/// Reads the uses of experts. Without `expert_bytes` each is as large as Mixtral's, and a warning says so.
pub fn read(input: &Input<'_>, expert_bytes: Option<u64>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let log = RoutingLog::parse(input, progress)?;
    let mut trace = log.trace(input.name, expert_bytes.unwrap_or(MIXTRAL_EXPERT_BYTES))?;
    if expert_bytes.is_none() {
        trace.warn(format!(
            "a routing log does not say how large an expert is: each counts {MIXTRAL_EXPERT_BYTES} bytes, an expert of \
             Mixtral 8x7B in bf16"
        ));
    }
    Ok(trace)
}

/// Reads the uses of experts that are each as large as Mixtral's.
pub(super) fn read_trace(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    read(input, None, progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;

    fn parse(text: &str) -> Result<RoutingLog, Error> {
        RoutingLog::parse(&Input::new("t.jsonl", text.as_bytes()), &mut Unattended)
    }

    const GOOD: &str = "{\"token\":1,\"layer\":0,\"experts\":[2]}\n\n{\"token\":0,\"layer\":3,\"experts\":[6,1]}\r\n\
                        {\"weights\":[0.5],\"experts\":[],\"token\":0,\"layer\":1}\n{\"token\":0,\"layer\":0,\"experts\":[2,7]}";

    #[test]
    fn entries_come_by_token_and_layer() {
        let log = parse(GOOD).unwrap();
        assert_eq!((log.layers(), log.experts(), log.tokens(), log.len()), (4, 8, 2, 4));
        assert_eq!(log.experts_of(0, 3), [6, 1]);
        assert_eq!(log.experts_of(1, 0), [2]);
        assert!(log.experts_of(0, 1).is_empty() && log.experts_of(9, 9).is_empty());
        let input = Input::new("t", GOOD.as_bytes());
        assert_eq!(detect(&input).unwrap(), Format::MoeRouting);
        let trace = read(&input, None, &mut Unattended).unwrap();
        assert_eq!(trace.accesses(), [0, 1, 2, 3, 0]);
        assert_eq!(trace.tensors()[2].name, "layers.3.experts.6");
        assert_eq!(trace.tensors()[2].layer, Some(3));
        assert_eq!(trace.summary().unique_bytes, 4 * 352_321_536);
        assert!(trace.warnings()[0].contains("352321536 bytes"), "{:?}", trace.warnings());
        assert!(read(&input, Some(7), &mut Unattended).unwrap().warnings().is_empty());
    }

    #[test]
    fn broken_files_name_the_line_and_the_cure() {
        let many = format!("{{\"token\":0,\"layer\":0,\"experts\":[{}1]}}", "1,".repeat(70_000));
        for (text, wanted) in [
            ("{\"token\":0,\"layer\":0}", "line 1, column 21: missing field `experts`. Write lines as"),
            ("{\"layer\":0,\"experts\":[1]}", "missing field `token`"),
            ("{\"token\":-1,\"layer\":0,\"experts\":[1]}", "invalid value: integer `-1`"),
            ("{\"token\":0,\"layer\":65536,\"experts\":[1]}", "invalid value: integer `65536`"),
            ("{\"token\":0,\"layer\":0,\"experts\":[65536]}", "invalid value: integer `65536`"),
            ("{\"token\":0,\"layer\":0,\"experts\":[-2]}", "invalid value: integer `-2`"),
            ("{\"token\":0,\"layer\":0,\"experts\":[1.5]}", "invalid type: floating point"),
            ("{\"token\":0,\"layer\":0,\"experts\":1}", "expected a list of expert numbers"),
            ("{\"token\":0,\"layer\":0,\"experts\":[4,4]}", "line 1: expert 4 is listed twice"),
            ("{\"token\":1000000000000000000,\"layer\":0,\"experts\":[4]}", "line 1, column"),
            ("{\"token\":0,\"layer\":0,\"experts\":[4]}\n{\"token\":0,\"lay", "line 2, column"),
            (
                "{\"token\":0,\"layer\":0,\"experts\":[4]}\n\n{\"token\":0,\"layer\":0,\"experts\":[5]}",
                "line 3: token 0 has an earlier line for layer 0",
            ),
            (&many, "more than 65536 experts"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            let text = &text[..text.len().min(200)];
            assert!(error.starts_with("t.jsonl, line ") && error.contains(wanted), "{text} gave {error}");
        }
        let error = read(&Input::new("t", b"\n"), None, &mut Unattended).unwrap_err().to_string();
        assert!(error.contains("the trace has no accesses"), "{error}");
    }
}
