//! C++ and CUDA C as C: a pass over the tokens before the parser, which reads C alone.
//!
//! A parser of C++ in Rust that is kept well and compiles to WebAssembly without a compiler of C is not to be had
//! (tree-sitter's and clang's are C and C++). What kernels use of it is little, and each piece of it has a form in C:
//! templates become their instance, references the variables or elements that they name, `std::vector` and
//! `std::span` arrays with a parameter for each size, `for (x : a)` a loop over subscripts. What has no such form is
//! refused by name. CUDA's own words are handled in [`super::launch`].

use std::collections::{BTreeMap, BTreeSet};

use super::launch::{self, Launch};
use super::token::{Hints, Token, TokenKind};
use super::types::AUTO;
use super::words::{Pass, Word};
use crate::source::{Source, refuse};
use accel_ground::error::Error;

/// What the pass leaves.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub(super) words: Vec<Word>,
    pub(super) launch: Option<Launch>,
    pub(super) assumptions: Vec<String>,
}

/// What begins the list of arguments of a template.
const TEMPLATES: [&str; 10] = [
    "template",
    "vector",
    "span",
    "array",
    "static_cast",
    "reinterpret_cast",
    "const_cast",
    "fragment",
    "initializer_list",
    "complex",
];
/// Longer sources of C++ and CUDA C are refused. Ours: far more than kernels have, and less than a second.
const MOST_WORDS: usize = 1 << 14;
/// Types of numbers, and the words that go with them.
const NUMBERS: [&str; 16] = [
    "float", "double", "int", "unsigned", "long", "short", "char", "bool", "size_t", "half", "__half", "int8_t",
    "int32_t", "int64_t", "uint32_t", "_Float16",
];
/// What C++ has, and what stands for it in a kernel that is read.
const REFUSED: [(&str, &str, &str); 9] = [
    ("class", "a class is not read", "Write a function with arrays and numbers as arguments"),
    ("operator", "operators of one's own are not read", "Write a function, or the arithmetic itself"),
    ("virtual", "virtual functions are not followed", "Call a function by its name"),
    ("push_back", "a vector that grows is not followed", "Give it its size, and assign its elements"),
    ("begin", "iterators are not followed", "Use subscripts, or `for (float x : a)`"),
    ("new", "objects made by `new` are not followed", "Declare an array, or take it as an argument"),
    ("try", "exceptions are not followed", "Leave them out of the kernel"),
    ("map", "maps are not read", "Use arrays"),
    ("cout", "output by `<<` is not read", "Leave it out of the kernel"),
];

/// The same tokens as C; none of C changes.
pub(super) fn rewrite(tokens: &[Token], source: &Source, hints: &Hints) -> Result<Rewritten, Error> {
    let word = |token: &Token| Word {
        kind: token.kind,
        text: token.text.to_owned(),
        at: token.at,
        fresh: token.fresh,
        glued: token.glued,
    };
    let words: Vec<Word> = tokens.iter().map(word).collect();
    named(&words)?;
    let mut pass = Pass { words, source, hints, types: BTreeSet::new(), assumptions: Vec::new(), block: None };
    if pass.is_opencl() {
        pass.opencl();
    }
    let has = |pass: &Pass, names: &[&str]| pass.words.iter().any(|word| names.contains(&word.text.as_str()));
    let cuda = has(&pass, &["__global__", "__device__", "threadIdx", "blockIdx"]);
    let cpp = cuda
        || has(
            &pass,
            &["::", "template", "namespace", "constexpr", "using", "auto", "nullptr", "class", "static_cast"],
        );
    if pass.words.len() > MOST_WORDS {
        // What is rewritten is looked for again and again; C has nothing to rewrite.
        let at = pass.words.get(MOST_WORDS).map(|word| word.at).unwrap_or_default();
        let problem = format!("of C++ and CUDA C at most {MOST_WORDS} words are read");
        return match cpp {
            true => Err(refuse(at, problem, "Give only the kernel and what it calls")),
            false => Ok(Rewritten { words: pass.words, ..Rewritten::default() }),
        };
    }
    if cpp {
        pass.plain_words()?;
        pass.split_closing();
        pass.blocks_around();
        pass.templates()?;
        pass.containers()?;
        pass.casts();
    }
    pass.references();
    pass.ranges()?;
    let launch = cuda.then(|| launch::read(&mut pass));
    Ok(Rewritten { words: pass.words, launch, assumptions: pass.assumptions })
}

