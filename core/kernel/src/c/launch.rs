//! CUDA's own words: which functions are kernels, with which grid they are launched, and what is in shared memory.
//!
//! The grid is written into the kernel as declarations of `gridDim_x` and its like, so that parameters decide it as
//! they decide everything else. It comes, in this order, from the user (`gridDim_x`), from a comment (`grid: ...`),
//! from a launch (`kernel<<<grid, block>>>(...)`) in the source, or from the condition that keeps threads within their
//! data.

use std::collections::{BTreeMap, BTreeSet};

use super::token::TokenKind;
use super::types::AUTO;
use super::words::{Pass, Word};

/// What a source says about its kernels.
#[derive(Debug, Clone, Default)]
pub(super) struct Launch {
    /// Functions that run on a grid.
    pub(super) kernels: BTreeSet<String>,
    /// Arrays in shared memory.
    pub(super) shared: BTreeSet<String>,
    /// The blocks that an SM shall hold at least, by kernel: the second argument of `__launch_bounds__`.
    pub(super) blocks_per_sm: BTreeMap<String, i64>,
    /// Those of the arrays in shared memory whose size a launch says.
    pub(super) dynamic: BTreeSet<String>,
    /// Arguments that a launch gives as numbers.
    pub(super) values: BTreeMap<String, i64>,
}

/// The words of a size: one for each axis.
type Sizes = Vec<Vec<Word>>;

/// Calls that `declare` writes, behind what says the size of a block and that of the grid.
pub(super) const BLOCK: &str = "__block";
/// The bytes of shared memory that a launch asks for; users give them under this name, too.
pub(super) const DYNAMIC: &str = "dynamic_shared_bytes";
/// See [`BLOCK`].
pub(super) const GRID: &str = "__grid";

/// What a launch says is not looked into where it is made of more words.
const MOST_WORDS: usize = 1000;

const AXES: [&str; 3] = ["x", "y", "z"];
/// Blocks where nobody says, by how many axes threads have. Ours: 256 threads, which the CUDA C++ Best Practices Guide
/// (12.5) calls a good start.
const BLOCKS: [&[&str]; 3] = [&["256"], &["16", "16"], &["8", "8", "4"]];

/// Reads and rewrites them.
pub(super) fn read(pass: &mut Pass) -> Launch {
    let mut launch = Launch::default();
    let host = Host::read(pass);
    keep_kernels(pass, &mut launch);
    indices(pass);
    let names: Vec<String> = launch.kernels.iter().cloned().collect();
    for name in names {
        declare(pass, &name, &host, &mut launch);
    }
    launch
}

/// A launch: `kernel<<<grid, block, shared>>>(arguments)`.
#[derive(Debug, Default)]
struct Launched {
    grid: Sizes,
    block: Sizes,
    /// Bytes of shared memory.
    shared: Option<Vec<Word>>,
    arguments: Sizes,
}

/// What the code of the host says.
#[derive(Debug, Default)]
struct Host {
    /// By kernel: its grid, its block and what it is called with.
    launches: BTreeMap<String, Launched>,
    /// Sizes and numbers by name.
    names: BTreeMap<String, Sizes>,
    /// Names that get other values later.
    changed: BTreeSet<String>,
    /// Numbers of comments.
    grid: Option<Sizes>,
    block: Option<Sizes>,
}

