//! The part of the C preprocessor that kernels need: macros and conditional lines. Files are not included.

use std::collections::{BTreeMap, BTreeSet};

use super::token::{Token, TokenKind, lex};
use crate::nest::At;
use crate::source::{MAX_DEPTH, refuse};
use accel_ground::error::Error;

/// Macros may add this many tokens.
const MAX_EXPANSION: usize = 1 << 20;

/// What PolyBench's header defines, for kernels pasted without it: arrays take the extents of the function's arguments.
const POLYBENCH: &str = "
#ifdef DATA_TYPE_IS_FLOAT
#define DATA_TYPE float
#elif defined(DATA_TYPE_IS_INT)
#define DATA_TYPE int
#else
#define DATA_TYPE double
#endif
#define SCALAR_VAL(x) x
#define SQRT_FUN(x) sqrt(x)
#define EXP_FUN(x) exp(x)
#define POW_FUN(x, y) pow(x, y)
#define POLYBENCH_1D(v, a, i) v[i]
#define POLYBENCH_2D(v, a, b, i, j) v[i][j]
#define POLYBENCH_3D(v, a, b, c, i, j, k) v[i][j][k]
#define POLYBENCH_4D(v, a, b, c, d, i, j, k, l) v[i][j][k][l]
#define POLYBENCH_5D(v, a, b, c, d, e, i, j, k, l, m) v[i][j][k][l][m]
#define POLYBENCH_1D_ARRAY_DECL(v, t, a, i) t v[i]
#define POLYBENCH_2D_ARRAY_DECL(v, t, a, b, i, j) t v[i][j]
#define POLYBENCH_3D_ARRAY_DECL(v, t, a, b, c, i, j, k) t v[i][j][k]
#define POLYBENCH_4D_ARRAY_DECL(v, t, a, b, c, d, i, j, k, l) t v[i][j][k][l]
#define POLYBENCH_5D_ARRAY_DECL(v, t, a, b, c, d, e, i, j, k, l, m) t v[i][j][k][l][m]
#define POLYBENCH_ARRAY(v) v
#define POLYBENCH_FREE_ARRAY(v)
#define polybench_prevent_dce(x) x
#define polybench_start_instruments
#define polybench_stop_instruments
#define polybench_print_instruments
#define POLYBENCH_DUMP_START
#define POLYBENCH_DUMP_FINISH
#define POLYBENCH_DUMP_BEGIN(s)
#define POLYBENCH_DUMP_END(s)
";

/// Macros that loop generators define by a ternary, and that are known as functions here.
const ROUNDING: [&str; 2] = ["floord", "ceild"];

/// What preprocessing leaves.
#[derive(Debug, Default)]
pub(super) struct Preprocessed<'a> {
    pub(super) tokens: Vec<Token<'a>>,
    /// Macros that are whole numbers: they stay in the text as names, so that formulas can speak of them.
    pub(super) values: BTreeMap<&'a str, i64>,
    /// Lines of `#pragma scop`.
    pub(super) scops: Vec<u32>,
    /// Lines of pragmas that share the rounds of the loop behind them among cores.
    pub(super) shares: Vec<u32>,
    pub(super) assumptions: Vec<String>,
}

#[derive(Debug, Clone)]
struct Macro<'a> {
    parameters: Option<Vec<&'a str>>,
    body: Vec<Token<'a>>,
    /// Whether it is one of [`POLYBENCH`].
    built_in: bool,
}

/// An `#if` that is open.
struct Branch {
    at: At,
    /// Whether what stands around it is read.
    outside: bool,
    /// Whether this arm is read.
    active: bool,
    /// Whether an arm was read.
    done: bool,
}

struct Preprocessor<'a, 'd> {
    defines: &'d BTreeMap<String, i64>,
    macros: BTreeMap<&'a str, Macro<'a>>,
    branches: Vec<Branch>,
    out: Preprocessed<'a>,
    /// Tokens made by macros.
    expanded: usize,
    built_in: bool,
    /// Names in conditions that nobody defined.
    unknown: BTreeSet<&'a str>,
}

