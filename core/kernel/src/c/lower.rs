//! The state of reading C: names, loops, and the nodes made so far.

use std::collections::{BTreeMap, BTreeSet};

use lang_c::ast::*;
use lang_c::span::Span;

use super::text::Text;
use super::types::Typedefs;
use super::view::{Info, Pointee, recurs};
use super::walk::{Part, assigned, walk};
use crate::expr::{Expr, Symbol};
use crate::nest::{At, Builder, Grid, Node as Step, Work};
use crate::source::{Source, refuse};
use accel_ground::error::Error;

/// Longer kernels, functions put in place of their calls included, are refused: statements and expressions.
const MAX_STEPS: usize = 1 << 21;
/// Deeper nesting of statements, expressions and calls taken together is refused.
const MAX_LEVELS: usize = 200;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Binding {
    /// A number.
    Scalar(Scalar),
    /// An array, or a pointer into one.
    Array(Pointee),
    /// A pointer that the source may move: where it pointed at first, and how far from there it is.
    Cursor(Pointee, Scalar),
    /// A pointer that points nowhere yet, to such elements.
    Pointer(crate::nest::Element),
    /// A single struct, whose fields are variables called `object.field`.
    Object,
    /// What is not read, in words.
    Other(&'static str),
}

/// A variable that is one number.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) float: bool,
    pub(super) value: IntegerValue,
    /// Whether it is a variable of the program: not a loop's own, nor a constant of the source.
    pub(super) stored: bool,
    /// How many loops stood around its declaration.
    pub(super) depth: usize,
    /// The least and the largest value of its type, if that is known.
    pub(super) range: Option<(i64, i64)>,
}

/// What is known of an integer.
#[derive(Debug, Clone)]
pub(super) enum IntegerValue {
    /// Data.
    Unknown,
    /// What parameters and loop variables decide, by a formula that cannot be written down.
    Unwritten,
    /// An expression of parameters and loop variables.
    Known(Expr),
    /// A parameter that nobody has needed yet.
    Parameter(String),
}

/// A loop around what is read now.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) var: Symbol,
    pub(super) lower: Expr,
    pub(super) upper: Expr,
    pub(super) step: Expr,
    pub(super) ascending: bool,
    /// Variables that its body assigns.
    pub(super) assigned: BTreeSet<String>,
    /// Those of them that this iteration has assigned.
    pub(super) written: BTreeSet<String>,
    /// Whether a comment says how often it runs.
    pub(super) commented: bool,
    /// Its counter, where a statement of the body moves it, which then belongs to the loop.
    pub(super) own: Option<String>,
    /// Where the `if (...) break;` starts that its range tells already.
    pub(super) leaves: Option<usize>,
}

/// A function with its name.
#[derive(Clone, Copy)]
pub(super) struct SourceFunction<'a> {
    pub(super) definition: &'a FunctionDefinition,
    pub(super) span: Span,
}

/// The state of reading a kernel.
pub(super) struct CLowering<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) text: &'a Text,
    pub(super) builder: Builder,
    pub(super) functions: BTreeMap<&'a str, SourceFunction<'a>>,
    pub(super) typedefs: Typedefs<'a>,
    /// Names, innermost block last; the first is that of the file.
    pub(super) scopes: Vec<BTreeMap<String, Binding>>,
    /// Where the scopes of this function begin.
    pub(super) base: usize,
    /// How many scopes are everyone's: those of the file and of a fragment.
    pub(super) shared: usize,
    pub(super) arrays: Vec<Info>,
    pub(super) loops: Vec<Round>,
    /// Functions that are being read.
    pub(super) calls: Vec<&'a str>,
    /// How many loops stood around the call of this function.
    pub(super) outer_loops: usize,
    /// Names that subscripts and the heads of loops use: integers, if nobody declares them.
    pub(super) integers: BTreeSet<String>,
    /// Names that are assigned somewhere.
    pub(super) assigned: BTreeSet<String>,
    pub(super) out: Vec<Step>,
    pub(super) work: Work,
    /// The grid that runs what is read.
    pub(super) grid: Option<Grid>,
    /// Bytes of shared memory that its launch asks for.
    pub(super) dynamic_shared: Option<Expr>,
    steps: usize,
    levels: usize,
}

impl<'a> CLowering<'a> {
    pub(super) fn new(source: &'a Source<'a>, text: &'a Text, defines: &BTreeMap<String, i64>) -> Self {
        Self {
            source,
            text,
            builder: Builder::new(defines),
            functions: BTreeMap::new(),
            typedefs: Typedefs::new(),
            scopes: vec![BTreeMap::new()],
            base: 0,
            shared: 1,
            arrays: Vec::new(),
            loops: Vec::new(),
            calls: Vec::new(),
            outer_loops: 0,
            integers: BTreeSet::new(),
            assigned: BTreeSet::new(),
            out: Vec::new(),
            work: Work::default(),
            grid: None,
            dynamic_shared: None,
            steps: 0,
            levels: 0,
        }
    }