impl Host {
    fn read(pass: &Pass) -> Self {
        let mut host = Self::default();
        for at in 0..pass.words.len() {
            match (pass.text(at), pass.text(at + 2)) {
                // `dim3 grid(a, b);`, `dim3 grid = dim3(a, b);`, `int blocks = a;`
                ("dim3", "(" | "{") => {
                    let end = pass.behind(at + 2);
                    let inside = pass.slice(at + 3, end.saturating_sub(1));
                    host.names.insert(pass.text(at + 1).to_owned(), parts(&inside));
                }
                ("dim3", "=") if pass.text(at + 3) == "dim3" => {
                    let end = pass.behind(at + 4);
                    let inside = pass.slice(at + 5, end.saturating_sub(1));
                    host.names.insert(pass.text(at + 1).to_owned(), parts(&inside));
                }
                ("int" | "unsigned" | "size_t" | AUTO | "long", "=") => {
                    let end = pass.behind_statement(at);
                    let value = pass.slice(at + 3, end.saturating_sub(1));
                    if !value.iter().any(|word| word.is("blockIdx") || word.is("threadIdx") || word.is("{")) {
                        let mut values = parts(&value).into_iter();
                        host.names
                            .entry(pass.text(at + 1).to_owned())
                            .or_insert(vec![values.next().unwrap_or_default()]);
                        // `int m = 512, n = 1024;`
                        for other in values {
                            if let [name, is, value @ ..] = other.as_slice()
                                && is.is("=")
                            {
                                host.names.entry(name.text.clone()).or_insert(vec![value.to_vec()]);
                            }
                        }
                    }
                }
                (name, _) if changes(pass, at) => {
                    host.changed.insert(name.to_owned());
                }
                (name, "<") if pass.text(at + 1) == "<<" => {
                    let Some(close) = (at..pass.words.len()).find(|i| pass.text(*i) == ">>" && pass.text(i + 1) == ">")
                    else {
                        continue;
                    };
                    let sizes = parts(&pass.slice(at + 3, close));
                    let end = pass.behind(close + 2);
                    let arguments = parts(&pass.slice(close + 3, end.saturating_sub(1)));
                    let size = |number: usize| {
                        let words = sizes.get(number).cloned().unwrap_or_default();
                        host.sizes(&words)
                    };
                    let shared = sizes.get(2).cloned();
                    let found = Launched { grid: size(0), block: size(1), shared, arguments };
                    host.launches.entry(name.to_owned()).or_insert(found);
                }
                _ => {}
            }
        }
        let comment = |text: &Option<String>| {
            let (tokens, _) = super::token::lex(text.as_deref()?).ok()?;
            let word = pass.words.first()?;
            Some(parts(&tokens.iter().map(|token| word.with(token.kind, token.text)).collect::<Vec<_>>()))
        };
        host.grid = comment(&pass.hints.grid);
        host.block = comment(&pass.hints.block).or_else(|| pass.block.as_deref().map(parts));
        host
    }

    /// A size of a launch: `dim3(a, b)`, the name of one, or a number.
    fn sizes(&self, words: &[Word]) -> Sizes {
        match words {
            [name] if self.names.contains_key(&name.text) => self.names.get(&name.text).cloned().unwrap_or_default(),
            [dim3, open, inside @ .., _] if dim3.is("dim3") && open.is("(") => parts(inside),
            other => vec![other.to_vec()],
        }
    }

    /// The number that an argument is, where nothing that it is made of changes.
    fn constant(&self, argument: &[Word]) -> Option<i64> {
        let none = BTreeMap::new();
        let named = self.made_of(argument, &none)?;
        if named.iter().any(|word| self.changed.contains(&word.text)) {
            return None;
        }
        let all = self.resolved(argument, &none);
        super::preprocess::constant(&all.iter().map(Word::token).collect::<Vec<_>>())
    }

    /// All words that `words` are made of, through names of the host; none where these are too many, or in a circle.
    fn made_of<'w>(&'w self, words: &'w [Word], renamed: &BTreeMap<String, String>) -> Option<Vec<&'w Word>> {
        let mut all: Vec<&Word> = words.iter().collect();
        let mut seen = 0;
        while let Some(word) = all.get(seen).copied() {
            seen += 1;
            if !renamed.contains_key(&word.text) {
                all.extend(self.names.get(&word.text).into_iter().flatten().flatten().take(MOST_WORDS));
            }
            if all.len() > MOST_WORDS {
                return None;
            }
        }
        Some(all)
    }

    /// Names of the host as what they stand for, so that only arguments of the kernel and constants are left; as they are
    /// where that would be too many words.
    fn resolved(&self, words: &[Word], renamed: &BTreeMap<String, String>) -> Vec<Word> {
        if self.made_of(words, renamed).is_some() { self.spelled(words, renamed) } else { words.to_vec() }
    }

