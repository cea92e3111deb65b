//! Statements: blocks and assignments.

use ruff_python_ast::{Alias, Expr as Tree, ExprSubscript, Operator, Stmt, StmtReturn, StmtWith};

use super::lower::PythonLowering;
use super::tree::{call_name, integer, last_name, names_read};
use super::value::{Lazy, Value, View};
use crate::expr::Expr;
use crate::nest::At;
use crate::source::Fusion;
use accel_ground::error::Error;

/// The most operands of a pass that a compiler of graphs makes: XLA's, `MaxOperandsAndOutputsPerFusion` of
/// `xla/service/gpu/gpu_fusible.h`.
const MAX_LEAVES: usize = 96;
/// The most operations of such a pass, so that reading it stays quick.
const MAX_STEPS: usize = 1000;

/// Whether a block ends in `return`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// What stands behind it runs.
    Next,
    /// It does not.
    Returned,
}

impl<'a> PythonLowering<'a> {
    /// Reads all of what is looked at.
    pub(super) fn whole_body(&mut self, body: &'a [Stmt]) -> Result<(), Error> {
        let (_, value) = self.block(body)?;
        self.finished(value)
    }

    /// Ends what is looked at, whose result is `value`.
    pub(super) fn finished(&mut self, value: Value) -> Result<(), Error> {
        let value = self.materialised(value, "result")?;
        // What a compiler of graphs is given and nothing needs is not done.
        if self.fusion() != Fusion::Graph {
            self.materialise_all()?;
        }
        self.flush();
        if self.source.backward {
            self.backward(&value)?;
            self.flush();
        }
        self.builder.program.body = std::mem::take(&mut self.out);
        Ok(())
    }

    /// Reads statements in order; a condition that returns takes what stands behind it as its other arm.
    pub(super) fn block(&mut self, body: &'a [Stmt]) -> Result<(Flow, Value), Error> {
        for (number, stmt) in body.iter().enumerate() {
            let at = self.at(stmt);
            self.step(at)?;
            self.flush();
            self.work.at = at;
            self.reads.clear();
            let rest = body.get(number + 1..).unwrap_or_default();
            // Each kind by itself: the stack is small, and blocks nest.
            let done = match stmt {
                Stmt::If(branch) => self.deeper(at, 3, |own| own.branch(branch, rest))?,
                Stmt::With(with) => {
                    self.context(with)?;
                    self.deeper(at, 3, |own| own.block(&with.body))?
                }
                // Starting weights and printing make no part of an object.
                stmt if self.building > 0 && !self.in_library() && !Self::builds(stmt) => continue,
                Stmt::Return(result) => self.returned(result)?,
                stmt => {
                    self.stmt(stmt)?;
                    self.flush();
                    continue;
                }
            };
            self.flush();
            if done.0 == Flow::Returned {
                return Ok(done);
            }
        }
        Ok((Flow::Next, Value::None))
    }

    /// `return`
    fn returned(&mut self, result: &'a StmtReturn) -> Result<(Flow, Value), Error> {
        if self.frames.last().is_some_and(|frame| frame.loops < self.loops.len()) {
            let problem = "`return` in a loop: how many iterations run depends on data";
            return self.refuse(result, problem, "Let the loop run to its end");
        }
        let value = match &result.value {
            Some(value) => self.eval(value)?,
            None => Value::None,
        };
        // What is returned to a function that is read too may be done there.
        let value = if self.calls.len() > 1 { value } else { self.materialised(value, "result")? };
        Ok((Flow::Returned, value))
    }

    /// Array operations still to be done, done; a tuple's too.
    pub(super) fn materialised(&mut self, value: Value, name: &str) -> Result<Value, Error> {
        Ok(match value {
            Value::Lazy(lazy) => Value::View(self.named(*lazy, name)?),
            Value::Tuple(parts) => {
                let parts = parts.into_iter().map(|part| self.materialised(part, name));
                Value::Tuple(parts.collect::<Result<_, _>>()?)
            }
            Value::View(view) => {
                self.rename(&view, name);
                Value::View(view)
            }
            other => other,
        })
    }

    /// Does what is still to be done, into an array that the source names.
    fn named(&mut self, lazy: Lazy, name: &str) -> Result<View, Error> {
        let view = self.materialise(lazy, name)?;
        self.rename(&view, name);
        Ok(view)
    }

    /// Gives a temporary array the name that the source gives it.
    fn rename(&mut self, view: &View, name: &str) {
        if let Some(array) = self.builder.program.arrays.get_mut(view.array).filter(|array| array.temporary)
            && view.dims.len() == array.dims.len()
        {
            name.clone_into(&mut array.name);
            array.temporary = false;
        }
    }

