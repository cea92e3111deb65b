//! Tokens that are written anew, and ways around in them.

use std::collections::BTreeSet;

use super::token::{Hints, Token, TokenKind};
use crate::nest::At;
use crate::source::Source;

/// A token that may be written anew.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) kind: TokenKind,
    pub(super) text: String,
    pub(super) at: At,
    pub(super) fresh: bool,
    pub(super) glued: bool,
}

impl Word {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(super) fn token(&self) -> Token<'_> {
        Token { kind: self.kind, text: &self.text, at: self.at, fresh: self.fresh, glued: self.glued }
    }

    /// Another word in the place of this one.
    pub(super) fn with(&self, kind: TokenKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), ..self.clone() }
    }

    /// Other words in the place of this one: names, numbers and signs, with spaces between them.
    pub(super) fn all(&self, text: &str) -> Vec<Self> {
        let kind = |word: &str| match word.chars().next() {
            Some(first) if first.is_ascii_digit() => TokenKind::Number,
            Some(first) if first.is_ascii_alphabetic() || first == '_' => TokenKind::Name,
            _ => TokenKind::Sign,
        };
        text.split_whitespace().map(|word| self.with(kind(word), word)).collect()
    }
}

/// The pass under way.
pub(super) struct Pass<'s> {
    pub(super) words: Vec<Word>,
    pub(super) source: &'s Source<'s>,
    pub(super) hints: &'s Hints,
    /// Types that templates name.
    pub(super) types: BTreeSet<String>,
    /// What was assumed.
    pub(super) assumptions: Vec<String>,
    /// The size of a block, where the source requires one.
    pub(super) block: Option<Vec<Word>>,
}

impl Pass<'_> {
    pub(super) fn text(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| word.text.as_str())
    }

    /// The place behind the bracket that closes the one at `open`.
    pub(super) fn behind(&self, open: usize) -> usize {
        let (mut depth, mut at) = (0_usize, open);
        while let Some(word) = self.words.get(at) {
            match word.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
        at
    }

    /// The place behind the `>` that closes the `<` at `open`.
    pub(super) fn behind_angle(&self, open: usize) -> usize {
        let (mut depth, mut at) = (0_usize, open);
        while let Some(word) = self.words.get(at) {
            match word.text.as_str() {
                "<" => depth += 1,
                ">" => depth = depth.saturating_sub(1),
                ";" | "{" => break,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
        at
    }

    /// The place behind the statement that begins at `start`.
    pub(super) fn behind_statement(&self, start: usize) -> usize {
        let mut at = start;
        loop {
            match self.text(at) {
                "{" => at = self.behind(at),
                "for" | "while" | "if" | "switch" => {
                    at = self.behind(at + 1);
                    continue;
                }
                "else" | "do" => {
                    at += 1;
                    continue;
                }
                _ => {
                    while at < self.words.len() && !matches!(self.text(at), ";" | "}") {
                        at = if matches!(self.text(at), "(" | "[" | "{") { self.behind(at) } else { at + 1 };
                    }
                    at = (at + 1).min(self.words.len());
                }
            }
            if self.text(at) != "else" {
                return at;
            }
        }
    }

    /// Puts `with` in the place of the words from `start` to `end`.
    pub(super) fn splice(&mut self, start: usize, end: usize, with: Vec<Word>) {
        let end = end.min(self.words.len());
        if start <= end {
            self.words.splice(start..end, with);
        }
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> Vec<Word> {
        self.words.get(start..end.min(self.words.len())).unwrap_or_default().to_vec()
    }

    /// Puts `value` for each `name` from `start` to the end of the block around it.
    pub(super) fn replace(&mut self, start: usize, name: &str, value: &[Word]) {
        let (mut depth, mut at) = (0_i64, start);
        while let Some(word) = self.words.get(at) {
            match word.text.as_str() {
                "{" => depth += 1,
                "}" if depth == 0 => return,
                "}" => depth -= 1,
                text if text == name && !matches!(self.text(at.wrapping_sub(1)), "." | "->") => {
                    let place = word.clone();
                    let mut made = place.all("(");
                    made.extend(value.iter().map(|own| place.with(own.kind, own.text.clone())));
                    made.extend(place.all(")"));
                    let length = made.len();
                    self.splice(at, at + 1, made);
                    at += length;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }
}
