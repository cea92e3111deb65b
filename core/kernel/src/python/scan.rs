//! What is checked before the parser: it recurses, and a page has 1 MiB of stack.

use std::collections::BTreeMap;

use ruff_python_ast::token::TokenKind as T;
use ruff_python_parser::Mode;
use ruff_python_parser::lexer::lex;

use crate::nest::At;
use crate::source::{MAX_DEPTH, refuse};
use accel_ground::error::Error;

/// More operators in a row are refused: each is a level of the tree that the parser makes, and lets go of by recursion.
const MAX_CHAIN: usize = 1000;
/// So are more attributes, calls and subscripts behind one another, those around them included: reading recurses.
const MAX_POSTFIX: usize = 128;

/// What nests in one bracket since the last comma.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Levels at which the parser calls itself: brackets, signs, powers, `not`, `lambda`, `if` and the like.
    deep: usize,
    /// Levels of the tree that the parser makes in a loop: sums and the like.
    long: usize,
    /// Attributes, calls and subscripts of the operand being read.
    postfix: usize,
}

/// Refuses what nests too deep for the stack.
pub(super) fn check_depth(code: &str) -> Result<(), Error> {
    let mut lexer = lex(code, Mode::Module);
    let mut levels = vec![Level::default()];
    let (mut blocks, mut tokens, mut before) = (0usize, 0usize, T::Newline);
    let mut total = Level::default();
    loop {
        let token = lexer.next_token();
        if token == T::EndOfFile {
            return Ok(());
        }
        tokens += usize::from(counts(token));
        let mut add = Level::default();
        let opens = matches!(token, T::Lpar | T::Lsqb | T::Lbrace | T::FStringStart | T::TStringStart);
        match token {
            T::Newline => {
                levels = vec![Level::default()];
                total = Level::default();
            }
            T::Indent => blocks += 1,
            T::Dedent => blocks = blocks.saturating_sub(1),
            T::Comma | T::Semi => {
                // What is deep stays: a comma between the parameters of a `lambda` ends nothing.
                if let Some(level) = levels.last_mut() {
                    total.long -= std::mem::take(&mut level.long);
                    total.postfix -= std::mem::take(&mut level.postfix);
                }
            }
            T::Rpar | T::Rsqb | T::Rbrace | T::FStringEnd | T::TStringEnd if levels.len() > 1 => {
                let level = levels.pop().unwrap_or_default();
                total.deep -= level.deep;
                total.long -= level.long;
                total.postfix -= level.postfix;
            }
            T::Not | T::Tilde | T::DoubleStar | T::Lambda | T::If | T::Else | T::Await | T::Async | T::Yield => {
                add.deep = 1
            }
            T::For | T::While | T::With | T::Def | T::Class | T::Try | T::Match | T::Case => add.deep = 1,
            T::Plus | T::Minus | T::At | T::Star if !ends_operand(before) => add.deep = 1,
            T::Dot => add.postfix = 1,
            _ if opens => add.postfix = usize::from(ends_operand(before)),
            T::Name | T::Int | T::Float | T::String | T::Colon | T::Comment | T::NonLogicalNewline => {}
            _ => {
                add.long = 1;
                if let Some(level) = levels.last_mut() {
                    total.postfix -= std::mem::take(&mut level.postfix);
                }
            }
        }
        for level in levels.last_mut().into_iter().chain([&mut total]) {
            level.deep += add.deep;
            level.long += add.long;
            level.postfix += add.postfix;
        }
        if opens {
            levels.push(Level { deep: 1, ..Level::default() });
            total.deep += 1;
        }
        if total.deep > MAX_DEPTH || blocks > MAX_DEPTH {
            let problem = format!("this nests more than {MAX_DEPTH} levels deep");
            return Err(refuse(place_of(code, tokens), problem, "Name parts of it, or split it into functions"));
        }
        if total.postfix > MAX_POSTFIX {
            let problem = format!("more than {MAX_POSTFIX} attributes, calls and subscripts behind one another");
            return Err(refuse(place_of(code, tokens), problem, "Name parts of it"));
        }
        if total.long > MAX_CHAIN {
            let problem = format!("one expression has more than {MAX_CHAIN} operators in a row");
            return Err(refuse(place_of(code, tokens), problem, "Split the statement"));
        }
        if !matches!(token, T::Comment | T::NonLogicalNewline) {
            before = token;
        }
    }
}

/// Whether an operator behind `token` stands between two operands.
fn ends_operand(token: T) -> bool {
    matches!(
        token,
        T::Name
            | T::Int
            | T::Float
            | T::Complex
            | T::String
            | T::FStringEnd
            | T::TStringEnd
            | T::Rpar
            | T::Rsqb
            | T::Rbrace
    ) || matches!(token, T::True | T::False | T::None | T::Ellipsis | T::Match | T::Case | T::Type)
}