/// Runs the directives of `tokens` and replaces their macros; `defines` win over `#define`.
pub(super) fn preprocess<'a>(tokens: &[Token<'a>], defines: &BTreeMap<String, i64>) -> Result<Preprocessed<'a>, Error> {
    let mut preprocessor = Preprocessor {
        defines,
        macros: BTreeMap::new(),
        branches: Vec::new(),
        out: Preprocessed::default(),
        expanded: 0,
        built_in: true,
        unknown: BTreeSet::new(),
    };
    let known = |t: &Token| t.text.starts_with("POLYBENCH_") || t.text.ends_with("_FUN") || t.text.starts_with("_PB_");
    if tokens.iter().any(|t| known(t) || t.is("DATA_TYPE") || t.is("SCALAR_VAL")) {
        preprocessor.lines(&lex(POLYBENCH)?.0)?;
        // What these lines ask for is asked of the user, not of the source.
        preprocessor.unknown.clear();
    }
    preprocessor.built_in = false;
    preprocessor.lines(tokens)?;
    if let Some(open) = preprocessor.branches.last() {
        return Err(refuse(open.at, "this condition is never closed", "Add `#endif`"));
    }
    let Preprocessor { mut out, unknown, .. } = preprocessor;
    for name in unknown {
        out.assumptions.push(format!("{name} counts as not defined where `#if` asks for it"));
    }
    match out.tokens.iter().find(|token| token.kind == TokenKind::Bad) {
        None => Ok(out),
        Some(bad) => {
            let what = match bad.text {
                "\"" | "'" => "a quotation mark is not closed on its line".to_owned(),
                text => format!("{:?} means nothing in C", text),
            };
            Err(refuse(bad.at, what, "Remove or correct it"))
        }
    }
}

/// The end of the line of directives or of text that begins at `start`.
fn line_end(tokens: &[Token], start: usize) -> usize {
    (start + 1..tokens.len()).find(|i| tokens[*i].fresh).unwrap_or(tokens.len())
}

