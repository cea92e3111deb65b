//! Tokens put together as one C file for the parser, and the way back from its offsets to places in the source.

use std::collections::{BTreeMap, BTreeSet};

use lang_c::ast::TranslationUnit;
use lang_c::driver::{Config, Flavor, SyntaxError, parse_preprocessed};

use super::launch::Launch;
use super::preprocess::Preprocessed;
use super::token::{Hints, Token, TokenKind};
use super::types::AUTO;
use super::words::Word;
use super::{dialect, guard, preprocess, token};
use crate::nest::At;
use crate::source::{Source, check_length, refuse};
use accel_ground::error::Error;

/// The name of the function around a fragment.
pub(super) const FRAGMENT: &str = "__fragment";

/// Types of the standard headers, which are not read.
const TYPES: [(&str, &str); 36] = [
    // `types` looks at the value instead.
    (AUTO, "int"),
    ("half", "_Float16"),
    ("__half", "_Float16"),
    ("float16_t", "_Float16"),
    // No C type is bfloat16: `types` takes this name, which no compiler has, for it.
    ("__nv_bfloat16", "_Float16x"),
    ("__bf16", "_Float16x"),
    ("nv_bfloat16", "_Float16x"),
    // The same for 8 bits.
    ("__nv_fp8_e4m3", "_Decimal64x"),
    ("__nv_fp8_e5m2", "_Decimal64x"),
    ("half2", "struct { _Float16 x, y; }"),
    ("__half2", "struct { _Float16 x, y; }"),
    ("float2", "struct { float x, y; }"),
    ("float3", "struct { float x, y, z; }"),
    ("float4", "struct { float x, y, z, w; }"),
    ("double2", "struct { double x, y; }"),
    ("int4", "struct { int x, y, z, w; }"),
    ("size_t", "unsigned long"),
    ("ssize_t", "long"),
    ("ptrdiff_t", "long"),
    ("intptr_t", "long"),
    ("uintptr_t", "unsigned long"),
    ("int8_t", "signed char"),
    ("int16_t", "short"),
    ("int32_t", "int"),
    ("int64_t", "long"),
    ("uint8_t", "unsigned char"),
    ("uint16_t", "unsigned short"),
    ("uint32_t", "unsigned int"),
    ("uint64_t", "unsigned long"),
    ("uint", "unsigned int"),
    ("float32_t", "float"),
    ("float64_t", "double"),
    ("bool", "_Bool"),
    ("FILE", "void"),
    ("va_list", "void *"),
    ("time_t", "long"),
];

/// A parsed file.
pub(super) struct Text {
    pub(super) unit: TranslationUnit,
    /// Whether the source is a fragment: what it does is the body of [`FRAGMENT`].
    pub(super) fragment: bool,
    pub(super) hints: Hints,
    pub(super) values: BTreeMap<String, i64>,
    pub(super) scops: Vec<u32>,
    /// See [`Preprocessed`].
    pub(super) shares: Vec<u32>,
    pub(super) assumptions: Vec<String>,
    /// What a CUDA source says about its kernels.
    pub(super) launch: Option<Launch>,
    /// Every name in the source.
    pub(super) names: BTreeSet<String>,
    places: Places,
}

/// Where tokens begin, and where they stood in the source.
#[derive(Default)]
struct Places(Vec<(usize, At)>);

impl Places {
    fn at(&self, offset: usize) -> At {
        let next = self.0.partition_point(|(start, _)| *start <= offset);
        self.0.get(next.saturating_sub(1)).map_or(At { line: 1, column: 1 }, |(_, at)| *at)
    }
}

impl Text {
    /// Preprocesses and parses.
    pub(super) fn read(source: &Source) -> Result<Self, Error> {
        check_length(source.code)?;
        let (all, hints) = token::lex(source.code)?;
        let Preprocessed { tokens, values, scops, shares, mut assumptions } =
            preprocess::preprocess(&all, source.defines)?;
        let rewritten = dialect::rewrite(&strip_attributes(tokens), source, &hints)?;
        let tokens: Vec<Token> = rewritten.words.iter().map(Word::token).collect();
        assumptions.extend(rewritten.assumptions);
        guard::check(&tokens)?;
        let arranged = Arranged::new(&tokens);
        let (code, places) = arranged.write(&tokens);
        let config = Config { cpp_command: String::new(), cpp_options: Vec::new(), flavor: Flavor::GnuC11 };
        let parse = parse_preprocessed(&config, code).map_err(|error| syntax(&error, &tokens, &places))?;
        if tokens.is_empty() {
            return Err(refuse(At { line: 1, column: 1 }, "there is no code", "Give a function or a loop nest in C"));
        }
        assumptions.dedup();
        Ok(Self {
            unit: parse.unit,
            fragment: !arranged.statements.is_empty(),
            hints,
            values: values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .chain(rewritten.launch.iter().flat_map(|launch| launch.values.clone()))
                .collect(),
            scops,
            shares,
            assumptions,
            launch: rewritten.launch,
            names: all.iter().filter(|t| t.kind == TokenKind::Name).map(|token| token.text.to_owned()).collect(),
            places,
        })
    }

