//! Statements of C as nodes of a program.

use std::collections::{BTreeMap, BTreeSet};

use lang_c::ast::*;
use lang_c::span::{Node, Span};

use super::text::Text;
use super::types::{self, Base, Dim, Type, Typedefs};
use super::view::{Info, Pointee, recurs};
use super::walk::{Part, assigned, walk};
use crate::expr::{Expr, Symbol};
use crate::nest::{At, Branch, Builder, Condition, Work};
use crate::nest::{Comparison, Node as Step};
use crate::source::{MAX_DEPTH, Source, refuse};
use accel_core::error::Error;

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
    /// A pointer that points nowhere yet, to such elements.
    Pointer(crate::nest::Element),
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
            Some(Binding::Scalar(scalar)) => Some(scalar),
            _ => None,
        }
    }

    /// Declares `name` in the innermost block.
    pub(super) fn bind(&mut self, name: &str, binding: Binding) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), binding);
        }
    }

    fn bind_shared(&mut self, name: &str, binding: Binding) {
        if let Some(scope) = self.scopes.get_mut(0) {
            scope.insert(name.to_owned(), binding);
        }
    }

    pub(super) fn scalar(&self, float: bool, value: IntegerValue) -> Binding {
        Binding::Scalar(Scalar { float, value, stored: true, depth: self.loops.len(), range: None })
    }

    /// Makes sure that `name`, if nobody declared it, is a number: a parameter where an integer is needed, or else data.
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

    // --- statements ---

    /// Reads a statement; `tail` tells whether nothing of the function or loop around it follows.
    pub(super) fn statement(&mut self, statement: &'a Node<Statement>, tail: bool) -> Result<(), Error> {
        let at = self.text.at(statement.span.start);
        self.deeper(at, |own| own.statement_at(statement, tail, at))
    }

    fn statement_at(&mut self, statement: &'a Node<Statement>, tail: bool, at: At) -> Result<(), Error> {
        match &statement.node {
            Statement::Labeled(labeled) => match &labeled.node.label.node {
                Label::Identifier(_) => self.statement(&labeled.node.statement, tail),
                _ => Err(refuse(at, "this label stands outside of a switch", "Put it directly into the switch")),
            },
            Statement::Compound(items) => {
                self.scopes.push(BTreeMap::new());
                let made = self.block(items, tail);
                self.scopes.pop();
                made
            }
            Statement::Expression(None) => Ok(()),
            Statement::Expression(Some(expression)) => {
                self.effect(expression)?;
                self.flush(at);
                Ok(())
            }
            Statement::If(branch) => self.branch(&branch.node, &[], tail, at),
            Statement::Switch(switch) => self.switch(&switch.node, tail, at),
            Statement::While(repeat) => self.repeat(&repeat.node.expression, &repeat.node.statement, true, at),
            Statement::DoWhile(repeat) => {
                // `do { ... } while (0)` runs once.
                if matches!(self.integer(&repeat.node.expression, false), Ok(Some(Expr::Const(0)))) {
                    return self.statement(&repeat.node.statement, false);
                }
                self.repeat(&repeat.node.expression, &repeat.node.statement, false, at)
            }
            Statement::For(repeat) => self.for_loop(&repeat.node, at),
            Statement::Goto(_) => Err(refuse(at, "`goto` is not followed", "Write it as a loop or a condition")),
            Statement::Continue if !tail || self.loops.len() <= self.outer_loops => Err(refuse(
                at,
                "what this `continue` leaves out cannot be seen",
                "Put the rest of the loop into an `if`",
            )),
            Statement::Continue => Ok(()),
            Statement::Break if self.loops.last().is_some_and(|round| round.commented) => Ok(()),
            Statement::Break => {
                let cure = "Say how often the loop runs: a comment `trips: 100` on its line";
                Err(refuse(at, "when this `break` ends the loop is not known", cure))
            }
            Statement::Return(value) => {
                if !tail || self.loops.len() > self.outer_loops {
                    let cure = "Let the function end at its end";
                    return Err(refuse(at, "when this `return` ends the function is not known", cure));
                }
                if let Some(value) = value {
                    self.value(value)?;
                }
                // The value of a function called goes on with the statement that called it.
                if self.calls.len() <= 1 {
                    self.flush(at);
                }
                Ok(())
            }
            Statement::Asm(_) => Err(refuse(at, "assembly is not read", "Write it in C, or leave it out")),
        }
    }

    /// Reads the items of a block.
    pub(super) fn block(&mut self, items: &'a [Node<BlockItem>], tail: bool) -> Result<(), Error> {
        for (position, item) in items.iter().enumerate() {
            let rest = items.get(position + 1..).unwrap_or_default();
            match &item.node {
                BlockItem::Declaration(declaration) => self.declaration(declaration)?,
                BlockItem::StaticAssert(_) => {}
                BlockItem::Statement(statement) => {
                    let at = self.text.at(statement.span.start);
                    if let Statement::If(branch) = &statement.node
                        && !rest.is_empty()
                        && tail
                        && exits_somewhere(&branch.node)
                    {
                        return self.deeper(at, |own| own.branch(&branch.node, rest, tail, at));
                    }
                    self.statement(statement, tail && (rest.is_empty() || exits(&statement.node)))?;
                    if exits(&statement.node) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// `if`; `rest` is what follows where an arm does not leave the function or the iteration of the loop.
    fn branch(
        &mut self,
        branch: &'a IfStatement,
        rest: &'a [Node<BlockItem>],
        tail: bool,
        at: At,
    ) -> Result<(), Error> {
        let condition = self.condition(&branch.condition)?;
        self.flush(at);
        let mut names = self.assigned_in(Part::Statement(&branch.then_statement));
        if let Some(other) = &branch.else_statement {
            names.extend(self.assigned_in(Part::Statement(other)));
        }
        let before: Vec<(String, IntegerValue)> = names
            .iter()
            .filter_map(|name| match self.find(name) {
                Some(Binding::Scalar(scalar)) => Some((name.clone(), scalar.value.clone())),
                _ => None,
            })
            .collect();
        let arm = |own: &mut Self, statement: Option<&'a Node<Statement>>| {
            own.collect(at, |own| {
                own.scopes.push(BTreeMap::new());
                let ends = statement.is_some_and(|statement| exits(&statement.node));
                match statement.map(|statement| &statement.node) {
                    // `if (a) return x; else if (b) return y; rest`
                    Some(Statement::If(inner)) if !rest.is_empty() && exits_somewhere(&inner.node) => {
                        own.deeper(at, |own| own.branch(&inner.node, rest, tail, at))?;
                    }
                    _ => {
                        if let Some(statement) = statement {
                            own.statement(statement, tail && (rest.is_empty() || ends))?;
                        }
                        if !ends {
                            own.block(rest, tail)?;
                        }
                    }
                }
                own.scopes.pop();
                Ok(())
            })
        };
        let then = arm(self, Some(&branch.then_statement))?;
        for (name, value) in before {
            if let Some(scalar) = self.scalar_mut(&name) {
                scalar.value = value;
            }
        }
        let otherwise = arm(self, branch.else_statement.as_deref())?;
        self.forget(&names);
        self.out.push(Step::Branch(Branch { condition, then, otherwise, at }));
        Ok(())
    }

    /// `switch` as a chain of conditions. Every case must end in `break` or `return`, or be empty.
    fn switch(&mut self, switch: &'a SwitchStatement, tail: bool, at: At) -> Result<(), Error> {
        let Statement::Compound(items) = &switch.statement.node else {
            return Err(refuse(at, "this switch has no block", "Write `switch (x) { case 0: ... break; }`"));
        };
        let selector = self.deciding(&switch.expression)?;
        if selector.is_none() {
            self.value(&switch.expression)?;
        }
        self.flush(at);
        let cases = self.cases(items)?;
        if cases.len() > MAX_DEPTH {
            let problem =
                format!("this switch has more than {MAX_DEPTH} cases, which are conditions within each other");
            return Err(refuse(at, problem, "Split it"));
        }
        let names = self.assigned_in(Part::Statement(&switch.statement));
        self.forget(&names);
        let conditions = cases.iter().filter(|case| !case.labels.is_empty()).count();
        let mut arms: Vec<(Option<Condition>, bool, Vec<Step>)> = Vec::new();
        for case in &cases {
            let mut condition: Option<Condition> = None;
            for label in &case.labels {
                let Some(value) = self.integer(label, true)? else { continue };
                if let Some(selector) = &selector {
                    let equal = Condition::Compare(selector.clone(), Comparison::Equal, value);
                    condition = Some(match condition {
                        Some(before) => Condition::Or(Box::new(before), Box::new(equal)),
                        None => equal,
                    });
                }
            }
            if condition.is_none() && !case.labels.is_empty() {
                // Data decide: each case, and none of them, is as likely as the others. Those before did not hold.
                let left = conditions + 1 - arms.iter().filter(|(_, default, _)| !*default).count();
                condition = Some(Condition::Chance(1.0 / left.max(1) as f64));
                let text = format!("each case of the switch on line {} is equally likely", at.line);
                self.builder.assume(text);
            }
            let body = self.collect(at, |own| {
                own.scopes.push(BTreeMap::new());
                for statement in &case.body {
                    own.statement(statement, tail && exits(&statement.node))?;
                }
                own.scopes.pop();
                Ok(())
            })?;
            self.forget(&names);
            arms.push((condition, case.default, body));
        }
        // The last arm is innermost; `default` runs where no other does.
        let position = arms.iter().position(|(_, default, _)| *default);
        let mut otherwise = position.map(|position| arms.remove(position).2).unwrap_or_default();
        for (condition, _, then) in arms.into_iter().rev() {
            if let Some(condition) = condition {
                otherwise = vec![Step::Branch(Branch { condition, then, otherwise, at })];
            }
        }
        self.out.extend(otherwise);
        Ok(())
    }

    fn cases(&self, items: &'a [Node<BlockItem>]) -> Result<Vec<Case<'a>>, Error> {
        let mut cases: Vec<Case<'a>> = Vec::new();
        for item in items {
            let at = self.text.at(item.span.start);
            let BlockItem::Statement(statement) = &item.node else {
                return Err(refuse(at, "a declaration stands directly in a switch", "Put it before the switch"));
            };
            let mut statement = statement;
            while let Statement::Labeled(labeled) = &statement.node {
                if cases.last().is_none_or(|case| !case.body.is_empty() || case.ended) {
                    if cases.last().is_some_and(|case| !case.ended) {
                        return Err(refuse(at, "the case before goes on into this one", "End each case with `break`"));
                    }
                    cases.push(Case::default());
                }
                let Some(case) = cases.last_mut() else { break };
                match &labeled.node.label.node {
                    Label::Case(value) => case.labels.push(value),
                    Label::Default => case.default = true,
                    _ => return Err(refuse(at, "this label is not read", "Use `case 1:` and `default:`")),
                }
                statement = &labeled.node.statement;
            }
            let Some(case) = cases.last_mut() else {
                return Err(refuse(at, "this stands before the first case", "Put it before the switch"));
            };
            match &statement.node {
                Statement::Break => case.ended = true,
                Statement::Expression(None) => {}
                // `case 1: { ...; break; }`
                Statement::Compound(inner) if matches!(inner.last().map(|item| &item.node), Some(BlockItem::Statement(last)) if matches!(last.node, Statement::Break)) =>
                {
                    for item in inner.get(..inner.len().saturating_sub(1)).unwrap_or_default() {
                        match &item.node {
                            BlockItem::Statement(statement) => case.body.push(statement),
                            _ => return Err(refuse(at, "a declaration stands in a case", "Put it before the switch")),
                        }
                    }
                    case.ended = true;
                }
                other => {
                    case.body.push(statement);
                    case.ended |= exits(other);
                }
            }
        }
        Ok(cases)
    }

    // --- declarations ---

    /// Reads a declaration within a function, or one of the file.
    pub(super) fn declaration(&mut self, declaration: &'a Node<Declaration>) -> Result<(), Error> {
        let at = self.text.at(declaration.span.start);
        let base = types::declared(&declaration.node.specifiers, &self.typedefs);
        self.enumerators(&declaration.node)?;
        for declarator in &declaration.node.declarators {
            let Some(name) = types::name(&declarator.node.declarator.node) else { continue };
            let own = types::derived(base.clone(), &declarator.node.declarator.node);
            if own.typedef {
                self.typedefs.insert(&name.node.name, own);
                continue;
            }
            let place = self.text.at(name.span.start);
            let initializer = declarator.node.initializer.as_ref().map(|initializer| &initializer.node);
            self.deeper(place, |lower| lower.variable(&name.node.name, &own, initializer, place))?;
        }
        self.flush(at);
        Ok(())
    }

    fn enumerators(&mut self, declaration: &'a Declaration) -> Result<(), Error> {
        for specifier in &declaration.specifiers {
            let DeclarationSpecifier::TypeSpecifier(word) = &specifier.node else { continue };
            let TypeSpecifier::Enum(list) = &word.node else { continue };
            let mut next = Expr::Const(0);
            for enumerator in &list.node.enumerators {
                if let Some(expression) = &enumerator.node.expression {
                    next = self.integer(expression, true)?.unwrap_or(next);
                }
                let name = &enumerator.node.identifier.node.name;
                // A plain number is a parameter, so that formulas can speak of it.
                let value = match (&next, self.builder.given(name)) {
                    (Expr::Const(value), Some(given)) if *value == given => IntegerValue::Parameter(name.clone()),
                    (_, Some(_)) if self.source.defines.contains_key(name) => IntegerValue::Parameter(name.clone()),
                    _ => IntegerValue::Known(next.clone()),
                };
                let scalar = Scalar { float: false, value, stored: false, depth: 0, range: None };
                self.bind(name, Binding::Scalar(scalar));
                next = next.plus(1);
            }
        }
        Ok(())
    }

    fn variable(
        &mut self,
        name: &str,
        own: &Type<'a>,
        initializer: Option<&'a Initializer>,
        at: At,
    ) -> Result<(), Error> {
        let element = match own.base {
            Base::Number(element) => element,
            _ if matches!(own.dims.first(), Some(Dim::Function)) => return Ok(()),
            Base::Void => crate::nest::Element::I8,
            Base::Other(what) => {
                self.bind(name, Binding::Other(what));
                return Ok(());
            }
        };
        match own.dims.first() {
            None => self.scalar_variable(name, own, initializer, at),
            Some(Dim::Function) => Ok(()),
            Some(_) if own.dims.iter().any(|dim| matches!(dim, Dim::Function)) => {
                self.bind(name, Binding::Other("a pointer to a function"));
                Ok(())
            }
            Some(Dim::Array(_)) => {
                let mut dims = self.extents(own, at)?;
                if let (Some(first @ None), Some(Initializer::List(items))) = (dims.first_mut(), initializer) {
                    *first = Some(Expr::Const(items.len() as i64));
                }
                let view = self.array(name, element, dims, at)?;
                self.bind(name, Binding::Array(view));
                if initializer.is_some() && self.base > 0 {
                    self.builder.assume(format!("the initial values of {name} (line {}) are there already", at.line));
                }
                Ok(())
            }
            Some(Dim::Pointer) => {
                let binding = match initializer {
                    Some(Initializer::Expression(value)) => self.pointed(name, own, element, value)?,
                    // A pointer of the file is an array that somebody else made.
                    None if self.base == 0 => {
                        let dims = self.extents(own, at)?;
                        Binding::Array(self.array(name, element, dims, at)?)
                    }
                    None => Binding::Pointer(element),
                    Some(Initializer::List(_)) => {
                        return Err(refuse(at, "this list of values is not read", "Declare an array"));
                    }
                };
                self.bind(name, binding);
                Ok(())
            }
        }
    }

    fn scalar_variable(
        &mut self,
        name: &str,
        own: &Type<'a>,
        initializer: Option<&'a Initializer>,
        at: At,
    ) -> Result<(), Error> {
        let float = own.float().unwrap_or_default();
        let expression = match initializer {
            Some(Initializer::Expression(expression)) => Some(expression),
            Some(Initializer::List(_)) => {
                return Err(refuse(at, format!("{name} is one number, not a list"), "Write `= value`"));
            }
            None => None,
        };
        // A constant of the source is a parameter; so is what a file declares and never sets.
        let constant = own.constant && !float && self.builder.given(name).is_some();
        let of_file = self.base == 0 && !float && !self.assigned.contains(name);
        let known = expression.is_none() || self.builder.given(name).is_some();
        if constant || (of_file && known) {
            let value = IntegerValue::Parameter(name.to_owned());
            let scalar = Scalar { float, value, stored: !own.constant, depth: 0, range: own.range() };
            self.bind(name, Binding::Scalar(scalar));
            return Ok(());
        }
        // What the user gives a value, and the source reads from elsewhere, is a parameter; so is what nobody sets.
        let given = self.source.defines.contains_key(name) || (expression.is_none() && !self.assigned.contains(name));
        let mut value = if given && !float { IntegerValue::Parameter(name.to_owned()) } else { IntegerValue::Unknown };
        if let Some(expression) = expression {
            if !float && let Some(known) = self.integer(expression, false)? {
                value = IntegerValue::Known(known);
            } else if !float && self.made_of_known(expression, false) {
                value = IntegerValue::Unwritten;
            }
            // What a file sets is set before the kernel runs.
            if self.base > 0 {
                self.value(expression)?;
                self.work.scalars.writes += 1;
            }
        }
        let depth = self.loops.len();
        let scalar = Scalar { float, value, stored: true, depth, range: own.range() };
        self.bind(name, Binding::Scalar(scalar));
        Ok(())
    }

    /// The extents of an array or of what a pointer points to, outermost first.
    pub(super) fn extents(&mut self, own: &Type<'a>, at: At) -> Result<Vec<Option<Expr>>, Error> {
        let mut extents = Vec::new();
        for dim in &own.dims {
            extents.push(match dim {
                Dim::Array(Some(extent)) => Some(self.integer(extent, true)?.ok_or_else(|| {
                    let cure = "Use parameters and constants, or give the array's shape";
                    refuse(self.at(extent), "this extent is not known", cure)
                })?),
                Dim::Array(None) | Dim::Pointer => None,
                Dim::Function => {
                    return Err(refuse(at, "pointers to functions are not followed", "Call it by name"));
                }
            });
        }
        if own.dims.iter().filter(|dim| matches!(dim, Dim::Pointer)).count() > 1 {
            let text = format!(
                "the rows behind the pointers of line {} lie one behind another; loads of these pointers are not counted",
                at.line
            );
            self.builder.assume(text);
        }
        Ok(extents)
    }
}

/// A case of a switch.
#[derive(Default)]
struct Case<'a> {
    labels: Vec<&'a Node<Expression>>,
    default: bool,
    body: Vec<&'a Node<Statement>>,
    /// Whether it ends here rather than going on into the next.
    ended: bool,
}

/// Whether nothing after `statement` runs in this iteration or call.
pub(super) fn exits(statement: &Statement) -> bool {
    match statement {
        Statement::Return(_) | Statement::Continue => true,
        Statement::Compound(items) => {
            items.iter().any(|item| matches!(&item.node, BlockItem::Statement(statement) if exits(&statement.node)))
        }
        Statement::If(branch) => {
            exits(&branch.node.then_statement.node)
                && branch.node.else_statement.as_ref().is_some_and(|other| exits(&other.node))
        }
        _ => false,
    }
}

/// Whether an arm of `branch` leaves.
fn exits_somewhere(branch: &IfStatement) -> bool {
    let inner = |statement: &Statement| match statement {
        Statement::If(branch) => exits_somewhere(&branch.node),
        other => exits(other),
    };
    inner(&branch.then_statement.node) || branch.else_statement.as_ref().is_some_and(|other| inner(&other.node))
}
