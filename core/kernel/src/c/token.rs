//! C source as tokens with their places, and what comments say.

use std::collections::{BTreeMap, BTreeSet};

use crate::nest::At;
use crate::source::refuse;
use accel_ground::error::Error;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name or a keyword.
    Name,
    /// A number.
    Number,
    /// A string or a character.
    Text,
    /// An operator or a bracket.
    Sign,
    /// Nothing that C knows; an error only if it is left after preprocessing.
    Bad,
}

/// A token and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    pub(super) at: At,
    /// Whether it is the first of its line.
    pub(super) fresh: bool,
    /// Whether it stands right behind the one before: `F(x)` has parameters, `F (x)` has none.
    pub(super) glued: bool,
}

impl Token<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// What comments say of the line they stand on, or of the next line if nothing else stands on theirs.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// `trips: 100` or `trips: N`, by the line of the comment.
    trips: BTreeMap<u32, String>,
    /// `probability: 0.3`, by the line of the comment.
    probability: BTreeMap<u32, f64>,
    /// Lines with code.
    code: BTreeSet<u32>,
    /// `grid: (n + 255) / 256, 2`.
    pub(super) grid: Option<String>,
    /// `block: 16, 16`.
    pub(super) block: Option<String>,
}

impl Hints {
    /// How often the loop on `line` runs.
    pub(super) fn trips(&self, line: u32) -> Option<&str> {
        self.find(&self.trips, line).map(String::as_str)
    }

    /// How often the condition on `line` holds.
    pub(super) fn probability(&self, line: u32) -> Option<f64> {
        self.find(&self.probability, line).copied()
    }

    fn find<'h, T>(&self, hints: &'h BTreeMap<u32, T>, line: u32) -> Option<&'h T> {
        let above = line.saturating_sub(1);
        hints.get(&line).or_else(|| if self.code.contains(&above) { None } else { hints.get(&above) })
    }

    fn read(&mut self, comment: &str, at: At) -> Result<(), Error> {
        for (row, text) in comment.lines().enumerate() {
            let line = at.line + row as u32;
            for (key, size) in [("grid:", &mut self.grid), ("block:", &mut self.block)] {
                if let Some((before, words)) = text.split_once(key) {
                    let formula = |c: char| c.is_ascii_alphanumeric() || "_ \t+-*/(),.".contains(c);
                    let words = words.trim_end_matches("*/").trim();
                    // Prose may speak of a grid; a size is a formula alone.
                    let alone = before.trim_matches(['/', '*', ' ', '\t']).is_empty();
                    let prose = words.split_whitespace().zip(words.split_whitespace().skip(1)).any(|(a, b)| {
                        let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                        word(a) && word(b)
                    });
                    if alone && !prose && !words.is_empty() && words.chars().all(formula) {
                        *size = Some(words.to_owned());
                    }
                }
            }
            if let Some(word) = after(text, "trips:") {
                self.trips.insert(line, word.to_owned());
            }
            let word = after(text, "probability:").filter(|word| !word.starts_with(|c: char| c.is_ascii_alphabetic()));
            if let Some(word) = word {
                let probability = word.parse().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(|| {
                    let problem = format!("the comment says that the probability is \"{word}\"");
                    refuse(At { line, ..at }, problem, "Write a number from 0 to 1, such as `probability: 0.3`")
                })?;
                self.probability.insert(line, probability);
            }
        }
        Ok(())
    }
}

/// The word behind `key` in `text`.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(key)?;
    let word = rest.trim_start();
    let end = word.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-+".contains(c)).unwrap_or(word.len());
    word.get(..end).map(|word| word.trim_end_matches('.')).filter(|word| !word.is_empty())
}

/// Signs of more than one character, longest first.
const SIGNS: [&str; 24] = [
    "...", "<<=", ">>=", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=",
    "%=", "&=", "|=", "^=", "##", "::",
];

struct Lexer<'a> {
    code: &'a str,
    /// Where it is.
    offset: usize,
    at: At,
    fresh: bool,
    glued: bool,
    tokens: Vec<Token<'a>>,
    hints: Hints,
}