    fn spelled(&self, words: &[Word], renamed: &BTreeMap<String, String>) -> Vec<Word> {
        let mut made = Vec::new();
        for word in words {
            if let Some(name) = renamed.get(&word.text) {
                made.push(word.with(TokenKind::Name, name.clone()));
            } else if let Some([value]) = self.names.get(&word.text).map(Vec::as_slice) {
                let inner = self.spelled(value, renamed);
                let alone = inner.len() == 1;
                made.extend(word.all(if alone { "" } else { "(" }));
                made.extend(inner);
                made.extend(word.all(if alone { "" } else { ")" }));
            } else {
                made.push(word.clone());
            }
        }
        made
    }
}

/// Whether the name at `at` gets another value there, or somebody its address.
fn changes(pass: &Pass, at: usize) -> bool {
    let own = pass.words.get(at).is_some_and(|word| word.kind == TokenKind::Name);
    let before = at.checked_sub(1).map_or("", |before| pass.text(before));
    let typed =
        at.checked_sub(1).and_then(|before| pass.words.get(before)).is_some_and(|word| word.kind == TokenKind::Name);
    let after = pass.text(at + 1);
    let stored = ["=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "++", "--"].contains(&after);
    // `int m = 1, n = 2;` says what they begin with.
    own && ((stored && !typed && before != ",") || ["&", "++", "--"].contains(&before))
}

/// What commas divide, outside of brackets.
fn parts(words: &[Word]) -> Sizes {
    let (mut depth, mut made) = (0_i32, vec![Vec::new()]);
    for word in words {
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            "," if depth == 0 => {
                made.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = made.last_mut() {
            last.push(word.clone());
        }
    }
    made
}

/// Keeps what runs on the device, and leaves out the code of the host where there is a kernel.
fn keep_kernels(pass: &mut Pass, launch: &mut Launch) {
    let device = pass.words.iter().any(|word| word.is("__global__"));
    let (mut start, mut at) = (0, 0);
    let mut kept: Vec<Word> = Vec::new();
    while at < pass.words.len() {
        let ends = match pass.text(at) {
            "{" => {
                let function = pass.text(at.wrapping_sub(1)) == ")";
                at = pass.behind(at) - 1;
                function
            }
            "(" | "[" => {
                at = pass.behind(at) - 1;
                false
            }
            ";" => true,
            _ => false,
        };
        at += 1;
        if !ends && at < pass.words.len() {
            continue;
        }
        let item = pass.slice(start, at);
        start = at;
        let has = |name: &str| item.iter().any(|word| word.is(name));
        let function = item.last().is_some_and(|last| last.is("}"))
            && item.iter().position(|word| word.is("{")).is_some_and(|open| open > 0 && item[open - 1].is(")"));
        let declares = item.iter().position(|word| word.is("(")).is_some() && !function && !has("{");
        if device
            && ((function && !has("__global__") && !has("__device__"))
                || (declares && !has("const") && !has("typedef")))
        {
            continue;
        }
        let mut skip = 0;
        let mut position = 0;
        let mut bounds = None;
        while let Some(word) = item.get(position) {
            position += 1;
            if skip > 0 {
                skip -= 1;
                continue;
            }
            match word.text.as_str() {
                "__global__" | "__device__" | "__host__" | "__constant__" => {}
                "__launch_bounds__" => {
                    let close = item.iter().skip(position).position(|word| word.is(")")).unwrap_or_default();
                    let inside = item.get(position + 1..position + close).unwrap_or_default();
                    bounds = parts(inside).get(1).and_then(|own| own.first()).and_then(|own| own.text.parse().ok());
                    skip = close + 1;
                }
                "extern" if item.get(position).is_some_and(|next| next.is("__shared__")) => {}
                "__shared__" => {
                    let names = item.get(position..).unwrap_or_default();
                    let end = names.iter().position(|word| word.is(";")).unwrap_or(names.len());
                    for pair in names.get(..end).unwrap_or_default().windows(2) {
                        if let [name, next] = pair
                            && name.kind == TokenKind::Name
                            && (next.is("[") || next.is(","))
                        {
                            if has("extern") {
                                launch.dynamic.insert(name.text.clone());
                            }
                            launch.shared.insert(name.text.clone());
                        }
                    }
                    if let [.., name] = names.get(..end).unwrap_or_default()
                        && name.kind == TokenKind::Name
                    {
                        launch.shared.insert(name.text.clone());
                    }
                }
                _ => kept.push(word.clone()),
            }
        }
        if has("__global__")
            && function
            && let Some(open) = item
                .iter()
                .enumerate()
                .position(|(i, word)| word.is("(") && i > 0 && !item[i - 1].is("__launch_bounds__"))
        {
            let name = item[open - 1].text.clone();
            if let Some(blocks) = bounds {
                launch.blocks_per_sm.insert(name.clone(), blocks);
            }
            launch.kernels.insert(name);
        }
    }
    pass.words = kept;
}

/// `threadIdx.x` as the variable `threadIdx_x`.
fn indices(pass: &mut Pass) {
    let mut kept: Vec<Word> = Vec::with_capacity(pass.words.len());
    let mut at = 0;
    while let Some(word) = pass.words.get(at) {
        let own = matches!(word.text.as_str(), "threadIdx" | "blockIdx" | "blockDim" | "gridDim");
        if own && pass.text(at + 1) == "." && AXES.contains(&pass.text(at + 2)) {
            kept.push(word.with(TokenKind::Name, format!("{}_{}", word.text, pass.text(at + 2))));
            at += 3;
            continue;
        }
        kept.push(match word.text.as_str() {
            "warpSize" => word.with(TokenKind::Number, "32"),
            _ => word.clone(),
        });
        at += 1;
    }
    pass.words = kept;
}

/// Writes the grid into the body of a kernel.
fn declare(pass: &mut Pass, kernel: &str, host: &Host, launch: &mut Launch) {
    let open = (0..pass.words.len())
        .find(|at| pass.text(*at) == kernel && pass.text(at + 1) == "(" && pass.text(pass.behind(at + 1)) == "{");
    let Some(open) = open else { return };
    let place = pass.words[open].clone();
    let body = pass.behind(open + 1);
    let parameters: Vec<String> = parts(&pass.slice(open + 2, body - 1))
        .iter()
        .map(|own| {
            own.iter()
                .rev()
                .find(|word| word.kind == TokenKind::Name)
                .map_or_else(String::new, |word| word.text.clone())
        })
        .collect();
    let words = pass.slice(body, pass.behind(body));
    let uses = |name: &str, axis: usize| {
        let wanted = format!("{name}_{}", AXES[axis]);
        words.iter().any(|word| word.is(&wanted))
    };
    let axes = (0..3).rev().find(|axis| uses("threadIdx", *axis)).map_or(1, |axis| axis + 1);
    let launched = host.launches.get(kernel);
    let mut renamed = BTreeMap::new();
    for (argument, parameter) in launched.iter().flat_map(|own| own.arguments.iter()).zip(&parameters) {
        if let [name] = argument.as_slice()
            && name.kind == TokenKind::Name
        {
            renamed.insert(name.text.clone(), parameter.clone());
        }
        if let Some(value) = host.constant(argument) {
            pass.assumptions.push(format!("{parameter} = {value} (as the launch of {kernel} says)"));
            launch.values.insert(parameter.clone(), value);
        }
    }
    let given = |name: &str, axis: usize| pass.source.defines.contains_key(&format!("{name}_{}", AXES[axis]));
    let mut made = Vec::new();
    let mut stated = Vec::new();
    let put = |made: &mut Vec<Word>, name: String, value: Vec<Word>| {
        made.extend(place.all(&format!("const int {name} = (")));
        made.extend(value);
        made.extend(place.all(") ;"));
    };
    let block = host.block.as_ref().or(launched.map(|own| &own.block));
    let sized = (0..3).any(|axis| given("blockDim", axis));
    for (axis, letter) in AXES.into_iter().enumerate() {
        let value = match block {
            Some(block) => block.get(axis).map(|words| host.resolved(words, &renamed)),
            None if sized => None,
            None => {
                let size = BLOCKS[axes - 1].get(axis);
                stated.extend(size.map(|size| format!("blockDim.{} = {size}", letter)));
                size.map(|size| place.all(size))
            }
        };
        put(&mut made, format!("blockDim_{}", letter), value.unwrap_or_else(|| place.all("1")));
    }
    made.extend(place.all(&format!("{BLOCK} ( ) ;")));
    let grid = host.grid.as_ref().or(launched.map(|own| &own.grid));
    let sized = (0..3).any(|axis| given("gridDim", axis));
    for (axis, letter) in AXES.into_iter().enumerate() {
        let name = format!("gridDim_{}", letter);
        let value = match grid {
            Some(grid) => grid.get(axis).map(|words| host.resolved(words, &renamed)),
            None if sized || !uses("blockIdx", axis) => None,
            None => match limit(&words, letter) {
                Some(limit) => {
                    let text = limit.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
                    stated.push(format!("gridDim.{} = ceil(({text}) / blockDim.{})", letter, letter));
                    let mut value = place.all("( (");
                    value.extend(limit);
                    value.extend(place.all(&format!(") + blockDim_{0} - 1 ) / blockDim_{0}", letter)));
                    Some(value)
                }
                // Nothing says: a parameter, with its default.
                None if !uses("blockIdx", axis) => None,
                None => continue,
            },
        };
        put(&mut made, name, value.unwrap_or_else(|| place.all("1")));
    }
    if let Some(shared) = launched.and_then(|own| own.shared.as_ref()).filter(|shared| !shared.is_empty()) {
        put(&mut made, DYNAMIC.to_owned(), host.resolved(shared, &renamed));
    }
    made.extend(place.all(&format!("{GRID} ( ) ;")));
    if !stated.is_empty() {
        let text = format!(
            "{kernel} is launched with {} (nobody says; give the grid and the block, or a launch `{kernel}<<<grid, block>>>`)",
            stated.join(", ")
        );
        pass.assumptions.push(text);
    }
    pass.splice(body + 1, body + 1, made);
}

/// What keeps the global index of an axis within its data: `i < n` or `i >= n` with `i` made of `blockIdx`.
fn limit(words: &[Word], axis: &str) -> Option<Vec<Word>> {
    let block = format!("blockIdx_{axis}");
    let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
    // `int i = blockIdx.x * blockDim.x + threadIdx.x;`
    let mut names = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if !word.is(&block) {
            continue;
        }
        let start = (0..at).rev().find(|i| matches!(text(*i), ";" | "{" | "}")).map_or(0, |i| i + 1);
        let end = (at..words.len()).find(|i| matches!(text(*i), ";" | ",")).unwrap_or(words.len());
        let statement = words.get(start..end).unwrap_or_default();
        let thread = format!("threadIdx_{axis}");
        if statement.iter().any(|word| word.is(&thread))
            && let Some(equals) = statement.iter().position(|word| word.is("="))
            && let Some(name) = statement.get(equals.checked_sub(1)?)
        {
            names.push(name.text.clone());
        }
    }
    for (at, word) in words.iter().enumerate() {
        if !names.contains(&word.text) || !matches!(text(at + 1), "<" | ">=") {
            continue;
        }
        let end =
            (at + 2..words.len()).find(|i| matches!(text(*i), "&&" | "||" | ")" | ";" | "?")).unwrap_or(words.len());
        let limit = words.get(at + 2..end).unwrap_or_default();
        let simple = |word: &Word| {
            matches!(word.kind, TokenKind::Name | TokenKind::Number)
                || matches!(word.text.as_str(), "+" | "-" | "*" | "/")
        };
        if !limit.is_empty() && limit.iter().all(simple) {
            return Some(limit.to_vec());
        }
    }
    None
}