/// Refuses vectors of one processor, by their name.
fn named(words: &[Word]) -> Result<(), Error> {
    let of = |name: &str| {
        let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        match () {
            () if begins(&["__m128", "__m256", "__m512"]) => Some("x86"),
            () if begins(&["float32x", "float64x", "float16x", "svfloat"]) => Some("Arm"),
            () => None,
        }
    };
    match words.iter().find_map(|word| Some((word, of(&word.text)?))) {
        Some((word, processor)) => {
            let problem = format!("this uses vector intrinsics of {processor}");
            let cure = "Write the loop over single elements: vectors are made of it at O2 and O3";
            Err(refuse(word.at, problem, cure))
        }
        None => Ok(()),
    }
}

impl Pass<'_> {
    /// Words with another name in C, and those that have none.
    fn plain_words(&mut self) -> Result<(), Error> {
        let mut kept: Vec<Word> = Vec::with_capacity(self.words.len());
        let mut at = 0;
        while let Some(word) = self.words.get(at) {
            let next = self.text(at + 1);
            let before = self.text(at.wrapping_sub(1));
            if let Some((_, problem, cure)) =
                REFUSED.iter().find(|(name, ..)| word.is(name) && word.kind == TokenKind::Name && before != "typename")
                && !(word.is("class") && matches!(before, "<" | ","))
                && !(word.is("begin") && before != ".")
                && !(matches!(word.text.as_str(), "map" | "cout") && before != "::")
            {
                return Err(refuse(word.at, *problem, *cure));
            }
            let captures = word.is("[") && matches!(before, "=" | "(" | "," | "return");
            let close = if captures { self.behind(at) } else { 0 };
            if captures && close <= at + 4 && matches!(self.text(close), "(" | "{") {
                let cure = "Write its body where it is called, or as a function";
                return Err(refuse(word.at, "a lambda is not followed", cure));
            }
            at += 1;
            match word.text.as_str() {
                "[" if next == "[" => at = self.behind(at - 1),
                "noexcept" | "inline" | "__forceinline__" | "__noinline__" | "typename" | "mutable" => {}
                "std" if next == "::" => at += 1,
                "constexpr" => kept.push(word.with(TokenKind::Name, "const")),
                "auto" => kept.push(word.with(TokenKind::Name, AUTO)),
                "nullptr" | "false" => kept.push(word.with(TokenKind::Number, "0")),
                "true" => kept.push(word.with(TokenKind::Number, "1")),
                "__restrict__" | "__restrict" => kept.push(word.with(TokenKind::Name, "restrict")),
                _ => kept.push(word.clone()),
            }
        }
        self.words = kept;
        Ok(())
    }

    /// `>>` that closes two lists of arguments.
    fn split_closing(&mut self) {
        let (mut depth, mut kept) = (0_usize, Vec::with_capacity(self.words.len()));
        for (at, word) in self.words.iter().enumerate() {
            let opens = word.is("<") && at > 0 && (TEMPLATES.contains(&self.text(at - 1)) || depth > 0);
            match word.text.as_str() {
                "<" if opens => depth += 1,
                ">" => depth = depth.saturating_sub(1),
                ">>" if depth >= 2 => {
                    depth -= 2;
                    kept.extend([word.with(TokenKind::Sign, ">"), word.with(TokenKind::Sign, ">")]);
                    continue;
                }
                ";" | "{" | ")" => depth = 0,
                _ => {}
            }
            kept.push(word.clone());
        }
        self.words = kept;
    }

    /// Leaves out namespaces and `extern "C"`, keeps what is in them; aliases become `typedef`.
    fn blocks_around(&mut self) {
        let mut at = 0;
        while at < self.words.len() {
            let open = match (self.text(at), self.text(at + 1), self.text(at + 2)) {
                ("using", "namespace", _) => {
                    let end = self.behind_statement(at);
                    self.splice(at, end, Vec::new());
                    continue;
                }
                ("using", name, "=") => {
                    let name = name.to_owned();
                    let end = self.behind_statement(at);
                    let first = self.words[at].clone();
                    let mut made = first.all("typedef");
                    made.extend(self.slice(at + 3, end.saturating_sub(1)));
                    made.extend(first.all(&format!("{name} ;")));
                    self.splice(at, end, made);
                    continue;
                }
                ("using", ..) => {
                    let end = self.behind_statement(at);
                    self.splice(at, end, Vec::new());
                    continue;
                }
                ("namespace", "{", _) => at + 1,
                ("namespace", _, "{") => at + 2,
                ("extern", "\"C\"", "{") => at + 2,
                ("extern", "\"C\"", _) => {
                    self.splice(at, at + 2, Vec::new());
                    continue;
                }
                _ => {
                    at += 1;
                    continue;
                }
            };
            let close = self.behind(open).saturating_sub(1);
            self.splice(close, close + 1, Vec::new());
            self.splice(at, open + 1, Vec::new());
        }
    }

    /// Templates as the instance that the source calls, or with the type of elements where it calls none.
    fn templates(&mut self) -> Result<(), Error> {
        let mut definitions: BTreeMap<String, String> = BTreeMap::new();
        let mut at = 0;
        while at < self.words.len() {
            if !self.words[at].is("template") {
                at += 1;
                continue;
            }
            let place = self.words[at].clone();
            let end = self.behind_angle(at + 1);
            let parameters = self.slice(at + 2, end.saturating_sub(1));
            self.splice(at, end, Vec::new());
            // The name of the function is what stands before its parentheses.
            let function = (at..self.words.len()).find(|i| matches!(self.text(*i), "(" | ";" | "{"));
            let function = function.and_then(|open| self.words.get(open.checked_sub(1)?)).map(|word| word.text.clone());
            let arguments = function.as_deref().and_then(|name| self.instance(name));
            for (number, parameter) in parameters.split(|word| word.is(",")).enumerate() {
                let default = parameter.iter().position(|word| word.is("=")).map(|equals| {
                    parameter
                        .get(equals + 1..)
                        .unwrap_or_default()
                        .iter()
                        .map(|word| word.text.as_str())
                        .collect::<Vec<_>>()
                        .join(" ")
                });
                let name = parameter.split(|word| word.is("=")).next().and_then(|part| part.last());
                let Some(name) = name.map(|name| name.text.clone()) else { continue };
                let is_type = parameter.first().is_some_and(|word| word.is("class")) || parameter.len() == 1;
                let given = arguments.as_ref().and_then(|all| all.get(number).cloned()).or(default);
                let value = match (given, is_type) {
                    (Some(value), _) => value,
                    (None, true) => {
                        let element = c_name(self.source.element);
                        self.assumptions.push(format!(
                            "{name} is {element} (a parameter of a template; the type of elements changes it)"
                        ));
                        element.to_owned()
                    }
                    // A number that nobody gives is a parameter of the kernel.
                    (None, false) => continue,
                };
                if let Some(before) = definitions.insert(name.clone(), value.clone()) {
                    if before != value {
                        let problem = format!("two templates call different things {name}");
                        return Err(refuse(place.at, problem, "Give one of them only"));
                    }
                    continue;
                }
                if is_type {
                    self.types.insert(name.clone());
                }
                let before = if is_type {
                    place.all(&format!("typedef {value} {name} ;"))
                } else {
                    place.all(&format!("const int {name} = {value} ;"))
                };
                let length = before.len();
                self.splice(at, at, before);
                at += length;
            }
        }
        Ok(())
    }

    /// The arguments with which the source calls the template `name`, which are left out there.
    fn instance(&mut self, name: &str) -> Option<Vec<String>> {
        let mut found = None;
        let mut at = 0;
        while at < self.words.len() {
            if self.text(at) == name && self.text(at + 1) == "<" {
                let end = self.behind_angle(at + 1);
                if matches!(self.text(end), "(" | "<<") {
                    let inside = self.slice(at + 2, end.saturating_sub(1));
                    let text = |part: &[Word]| part.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
                    found = Some(inside.split(|word| word.is(",")).map(text).collect());
                    self.splice(at + 1, end, Vec::new());
                }
            }
            at += 1;
        }
        found
    }

    /// `std::vector`, `std::span` and `std::array` as arrays.
    fn containers(&mut self) -> Result<(), Error> {
        let mut at = 0;
        while at < self.words.len() {
            let kind = self.text(at).to_owned();
            if !matches!(kind.as_str(), "vector" | "span" | "array") || self.text(at + 1) != "<" {
                at += 1;
                continue;
            }
            let place = self.words[at].clone();
            let end = self.behind_angle(at + 1);
            let mut inner = self.slice(at + 2, end.saturating_sub(1));
            let mut depth = 1;
            while matches!(inner.first().map(|word| word.text.as_str()), Some("vector" | "span")) && inner.len() > 3 {
                inner = inner.get(2..inner.len() - 1).unwrap_or_default().to_vec();
                depth += 1;
            }
            let fixed: Option<Vec<Word>> =
                inner.iter().position(|word| word.is(",")).map(|comma| inner.split_off(comma).split_off(1));
            let mut name_at = end;
            while matches!(self.text(name_at), "&" | "const" | "*" | "&&") {
                name_at += 1;
            }
            let Some(name) = self.words.get(name_at).filter(|word| word.kind == TokenKind::Name).cloned() else {
                return Err(refuse(place.at, format!("this use of std::{kind} is not read"), "Give it a name"));
            };
            let asks = (0..self.words.len()).any(|at| {
                let sizes = matches!((self.text(at + 1), self.text(at + 2)), ("." | "[", _)) && self.asks_size(at);
                self.text(at) == name.text
                    && (sizes || (self.text(at.wrapping_sub(1)) == ":" && self.text(at + 1) == ")"))
            });
            let mut made = inner;
            let behind = name_at + 1;
            // `vector<float> v(n)` or `v(n, vector<float>(m))`; arguments of functions have no parentheses.
            let (extents, stop) = match self.text(behind) {
                "(" => {
                    let close = self.behind(behind);
                    let inside = self.slice(behind + 1, close.saturating_sub(1));
                    (sizes(&inside, depth), close)
                }
                _ => (Vec::new(), behind),
            };
            // Of an argument whose size nobody asks for, the subscripts say how long it is.
            if extents.is_empty() && fixed.is_none() && !asks {
                made.extend(vec![name.with(TokenKind::Sign, "*"); depth]);
                made.push(name.clone());
                self.splice(at, stop, made);
                self.sizes_of(&name.text)?;
                at += 1;
                continue;
            }
            made.push(name.clone());
            for level in 0..depth {
                made.extend(name.all("["));
                match (extents.get(level), &fixed) {
                    (Some(extent), _) => made.extend(extent.clone()),
                    (None, Some(fixed)) => made.extend(fixed.clone()),
                    (None, None) => made.push(name.with(TokenKind::Name, size_name(&name.text, level))),
                }
                made.extend(name.all("]"));
            }
            self.splice(at, stop, made);
            self.sizes_of(&name.text)?;
            at += 1;
        }
        Ok(())
    }

    /// Whether `v.size()` or `v[i].size()` begins at `at`.
    fn asks_size(&self, at: usize) -> bool {
        let mut end = at + 1;
        while self.text(end) == "[" {
            end = self.behind(end);
        }
        self.text(end) == "." && self.text(end + 1) == "size"
    }

    /// `v.size()` as a parameter, `v.data()` as the array.
    fn sizes_of(&mut self, name: &str) -> Result<(), Error> {
        let mut at = 0;
        while at < self.words.len() {
            if self.text(at) != name {
                at += 1;
                continue;
            }
            let place = self.words[at].clone();
            let (mut end, mut level) = (at + 1, 0);
            while self.text(end) == "[" {
                end = self.behind(end);
                level += 1;
            }
            if self.text(end) == "." && self.text(end + 2) == "(" {
                match self.text(end + 1) {
                    "size" => {
                        let close = self.behind(end + 2);
                        self.splice(at, close, vec![place.with(TokenKind::Name, size_name(name, level))]);
                    }
                    "data" => {
                        let close = self.behind(end + 2);
                        self.splice(end, close, Vec::new());
                    }
                    other => {
                        let problem = format!("{name}.{other} is not followed");
                        return Err(refuse(place.at, problem, "Use subscripts, size() and data()"));
                    }
                }
            }
            at += 1;
        }
        Ok(())
    }

    fn is_type(&self, at: usize) -> bool {
        NUMBERS.contains(&self.text(at)) || self.types.contains(self.text(at))
    }

    /// `static_cast<float>(x)` and `float(x)` as `(float)(x)`.
    fn casts(&mut self) {
        let mut at = 0;
        while at < self.words.len() {
            let place = self.words[at].clone();
            if self.text(at).ends_with("_cast") && self.text(at + 1) == "<" {
                let end = self.behind_angle(at + 1);
                let mut made = place.all("(");
                made.extend(self.slice(at + 2, end.saturating_sub(1)));
                made.extend(place.all(")"));
                self.splice(at, end, made);
            } else if self.is_type(at)
                && self.text(at + 1) == "("
                && at > 0
                && (matches!(
                    self.text(at - 1),
                    "=" | "(" | "," | "return" | "+" | "-" | "*" | "/" | "?" | ":" | "<" | ">" | "["
                ) || self.text(at - 1).ends_with('='))
                && !matches!(self.text(at + 2), "*" | ")")
            {
                let mut made = place.all("(");
                made.push(place.clone());
                made.extend(place.all(")"));
                self.splice(at, at + 1, made);
                at += 2;
            } else if self.text(at) == "{"
                && at > 1
                && (self.is_type(at - 2) || self.text(at - 2) == AUTO)
                && self.words[at - 1].kind == TokenKind::Name
                && self.text(self.behind(at)) == ";"
            {
                // `int i{0};` is `int i = 0;`.
                let end = self.behind(at);
                let mut made = place.all("=");
                made.extend(self.slice(at + 1, end.saturating_sub(1)));
                self.splice(at, end, if made.len() > 1 { made } else { Vec::new() });
            }
            at += 1;
        }
    }

    /// References: to numbers as variables, to elements as the elements themselves.
    fn references(&mut self) {
        let mut at = 0;
        while at < self.words.len() {
            let binds = self.text(at) == "&"
                && at > 0
                && (self.is_type(at - 1) || matches!(self.text(at - 1), AUTO | "const") || self.text(at - 1) == "]")
                && self.words.get(at + 1).is_some_and(|word| word.kind == TokenKind::Name);
            if !binds {
                at += 1;
                continue;
            }
            let name = self.text(at + 1).to_owned();
            match self.text(at + 2) {
                // Of an argument, or in the head of `for (auto &x : a)`.
                "," | ")" | ":" => self.splice(at, at + 1, Vec::new()),
                "=" if self.text(at - 1) != "]" => {
                    // Of an element: the name stands for it up to the end of the block.
                    let end = self.behind_statement(at);
                    let value = self.slice(at + 3, end.saturating_sub(1));
                    let mut start = at - 1;
                    while start > 0 && (self.is_type(start - 1) || matches!(self.text(start - 1), "const" | AUTO)) {
                        start -= 1;
                    }
                    self.splice(start, end, Vec::new());
                    self.replace(start, &name, &value);
                    at = start;
                }
                _ => at += 1,
            }
        }
    }

    /// `for (float x : a)` as a loop over subscripts.
    fn ranges(&mut self) -> Result<(), Error> {
        let (mut at, mut number) = (0, 0);
        while at < self.words.len() {
            if self.text(at) != "for" || self.text(at + 1) != "(" {
                at += 1;
                continue;
            }
            let close = self.behind(at + 1);
            let inside = self.slice(at + 2, close.saturating_sub(1));
            let colon = inside.iter().position(|word| word.is(":"));
            let Some(colon) = colon.filter(|_| !inside.iter().any(|word| word.is(";") || word.is("?"))) else {
                at += 1;
                continue;
            };
            let place = self.words[at].clone();
            let (variable, array) = (inside.get(colon.wrapping_sub(1)), inside.get(colon + 1..).unwrap_or_default());
            let ([array], Some(variable)) = (array, variable) else {
                let cure = "Name the array first, and loop over that";
                return Err(refuse(place.at, "what this loop goes over is not a name", cure));
            };
            number += 1;
            let index = format!("__at_{number}");
            let end = self.behind_statement(close);
            let mut body = self.slice(close, end);
            let element = place.all(&format!("{} [ {index} ]", array.text));
            let mut inner = Pass {
                words: body,
                source: self.source,
                hints: self.hints,
                types: BTreeSet::new(),
                assumptions: Vec::new(),
                block: None,
            };
            inner.replace(0, &variable.text, &element);
            body = inner.words;
            let extent = self.extent_of(&array.text);
            let mut made = place.all(&format!("for ( long {index} = 0 ; {index} <"));
            made.extend(extent.unwrap_or_else(|| place.all(&size_name(&array.text, 0))));
            made.extend(place.all(&format!("; ++ {index} )")));
            made.extend(body);
            self.splice(at, end, made);
            at += 1;
        }
        Ok(())
    }

    /// The extent with which an array is declared.
    fn extent_of(&self, name: &str) -> Option<Vec<Word>> {
        let declared = (1..self.words.len())
            .find(|at| self.text(*at) == name && self.text(at + 1) == "[" && self.is_type(at - 1))?;
        let end = self.behind(declared + 1);
        Some(self.slice(declared + 2, end.saturating_sub(1)))
    }
}

