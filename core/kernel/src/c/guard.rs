//! What a recursive parser must not be given, found by a scan of the tokens.
//!
//! The parser and what walks its tree recurse once for each bracket, each statement without braces in another, each
//! prefix operator, and each operator of a chain such as `a + b + c` (a tree as deep as the chain is long).

use super::token::{Token, TokenKind};
use crate::source::{MAX_DEPTH, refuse};
use accel_ground::error::Error;

/// Longer chains of operators are refused.
const MAX_CHAIN: usize = 1000;

/// What is open.
#[derive(Debug, Clone, Copy, Default)]
struct Level<'a> {
    /// The bracket that closes it.
    close: &'a str,
    /// Whether the brace only wraps the body of a loop or condition, which was counted.
    free: bool,
    /// Statements that await their bodies: `for (...) if (...)`.
    bodies: usize,
    /// Operators that hang on their right: `?`, `=`, `&&`, `||`.
    right: usize,
    /// Operators and brackets in this expression so far.
    chain: usize,
    /// The deepest chain within brackets of this expression.
    inner: usize,
    /// The deepest of the expressions before the last comma.
    before: usize,
}

impl Level<'_> {
    fn depth(&self) -> usize {
        usize::from(!self.free) + self.bodies + self.right
    }

    /// How deep a tree its expressions make.
    fn chained(&self) -> usize {
        self.before.max(self.chain + self.inner)
    }
}

/// Refuses what is nested too deep, has brackets that do not match, or is of a kind that is not read.
pub(super) fn check(tokens: &[Token]) -> Result<(), Error> {
    let mut levels = vec![Level { free: true, ..Level::default() }];
    let mut prefix = 0;
    let mut before = "";
    for (i, token) in tokens.iter().enumerate() {
        let next = tokens.get(i + 1).map_or("", |next| next.text);
        match token.text {
            "asm" | "__asm__" | "__asm" => {
                return Err(refuse(token.at, "assembly is not read", "Write it in C, or leave it out"));
            }
            "typeof" | "__typeof__" | "_Generic" => {
                let problem = format!("`{}` is not read", token.text);
                return Err(refuse(token.at, problem, "Write the type itself"));
            }
            "{" if before == ")" && levels.len() > 1 && levels.last().is_some_and(|level| level.bodies == 0) => {
                return Err(refuse(
                    token.at,
                    "a value in braces behind a type is not read",
                    "Declare a variable for it",
                ));
            }
            "{" if before == "(" => {
                return Err(refuse(
                    token.at,
                    "a block within an expression is not read",
                    "Take it out of the expression",
                ));
            }
            "::" | "template" | "class" | "namespace" | "operator" => {
                let problem = format!("`{}` is C++ of a kind that is not read", token.text);
                return Err(refuse(token.at, problem, "Write this part in C"));
            }
            _ => {}
        }
        // Prefix operators and casts in a row: whatever is not yet an operand.
        let operand = matches!(token.kind, TokenKind::Number | TokenKind::Text)
            || (token.kind == TokenKind::Name && !(before == "(" && next == ")") && !token.is("sizeof"));
        prefix = if operand || matches!(token.text, ";" | "{" | "}") { 0 } else { prefix + 1 };
        let top = levels.len() - 1;
        match token.text {
            "(" | "[" | "{" => {
                let close = [")", "]", "}"][usize::from(token.is("[")) + 2 * usize::from(token.is("{"))];
                let free = token.is("{") && levels[top].bodies > 0;
                levels[top].chain += 1;
                levels.push(Level { close, free, ..Level::default() });
            }
            ")" | "]" | "}" => {
                let level = levels[top];
                if level.close != token.text || top == 0 {
                    return Err(unmatched(token, level.close));
                }
                levels.pop();
                let outer = &mut levels[top - 1];
                outer.inner = outer.inner.max(level.chained() + 1);
                // Behind `=` it was a list of values; otherwise a statement ends.
                if token.is("}") && outer.right == 0 {
                    finish(outer, next);
                }
            }
            ";" => finish(&mut levels[top], next),
            "," => {
                let level = &mut levels[top];
                *level = Level { before: level.chained(), chain: 0, inner: 0, ..*level };
            }
            "for" | "while" | "if" | "switch" | "do" => levels[top].bodies += 1,
            ":" if levels[top].right == 0 => levels[top].bodies += 1,
            "?" | "=" | "&&" | "||" | "+=" | "-=" | "*=" | "/=" | "%=" => {
                levels[top].right += 1;
                levels[top].chain += 1;
            }
            _ if token.kind == TokenKind::Sign => levels[top].chain += 1,
            _ => {}
        }
        if levels.iter().map(Level::depth).sum::<usize>() > MAX_DEPTH || prefix > 2 * MAX_DEPTH {
            let problem = format!("this is nested more than {MAX_DEPTH} deep");
            return Err(refuse(token.at, problem, "Split it into smaller pieces"));
        }
        if levels.last().is_some_and(|level| level.chained() > MAX_CHAIN) {
            let problem = format!("this expression has more than {MAX_CHAIN} operators in a row");
            return Err(refuse(token.at, problem, "Split it into several statements"));
        }
        before = token.text;
    }
    match (levels.len(), tokens.last()) {
        (2.., Some(last)) => Err(unmatched(last, levels.last().map_or("", |level| level.close))),
        _ => Ok(()),
    }
}

fn unmatched(token: &Token, close: &str) -> Error {
    let problem = match close {
        "" => format!("`{}` closes nothing", token.text),
        close => format!("`{close}` is missing: the source has `{}` here", token.text),
    };
    refuse(token.at, problem, "Close every bracket that is opened")
}

/// The end of a statement, unless an `else` goes on with it.
fn finish(level: &mut Level, next: &str) {
    let bodies = if next == "else" { level.bodies } else { 0 };
    *level = Level { close: level.close, free: level.free, bodies, ..Level::default() };
}