    /// The place in the source of what stands at `offset` of the parsed text.
    pub(super) fn at(&self, offset: usize) -> At {
        self.places.at(offset)
    }
}

/// Leaves out `__attribute__((...))` and `__extension__`, which do not change what is counted; but for the size that OpenCL's
/// `reqd_work_group_size` gives a block.
fn strip_attributes(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        match token.text {
            "__extension__" => {}
            "__attribute__" | "__attribute" | "__declspec" | "_Alignas" | "alignas" => {
                let mut depth = 0_usize;
                let mut left_out = vec![token];
                while let Some(inside) = rest.next_if(|inside| depth > 0 || inside.is("(")) {
                    match inside.text {
                        "(" => depth += 1,
                        ")" => depth -= 1,
                        _ => {}
                    }
                    left_out.push(inside);
                    if depth == 0 {
                        break;
                    }
                }
                if left_out.iter().any(|token| token.is("reqd_work_group_size")) {
                    kept.append(&mut left_out);
                }
            }
            _ => kept.push(token),
        }
    }
    kept
}

/// Runs of tokens: what stands outside of functions, and what belongs into one.
#[derive(Default)]
struct Arranged {
    outside: Vec<(usize, usize)>,
    statements: Vec<(usize, usize)>,
    /// Type names that the source uses and does not define.
    types: Vec<(&'static str, &'static str)>,
}

impl Arranged {
    fn new(tokens: &[Token]) -> Self {
        let typedefs = typedefs(tokens);
        let used: BTreeSet<&str> = tokens.iter().map(|token| token.text).collect();
        let types: Vec<_> =
            TYPES.into_iter().filter(|(name, _)| used.contains(name) && !typedefs.contains(name)).collect();
        let mut items = Vec::new();
        let (mut start, mut depth) = (0, 0_usize);
        for (i, token) in tokens.iter().enumerate() {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let next = tokens.get(i + 1).map_or("", |next| next.text);
            let ends = match token.text {
                ";" => depth == 0,
                "}" => depth == 0 && (braces_of_code(&tokens[start..=i]) && !matches!(next, "else" | "while")),
                _ => false,
            };
            if ends || i + 1 == tokens.len() {
                items.push((start, i + 1));
                start = i + 1;
            }
        }
        let known = |name: &str| typedefs.contains(name) || types.iter().any(|(own, _)| *own == name);
        let is_statement = |(start, end): &(usize, usize)| statement(&tokens[*start..*end], &known);
        if !items.iter().any(is_statement) {
            return Self { outside: items, statements: Vec::new(), types };
        }
        // In a fragment, declarations belong to the statements around them.
        let outside = |(start, end): &(usize, usize)| {
            let item = &tokens[*start..*end];
            item.first().is_some_and(|first| first.is("typedef")) || (function(item) && !statement(item, &known))
        };
        let (outside, statements) = items.into_iter().partition(outside);
        Self { outside, statements, types }
    }

    fn write(&self, tokens: &[Token]) -> (String, Places) {
        let mut code = String::new();
        for (name, meaning) in &self.types {
            code.push_str(&format!("typedef {meaning} {name};\n"));
        }
        let mut places = Places::default();
        let put = |code: &mut String, places: &mut Places, items: &[(usize, usize)]| {
            for token in items.iter().flat_map(|(start, end)| &tokens[*start..*end]) {
                places.0.push((code.len(), token.at));
                code.push_str(token.text);
                code.push(' ');
            }
        };
        put(&mut code, &mut places, &self.outside);
        if !self.statements.is_empty() {
            code.push_str(&format!("void {FRAGMENT}(void) {{ "));
            put(&mut code, &mut places, &self.statements);
            // What is missing at the end is missing behind the last token.
            code.push('}');
        }
        (code, places)
    }
}