/// The tokens of `code`, and what its comments say.
pub(super) fn lex(code: &str) -> Result<(Vec<Token<'_>>, Hints), Error> {
    let at = At { line: 1, column: 1 };
    let mut lexer =
        Lexer { code, offset: 0, at, fresh: true, glued: false, tokens: Vec::new(), hints: Hints::default() };
    while lexer.step()? {}
    Ok((lexer.tokens, lexer.hints))
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.code.get(self.offset..).unwrap_or_default()
    }

    /// Goes on by `bytes`, which end at the boundary of a character.
    fn skip(&mut self, bytes: usize) -> &'a str {
        let text = self.rest().get(..bytes).unwrap_or_default();
        self.offset += text.len();
        match text.rfind('\n') {
            Some(newline) => {
                self.at.line += text.bytes().filter(|byte| *byte == b'\n').count() as u32;
                self.at.column = text.get(newline + 1..).unwrap_or_default().chars().count() as u32 + 1;
            }
            None => self.at.column += text.chars().count() as u32,
        }
        text
    }

    /// Reads a token, a comment or a space; nothing at the end.
    fn step(&mut self) -> Result<bool, Error> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(false) };
        let spliced = ["\\\n", "\\\r\n"].iter().find(|splice| rest.starts_with(**splice));
        if let Some(splice) = spliced {
            self.skip(splice.len());
            self.glued = false;
        } else if first == '\n' {
            self.skip(1);
            (self.fresh, self.glued) = (true, false);
        } else if first.is_whitespace() || first == '\u{feff}' {
            self.skip(first.len_utf8());
            self.glued = false;
        } else if rest.starts_with("//") {
            let (at, length) = (self.at, rest.find('\n').unwrap_or(rest.len()));
            let comment = self.skip(length);
            self.hints.read(comment, at)?;
        } else if rest.starts_with("/*") {
            let at = self.at;
            let Some(end) = rest.get(2..).and_then(|text| text.find("*/")) else {
                return Err(refuse(at, "a comment begins here and never ends", "Close it with `*/`"));
            };
            let comment = self.skip(end + 4);
            self.hints.read(comment, at)?;
            self.glued = false;
        } else {
            self.token(first);
        }
        Ok(true)
    }

    fn token(&mut self, first: char) {
        let rest = self.rest();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let next_digit = rest.get(1..).is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()));
        let (kind, length) = if first.is_ascii_alphabetic() || first == '_' {
            (TokenKind::Name, rest.find(|c| !word(c)).unwrap_or(rest.len()))
        } else if first.is_ascii_digit() || (first == '.' && next_digit) {
            (TokenKind::Number, number(rest))
        } else if first == '"' || first == '\'' {
            match quoted(rest, first) {
                Some(length) => (TokenKind::Text, length),
                None => (TokenKind::Bad, first.len_utf8()),
            }
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (TokenKind::Sign, sign.len())
        } else if "+-*/%<>=!&|^~?:;,.()[]{}#".contains(first) {
            (TokenKind::Sign, 1)
        } else {
            (TokenKind::Bad, first.len_utf8())
        };
        let (at, fresh, glued) = (self.at, self.fresh, self.glued);
        let text = self.skip(length);
        self.tokens.push(Token { kind, text, at, fresh, glued });
        self.hints.code.insert(at.line);
        (self.fresh, self.glued) = (false, true);
    }
}

/// The length of the number at the start of `text`, with its exponent and suffix.
fn number(text: &str) -> usize {
    let mut before = ' ';
    for (offset, c) in text.char_indices() {
        let sign =
            (c == '+' || c == '-') && "eEpP".contains(before) && !(text.starts_with("0x") && "eE".contains(before));
        if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign) {
            return offset;
        }
        before = c;
    }
    text.len()
}

/// The length of the string or character at the start of `text`; none if it does not end on its line.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            '\n' if !escaped => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(offset + c.len_utf8()),
            _ => {}
        }
    }
    None
}