    /// Does what assignments before have left to do.
    pub(super) fn materialise_all(&mut self) -> Result<(), Error> {
        if !matches!(self.fusion(), Fusion::Function | Fusion::Graph) {
            return Ok(());
        }
        self.materialise_those(|_| true)
    }

    /// Does those of them whose names are `wanted`.
    pub(super) fn materialise_those(&mut self, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        let names: Vec<String> = (self.frames.last().into_iter().flat_map(|frame| &frame.names))
            .filter(|(name, value)| matches!(value, Value::Lazy(_)) && wanted(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(Value::Lazy(lazy)) = self.lookup(&name) {
                let view = self.named(*lazy, &name)?;
                self.bind(&name, Value::View(view));
            }
        }
        Ok(())
    }

    fn stmt(&mut self, stmt: &'a Stmt) -> Result<(), Error> {
        let straight = match stmt {
            Stmt::Assign(_) | Stmt::Pass(_) => true,
            Stmt::AnnAssign(_) | Stmt::AugAssign(_) | Stmt::Expr(_) | Stmt::FunctionDef(_) | Stmt::Assert(_) => {
                self.fusion() == Fusion::Graph
            }
            _ => false,
        };
        if !straight && self.fusion() == Fusion::Graph {
            let read = names_read(stmt);
            self.materialise_those(|name| read.contains(name))?;
        } else if !straight {
            self.materialise_all()?;
        }
        let at = self.at(stmt);
        match stmt {
            Stmt::Assign(assign) => self.assign(&assign.targets, &assign.value, at),
            Stmt::AnnAssign(assign) => match &assign.value {
                Some(value) => self.assign(std::slice::from_ref(&assign.target), value, at),
                None => Ok(()),
            },
            Stmt::AugAssign(assign) => self.compound(&assign.target, assign.op, &assign.value, at),
            Stmt::For(f) => self.for_loop(f),
            Stmt::While(w) => self.while_loop(w),
            Stmt::Expr(expr) => self.expression(&expr.value),
            Stmt::FunctionDef(function) => {
                let value = self.defined(function)?;
                self.bind(function.name.as_str(), value);
                Ok(())
            }
            Stmt::ClassDef(class) if self.frames.len() == 1 && self.classes.contains_key(class.name.as_str()) => Ok(()),
            Stmt::Import(_) | Stmt::ImportFrom(_) => {
                self.import(stmt);
                Ok(())
            }
            Stmt::Pass(_) | Stmt::Assert(_) | Stmt::Delete(_) | Stmt::Global(_) => Ok(()),
            Stmt::Raise(_) => {
                self.assume(at, "`raise` is taken never to happen");
                Ok(())
            }
            Stmt::Break(_) | Stmt::Continue(_) => {
                let cure = "Write it as a condition on the loop's body, or the bound into the loop";
                self.refuse(stmt, "`break` and `continue`: how many iterations run depends on data", cure)
            }
            Stmt::ClassDef(_) => self.refuse(stmt, "classes are not read", "Write the method as a function"),
            Stmt::Try(_) => self.refuse(stmt, "`try` is not read", "Give only what stands inside"),
            Stmt::Match(_) => self.refuse(stmt, "`match` is not read", "Write it with `if`"),
            other => {
                self.refuse(other, "this statement is not read", "Give only loops, assignments, conditions and calls")
            }
        }
    }

    pub(super) fn import(&mut self, stmt: &'a Stmt) {
        if let Stmt::Import(import) = stmt {
            let named = |alias: &'a Alias| (alias.asname.as_ref().unwrap_or(&alias.name).as_str(), alias.name.as_str());
            self.modules.extend(import.names.iter().map(named));
        }
        if let Stmt::ImportFrom(import) = stmt {
            for alias in &import.names {
                let name = alias.asname.as_ref().unwrap_or(&alias.name);
                self.imports.insert(name.as_str(), alias.name.as_str());
                self.modules.extend(import.module.as_ref().map(|module| (name.as_str(), module.as_str())));
            }
        }
    }

    fn expression(&mut self, expr: &'a Tree) -> Result<(), Error> {
        if matches!(expr, Tree::StringLiteral(_) | Tree::EllipsisLiteral(_)) {
            return Ok(());
        }
        let value = self.eval(expr)?;
        self.materialised(value, "result")?;
        Ok(())
    }

    // Assignments.

    fn assign(&mut self, targets: &'a [Tree], value: &'a Tree, at: At) -> Result<(), Error> {
        // `a, b = c, d` part by part, but `u, v = v, u` reads both before it writes.
        if let ([Tree::Name(name)], 1, Some(_)) = (targets, self.frames.len(), integer(value))
            && let Some(Value::Int(Expr::Symbol(_))) = self.lookup(name.id.as_str())
        {
            // A parameter already, with that value unless the user gave another.
            return Ok(());
        }
        let value = self.eval(value)?;
        for target in targets {
            self.assign_to(target, value.clone(), at)?;
        }
        Ok(())
    }

    pub(super) fn assign_to(&mut self, target: &'a Tree, value: Value, at: At) -> Result<(), Error> {
        match target {
            Tree::Name(name) => self.assign_name(name.id.as_str(), value),
            Tree::Tuple(_) | Tree::List(_) => {
                let parts = match target {
                    Tree::Tuple(tuple) => &tuple.elts,
                    Tree::List(list) => &list.elts,
                    _ => return Ok(()),
                };
                if let Some(rest) = parts.iter().position(Tree::is_starred_expr) {
                    return self.assign_rest(parts, rest, value, target);
                }
                let values = self.unpack(value, parts.len(), target)?;
                parts.iter().zip(values).try_for_each(|(part, value)| self.assign_to(part, value, at))
            }
            Tree::Attribute(attribute) => match self.eval(&attribute.value)? {
                Value::Object(object) => self.set_field(object, attribute.attr.as_str(), value),
                // `x.requires_grad = True`
                other if other.is_array() || matches!(other, Value::Unknown(_) | Value::Function(_)) => Ok(()),
                other => {
                    let problem = format!("a field of {}", other.description());
                    self.refuse(target, problem, "Assign to fields of objects")
                }
            },
            Tree::Subscript(subscript)
                if matches!(self.peek(&subscript.value), Some(Value::Object(_) | Value::Tuple(_))) =>
            {
                self.set_item(subscript, value, at)
            }
            Tree::Subscript(_) => {
                let value = self.known(value, 1, at)?;
                if let (Value::Lazy(_) | Value::View(_), true) = (&value, self.fusion() != Fusion::Graph) {
                    self.materialise_all()?;
                }
                let view = self.target(target)?;
                let own = self.at(target);
                self.store(&view, value, own)
            }
            other => self.refuse(other, "this cannot be assigned to", "Assign to a name or to elements of an array"),
        }
    }

    /// `first, *rest = values`
    fn assign_rest(&mut self, parts: &'a [Tree], rest: usize, value: Value, target: &'a Tree) -> Result<(), Error> {
        let at = self.at(target);
        let Some(items) = self.items_of(&value).filter(|items| items.len() + 1 >= parts.len()) else {
            return self.refuse(target, format!("`*` takes a part of {}", value.description()), "Name the parts");
        };
        let more = items.len() + 1 - parts.len();
        let mut items = items.into_iter();
        for (number, part) in parts.iter().enumerate() {
            match part {
                Tree::Starred(starred) if number == rest => {
                    let some = items.by_ref().take(more).collect();
                    self.assign_to(&starred.value, Value::Tuple(some), at)?;
                }
                part => self.assign_to(part, items.next().unwrap_or(Value::None), at)?,
            }
        }
        Ok(())
    }

    /// `dictionary["name"] = value`, `list[0] = value`
    fn set_item(&mut self, subscript: &'a ExprSubscript, value: Value, at: At) -> Result<(), Error> {
        let key = self.eval(&subscript.slice)?;
        match (self.peek(&subscript.value), key) {
            (Some(Value::Object(object)), Value::Text(name)) => self.set_field(object, &name, value),
            (Some(Value::Tuple(mut parts)), Value::Int(index)) => {
                let value = self.materialised(value, "item")?;
                let index = self.number(&index).map(|index| if index < 0 { index + parts.len() as i64 } else { index });
                match index.and_then(|index| parts.get_mut(usize::try_from(index).ok()?)) {
                    Some(part) => *part = value,
                    None => {
                        return self.refuse(subscript, format!("there are {} of these", parts.len()), "Count from 0");
                    }
                }
                self.assign_to(&subscript.value, Value::Tuple(parts), at)
            }
            _ => self.refuse(subscript, "this cannot be assigned to", "Assign to a name or to elements of an array"),
        }
    }

    /// `with torch.no_grad():` changes nothing that is counted.
    fn context(&mut self, with: &'a StmtWith) -> Result<(), Error> {
        const KNOWN: [&str; 11] = [
            "no_grad",
            "inference_mode",
            "autocast",
            "enable_grad",
            "set_grad_enabled",
            "record_function",
            "sdpa_kernel",
            "sdp_kernel",
            "device",
            "named_scope",
            "errstate",
        ];
        for item in &with.items {
            let name = match &item.context_expr {
                Tree::Call(call) => call_name(call),
                other => last_name(other),
            };
            match name {
                Some(name) if KNOWN.contains(&name) => {
                    let at = self.at(with);
                    self.assume(at, format!("`with {name}` changes no counts"));
                }
                _ => return self.refuse(with, "`with` is not read", "Give only what stands inside"),
            }
        }
        Ok(())
    }

    fn unpack(&mut self, value: Value, parts: usize, target: &'a Tree) -> Result<Vec<Value>, Error> {
        let at = self.at(target);
        if let (1, Some(values)) = (parts, self.items_of(&value))
            && values.len() == 1
        {
            return Ok(values);
        }
        let values = match self.known(value, 1, at)? {
            Value::Tuple(values) if values.len() != parts => {
                let dims: Option<Vec<Expr>> = (values.iter())
                    .map(|value| match value {
                        Value::Int(expr) => Some(expr.clone()),
                        _ => None,
                    })
                    .collect();
                self.want_rank(&dims.unwrap_or_default(), parts);
                let problem = format!("{} values for {parts} names", values.len());
                return self.refuse(target, problem, "There must be as many on both sides");
            }
            Value::Tuple(values) => values,
            Value::View(view) if !view.dims.is_empty() => {
                (0..parts as i64).map(|row| self.row(&view, &Expr::Const(row), at)).collect::<Result<_, _>>()?
            }
            other => {
                return self.refuse(
                    target,
                    format!("{} cannot be taken apart", other.description()),
                    "Assign it to one name",
                );
            }
        };
        if values.len() != parts {
            let problem = format!("{} values for {parts} names", values.len());
            return self.refuse(target, problem, "There must be as many on both sides");
        }
        Ok(values)
    }

    fn assign_name(&mut self, name: &str, value: Value) -> Result<(), Error> {
        let value = match value {
            Value::Lazy(lazy) => {
                // Left for the next statement where it is the only one to use it.
                let reads =
                    self.frames.last().and_then(|frame| frame.usage.names.get(name)).map_or(0, |found| found.reads);
                let held = match self.fusion() {
                    Fusion::Function => reads == 1,
                    Fusion::Graph => lazy.leaves.len() <= MAX_LEAVES && lazy.steps.len() <= MAX_STEPS,
                    Fusion::None | Fusion::Statement => false,
                };
                if held && self.loops.is_empty() { Value::Lazy(lazy) } else { Value::View(self.named(*lazy, name)?) }
            }
            Value::View(view) => {
                self.rename(&view, name);
                Value::View(view)
            }
            other => other,
        };
        if value.is_number() && !self.in_library() {
            self.work.scalars.writes += 1;
            self.work.carried |= self.reads.contains(name) && !self.loops.is_empty();
        }
        self.bind(name, value);
        Ok(())
    }

    /// `target op= value`: what is added is read first, then the target, then the target is written.
    fn compound(&mut self, target: &'a Tree, op: Operator, value: &'a Tree, at: At) -> Result<(), Error> {
        let added = self.eval(value)?;
        let old = match target {
            Tree::Name(_) => self.eval(target)?,
            Tree::Subscript(_) => Value::View(self.target(target)?),
            Tree::Attribute(_) => {
                let old = self.eval(target)?;
                self.known(old, 1, at)?
            }
            other => {
                return self.refuse(other, "this cannot be assigned to", "Assign to a name or to elements of an array");
            }
        };
        let own = self.at(target);
        match (old, target) {
            (Value::View(view), _) if view.dims.is_empty() => {
                let added = self.known(added, 1, at)?;
                let loaded = self.load(&view, own);
                let value = self.arithmetic(op, (loaded, own), (added, own), at)?;
                self.store(&view, value, own)
            }
            (old, Tree::Name(_) | Tree::Attribute(_)) if !old.is_array() && !matches!(old, Value::Unknown(_)) => {
                let value = self.arithmetic(op, (old, own), (added, own), at)?;
                match target {
                    Tree::Name(name) => self.assign_name(name.id.as_str(), value),
                    target => self.assign_to(target, value, at),
                }
            }
            (old, _) => {
                let (old, added) = self.pair(old, added, at)?;
                match old {
                    Value::View(view) => self.in_place(op, &view, added, at),
                    old => {
                        let value = self.arithmetic(op, (old, own), (added, own), at)?;
                        self.assign_to(target, value, at)
                    }
                }
            }
        }
    }
}