/// The names that `typedef` makes.
fn typedefs<'a>(tokens: &[Token<'a>]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let mut open = false;
    for (i, token) in tokens.iter().enumerate() {
        open = (open || token.is("typedef")) && !token.is(";");
        let ends = tokens.get(i + 1).is_some_and(|next| matches!(next.text, ";" | "[" | ")" | ","));
        if open && ends && token.kind == TokenKind::Name {
            names.insert(token.text);
        }
    }
    names
}

/// Whether the brace that ends `item` ends a block of code rather than a type or a list of values.
fn braces_of_code(item: &[Token]) -> bool {
    let open = item.iter().position(|token| token.is("{")).unwrap_or_default();
    let before = item.get(open.wrapping_sub(1)).map_or("", |token| token.text);
    let first = item.first().map_or("", |token| token.text);
    open == 0
        || matches!(before, ")" | "else" | "do" | ":")
        || matches!(first, "for" | "while" | "if" | "do" | "switch")
}

/// Whether `item` is a function with its body.
fn function(item: &[Token]) -> bool {
    item.last().is_some_and(|last| last.is("}")) && item.len() > 1 && braces_of_code(item)
}

const TYPE_WORDS: [&str; 30] = [
    "typedef",
    "static",
    "extern",
    "const",
    "volatile",
    "register",
    "inline",
    "__inline",
    "__inline__",
    "void",
    "char",
    "short",
    "int",
    "long",
    "float",
    "double",
    "signed",
    "unsigned",
    "_Bool",
    "_Complex",
    "struct",
    "union",
    "enum",
    "auto",
    "_Noreturn",
    "_Static_assert",
    "_Thread_local",
    "restrict",
    "_Float16",
    "_Atomic",
];

/// Whether `item`, outside of functions, is something to do rather than a declaration or a function.
fn statement(item: &[Token], known: &dyn Fn(&str) -> bool) -> bool {
    let Some(first) = item.first() else { return false };
    let second = item.get(1);
    let second_is = |text: &str| second.is_some_and(|token| token.is(text));
    if first.is(";") {
        return false;
    }
    if first.kind != TokenKind::Name {
        return true;
    }
    if TYPE_WORDS.contains(&first.text) || known(first.text) {
        return false;
    }
    match first.text {
        "for" | "while" | "do" | "if" | "switch" | "return" | "goto" | "break" | "continue" | "case" | "default" => {
            true
        }
        // `f(x) { ... }` of old C, or a call.
        _ if second_is("(") => !function(item),
        // `type * name` or `a * b`: only a declaration makes sense.
        _ if second_is("*") => false,
        _ => second.is_none_or(|token| token.kind != TokenKind::Name),
    }
}

fn syntax(error: &SyntaxError, tokens: &[Token], places: &Places) -> Error {
    let next = places.0.partition_point(|(start, _)| *start < error.offset);
    let place = places.0.get(next).filter(|(start, _)| *start <= error.offset + 1);
    let mut wanted: Vec<&str> = error
        .expected
        .iter()
        .copied()
        .filter(|text| !text.starts_with('[') && !text.starts_with('_') && !text.trim().is_empty() && *text != "#")
        .collect();
    wanted.sort_unstable();
    let expected = match wanted.as_slice() {
        _ if wanted.contains(&";") => "`;`, or more of the expression before it".to_owned(),
        _ if wanted.contains(&")") && wanted.len() > 6 => "`)`, or more of the expression before it".to_owned(),
        [] => "something else".to_owned(),
        [one] => format!("`{one}`"),
        many if many.len() > 6 => "an expression, a statement or a declaration".to_owned(),
        many => many.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(" or "),
    };
    let Some((_, at)) = place else {
        let at = tokens.last().map_or(At { line: 1, column: 1 }, |token| token.at);
        return refuse(at, format!("the source ends here; expected {expected}"), "Complete it");
    };
    let index = tokens.iter().position(|token| token.at == *at).unwrap_or_default();
    let found = tokens.get(index).map_or("", |token| token.text);
    let before = index.checked_sub(1).and_then(|before| tokens.get(before));
    let two_names = |before: &&Token| {
        before.kind == TokenKind::Name && tokens.get(index).is_some_and(|t| t.kind == TokenKind::Name)
    };
    let cure = match before.filter(two_names) {
        Some(before) => format!("Correct it; if {0} is a type, add `typedef double {0};`", before.text),
        None => "Correct the syntax".to_owned(),
    };
    refuse(*at, format!("`{found}` is not C here; expected {expected}"), cure)
}
