//! A program as both front ends write it: loop nests over arrays, and calls of libraries.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::expr::{Expr, Symbol};

/// Extent of what nobody gave a value.
pub const DEFAULT_EXTENT: i64 = 1024;

/// A place in the source: line and column, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct At {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// The type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 64-bit floating point.
    F64,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point (IEEE).
    F16,
    /// 16-bit floating point (bfloat16).
    Bf16,
    /// 8-bit floating point, of any kind.
    F8,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
}

impl Element {
    /// The floating-point types.
    pub const FLOATING: [Self; 5] = [Self::F64, Self::F32, Self::F16, Self::Bf16, Self::F8];

    const NAMES: [(&'static str, Self); 38] = [
        ("f64", Self::F64),
        ("f32", Self::F32),
        ("f16", Self::F16),
        ("bf16", Self::Bf16),
        ("f8", Self::F8),
        ("i64", Self::I64),
        ("i32", Self::I32),
        ("i16", Self::I16),
        ("i8", Self::I8),
        ("float64", Self::F64),
        ("float32", Self::F32),
        ("float16", Self::F16),
        ("bfloat16", Self::Bf16),
        ("fp8", Self::F8),
        ("float8_e4m3fn", Self::F8),
        ("float8_e5m2", Self::F8),
        ("int64", Self::I64),
        ("int32", Self::I32),
        ("int16", Self::I16),
        ("int8", Self::I8),
        ("uint64", Self::I64),
        ("uint32", Self::I32),
        ("uint16", Self::I16),
        ("uint8", Self::I8),
        ("u64", Self::I64),
        ("u32", Self::I32),
        ("u16", Self::I16),
        ("u8", Self::I8),
        ("bool", Self::I8),
        ("double", Self::F64),
        ("float", Self::F32),
        ("single", Self::F32),
        ("half", Self::F16),
        ("long", Self::I64),
        ("int", Self::I32),
        ("short", Self::I16),
        ("char", Self::I8),
        ("byte", Self::I8),
    ];

    /// The type of that name, as NumPy, C, Rust or people write it; unsigned and boolean types are integers of their
    /// width.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| name.eq_ignore_ascii_case(n)).map(|(_, element)| *element)
    }

    /// Its short name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, element)| *element == self).map_or("f32", |(name, _)| name)
    }

    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::F8 | Self::I8 => 1,
        }
    }

    /// Whether arithmetic on it is floating-point.
    pub fn is_float(self) -> bool {
        Self::FLOATING.contains(&self)
    }
}

/// What a front end makes of source code.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// The function looked at; none for a fragment.
    pub function: Option<String>,
    /// What it does: with a grid, in loops over its blocks and their threads.
    pub program: Program,
    /// The blocks and threads that run it on a GPU.
    pub grid: Option<Grid>,
}

/// Blocks of threads that each do the same.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grid {
    /// The axes of the grid with more than one block, `z` before `x`.
    pub blocks: Vec<Axis>,
    /// The axes of a block with more than one thread, `z` before `x`; extents are numbers.
    pub threads: Vec<Axis>,
    /// What a thread does.
    pub body: Vec<Node>,
    /// Arrays that each block has in its shared memory.
    pub shared: Vec<usize>,
    /// Bytes of shared memory that are asked for at launch, and the arrays that lie in them.
    pub dynamic: Option<(Expr, Vec<usize>)>,
    /// The blocks that each processor shall hold at least, if the source says so.
    pub blocks_per_sm: Option<i64>,
    /// Variables of loops over a tile, whose elements the threads of a block share among themselves (Triton).
    pub lanes: BTreeSet<Symbol>,
    /// Threads of a block, where they are not axes of their own (Triton).
    pub threads_per_block: Option<i64>,
    /// Lines whose FLOPs are those of tensor cores.
    pub tensor_lines: BTreeSet<u32>,
}

/// An axis of a grid or of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The index along it; a symbol of its own.
    pub symbol: Symbol,
    /// How many there are.
    pub extent: Expr,
}

/// A program: what is declared, and what is done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Program {
    /// Parameters and loop variables; a [`Symbol`] is an index into it.
    pub symbols: Vec<SymbolInfo>,
    /// Arrays; an [`Access`] holds an index into it.
    pub arrays: Vec<Array>,
    /// What is done, in order.
    pub body: Vec<Node>,
    /// What was assumed, in words.
    pub assumptions: Vec<String>,
    /// Lines of loops whose rounds cores may share: `#pragma omp parallel for`, `prange`.
    pub parallel: BTreeSet<u32>,
}

/// What a symbol is.
#[derive(Debug, Clone, PartialEq)]
pub struct SymbolInfo {
    /// Its name in the source.
    pub name: String,
    /// A parameter's value; none for a loop variable.
    pub value: Option<i64>,
}

