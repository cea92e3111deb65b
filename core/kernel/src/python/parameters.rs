//! What the parameters of the function looked at stand for: as shapes, annotations, defaults and uses say.

use ruff_python_ast::Expr as Tree;

use super::lower::{Frame, PythonLowering};
use super::tree::{integer, last_name};
use super::value::Value;
use crate::expr::Expr;
use crate::nest::{At, Element};
use crate::source::{Extent, Shape};
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// What an argument of the function looked at stands for.
    pub(super) fn argument(
        &mut self,
        name: &str,
        annotation: Option<&'a Tree>,
        default: Option<&'a Tree>,
        at: At,
    ) -> Result<Value, Error> {
        let annotated = annotation.map(|annotation| self.annotation(name, annotation)).transpose()?.flatten();
        if let Some(shape) = self.source.shapes.iter().find(|shape| shape.name == name) {
            self.shapes_used.insert(&shape.name);
            let other = |own: &Shape| {
                own.dims != shape.dims || shape.element.is_some_and(|e| own.element.is_some_and(|own| own != e))
            };
            if annotated.is_some_and(|own| other(&own)) {
                self.assume(at, format!("the annotation of {name} is left out: its shape was given"));
            }
            return self.shaped(shape, "", at);
        }
        let used = self.frames.last().and_then(|frame| frame.usage.names.get(name)).cloned().unwrap_or_default();
        if self.source.defines.contains_key(name) && !used.array {
            return Ok(Value::Int(self.builder.parameter(name).into()));
        }
        let whole = annotation.is_some_and(|annotation| last_name(annotation) == Some("int"));
        if let (true, Some(value)) = (whole, default.and_then(integer)) {
            return Ok(Value::Int(self.builder.parameter_or(name, value).into()));
        }
        let annotated = annotation.filter(|_| default.is_none_or(|default| !whole && !default.is_none_literal_expr()));
        if let Some(value) = annotated.map(|annotation| self.annotated(name, annotation, at)).transpose()?.flatten() {
            return Ok(value);
        }
        match default {
            Some(Tree::NumberLiteral(_)) | Some(Tree::UnaryOp(_))
                if default.and_then(integer).is_some() && used.integer =>
            {
                let value = default.and_then(integer).unwrap_or_default();
                return Ok(Value::Int(self.builder.parameter_or(name, value).into()));
            }
            Some(Tree::NumberLiteral(number)) if number.value.is_float() => return Ok(Value::Scalar(true)),
            Some(default) => return self.eval(default),
            None => {}
        }
        let plain = self.frames.last().is_some_and(|frame| frame.usage.plain);
        if (used.integer || (used.subscript && plain)) && !used.array {
            return Ok(Value::Int(self.builder.parameter(name).into()));
        }
        if let Some(value) = self.inferred(name, at)? {
            return Ok(value);
        }
        if !used.array && !used.subscript && (plain || is_scalar_name(name, &self.frames)) {
            return Ok(self.scalar_of(name));
        }
        Ok(Value::Unknown(name.to_owned()))
    }

    fn shaped(&mut self, shape: &Shape, why: &str, at: At) -> Result<Value, Error> {
        if shape.dims.is_empty() {
            return Ok(Value::Scalar(shape.element.is_none_or(Element::is_float)));
        }
        let dims = (shape.dims.iter())
            .map(|dim| match dim {
                Extent::Number(number) => Expr::Const(*number),
                Extent::Name(name) => self.builder.parameter(name).into(),
            })
            .collect();
        let element = shape.element.unwrap_or(self.source.element);
        Ok(self.given_array(&shape.name, element, dims, why, at)?.unwrap_or(Value::None))
    }

    /// What an annotation says: `"f32[M, K]"`, `Float[Array, "M K"]`, `int`, `float`.
    fn annotated(&mut self, name: &str, annotation: &'a Tree, at: At) -> Result<Option<Value>, Error> {
        match annotation {
            Tree::Name(own) if own.id.as_str() == "int" => Ok(Some(Value::Int(self.builder.parameter(name).into()))),
            Tree::Name(own) if own.id.as_str() == "float" => Ok(Some(Value::Scalar(true))),
            other => match self.annotation(name, other)? {
                Some(shape) => self.shaped(&shape, "", at).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The type and the extents that an annotation gives, if it is of that form.
    fn annotation(&self, name: &str, annotation: &'a Tree) -> Result<Option<Shape>, Error> {
        let text = match annotation {
            Tree::StringLiteral(text) => text.value.to_str().to_owned(),
            Tree::Subscript(subscript) => match &*subscript.slice {
                Tree::Tuple(tuple) => match tuple.elts.as_slice() {
                    [_, Tree::StringLiteral(dims)] => {
                        let dims: Vec<&str> = dims.value.to_str().split_whitespace().collect();
                        format!("[{}]", dims.join(", "))
                    }
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        match Shape::parse_type(&text) {
            Ok((element, dims)) => Ok(Some(Shape { name: name.to_owned(), element, dims })),
            Err(problem) if annotation.is_string_literal_expr() && is_shape(&text) => {
                self.refuse(annotation, format!("\"{text}\" is no shape: {problem}"), "Write it as `f32[M, K]`")
            }
            Err(_) => Ok(None),
        }
    }
}

/// Whether a text means to be a shape: before its bracket stands nothing, a type, or letters and then digits.
fn is_shape(text: &str) -> bool {
    let Some((element, _)) = text.trim().split_once('[') else { return false };
    let letters = element.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = letters.len() < element.len() && letters.chars().all(|c| c.is_ascii_lowercase());
    element.is_empty() || numbered || Element::named(element).is_some()
}

/// Names that are numbers in most code, unless they come as a pair of arrays does (`gamma, beta`).
fn is_scalar_name(name: &str, frames: &[Frame]) -> bool {
    const NAMES: [&str; 20] = [
        "alpha",
        "beta",
        "eps",
        "epsilon",
        "lr",
        "tau",
        "dt",
        "dx",
        "dy",
        "scale",
        "factor",
        "momentum",
        "learning_rate",
        "weight_decay",
        "temperature",
        "lam",
        "mu",
        "sigma",
        "theta",
        "rho",
    ];
    let with_gamma = name == "beta" && frames.last().is_some_and(|frame| frame.usage.names.contains_key("gamma"));
    NAMES.contains(&name) && !with_gamma
}
