//! Prompts of a server as blocks of a KV cache, in the form of the traces that Mooncake's authors published (Qin et al.,
//! "Mooncake: Trading More Storage for Less Computation", FAST 2025): JSON lines such as
//! `{"timestamp":0,"input_length":655,"output_length":52,"hash_ids":[0,1]}`.
//!
//! A hash id names a block together with all blocks before it, so a block continues the one before it in its list: the
//! blocks of all prompts make up trees. Each prompt uses its blocks in order. A token counts one byte.

use rustc_hash::FxHashMap;
use serde::de::{DeserializeSeed as _, Error as _, IgnoredAny, SeqAccess};
use serde::{Deserialize, Deserializer};

use super::input::Input;
use super::seed::{Form, Seed, ValueReader};
use super::text::{Lines, json_problem, parse_line};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::{Kind, Op, Tensor, Trace, TraceBuilder};

/// Tokens of a block: the traces' own 512 first, then the powers of two that servers use.
pub(super) const BLOCK_TOKENS: [u64; 10] = [512, 16, 32, 64, 128, 256, 8, 1024, 2048, 4096];
/// The most blocks of a prompt: 16 million tokens in blocks of 16.
const MOST_BLOCKS: usize = 1 << 20;
/// The most tokens of a prompt.
const MOST_TOKENS: u64 = 1 << 40;

const CURE: &str =
    "Write lines as {\"timestamp\":0,\"input_length\":655,\"output_length\":52,\"hash_ids\":[0,1]}, all numbers whole";

/// One line; what is decoded counts once a later prompt contains it.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    timestamp: f64,
    input_length: u64,
    #[serde(deserialize_with = "blocks")]
    hash_ids: Vec<u64>,
}

/// Ids of blocks; the fields of a line are as long as the line allows, so they are counted as they come.
struct Blocks;

impl ValueReader for Blocks {
    type Value = Vec<u64>;
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of the numbers of blocks";

    fn list<'de, A: SeqAccess<'de>>(self, mut ids: A) -> Result<Vec<u64>, A::Error> {
        let mut blocks = Vec::new();
        while let Some(id) = ids.next_element()? {
            if blocks.len() == MOST_BLOCKS {
                while ids.next_element::<IgnoredAny>()?.is_some() {}
                return Err(A::Error::custom("more than 1048576 blocks"));
            }
            blocks.push(id);
        }
        Ok(blocks)
    }
}

fn blocks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    Seed(Blocks).deserialize(deserializer)
}

/// Whether `blocks` of `block_tokens` hold a prompt of `tokens`, with its last tokens or without them where they do not
/// fill a block: servers differ.
pub(super) fn holds(blocks: u64, block_tokens: u64, tokens: u64) -> bool {
    blocks == tokens.div_ceil(block_tokens) || blocks == tokens / block_tokens
}

/// Whether the first line of `head` is an object with a length and the ids of blocks.
pub fn matches(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|b| *b == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(4096)];
    let has = |key: &[u8]| line.windows(key.len()).any(|part| part == key);
    line.starts_with(b"{") && has(b"\"hash_ids\"") && has(b"\"input_length\"")
}