/// An array in memory, row-major, starting on a line of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its name in the source; of a temporary, what it holds.
    pub name: String,
    /// The type of its elements.
    pub element: Element,
    /// Its extents, outermost first; expressions of parameters.
    pub dims: Vec<Expr>,
    /// Whether the source never names it: an intermediate result.
    pub temporary: bool,
}

/// A step of a program.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A loop.
    Loop(Loop),
    /// A condition.
    Branch(Branch),
    /// Arithmetic and accesses.
    Work(Work),
    /// A call of a tuned library.
    Library(Library),
}

/// `for var = lower; var < upper (var > upper for a negative step); var += step`.
#[derive(Debug, Clone, PartialEq)]
pub struct Loop {
    /// Its variable; a symbol of its own.
    pub var: Symbol,
    /// The first value.
    pub lower: Expr,
    /// The first value that is too far.
    pub upper: Expr,
    /// What is added each time; an expression of parameters that is not zero.
    pub step: Expr,
    /// What is done each time.
    pub body: Vec<Node>,
    /// Where it stands.
    pub at: At,
}

/// `if`, `while` in disguise never: each arm runs at most once.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// When the first arm runs.
    pub condition: Condition,
    /// Where it holds.
    pub then: Vec<Node>,
    /// Where it does not.
    pub otherwise: Vec<Node>,
    /// Where it stands.
    pub at: At,
}

/// When an arm runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Decided by loop variables and parameters.
    Compare(Expr, Comparison, Expr),
    /// Decided by data, with a stated probability of holding.
    Chance(f64),
    /// Both.
    And(Box<Condition>, Box<Condition>),
    /// Either.
    Or(Box<Condition>, Box<Condition>),
    /// Not so.
    Not(Box<Condition>),
}

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// Whether `a` and `b` compare so.
pub fn compares(a: i64, comparison: Comparison, b: i64) -> bool {
    match comparison {
        Comparison::Less => a < b,
        Comparison::LessEqual => a <= b,
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
    }
}

/// Straight-line work: accesses in the order in which they happen, and arithmetic.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Work {
    /// Accesses of arrays, in order.
    pub accesses: Vec<Access>,
    /// Arithmetic on floating-point values.
    pub flops: Flops,
    /// Operations on integers other than loop counters: subscripts and integer data.
    pub integer_ops: u32,
    /// Those of them that compute subscripts, where the front end tells them apart (C does).
    pub subscript_ops: u32,
    /// Reads and writes of scalar variables, which take a register unless optimisation is off.
    pub scalars: Scalars,
    /// Whether a scalar or an element carries a value from one iteration of the innermost loop to the next.
    pub carried: bool,
    /// Where it stands.
    pub at: At,
}

/// Reads and writes of scalar variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scalars {
    /// Reads.
    pub reads: u32,
    /// Writes.
    pub writes: u32,
}

/// Floating-point operations by kind. Each counts as one FLOP; changing a sign and comparing are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flops {
    /// Additions and subtractions.
    pub add: u32,
    /// Multiplications.
    pub mul: u32,
    /// Divisions and remainders.
    pub div: u32,
    /// Square roots.
    pub sqrt: u32,
    /// Minima and maxima.
    pub min_max: u32,
    /// Exponentials, logarithms, trigonometric functions, powers: one each.
    pub special: u32,
}

impl Flops {
    /// None.
    pub const NONE: Self = Self { add: 0, mul: 0, div: 0, sqrt: 0, min_max: 0, special: 0 };
    /// One addition or subtraction.
    pub const ADD: Self = Self { add: 1, ..Self::NONE };
    /// One multiplication.
    pub const MUL: Self = Self { mul: 1, ..Self::NONE };
    /// One division or remainder.
    pub const DIV: Self = Self { div: 1, ..Self::NONE };
    /// One square root.
    pub const SQRT: Self = Self { sqrt: 1, ..Self::NONE };
    /// One minimum or maximum.
    pub const MIN_MAX: Self = Self { min_max: 1, ..Self::NONE };
    /// One exponential, logarithm and so on.
    pub const SPECIAL: Self = Self { special: 1, ..Self::NONE };

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            add: self.add.saturating_add(other.add),
            mul: self.mul.saturating_add(other.mul),
            div: self.div.saturating_add(other.div),
            sqrt: self.sqrt.saturating_add(other.sqrt),
            min_max: self.min_max.saturating_add(other.min_max),
            special: self.special.saturating_add(other.special),
        }
    }

    /// All of them.
    pub fn total(self) -> u64 {
        [self.add, self.mul, self.div, self.sqrt, self.min_max, self.special].iter().map(|n| u64::from(*n)).sum()
    }
}

