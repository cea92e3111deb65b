//! SentencePiece's BPE: neighbours merge into the piece with the best score until none does; what is no piece is bytes.
//!
//! Kudo and Richardson, "SentencePiece", 2018; `bpe_model.cc` of the library, whose answers the tests hold.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// What stands for a space in pieces.
pub(super) const SPACE: char = '\u{2581}';

/// Types of tokens: `llama_token_type` in llama.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of text.
    Normal,
    /// Stands for unknown text.
    Unknown,
    /// Never in a text: the beginning, the end, roles of a chat.
    Control,
    /// A piece that is always one token.
    UserDefined,
    /// Left out by the training.
    Unused,
    /// One byte, `<0x41>`.
    Byte,
}

/// The pieces. Control tokens are no pieces, so that a text cannot bring them in.
#[derive(Debug)]
pub(super) struct Spm {
    pieces: HashMap<Box<str>, (u32, f32)>,
    /// Always one token, the longest first.
    user_defined: Vec<(Box<str>, u32)>,
    bytes: Box<[u32; 256]>,
}

/// A part of the text and its neighbours; length 0 once it went into the one before.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    length: usize,
    previous: usize,
    next: usize,
    /// The token where it must stay as it is.
    frozen: Option<u32>,
}

/// Two neighbours that would be a piece together. The best score goes first, then the leftmost.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

const NONE: usize = usize::MAX;

impl Spm {
    /// From the tokens in the order of their ids. Says what is wrong where one is.
    pub(super) fn new(tokens: &[(&str, f32, Kind)]) -> Result<Self, String> {
        let mut pieces = HashMap::new();
        let mut user_defined: Vec<(Box<str>, u32)> = Vec::new();
        let mut bytes = [None; 256];
        let mut unknown = None;
        for (id, (text, score, kind)) in tokens.iter().enumerate() {
            let id = id as u32;
            match kind {
                Kind::Normal if score.is_nan() => return Err(format!("token {id} has no score")),
                Kind::Normal => {
                    pieces.entry((*text).into()).or_insert((id, *score));
                }
                // Files have spaces in them as they are.
                Kind::UserDefined if !text.is_empty() => {
                    user_defined.push((text.replace(' ', "\u{2581}").into(), id));
                }
                Kind::Byte => {
                    let value = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>'));
                    let value = value.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    let value = value.ok_or_else(|| format!("token {id} is a byte and reads {text:?}"))?;
                    bytes[usize::from(value)] = Some(id);
                }
                Kind::Unknown => unknown = Some(id),
                Kind::Control | Kind::Unused | Kind::UserDefined => {}
            }
        }
        user_defined.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let bytes = bytes.map(|id| id.or(unknown));
        if bytes.contains(&None) {
            return Err("it has neither tokens for all bytes nor one for unknown text".into());
        }
        Ok(Self { pieces, user_defined, bytes: Box::new(bytes.map(Option::unwrap_or_default)) })
    }

    /// The tokens of `text`, in which [`SPACE`] already stands for spaces.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut symbols = self.symbols(text);
        let mut pairs = BinaryHeap::new();
        for left in 0..symbols.len().saturating_sub(1) {
            self.push_pair(text, &symbols, left, left + 1, &mut pairs);
        }
        while let Some(Pair { left, right, length, .. }) = pairs.pop() {
            // A pair is stale once one of the two has merged with another.
            if symbols[left].length == 0 || symbols[right].length == 0 {
                continue;
            }
            if symbols[left].length + symbols[right].length != length {
                continue;
            }
            symbols[left].length = length;
            symbols[right].length = 0;
            let next = symbols[right].next;
            symbols[left].next = next;
            if next != NONE {
                symbols[next].previous = left;
                self.push_pair(text, &symbols, left, next, &mut pairs);
            }
            let previous = symbols[left].previous;
            if previous != NONE {
                self.push_pair(text, &symbols, previous, left, &mut pairs);
            }
        }
        let mut tokens = Vec::new();
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            let part = &text[symbol.start..symbol.start + symbol.length];
            match symbol.frozen.or_else(|| self.pieces.get(part).map(|(id, _)| *id)) {
                Some(id) => tokens.push(id),
                None => tokens.extend(part.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
        tokens
    }

    /// One symbol a character, or a whole user-defined piece.
    fn symbols(&self, text: &str) -> Vec<Symbol> {
        let mut symbols = Vec::new();
        let mut start = 0;
        while let Some(character) = text[start..].chars().next() {
            let whole = self.user_defined.iter().find(|(piece, _)| text[start..].starts_with(&**piece));
            let (length, frozen) = match whole {
                Some((piece, id)) => (piece.len(), Some(*id)),
                None => (character.len_utf8(), None),
            };
            let at = symbols.len();
            let previous = if at == 0 { NONE } else { at - 1 };
            symbols.push(Symbol { start, length, previous, next: at + 1, frozen });
            start += length;
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        symbols
    }

    fn push_pair(&self, text: &str, symbols: &[Symbol], left: usize, right: usize, pairs: &mut BinaryHeap<Pair>) {
        if symbols[left].frozen.is_some() || symbols[right].frozen.is_some() {
            return;
        }
        let length = symbols[left].length + symbols[right].length;
        let start = symbols[left].start;
        if let Some((_, score)) = self.pieces.get(&text[start..start + length]) {
            pairs.push(Pair { score: *score, left, right, length });
        }
    }
}
