//! Functions, classes and objects as values: what they are.

use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::Expr as Tree;
use ruff_python_ast::{Decorator, ExprLambda, StmtClassDef, StmtFunctionDef};

use super::tree::{call_name, last_name};
use super::value::Value;
use crate::nest::At;

/// The classes of the source by name.
pub(super) type Classes<'a> = BTreeMap<&'a str, &'a StmtClassDef>;

/// What names stood for where a function was defined.
pub(super) type Scope = Rc<BTreeMap<String, Value>>;

/// Something that can be called.
#[derive(Debug, Clone)]
pub(super) enum Callable<'a> {
    /// A function, or a method with its object.
    Def(Function<'a>),
    /// `lambda x: ...`
    Lambda(&'a ExprLambda, Option<Scope>, Option<At>),
    /// A class: calling it makes an object.
    Class(Class<'a>),
    /// A function of the registry.
    Named(&'a str),
    /// A function with some of its arguments.
    Partial(Value, Vec<(Value, At)>, Vec<(&'a str, Value, At)>),
    /// `jax.vmap(f, in_axes)`
    Mapped(Value, Value),
}

/// A function with what it knows.
#[derive(Debug, Clone)]
pub(super) struct Function<'a> {
    pub(super) def: &'a StmtFunctionDef,
    pub(super) captured: Option<Scope>,
    /// The object whose method it is.
    pub(super) receiver: Option<usize>,
    /// Whether it is one of the library.
    pub(super) library: bool,
}

impl<'a> Function<'a> {
    pub(super) fn new(def: &'a StmtFunctionDef, library: bool) -> Self {
        Self { def, captured: None, receiver: None, library }
    }

    /// The argument of a decorator such as `@fused("axis")`; an empty text where it has none.
    pub(super) fn decorated(&self, name: &str) -> Option<&'a str> {
        let own = |decorator: &&Decorator| match &decorator.expression {
            Tree::Call(call) => call_name(call) == Some(name),
            other => last_name(other) == Some(name),
        };
        let decorator = self.def.decorator_list.iter().find(own).filter(|_| self.library)?;
        let text = decorator.expression.as_call_expr().and_then(|call| call.arguments.args.first());
        Some(text.and_then(|text| text.as_string_literal_expr()).map_or("", |text| text.value.to_str()))
    }
}

/// A class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class<'a> {
    pub(super) def: &'a StmtClassDef,
    /// Whether it is one of the library.
    pub(super) library: bool,
}

/// An instance of a class; a dictionary has none.
#[derive(Debug, Clone)]
pub(super) struct Object<'a> {
    pub(super) class: Option<Class<'a>>,
    pub(super) fields: Fields,
}

/// Values by name, in the order in which they were set: that of layers and of keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, Value)>);

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, name: String, value: Value) {
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => self.0.push((name, value)),
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl IntoIterator for Fields {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(String, Value)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(fields: I) -> Self {
        let mut all = Self::default();
        fields.into_iter().for_each(|(name, value)| all.insert(name, value));
        all
    }
}