/// Reads the prompts.
pub(super) fn read(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut lines = Lines::new(*input, input.text(progress)?);
    let mut builder = TraceBuilder::new("");
    let mut index: FxHashMap<u64, u32> = FxHashMap::default();
    // What each block continues.
    let mut parents: Vec<Option<u32>> = Vec::new();
    let mut block_tokens = None;
    let mut elsewhere = 0u64;
    let mut last_time = f64::NEG_INFINITY;
    let mut backwards = 0u64;
    while let Some((line, text)) = lines.next()? {
        let bad = |place: Place, problem: String, cure: &str| Error::input(input.name, place, problem, cure);
        let Line { timestamp, input_length, hash_ids } =
            parse_line(text).map_err(|e| bad(Place::LineColumn(line, e.column() as u64), json_problem(&e), CURE))?;
        if !(1..=MOST_TOKENS).contains(&input_length) {
            let problem = format!("input_length is {input_length}");
            return Err(bad(Place::Line(line), problem, "Write a whole number from 1 to 2^40"));
        }
        let blocks = hash_ids.len() as u64;
        if block_tokens.is_none() && blocks > 0 {
            block_tokens = BLOCK_TOKENS.into_iter().find(|tokens| holds(blocks, *tokens, input_length));
        }
        let size = block_tokens.unwrap_or(BLOCK_TOKENS[0]);
        if !holds(blocks, size, input_length) {
            let problem = format!("{blocks} blocks of {size} tokens do not hold a prompt of {input_length} tokens");
            return Err(bad(Place::Line(line), problem, "Give one hash id per block of the prompt, all of one size"));
        }
        builder.timed();
        backwards += u64::from(timestamp < last_time);
        last_time = timestamp;
        let mut before = None;
        for (at, &id) in (0u64..).zip(&hash_ids) {
            let tokens = size.min(input_length - at * size);
            let block = match index.get(&id) {
                Some(&block) => {
                    elsewhere += u64::from(parents[block as usize] != before);
                    builder.resize(block, tokens)?;
                    block
                }
                None => {
                    let name = id.to_string();
                    let tensor = Tensor { name, bytes: tokens, layer: None, stride: 1, kind: Kind::KvCache };
                    let block = builder.tensor(tensor)?;
                    if let Some(parent) = before {
                        builder.continues(block, parent)?;
                    }
                    index.insert(id, block);
                    parents.push(before);
                    block
                }
            };
            builder.access(block, Op::Request)?;
            before = Some(block);
        }
    }
    builder.warn(format!(
        "a token counts one byte: give the capacity in tokens (blocks have {} of them)",
        block_tokens.unwrap_or(BLOCK_TOKENS[0])
    ));
    if elsewhere > 0 {
        builder
            .warn(format!("{elsewhere} uses of a block come after another block than its first use; the first counts"));
    }
    if backwards > 0 {
        builder.warn(format!(
            "{backwards} prompts have an earlier time than the one before them; the order of the lines counts"
        ));
    }
    builder.finish(input.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::policy::{PolicyKind, Setup};
    use crate::progress::Unattended;
    use crate::sim::simulate;
    use crate::trace::NO_PARENT;

    fn read_text(text: &str) -> Result<Trace, Error> {
        read(&Input::new("t.jsonl", text.as_bytes()), &mut Unattended)
    }

    const GOOD: &str = "{\"timestamp\":0,\"input_length\":1200,\"output_length\":52,\"hash_ids\":[7,1,2]}\n\
                        {\"timestamp\":105,\"input_length\":600,\"output_length\":1,\"hash_ids\":[9,10]}\r\n\
                        {\"timestamp\":106,\"input_length\":1536,\"output_length\":3,\"hash_ids\":[7,1,4]}\n";

    #[test]
    fn prompts_share_the_blocks_of_their_prefix() {
        let trace = read_text(GOOD).unwrap();
        assert_eq!(detect(&Input::new("t", GOOD.as_bytes())).unwrap(), Format::Mooncake);
        assert_eq!(trace.accesses(), [0, 1, 2, 3, 4, 0, 1, 5]);
        assert_eq!(trace.parents(), [NO_PARENT, 0, 1, NO_PARENT, 3, 1]);
        assert_eq!(trace.sizes(), [512, 512, 176, 512, 88, 512]);
        assert!(trace.warnings()[0].contains("blocks have 512"), "{:?}", trace.warnings());
        // 1024 tokens of the third prompt are there where its prefix is kept: 1024 of 3336.
        let sizes = trace.sizes();
        let setup = Setup { parents: trace.parents(), ..Setup::new(&sizes, 2000) };
        assert_eq!(simulate(PolicyKind::Radix, &setup, &trace).unwrap().hit_bytes, 1024);
    }

    #[test]
    fn blocks_of_other_sizes() {
        let line = |tokens: u64, ids: &str| format!("{{\"input_length\":{tokens},\"hash_ids\":[{ids}]}}\n");
        let sizes = |text: String| read_text(&text).unwrap().sizes();
        assert_eq!(sizes(line(40, "1,2,3")), [16, 16, 8]);
        // Only whole blocks.
        assert_eq!(sizes(line(1300, "1,2")), [512, 512]);
        assert_eq!(sizes(line(5, "") + &line(600, "1,2")), [512, 88]);
    }

    #[test]
    fn broken_files_name_the_line_and_the_cure() {
        for (text, wanted) in [
            ("{\"input_length\":5}", "line 1, column 18: missing field `hash_ids`. Write lines as"),
            ("{\"input_length\":0,\"hash_ids\":[]}", "line 1: input_length is 0. Write"),
            ("{\"input_length\":5,\"hash_ids\":3}", "expected a list of the numbers of blocks"),
            ("{\"input_length\":5,\"hash_ids\":[-3]}", "invalid value: integer `-3`"),
            (
                "{\"input_length\":600,\"hash_ids\":[1,2]}\n{\"input_length\":600,\"hash_ids\":[1,2,3]}",
                "line 2: 3 blocks",
            ),
            ("{\"input_length\":1,\"hash_ids\":[1,2,3,4]}", "line 1: 4 blocks of 512 tokens do not hold a prompt of 1"),
            ("{\"input_length\":600,\"hash_ids\":[1,2]", "line 1, column"),
        ] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.starts_with("t.jsonl, line ") && error.contains(wanted), "{text} gave {error}");
        }
        let error = read_text("{\"input_length\":5,\"hash_ids\":[]}").unwrap_err().to_string();
        assert!(error.contains("the trace has no accesses"), "{error}");
    }
}
