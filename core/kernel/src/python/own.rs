//! What Python itself has: lists and dictionaries, questions about values, and numbers that the source decides.

use ruff_python_ast::{Expr as Tree, ExprAttribute, ExprCall, ExprSubscript, FStringPart, InterpolatedStringElement};

use super::args::Args;
use super::array::shape;
use super::defined::Callable;
use super::lower::PythonLowering;
use super::registry::{self, Own};
use super::value::Value;
use crate::expr::Expr;
use crate::nest::{At, Element};
use crate::source::{Fusion, refuse};
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// Reads one of Python's own functions.
    pub(super) fn own(&mut self, own: Own, mut args: Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let mut first = args.values.first().map_or(Value::None, |(value, _)| value.clone());
        if let Value::Unknown(name) = &first
            && let Some(known) = self.resolved.get(name)
        {
            first = known.clone();
        }
        let text = |position: usize| match args.values.get(position) {
            Some((Value::Text(text), _)) => text.clone(),
            _ => String::new(),
        };
        match own {
            Own::HasAttr => Ok(Value::Bool(match first {
                Value::Object(object) => self.field(object, &text(1))?.is_some(),
                Value::Function(_) => registry::find(&text(1)).is_some(),
                _ => false,
            })),
            Own::GetAttr => {
                let found = match first {
                    Value::Object(object) => self.field(object, &text(1))?,
                    Value::Function(_) => {
                        registry::find_name(&text(1)).map(|name| self.function_value(Callable::Named(name)))
                    }
                    _ => None,
                };
                match (found, args.values.get(2)) {
                    (Some(value), _) => Ok(value),
                    (None, Some((default, _))) => Ok(default.clone()),
                    (None, None) => Err(refuse(at, format!("there is no `{}`", text(1)), "Name what the object has")),
                }
            }
            Own::SetAttr => match (first, args.values.get(2)) {
                (Value::Object(object), Some((value, _))) => {
                    let (name, value) = (text(1), value.clone());
                    self.set_field(object, &name, value)?;
                    Ok(Value::None)
                }
                _ => Err(refuse(at, "`setattr` of no object", "Write `setattr(object, name, value)`")),
            },
            Own::IsInstance => {
                let of = args.values.get(1).map_or(Value::None, |(value, _)| value.clone());
                Ok(Value::Bool(self.is_instance(&first, &of)))
            }
            Own::List => match first {
                Value::None => Ok(Value::Tuple(Vec::new())),
                other => self.list_of(other, at).map(Value::Tuple),
            },
            Own::Dict => {
                let mut fields: Vec<(String, Value)> = match &first {
                    Value::Object(object) => self
                        .objects
                        .get(*object)
                        .map(|own| own.fields.clone())
                        .unwrap_or_default()
                        .into_iter()
                        .collect(),
                    Value::Tuple(parts) => parts.iter().filter_map(named_part).collect(),
                    _ => Vec::new(),
                };
                fields.extend(args.names.into_iter().map(|(name, value, _)| (name.to_owned(), value)));
                Ok(self.dictionary(fields))
            }
            Own::Layers => {
                let (own, layers) = (first, args.values.get(1).map_or(Value::None, |(value, _)| value.clone()));
                let Value::Object(object) = own else { return Ok(layers) };
                let given = match self.items_of(&layers) {
                    // `nn.Sequential(OrderedDict([("fc", nn.Linear(4, 4))]))`
                    Some(parts) => match parts.as_slice() {
                        [Value::Object(only)] if self.objects.get(*only).is_some_and(|own| own.class.is_none()) => {
                            let fields = self.objects.get(*only).map(|own| own.fields.clone()).unwrap_or_default();
                            fields.into_iter().collect::<Vec<_>>()
                        }
                        _ => parts.into_iter().enumerate().map(|(at, part)| (at.to_string(), part)).collect(),
                    },
                    None => Vec::new(),
                };
                for (name, layer) in &given {
                    self.set_field(object, name, layer.clone())?;
                }
                Ok(Value::Tuple(given.into_iter().map(|(_, layer)| layer).collect()))
            }
            Own::Each => {
                let rest = args.values.into_iter().skip(1);
                let rows: Vec<Vec<Value>> = rest.map(|(value, _)| self.list_of(value, at)).collect::<Result<_, _>>()?;
                let count = rows.iter().map(Vec::len).min().unwrap_or_default();
                let mut made = Vec::new();
                for number in 0..count {
                    let values =
                        rows.iter().filter_map(|row| row.get(number)).map(|value| (value.clone(), at)).collect();
                    let value = self.invoke(&first, Args { values, ..Args::none("map", at) })?;
                    made.push(self.materialised(value, "item")?);
                }
                Ok(Value::Tuple(made))
            }
            Own::IsInteger => Ok(match self.real_number(&first) {
                Some(value) => Value::Bool(value == value.trunc()),
                None => Value::computed(false, first.by_data()),
            }),
            Own::IsFunction => Ok(Value::Bool(matches!(first, Value::Function(_)))),
            Own::Same => Ok(match (first, args.names.iter().find(|(name, ..)| *name == "data")) {
                (Value::None, Some((_, value, _))) => value.clone(),
                (first, _) => first,
            }),
            Own::Einops => self.einops(&args),
            Own::Compile => {
                self.compile(&first);
                Ok(first)
            }
            Own::Partial => {
                let inner = args.values.remove(0).0;
                Ok(self.function_value(Callable::Partial(inner, args.values, args.names)))
            }
            Own::Map => {
                let axes = args.get(1, &["in_axes", "in_dims"]).cloned().unwrap_or(Value::Int(Expr::Const(0)));
                Ok(self.function_value(Callable::Mapped(first, axes)))
            }
            Own::Scan => self.scanned(&args),
            Own::Last => Ok(match first {
                Value::None => Value::Int(Expr::Const(-1)),
                other => other,
            }),
            Own::LastAxes => {
                let value = self.known(first, 2, at)?;
                let dims = shape(&value).unwrap_or_default();
                let given = match args.values.get(1) {
                    Some((Value::Tuple(parts), _)) => parts.clone(),
                    Some((value @ Value::Int(_), _)) => vec![value.clone()],
                    _ => vec![Value::None],
                };
                let count = given.len().clamp(1, dims.len().max(1));
                let from = dims.len().saturating_sub(count);
                for (own, given) in dims.iter().skip(from).zip(&given) {
                    if let Value::Int(extent) = given {
                        // Shapes that nobody gave are found here; others differ only where the source is wrong.
                        let _ = self.unify(own, extent);
                    }
                }
                Ok(Value::Tuple((from..dims.len()).map(|axis| Value::Int(Expr::Const(axis as i64))).collect()))
            }
            Own::SameExtent => {
                let other = args.values.get(1).map_or(Value::None, |(value, _)| value.clone());
                let other = self.known(other, 4, at)?;
                let along = args.values.get(2).map_or(Value::Int(Expr::Const(1)), |(value, _)| value.clone());
                let dims = shape(&other).unwrap_or_default();
                let along = self.axis(&along, dims.len(), at)?;
                let vector = self.view(first, 1, at)?;
                if let (Some(own), Some(dim)) = (vector.dims.first().cloned(), dims.get(along)) {
                    let _ = self.unify(&own, dim);
                }
                Ok(Value::View(vector))
            }
            Own::SameRank => {
                let like = args.values.get(1).map_or(Value::None, |(value, _)| value.clone());
                let like = self.known(like, 2, at)?;
                let rank = shape(&like).map_or(1, |dims| dims.len());
                match first {
                    Value::Unknown(name) if !self.resolved.contains_key(&name) => {
                        self.array_as(&name, rank, Some(Element::I64), at).map(Value::View)
                    }
                    other => self.known(other, rank, at),
                }
            }
            Own::Fuses => Ok(Value::Bool(self.fusion() != Fusion::None)),
        }
    }

    /// The items of a list, or the rows of an array.
    fn list_of(&mut self, value: Value, at: At) -> Result<Vec<Value>, Error> {
        match &value {
            Value::View(view) if !view.dims.is_empty() => {
                let rows = self.number(&view.dims.first().cloned().unwrap_or(Expr::Const(0))).unwrap_or_default();
                self.check_items(usize::try_from(rows).unwrap_or_default(), at)?;
                (0..rows).map(|row| self.row(view, &Expr::Const(row), at)).collect()
            }
            other => match self.items_of(other) {
                Some(items) => Ok(items),
                None => Err(refuse(at, format!("a list of {}", other.description()), "Write its items out")),
            },
        }
    }

    /// Whether a value is of a type, or of one of several.
    fn is_instance(&self, value: &Value, of: &Value) -> bool {
        match of {
            Value::Tuple(types) => types.iter().any(|of| self.is_instance(value, of)),
            Value::Type(element) => match value {
                Value::Int(_) => *element == Element::I64,
                Value::Literal(_) | Value::Scalar(true) | Value::Counter(true) => *element == Element::F64,
                Value::Bool(_) => *element == Element::I8,
                _ => false,
            },
            Value::Function(number) => match (self.callables.get(*number), value) {
                (Some(Callable::Named(name)), value) => match *name {
                    "tuple" | "list" => matches!(value, Value::Tuple(_)),
                    "str" => matches!(value, Value::Text(_)),
                    "dict" => matches!(value, Value::Object(_)),
                    "Tensor" | "ndarray" => value.is_array() || matches!(value, Value::Unknown(_)),
                    "Module" => matches!(value, Value::Object(_)),
                    _ => false,
                },
                (Some(Callable::Class(class)), Value::Object(object)) => self.is_of(*object, class.def.name.as_str()),
                _ => false,
            },
            _ => false,
        }
    }

    /// Numbers that the source decides where nothing is counted: in constructors, and in the library.
    pub(super) fn settled(&mut self, args: &Args<'a>) -> Option<Value> {
        if self.building == 0 && !self.in_library() {
            return None;
        }
        let [(only, _)] = args.values.as_slice() else { return None };
        let value = self.real_number(only)?;
        Some(match args.name {
            "ceil" => Value::Int(Expr::Const(value.ceil() as i64)),
            "floor" => Value::Int(Expr::Const(value.floor() as i64)),
            "round" => Value::Int(Expr::Const(value.round() as i64)),
            "sqrt" => Value::Literal(value.sqrt()),
            "log" => Value::Literal(value.ln()),
            "log2" => Value::Literal(value.log2()),
            "exp" => Value::Literal(value.exp()),
            _ => return None,
        })
    }

    /// The value of a number, if parameters and the source give it.
    pub(super) fn real_number(&self, value: &Value) -> Option<f64> {
        match value {
            Value::Literal(value) => Some(*value),
            Value::Int(expr) => self.number(expr).map(|value| value as f64),
            Value::Bool(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// The text of `f"layer{i}"`.
    pub(super) fn formatted(&mut self, string: &'a ruff_python_ast::ExprFString) -> Result<Value, Error> {
        let mut text = String::new();
        for part in &string.value {
            match part {
                FStringPart::Literal(literal) => text.push_str(&literal.value),
                FStringPart::FString(parts) => {
                    for element in &parts.elements {
                        match element {
                            InterpolatedStringElement::Literal(literal) => text.push_str(&literal.value),
                            // What is printed has no cost.
                            InterpolatedStringElement::Interpolation(part) if part.expression.is_name_expr() => {
                                match self.eval(&part.expression)? {
                                    Value::Int(expr) => {
                                        text.push_str(&self.number(&expr).map_or(String::new(), |n| n.to_string()));
                                    }
                                    Value::Text(inner) => text.push_str(&inner),
                                    _ => {}
                                }
                            }
                            InterpolatedStringElement::Interpolation(_) => {}
                        }
                    }
                }
            }
        }
        Ok(Value::Text(text))
    }

    /// What names and attributes of objects stand for, without anything being done.
    pub(super) fn peek(&mut self, expr: &'a Tree) -> Option<Value> {
        let value = match expr {
            Tree::Name(name) => self.lookup(name.id.as_str()),
            Tree::Attribute(attribute) => match self.peek(&attribute.value)? {
                Value::Object(object) => {
                    self.objects.get(object).and_then(|own| own.fields.get(attribute.attr.as_str())).cloned()
                }
                _ => None,
            },
            Tree::Subscript(subscript) => match (self.peek(&subscript.value)?, &*subscript.slice) {
                (Value::Object(object), Tree::StringLiteral(name)) => {
                    self.objects.get(object).and_then(|own| own.fields.get(name.value.to_str())).cloned()
                }
                _ => None,
            },
            _ => None,
        };
        match value {
            Some(Value::Unknown(name)) => self.resolved.get(&name).cloned(),
            value => value,
        }
    }

    /// `list.append(x)` and the like: the list is another then.
    pub(super) fn changed_list(&mut self, call: &'a ExprCall) -> Result<Option<Value>, Error> {
        let Tree::Attribute(method) = &*call.func else { return Ok(None) };
        let name = method.attr.as_str();
        if !matches!(name, "append" | "extend" | "insert" | "pop") {
            return Ok(None);
        }
        let Some(Value::Tuple(mut parts)) = self.peek(&method.value) else { return Ok(None) };
        let at = self.at(call);
        let mut values = Vec::new();
        for arg in &call.arguments.args {
            let value = self.eval(arg)?;
            values.push(self.materialised(value, "item")?);
        }
        let mut result = Value::None;
        match (name, values.as_slice()) {
            ("append", [value]) => parts.push(value.clone()),
            ("extend", [value]) => parts.extend(self.items_of(value).unwrap_or_default()),
            ("insert", [Value::Int(Expr::Const(index)), value]) => {
                let index = usize::try_from(*index).unwrap_or_default().min(parts.len());
                parts.insert(index, value.clone());
            }
            ("pop", index) if !parts.is_empty() => {
                let last = parts.len() as i64 - 1;
                let index = match index {
                    [Value::Int(Expr::Const(index))] => {
                        if *index < 0 {
                            last + 1 + *index
                        } else {
                            *index
                        }
                    }
                    _ => last,
                };
                result = parts.remove(usize::try_from(index.clamp(0, last)).unwrap_or_default());
            }
            _ => return Err(refuse(at, format!("`{name}` of this list is not read"), "Write the list out")),
        }
        self.count_items(1, at)?;
        self.assign_to(&method.value, Value::Tuple(parts), at)?;
        Ok(Some(result))
    }

    /// Whether `x.at[i]` stands there.
    pub(super) fn is_at(&self, subscript: &ExprSubscript) -> bool {
        matches!(&*subscript.value, Tree::Attribute(own) if own.attr.as_str() == "at")
    }

    /// `x.at[i].set(y)` of JAX: a copy, and a store in it.
    pub(super) fn updated(
        &mut self,
        call: &'a ExprCall,
        method: &'a ExprAttribute,
        subscript: &'a ExprSubscript,
    ) -> Result<Value, Error> {
        use ruff_python_ast::Operator::{Add, Div, Mult, Pow};
        let at = self.at(call);
        let Tree::Attribute(own) = &*subscript.value else { return Ok(Value::None) };
        let value = match call.arguments.args.first() {
            Some(value) => self.eval(value)?,
            None => Value::None,
        };
        let operator = match method.attr.as_str() {
            "get" => None,
            "set" => None,
            "add" => Some(Add),
            "multiply" | "mul" => Some(Mult),
            "divide" => Some(Div),
            "power" => Some(Pow),
            "min" | "max" => Some(Add),
            name => {
                let near = registry::nearest_of(
                    name,
                    ["set", "add", "multiply", "divide", "power", "min", "max", "get"].into_iter(),
                );
                return self.refuse(
                    method,
                    format!("`.at[].{name}` is not read"),
                    &format!("JAX has {}", near.join(", ")),
                );
            }
        };
        let source = self.eval(&own.value)?;
        let (_, rank, _) = super::tree::subscripts_of(subscript);
        let view = self.view(source, rank, at)?;
        let parts = match &*subscript.slice {
            Tree::Tuple(tuple) => tuple.elts.as_slice(),
            part => std::slice::from_ref(part),
        };
        if method.attr.as_str() == "get" {
            return self.subscripts(view, parts, false, at);
        }
        let copy = self.copied(&view, at)?;
        let copy = self.view(copy, rank, at)?;
        let part = self.subscripts(copy.clone(), parts, true, at)?;
        let (part, value) = match (part, value) {
            (Value::View(part), Value::Unknown(name)) if part.dims.is_empty() && !self.resolved.contains_key(&name) => {
                (Value::View(part), self.scalar_of(&name))
            }
            (part, value) => self.pair(part, value, at)?,
        };
        match (part, operator) {
            (Value::View(part), None) => self.store(&part, value, at)?,
            (Value::View(part), Some(operator)) => self.in_place(operator, &part, value, at)?,
            (other, _) => {
                return self.refuse(
                    call,
                    format!("a subscript of {}", other.description()),
                    "Only arrays have elements",
                );
            }
        }
        Ok(Value::View(copy))
    }

    /// Whether an object is of a class, or of one derived from it.
    fn is_of(&self, object: usize, name: &str) -> bool {
        self.class_names(object).contains(&name)
    }

    /// `{"a": x}`: values by name.
    pub(super) fn dict_literal(&mut self, dict: &'a ruff_python_ast::ExprDict, at: At) -> Result<Value, Error> {
        let mut fields = Vec::new();
        for item in &dict.items {
            match &item.key {
                Some(key) => {
                    let key = self.eval(key)?;
                    let Some(name) = self.key_of(&key) else {
                        return Err(refuse(at, format!("{} as a key", key.description()), "Use names or numbers"));
                    };
                    fields.push((name, self.eval(&item.value)?));
                }
                None => {
                    if let Value::Object(object) = self.eval(&item.value)? {
                        fields.extend(self.objects.get(object).map(|own| own.fields.clone()).unwrap_or_default());
                    }
                }
            }
        }
        self.count_items(fields.len().max(1), at)?;
        Ok(self.dictionary(fields))
    }
}

/// `("name", value)`
fn named_part(part: &Value) -> Option<(String, Value)> {
    match part {
        Value::Tuple(pair) => match pair.as_slice() {
            [Value::Text(name), value] => Some((name.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    }
}