/// A load or a store of one element.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// Which array.
    pub array: usize,
    /// Its subscripts, as many as the array has extents; none where data decide them (`a[b[i]]`).
    pub index: Option<Vec<Expr>>,
    /// Where data decide some of them: those of the first axes and of the last ones, which data do not decide
    /// (`a[b[i]][j]`: a row, and a place in it; `a[i][b[j]]`: any place in a row).
    pub known: [Vec<Expr>; 2],
    /// Whether it stores.
    pub write: bool,
    /// Where it stands.
    pub at: At,
}

impl Access {
    /// The subscripts before and behind those that data decide, which are none here; nothing where data decide none.
    pub(crate) fn known_of(subscripts: &[Option<Expr>]) -> [Vec<Expr>; 2] {
        let decided = |own: &Option<Expr>| own.is_none();
        let (Some(first), Some(last)) = (subscripts.iter().position(decided), subscripts.iter().rposition(decided))
        else {
            return Default::default();
        };
        let part = |part: Option<&[Option<Expr>]>| part.unwrap_or_default().iter().flatten().cloned().collect();
        [part(subscripts.get(..first)), part(subscripts.get(last + 1..))]
    }
}

/// A call of a tuned library: `batch` products of an `m x k` by a `k x n` matrix, or what is counted like it (a
/// convolution).
///
/// How the library orders its loops is not in the source. Counts are those of the textbook loops with the sum in a
/// register (2 m n k FLOPs, 2 m n k loads, m n stores each); traffic is that of the best blocking for each level.
#[derive(Debug, Clone, PartialEq)]
pub struct Library {
    /// What the source calls: `matmul`, `conv2d`, `einsum "bij,bjk->bik"`.
    pub name: String,
    /// How many products.
    pub batch: Expr,
    /// Rows of the result.
    pub m: Expr,
    /// Columns of the result.
    pub n: Expr,
    /// What is summed over.
    pub k: Expr,
    /// The type of its elements.
    pub element: Element,
    /// Loops that touch each element of each operand once, the result last (as stores); their work has no FLOPs.
    pub sweep: Vec<Node>,
    /// Where it stands.
    pub at: At,
}

/// Collects a program's symbols, arrays and assumptions.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    /// The program so far.
    pub program: Program,
    /// What the user gave: parameter values.
    defines: BTreeMap<String, i64>,
    parameters: BTreeMap<String, Symbol>,
    /// What was assumed: there may be as many as lines.
    assumed: BTreeSet<String>,
}

impl Builder {
    /// A builder that takes the values of parameters from `defines`.
    pub fn new(defines: &BTreeMap<String, i64>) -> Self {
        Self { defines: defines.clone(), ..Self::default() }
    }

    /// The value that the user gave to `name`.
    pub fn given(&self, name: &str) -> Option<i64> {
        self.defines.get(name).copied()
    }

    /// The parameter of that name: with the value given, or else with [`DEFAULT_EXTENT`], which becomes an assumption.
    pub fn parameter(&mut self, name: &str) -> Symbol {
        self.parameter_or(name, DEFAULT_EXTENT)
    }

    /// The parameter of that name, with a default value of its own.
    pub fn parameter_or(&mut self, name: &str, default: i64) -> Symbol {
        if let Some(symbol) = self.parameters.get(name) {
            return *symbol;
        }
        let given = self.given(name);
        if given.is_none() {
            self.assume(format!("{name} = {default} (default; define {name}=... to change it)"));
        }
        let symbol = self.symbol(name, Some(given.unwrap_or(default)));
        self.parameters.insert(name.to_owned(), symbol);
        symbol
    }

    /// A new loop variable.
    pub fn variable(&mut self, name: &str) -> Symbol {
        self.symbol(name, None)
    }

    fn symbol(&mut self, name: &str, value: Option<i64>) -> Symbol {
        let symbol = Symbol(self.program.symbols.len() as u32);
        self.program.symbols.push(SymbolInfo { name: name.to_owned(), value });
        symbol
    }

    /// Adds an array and returns its index.
    pub fn array(&mut self, array: Array) -> usize {
        self.program.arrays.push(array);
        self.program.arrays.len() - 1
    }

    /// States an assumption, once.
    pub fn assume(&mut self, assumption: impl Into<String>) {
        let assumption = assumption.into();
        if self.assumed.insert(assumption.clone()) {
            self.program.assumptions.push(assumption);
        }
    }

    /// Those names in `defines` that the program never asked for.
    pub fn unused(&self) -> Vec<&str> {
        self.defines.keys().filter(|name| !self.parameters.contains_key(*name)).map(String::as_str).collect()
    }
}

impl Program {
    /// The values of parameters by symbol; loop variables are zero.
    pub fn values(&self) -> Vec<i64> {
        self.symbols.iter().map(|symbol| symbol.value.unwrap_or_default()).collect()
    }

    /// The name of a symbol.
    pub fn name(&self, symbol: Symbol) -> String {
        self.symbols.get(symbol.0 as usize).map_or_else(|| "?".to_owned(), |info| info.name.clone())
    }
}
