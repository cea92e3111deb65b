//! Functions of the source, done where they are called.

use std::collections::BTreeMap;

use ruff_python_ast::{Expr as Tree, ExprCall, StmtFunctionDef};

use super::lower::PythonLowering;
use super::tree::{call_name, last_name};
use super::value::Value;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// Unfolds a call: its statements are done here, with its parameters standing for the arguments.
    pub(super) fn unfold(&mut self, function: &'a StmtFunctionDef, call: &'a ExprCall) -> Result<Value, Error> {
        let at = self.at(call);
        let name = function.name.as_str();
        if self.calls.contains(&name) {
            return self.refuse(
                call,
                format!("{name} calls itself: how deep it goes is not known"),
                "Write it as a loop",
            );
        }
        self.step(at)?;
        let mut given: BTreeMap<&str, Value> = BTreeMap::new();
        let parameters: Vec<_> = function.parameters.iter_non_variadic_params().collect();
        if function.parameters.vararg.is_some() || function.parameters.kwarg.is_some() {
            return self.refuse(function, "`*args` and `**kwargs` are not read", "Name the parameters");
        }
        for (number, arg) in call.arguments.args.iter().enumerate() {
            let Some(parameter) = parameters.get(number) else {
                return self.refuse(arg, format!("{name} takes {} arguments", parameters.len()), "Give as many");
            };
            let value = self.argument_value(arg)?;
            given.insert(parameter.name().as_str(), value);
        }
        for keyword in &call.arguments.keywords {
            let Some(own) = &keyword.arg else {
                return self.refuse(keyword, "`**` of arguments is not read", "Write the arguments out");
            };
            let known = parameters.iter().any(|parameter| parameter.name().as_str() == own.as_str());
            if !known || given.contains_key(own.as_str()) {
                let problem = if known { "is given twice" } else { "is no parameter" };
                return self.refuse(keyword, format!("{own} {problem} of {name}"), "Give each parameter once");
            }
            let value = self.argument_value(&keyword.value)?;
            given.insert(own.as_str(), value);
        }
        self.materialise_all()?;
        let here = self.work.at;
        self.flush();
        let mut names = BTreeMap::new();
        for parameter in parameters {
            let own = parameter.name().as_str();
            let value = match (given.remove(own), parameter.default()) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default)?,
                (None, None) => return self.refuse(call, format!("{name} needs {own}"), "Give the argument"),
            };
            names.insert(own.to_owned(), value);
        }
        self.accept(function)?;
        self.enter(Some(function))?;
        if let Some(frame) = self.frames.last_mut() {
            frame.names = names;
        }
        self.calls.push(name);
        let done = self.deeper(at, 3, |own| own.block(&function.body));
        self.flush();
        self.calls.pop();
        self.frames.pop();
        self.work.at = here;
        done.map(|(_, value)| value)
    }

    fn argument_value(&mut self, arg: &'a Tree) -> Result<Value, Error> {
        let at = self.at(arg);
        match self.eval(arg)? {
            Value::Lazy(lazy) => Ok(Value::View(self.materialise(*lazy, "argument")?)),
            Value::View(view) if view.dims.is_empty() => Ok(self.load(&view, at)),
            other => Ok(other),
        }
    }

    /// Whether a function is one that can be read: not `async`, with known decorators.
    pub(super) fn accept(&mut self, function: &'a StmtFunctionDef) -> Result<(), Error> {
        if function.is_async {
            return self.refuse(function, "`async` is not read", "Write a plain function");
        }
        for decorator in &function.decorator_list {
            let name = match &decorator.expression {
                Tree::Call(call) => call_name(call),
                other => last_name(other),
            };
            match name {
                Some(
                    name @ ("njit" | "jit" | "vectorize" | "guvectorize" | "compile" | "no_grad" | "inference_mode"),
                ) => {
                    let at = self.at(decorator);
                    self.assume(at, format!("the decorator @{name} changes no counts"));
                }
                _ => return self.refuse(decorator, "what this decorator does is not known", "Leave it out"),
            }
        }
        Ok(())
    }
}