    /// Runs `inside` one level deeper, if that is not too deep, and not too much in all.
    pub(super) fn deeper<T>(&mut self, at: At, inside: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            let problem = format!("the kernel has more than {MAX_STEPS} steps once calls are written out");
            return Err(refuse(at, problem, "Give a smaller kernel"));
        }
        if self.levels >= MAX_LEVELS {
            let problem = "statements, expressions and calls are nested too deep here";
            return Err(refuse(at, problem, "Split the kernel into smaller pieces"));
        }
        self.levels += 1;
        let made = inside(self);
        self.levels -= 1;
        made
    }

    // --- names ---

    /// What `name` stands for.
    pub(super) fn find(&self, name: &str) -> Option<&Binding> {
        let own = self.scopes.get(self.base..).unwrap_or_default().iter().rev();
        let shared = self.scopes.get(..self.shared.min(self.base)).unwrap_or_default().iter().rev();
        own.chain(shared).find_map(|scope| scope.get(name))
    }

    pub(super) fn find_mut(&mut self, name: &str) -> Option<&mut Binding> {
        let base = self.base.min(self.scopes.len());
        let (front, own) = self.scopes.split_at_mut(base);
        let shared = front.iter_mut().take(self.shared).rev();
        own.iter_mut().rev().chain(shared).find_map(|scope| scope.get_mut(name))
    }

    pub(super) fn scalar_mut(&mut self, name: &str) -> Option<&mut Scalar> {
        match self.find_mut(name) {
            Some(Binding::Scalar(scalar) | Binding::Cursor(_, scalar)) => Some(scalar),
            _ => None,
        }
    }

    /// Declares `name` in the innermost block.
    pub(super) fn bind(&mut self, name: &str, binding: Binding) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), binding);
        }
    }

    pub(super) fn bind_shared(&mut self, name: &str, binding: Binding) {
        if let Some(scope) = self.scopes.get_mut(0) {
            scope.insert(name.to_owned(), binding);
        }
    }

    pub(super) fn scalar(&self, float: bool, value: IntegerValue) -> Binding {
        Binding::Scalar(Scalar { float, value, stored: true, depth: self.loops.len(), range: None })
    }

    /// Makes sure that `name`, if nobody declared it, is a number: a parameter where an integer is needed, or else
    /// data.
    pub(super) fn scalar_if_undeclared(&mut self, name: &str, integer: bool) {
        if self.find(name).is_some() {
            return;
        }
        let constant = |name: &str| {
            let value = IntegerValue::Parameter(name.to_owned());
            Binding::Scalar(Scalar { float: false, value, stored: false, depth: 0, range: None })
        };
        let given = |name: &str| self.builder.given(name).is_some();
        // PolyBench's bounds of loops: of the argument `ni` if there is one, or else of the macro `NI`.
        if let Some(bound) = name.strip_prefix("_PB_").filter(|_| !given(name)) {
            let argument = bound.to_ascii_lowercase();
            let scalar = matches!(self.find(&argument), Some(Binding::Scalar(scalar)) if !scalar.float);
            let meant = if scalar { argument } else { bound.to_owned() };
            self.builder.assume(format!("{name} is {meant} (PolyBench)"));
            let binding = self.find(&meant).cloned().unwrap_or_else(|| constant(&meant));
            self.bind_shared(name, binding);
            return;
        }
        let integer = integer || self.integers.contains(name);
        if self.assigned.contains(name) && !given(name) {
            let kind = if integer { "an integer" } else { "a floating-point variable" };
            self.builder.assume(format!("{name} is not declared: {kind}"));
            let binding = self.scalar(!integer, IntegerValue::Unknown);
            // It outlives the loops around its first use.
            let binding = match binding {
                Binding::Scalar(scalar) => Binding::Scalar(Scalar { depth: 0, ..scalar }),
                other => other,
            };
            self.bind_shared(name, binding);
        } else if integer || given(name) {
            self.bind_shared(name, constant(name));
        } else {
            self.builder.assume(format!("{name} is not declared: a floating-point scalar"));
            let scalar = Scalar { float: true, value: IntegerValue::Unknown, stored: true, depth: 0, range: None };
            self.bind_shared(name, Binding::Scalar(scalar));
        }
    }

    /// Forgets what integers of these names hold.
    pub(super) fn forget(&mut self, names: &BTreeSet<String>) {
        for name in names {
            if let Some(scalar) = self.scalar_mut(name) {
                scalar.value = IntegerValue::Unknown;
            }
        }
    }

    /// Variables that something within `part` assigns.
    pub(super) fn assigned_in(&self, part: Part<'a>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        walk(part, &mut |part| {
            if let Part::Expression(expression) | Part::Head(expression) = part
                && let Some(name) = assigned(&expression.node)
            {
                names.insert(name.to_owned());
            }
        });
        names
    }

    // --- nodes ---

    /// Ends the work begun, if there is any.
    pub(super) fn flush(&mut self, at: At) {
        let mut work = std::mem::take(&mut self.work);
        if work == Work::default() {
            return;
        }
        work.at = at;
        work.carried |= self.recurring(&work);
        self.out.push(Step::Work(work));
    }

    /// Whether `work` reads what an earlier iteration of the innermost loop wrote.
    fn recurring(&self, work: &Work) -> bool {
        let Some(round) = self.loops.last() else { return false };
        let writes = work.accesses.iter().filter(|access| access.write);
        writes
            .flat_map(|write| {
                work.accesses
                    .iter()
                    .filter(|read| !read.write && read.array == write.array)
                    .map(move |read| (read, write))
            })
            .any(|(read, write)| match (&read.index, &write.index) {
                (Some(read), Some(write)) => recurs(read, write, round.var, &round.step),
                _ => true,
            })
    }

    /// The nodes that `inside` makes, instead of adding them.
    pub(super) fn collect(
        &mut self,
        at: At,
        inside: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Vec<Step>, Error> {
        let (out, work) = (std::mem::take(&mut self.out), std::mem::take(&mut self.work));
        let written = self.loops.last().map(|round| round.written.clone());
        inside(self)?;
        self.flush(at);
        if let (Some(written), Some(round)) = (written, self.loops.last_mut()) {
            round.written = written;
        }
        self.work = work;
        Ok(std::mem::replace(&mut self.out, out))
    }
}