/// Whether the lexer makes `token` of characters, not of the end of a line or of the file.
fn counts(token: T) -> bool {
    !matches!(token, T::Newline | T::NonLogicalNewline | T::Indent | T::Dedent | T::Unknown | T::EndOfFile)
}

/// Where the token of that number stands: the lexer keeps places to itself, so the shortest text that has it is looked
/// for.
fn place_of(code: &str, number: usize) -> At {
    let has = |end: usize| {
        let mut lexer = lex(code.get(..end).unwrap_or(code), Mode::Module);
        let mut tokens = 0;
        loop {
            match lexer.next_token() {
                T::EndOfFile => return false,
                token => tokens += usize::from(counts(token)),
            }
            if tokens >= number {
                return true;
            }
        }
    };
    let (mut low, mut high) = (0, code.len());
    while low < high {
        let mut middle = (low + high) / 2;
        while !code.is_char_boundary(middle) {
            middle += 1;
        }
        if has(middle) {
            // A boundary beyond the middle must not be looked at for ever.
            high = if middle < high { middle } else { low };
        } else {
            low = middle + 1;
        }
    }
    SourceLines::new(code).at(high.saturating_sub(1))
}

/// Bytes between two counts of characters.
const BLOCK: usize = 256;

/// Where lines start: places in a long source without counting from its start, or from that of a long line, each time.
#[derive(Debug)]
pub(super) struct SourceLines<'a> {
    code: &'a str,
    starts: Vec<usize>,
    /// Characters before each block.
    characters: Vec<usize>,
}

impl<'a> SourceLines<'a> {
    pub(super) fn new(code: &'a str) -> Self {
        // As Python sees it: a carriage return ends a line too, with or without a newline behind it.
        let bytes = code.as_bytes();
        let ends = bytes
            .iter()
            .enumerate()
            .filter(|(at, byte)| **byte == b'\n' || (**byte == b'\r' && bytes.get(at + 1) != Some(&b'\n')));
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        let blocks = bytes.chunks(BLOCK).scan(0, |sum, block| Some(std::mem::replace(sum, *sum + characters(block))));
        let mut counts: Vec<usize> = blocks.collect();
        counts.push(characters(bytes));
        Self { code, starts, characters: counts }
    }

    /// Characters before the byte at `offset`.
    fn before(&self, offset: usize) -> usize {
        let block = offset / BLOCK;
        let rest = self.code.as_bytes().get(block * BLOCK..offset).unwrap_or_default();
        self.characters.get(block).copied().unwrap_or_default() + characters(rest)
    }

    /// The place of the byte at `offset`.
    pub(super) fn at(&self, offset: usize) -> At {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|line| self.starts.get(line)).copied().unwrap_or_default();
        let column = self.before(offset.min(self.code.len())).saturating_sub(self.before(start));
        At { line: line as u32, column: column as u32 + 1 }
    }

    /// What comments such as `# trips: 10` say, by the line that they are about: a comment behind code is about its own
    /// line, one alone on its line about the next that is more than a comment. `key` is what stands before the colon.
    pub(super) fn comments(&self, key: &str) -> BTreeMap<u32, &'a str> {
        let mut said = BTreeMap::new();
        let mut above = None;
        for line in 0..self.starts.len() {
            let Some((code, comment)) = self.line(line).split_once('#') else {
                if let Some(value) = above.take() {
                    said.insert(line as u32 + 1, value);
                }
                continue;
            };
            let value = value_of(comment, key);
            if code.trim().is_empty() {
                above = value.or(above);
            } else if let Some(value) = value.or(above.take()) {
                said.insert(line as u32 + 1, value);
                above = None;
            }
        }
        said
    }

    /// The text of a line.
    fn line(&self, number: usize) -> &'a str {
        let start = self.starts.get(number).copied().unwrap_or(self.code.len());
        let end = self.starts.get(number + 1).copied().unwrap_or(self.code.len());
        self.code.get(start..end).unwrap_or_default()
    }
}

/// The `10` of `trips: 10`.
fn value_of<'t>(comment: &'t str, key: &str) -> Option<&'t str> {
    let (_, value) = comment.split_once(key)?;
    let value = value.trim_start().strip_prefix(':')?.trim();
    let end = value.find(|c: char| c.is_whitespace() || c == ',' || c == ';').unwrap_or(value.len());
    value.get(..end)
}

/// Characters that begin in `bytes`.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::place;

    #[test]
    fn places_are_those_of_the_whole_count() {
        let code = format!("a = 1\n# {}\nb\r\n{}", "é€x".repeat(300), "x".repeat(700));
        let lines = SourceLines::new(&code);
        for (offset, _) in code.char_indices().chain([(code.len(), ' ')]) {
            assert_eq!(lines.at(offset), place(&code, offset), "{offset}");
        }
    }
}