/// The parameter that is the size of a vector, or of its rows.
fn size_name(name: &str, level: usize) -> String {
    if level == 0 { format!("{name}_size") } else { format!("{name}_size_{level}") }
}

/// The sizes in `n`, `n, 0.0` or `n, vector<float>(m)`.
fn sizes(inside: &[Word], depth: usize) -> Vec<Vec<Word>> {
    let comma = inside.iter().position(|word| word.is(",")).unwrap_or(inside.len());
    let mut found = vec![inside.get(..comma).unwrap_or_default().to_vec()];
    let rest = inside.get(comma + 1..).unwrap_or_default();
    if depth > 1
        && let Some(open) = rest.iter().position(|word| word.is("("))
    {
        found.extend(sizes(rest.get(open + 1..rest.len() - 1).unwrap_or_default(), depth - 1));
    }
    found
}

/// A type of elements as C writes it.
fn c_name(element: crate::nest::Element) -> &'static str {
    use crate::nest::Element::{Bf16, F8, F16, F32, F64, I8, I16, I32, I64};
    match element {
        F64 => "double",
        F32 => "float",
        F16 => "_Float16",
        Bf16 => "_Float16x",
        F8 => "_Decimal64x",
        I64 => "long",
        I32 => "int",
        I16 => "short",
        I8 => "char",
    }
}