impl<'a> Preprocessor<'a, '_> {
    fn active(&self) -> bool {
        self.branches.last().is_none_or(|branch| branch.active)
    }

    fn lines(&mut self, tokens: &[Token<'a>]) -> Result<(), Error> {
        let directive = |token: &Token| token.fresh && token.is("#");
        let mut start = 0;
        while let Some(first) = tokens.get(start) {
            let end;
            if directive(first) {
                end = line_end(tokens, start);
                self.directive(first.at, tokens.get(start + 1..end).unwrap_or_default())?;
            } else {
                // The arguments of a macro may go over lines, so text is read up to the next directive.
                end = (start..tokens.len()).find(|i| directive(&tokens[*i])).unwrap_or(tokens.len());
                if self.active() {
                    let mut out = std::mem::take(&mut self.out.tokens);
                    self.expand(tokens.get(start..end).unwrap_or_default(), &mut Vec::new(), &mut out)?;
                    self.out.tokens = out;
                }
            }
            start = end;
        }
        Ok(())
    }

    fn directive(&mut self, at: At, line: &[Token<'a>]) -> Result<(), Error> {
        let Some((name, rest)) = line.split_first() else { return Ok(()) };
        match name.text {
            "if" | "ifdef" | "ifndef" => {
                let outside = self.active();
                let active = outside && self.holds(name, rest)?;
                self.branches.push(Branch { at, outside, active, done: active });
            }
            "elif" | "else" => {
                let Some(branch) = self.branches.last() else { return Err(lonely(at, name.text)) };
                let holds = branch.outside && !branch.done && (name.is("else") || self.holds(name, rest)?);
                if let Some(branch) = self.branches.last_mut() {
                    (branch.active, branch.done) = (holds, branch.done || holds);
                }
            }
            "endif" => {
                self.branches.pop().ok_or_else(|| lonely(at, name.text))?;
            }
            _ if !self.active() => {}
            "define" => self.define(at, rest)?,
            "undef" => {
                if let Some(name) = rest.first() {
                    self.macros.remove(name.text);
                    self.out.values.remove(name.text);
                }
            }
            "include" => {
                let file: String = rest.iter().map(|token| token.text).collect();
                self.out.assumptions.push(format!("#include {file} is not read"));
            }
            "pragma" => self.pragma(at, rest),
            "error" => return Err(refuse(at, "the source refuses to be compiled here", "Define what it asks for")),
            "warning" | "line" | "ident" => {}
            other => {
                let problem = format!("`#{other}` is not known");
                return Err(refuse(name.at, problem, "Remove the line"));
            }
        }
        Ok(())
    }

    fn pragma(&mut self, at: At, line: &[Token]) {
        match line.first().map_or("", |token| token.text) {
            "scop" => self.out.scops.push(at.line),
            // These change no count.
            "endscop" | "once" | "unroll" | "ivdep" | "GCC" | "clang" | "STDC" | "nounroll" => {}
            "omp" if line.iter().any(|token| token.is("target")) => {
                let text = format!("#pragma omp target on line {} is ignored: the device asked for runs it", at.line);
                self.out.assumptions.push(text);
            }
            "omp" if line.iter().any(|token| token.is("for")) => {
                let text = format!(
                    "#pragma omp on line {}: counts are those of all threads together; cores share the loop where more than \
                     one is asked for",
                    at.line
                );
                self.out.assumptions.push(text);
                self.out.shares.push(at.line);
            }
            first => {
                let text = format!("#pragma {first} on line {} is ignored: counts are those of one thread", at.line);
                self.out.assumptions.push(text);
            }
        }
    }

    fn define(&mut self, at: At, line: &[Token<'a>]) -> Result<(), Error> {
        let Some((name, rest)) = line.split_first().filter(|(name, _)| name.kind == TokenKind::Name) else {
            return Err(refuse(at, "`#define` names nothing", "Write `#define N 1024`"));
        };
        let name = name.text;
        let mut parameters = None;
        let mut body = rest;
        if let Some((open, rest)) = rest.split_first().filter(|(open, _)| open.is("(") && open.glued) {
            let Some(close) = rest.iter().position(|token| token.is(")")) else {
                return Err(refuse(open.at, "the parameters of this macro never end", "Close them with `)`"));
            };
            let (inside, after) = rest.split_at(close);
            let names: Vec<&str> = inside.iter().map(|token| token.text).filter(|text| *text != ",").collect();
            if names.contains(&"...") {
                return Err(refuse(open.at, "macros with any number of arguments are not read", "Write it out"));
            }
            parameters = Some(names);
            body = after.get(1..).unwrap_or_default();
        }
        if parameters.is_none() && self.defines.contains_key(name) {
            return Ok(());
        }
        if parameters.is_some() && ROUNDING.contains(&name) {
            return Ok(());
        }
        if parameters.is_none()
            && let Some(value) = whole_number(body)
        {
            self.macros.remove(name);
            if self.out.values.insert(name, value).is_some_and(|before| before != value) {
                let problem = format!("{name} has another value already");
                return Err(refuse(at, problem, "Keep one `#define` of it, or put the others behind `#ifdef`"));
            }
            return Ok(());
        }
        self.out.values.remove(name);
        self.macros.insert(name, Macro { parameters, body: body.to_vec(), built_in: self.built_in });
        Ok(())
    }

    fn expand(
        &mut self,
        input: &[Token<'a>],
        inside: &mut Vec<&'a str>,
        out: &mut Vec<Token<'a>>,
    ) -> Result<(), Error> {
        let mut next = 0;
        while let Some(token) = input.get(next) {
            next += 1;
            let found = self.macros.get(token.text).filter(|_| token.kind == TokenKind::Name);
            let called = input.get(next).is_some_and(|after| after.is("("));
            let Some(found) = found.filter(|found| found.parameters.is_none() || called).cloned() else {
                out.push(*token);
                continue;
            };
            if inside.contains(&token.text) || inside.len() >= MAX_DEPTH {
                let problem = format!("the macro {} expands to itself, or too deep", token.text);
                return Err(refuse(token.at, problem, "Write what it stands for"));
            }
            let stated = self.defines.keys().any(|name| name.starts_with("DATA_TYPE_IS_"));
            if found.built_in && token.is("DATA_TYPE") && !inside.contains(&"DATA_TYPE") && !stated {
                let text = "DATA_TYPE is double (PolyBench's default; define DATA_TYPE=float to change it)";
                if !self.out.assumptions.iter().any(|own| own == text) {
                    self.out.assumptions.push(text.to_owned());
                }
            }
            let mut made = Vec::new();
            match &found.parameters {
                None => made.extend(found.body.iter().map(|body| Token { at: token.at, ..*body })),
                Some(parameters) => {
                    let (arguments, end) = arguments(token, input, next)?;
                    next = end;
                    made = self.substitute(token, &found, parameters, &arguments, inside)?;
                }
            }
            self.spend(token, made.len())?;
            inside.push(token.text);
            self.expand(&made, inside, out)?;
            inside.pop();
        }
        Ok(())
    }

    /// The body of a macro with its arguments, which are expanded first, in their places.
    fn substitute(
        &mut self,
        call: &Token<'a>,
        found: &Macro<'a>,
        parameters: &[&'a str],
        arguments: &[&[Token<'a>]],
        inside: &mut Vec<&'a str>,
    ) -> Result<Vec<Token<'a>>, Error> {
        let none = parameters.is_empty() && arguments.iter().all(|argument| argument.is_empty());
        if parameters.len() != arguments.len() && !none {
            let problem =
                format!("the macro {} takes {} arguments, not {}", call.text, parameters.len(), arguments.len());
            return Err(refuse(call.at, problem, "Give as many as it takes"));
        }
        if found.body.iter().any(|token| token.is("##") || token.is("#")) {
            let problem = format!("the macro {} makes names or text from pieces", call.text);
            return Err(refuse(call.at, problem, "Write what it stands for"));
        }
        let mut values = Vec::new();
        for argument in arguments {
            let mut value = Vec::new();
            self.expand(argument, inside, &mut value)?;
            self.spend(call, value.len())?;
            values.push(value);
        }
        let mut made = Vec::new();
        for token in &found.body {
            let value = parameters.iter().position(|name| token.is(name)).and_then(|at| values.get(at));
            match value {
                Some(value) => made.extend_from_slice(value),
                None => made.push(Token { at: call.at, ..*token }),
            }
            if made.len() > MAX_EXPANSION {
                self.spend(call, made.len())?;
            }
        }
        Ok(made)
    }

    fn spend(&mut self, at: &Token, tokens: usize) -> Result<(), Error> {
        self.expanded += tokens;
        if self.expanded > MAX_EXPANSION {
            let problem = format!("macros make more than {MAX_EXPANSION} tokens, the last of them {}", at.text);
            return Err(refuse(at.at, problem, "Write what they stand for"));
        }
        Ok(())
    }

    /// Whether the line of an `#if`, `#ifdef`, `#ifndef` or `#elif` holds.
    fn holds(&mut self, directive: &Token, line: &[Token<'a>]) -> Result<bool, Error> {
        if directive.is("ifdef") || directive.is("ifndef") {
            let defined = line.first().is_some_and(|name| self.defined(name.text));
            return Ok(defined == directive.is("ifdef"));
        }
        // `defined` first: its argument is not expanded.
        let mut asked = Vec::new();
        let mut rest = line;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if !first.is("defined") {
                asked.push(*first);
                continue;
            }
            let name = rest.iter().find(|token| token.kind == TokenKind::Name);
            let value = if name.is_some_and(|name| self.defined(name.text)) { "1" } else { "0" };
            let taken = if rest.first().is_some_and(|open| open.is("(")) { 3 } else { 1 };
            rest = rest.get(taken..).unwrap_or_default();
            asked.push(Token { kind: TokenKind::Number, text: value, ..*first });
        }
        let mut tokens = Vec::new();
        self.expand(&asked, &mut Vec::new(), &mut tokens)?;
        for token in tokens.iter().filter(|token| token.kind == TokenKind::Name) {
            if self.value(token.text).is_none() {
                self.unknown.insert(token.text);
            }
        }
        let mut asked =
            Asked { tokens: &tokens, next: 0, depth: 0, value: &|name| self.value(name).unwrap_or_default() };
        match asked.binary(0).filter(|_| asked.next == tokens.len()) {
            Some(value) => Ok(value != 0),
            None => {
                Err(refuse(directive.at, "this condition cannot be read", "Use whole numbers, names and `defined`"))
            }
        }
    }

    fn value(&self, name: &str) -> Option<i64> {
        self.defines.get(name).or_else(|| self.out.values.get(name)).copied()
    }

    fn defined(&mut self, name: &'a str) -> bool {
        let known = self.value(name).is_some() || self.macros.get(name).is_some_and(|found| !found.built_in);
        if !known {
            self.unknown.insert(name);
        }
        known
    }
}

fn lonely(at: At, name: &str) -> Error {
    refuse(at, format!("`#{name}` has no `#if` before it"), "Remove it, or add the `#if`")
}

/// The arguments of the macro `call`, whose opening parenthesis is at `open`, and where they end.
fn arguments<'t, 'a>(
    call: &Token<'a>,
    input: &'t [Token<'a>],
    open: usize,
) -> Result<(Vec<&'t [Token<'a>]>, usize), Error> {
    let mut arguments = Vec::new();
    let (mut depth, mut start) = (0_usize, open + 1);
    for (at, token) in input.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 || (depth == 1 && token.is(",")) {
            arguments.push(input.get(start..at).unwrap_or_default());
            start = at + 1;
        }
        if depth == 0 {
            return Ok((arguments, at + 1));
        }
    }
    Err(refuse(call.at, format!("the arguments of {} never end", call.text), "Close them with `)`"))
}

/// The whole number that `body` is, in parentheses or not.
fn whole_number(body: &[Token]) -> Option<i64> {
    match body {
        [number] if number.kind == TokenKind::Number => integer(number.text),
        [minus, number] if minus.is("-") && number.kind == TokenKind::Number => integer(number.text)?.checked_neg(),
        [open, inside @ .., close] if open.is("(") && close.is(")") && inside.len() <= 2 => whole_number(inside),
        _ => None,
    }
}

/// The value of an integer literal.
pub(super) fn integer(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(['u', 'U', 'l', 'L']);
    let (digits, radix) = match digits.get(..2) {
        Some("0x" | "0X") => (digits.get(2..)?, 16),
        Some("0b" | "0B") => (digits.get(2..)?, 2),
        _ if digits.len() > 1 && digits.starts_with('0') => (digits.get(1..)?, 8),
        _ => (digits, 10),
    };
    i64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']))
}

/// The value of an expression of whole numbers.
pub(super) fn constant(tokens: &[Token]) -> Option<i64> {
    if tokens.iter().any(|token| token.kind == TokenKind::Name) {
        return None;
    }
    let mut asked = Asked { tokens, next: 0, depth: 0, value: &|_| 0 };
    asked.binary(0).filter(|_| asked.next == tokens.len())
}

/// The condition of an `#if`.
struct Asked<'t, 'a> {
    tokens: &'t [Token<'a>],
    next: usize,
    depth: usize,
    value: &'t dyn Fn(&str) -> i64,
}

impl Asked<'_, '_> {
    fn sign(&self) -> &str {
        self.tokens.get(self.next).map_or("", |token| token.text)
    }

    /// An expression of operators that bind at least as tightly as `least`; nothing if it cannot be read.
    fn binary(&mut self, least: usize) -> Option<i64> {
        const LEVELS: [&[&str]; 7] =
            [&["||"], &["&&"], &["==", "!="], &["<", "<=", ">", ">="], &["<<", ">>"], &["+", "-"], &["*", "/", "%"]];
        let mut left = self.unary()?;
        loop {
            let sign = self.sign().to_owned();
            let level = LEVELS.iter().position(|signs| signs.contains(&sign.as_str()));
            let Some(level) = level.filter(|level| *level >= least) else { return Some(left) };
            self.next += 1;
            let right = self.binary(level + 1)?;
            left = match sign.as_str() {
                "||" => i64::from(left != 0 || right != 0),
                "&&" => i64::from(left != 0 && right != 0),
                "==" => i64::from(left == right),
                "!=" => i64::from(left != right),
                "<" => i64::from(left < right),
                "<=" => i64::from(left <= right),
                ">" => i64::from(left > right),
                ">=" => i64::from(left >= right),
                "<<" => left.checked_mul(1_i64.checked_shl(u32::try_from(right).ok()?).filter(|by| *by > 0)?)?,
                ">>" => left.checked_shr(u32::try_from(right).ok()?)?,
                "+" => left.checked_add(right)?,
                "-" => left.checked_sub(right)?,
                "*" => left.checked_mul(right)?,
                "/" => left.checked_div(right)?,
                _ => left.checked_rem(right)?,
            };
        }
    }

    fn unary(&mut self) -> Option<i64> {
        let token = *self.tokens.get(self.next)?;
        self.next += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = match (token.kind, token.text) {
            (_, "!") => i64::from(self.unary()? == 0),
            (_, "-") => self.unary()?.checked_neg()?,
            (_, "+") => self.unary()?,
            (_, "(") => {
                let value = self.binary(0)?;
                if self.sign() != ")" {
                    return None;
                }
                self.next += 1;
                value
            }
            (TokenKind::Number, text) => integer(text)?,
            (TokenKind::Name, name) => (self.value)(name),
            _ => return None,
        };
        self.depth -= 1;
        Some(value)
    }
}
