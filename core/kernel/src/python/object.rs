//! Classes and their objects: modules of PyTorch, configurations, dictionaries.
//!
//! Making an object costs nothing here: what its `__init__` does to memory is left out, and the arrays that it makes
//! are the kernel's parameters.

use ruff_python_ast::{Expr as Tree, ExprAttribute, ExprCall, Stmt, StmtClassDef};

use super::args::Args;
use super::callable::definition;
use super::defined::{Callable, Class, Fields, Function, Object};
use super::lower::PythonLowering;
use super::registry::{self, Read};
use super::tree::{call_name, integer, last_name};
use super::value::Value;
use crate::nest::{At, Element};
use crate::source::{MAX_DEPTH, refuse};
use accel_ground::error::Error;

/// More objects are refused.
const MAX_OBJECTS: usize = 100_000;

impl<'a> PythonLowering<'a> {
    /// The class of that name: one of the source, or else of the library.
    pub(super) fn class_named(&self, name: &str) -> Option<Class<'a>> {
        let own = self.classes.get(name).filter(|_| !self.in_library()).map(|def| Class { def, library: false });
        own.or_else(|| match registry::find(name)? {
            Read::Class(def) => Some(Class { def, library: true }),
            _ => None,
        })
    }

    /// A class and those it is derived from, nearest first.
    fn ancestry(&self, class: Class<'a>) -> Vec<Class<'a>> {
        let mut all = vec![class];
        let mut next = 0;
        while let Some(class) = all.get(next).copied()
            && all.len() < MAX_DEPTH
        {
            let bases = class.def.arguments.iter().flat_map(|arguments| arguments.args.iter());
            let bases: Vec<Class<'a>> = bases
                .filter_map(|base| match base.is_attribute_expr() {
                    true => self.class_in(base),
                    false => self.class_named(last_name(base)?),
                })
                .filter(|base| !all.iter().any(|own| std::ptr::eq(own.def, base.def)))
                .collect();
            all.extend(bases);
            next += 1;
        }
        all
    }

    /// A method of a class, or of one it is derived from.
    pub(super) fn method_of(&self, class: Class<'a>, name: &str) -> Option<Function<'a>> {
        self.ancestry(class).into_iter().find_map(|class| {
            let own = class.def.body.iter().filter_map(definition).rfind(|function| function.name.as_str() == name)?;
            Some(Function::new(own, class.library))
        })
    }

    /// A method of an object, with the object.
    pub(super) fn method(&self, object: usize, name: &str) -> Option<Function<'a>> {
        let function = self.method_of(self.objects.get(object)?.class?, name)?;
        let fixed = function.def.decorator_list.iter().any(|own| last_name(&own.expression) == Some("staticmethod"));
        Some(Function { receiver: (!fixed).then_some(object), ..function })
    }

    /// What errors call an object.
    pub(super) fn class_name(&self, object: usize) -> &'a str {
        let class = self.objects.get(object).and_then(|object| object.class);
        class.map_or("a dictionary", |class| class.def.name.as_str())
    }

    /// The names of the classes of an object.
    pub(super) fn class_names(&self, object: usize) -> Vec<&'a str> {
        let class = self.objects.get(object).and_then(|object| object.class);
        let classes = class.map(|class| self.ancestry(class)).unwrap_or_default();
        classes.into_iter().map(|class| class.def.name.as_str()).collect()
    }

    /// A dictionary.
    pub(super) fn dictionary(&mut self, fields: Vec<(String, Value)>) -> Value {
        self.objects.push(Object { class: None, fields: fields.into_iter().collect() });
        Value::Object(self.objects.len() - 1)
    }

    /// Makes an object.
    pub(super) fn instantiate(&mut self, class: Class<'a>, args: Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        if self.objects.len() >= MAX_OBJECTS {
            return Err(refuse(at, format!("more than {MAX_OBJECTS} objects"), "Make fewer"));
        }
        self.objects.push(Object { class: Some(class), fields: Fields::default() });
        let object = self.objects.len() - 1;
        let init = self.method(object, "__init__");
        self.unpriced(|own| match init {
            Some(init) => own.unfold(init, args).map(|_| ()),
            None => own.data_fields(object, class, args),
        })?;
        Ok(Value::Object(object))
    }

    /// Reads something whose work is left out.
    pub(super) fn unpriced<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.building += 1;
        let (work, reads) = (std::mem::take(&mut self.work), std::mem::take(&mut self.reads));
        let around = std::mem::take(&mut self.out);
        let made = read(self);
        (self.work, self.reads, self.out) = (work, reads, around);
        self.building -= 1;
        made
    }

    /// The fields of a class without `__init__`, as `@dataclass` has them.
    fn data_fields(&mut self, object: usize, class: Class<'a>, args: Args<'a>) -> Result<(), Error> {
        let at = args.at;
        let mut values = args.values.into_iter();
        let mut names = args.names;
        let classes = self.ancestry(class);
        let fields = classes.iter().rev().flat_map(|class| class.def.body.iter());
        for field in fields.filter_map(Stmt::as_ann_assign_stmt) {
            let Tree::Name(name) = &*field.target else { continue };
            let own = name.id.as_str();
            let named = names.iter().position(|(given, ..)| *given == own);
            let value = match (values.next(), named, &field.value) {
                (Some((value, _)), ..) => value,
                (None, Some(named), _) => names.remove(named).1,
                (None, None, Some(_)) if self.source.defines.contains_key(own) && !class.library => {
                    Value::Int(self.builder.parameter(own).into())
                }
                (None, None, Some(default)) => self.eval(default)?,
                (None, None, None) => Value::Unknown(own.to_owned()),
            };
            self.set_field(object, own, value)?;
        }
        for name in ["__post_init__", "setup"] {
            if let Some(method) = self.method(object, name) {
                self.unfold(method, Args::none(name, at))?;
            }
        }
        match names.first() {
            Some((name, _, at)) if !class.library => {
                let problem = format!("{name} is no field of {}", class.def.name);
                Err(refuse(*at, problem, "Give its fields"))
            }
            _ => Ok(()),
        }
    }

    /// Sets a field; an array takes its name.
    pub(super) fn set_field(&mut self, object: usize, name: &str, value: Value) -> Result<(), Error> {
        let value = self.materialised(value, name)?;
        if let Some(object) = self.objects.get_mut(object) {
            object.fields.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// `object.name`
    pub(super) fn object_attribute(&mut self, object: usize, attribute: &'a ExprAttribute) -> Result<Value, Error> {
        let name = attribute.attr.as_str();
        if let Some(value) = self.field(object, name)? {
            return Ok(value);
        }
        let known = self.objects.get(object).into_iter().flat_map(|object| object.fields.keys());
        let known: Vec<&str> = known.map(String::as_str).take(20).collect();
        let near = registry::nearest_of(name, known.iter().copied()).join(", ");
        let problem = format!("{} has no `{name}`", self.class_name(object));
        let cure = if near.is_empty() { "Set it in `__init__`".to_owned() } else { format!("It has {near}") };
        self.refuse(attribute, problem, &cure)
    }

    /// What `object.name` stands for, if anything.
    pub(super) fn field(&mut self, object: usize, name: &str) -> Result<Option<Value>, Error> {
        let own = self.objects.get(object);
        if let Some(value) = own.and_then(|own| own.fields.get(name)) {
            return Ok(Some(value.clone()));
        }
        if let Some(method) = self.method(object, name) {
            let computed = ["property", "cached_property"];
            let decorators = method.def.decorator_list.iter().filter_map(|own| last_name(&own.expression));
            if decorators.into_iter().any(|name| computed.contains(&name)) {
                return self.unfold(method, Args::none("property", self.work.at)).map(Some);
            }
            return Ok(Some(self.function_value(Callable::Def(method))));
        }
        if let Some(class) = own.and_then(|own| own.class)
            && let Some(value) = self.class_attribute(class, name)?
        {
            return Ok(Some(value));
        }
        Ok(match name {
            "training" => Some(Value::Bool(self.source.backward)),
            "device" => Some(Value::Text("cuda".to_owned())),
            "__dict__" => Some(Value::Object(object)),
            "dtype" => Some(Value::Type(self.source.element)),
            _ => None,
        })
    }

    /// What a class itself says a name stands for.
    pub(super) fn class_attribute(&mut self, class: Class<'a>, name: &str) -> Result<Option<Value>, Error> {
        for class in self.ancestry(class) {
            for stmt in class.def.body.iter().rev() {
                let (target, value) = match stmt {
                    Stmt::Assign(assign) => (assign.targets.first(), Some(&*assign.value)),
                    Stmt::AnnAssign(assign) => (Some(&*assign.target), assign.value.as_deref()),
                    _ => continue,
                };
                if let (Some(Tree::Name(own)), Some(value)) = (target, value)
                    && own.id.as_str() == name
                {
                    return self.eval(value).map(Some);
                }
            }
        }
        Ok(self.method_of(class, name).map(|function| self.function_value(Callable::Def(function))))
    }

    /// `config.n_embd` of an argument of which nothing is known: what a class of the source says, or else a parameter.
    pub(super) fn unknown_field(&mut self, argument: &str, name: &str, at: At) -> Result<Value, Error> {
        let fields = |class: &&StmtClassDef| {
            let names = class.body.iter().filter_map(Stmt::as_ann_assign_stmt);
            names.filter_map(|field| field.target.as_name_expr()).any(|own| own.id.as_str() == name)
        };
        let class = self.classes.values().copied().filter(|class| is_data(class)).find(fields);
        match class {
            Some(def) => {
                let class = Class { def, library: false };
                self.assume(at, format!("{argument} is a {} as it is made without arguments", def.name));
                let value = self.instantiate(class, Args::none("", at))?;
                self.resolved.insert(argument.to_owned(), value.clone());
                match value {
                    Value::Object(object) => Ok(self.field(object, name)?.unwrap_or(Value::None)),
                    other => Ok(other),
                }
            }
            // A method without its class: its fields are arguments.
            None if argument == "self" => match self.resolved.get(name) {
                Some(value) => Ok(value.clone()),
                None => match self.inferred(name, at)? {
                    Some(value) => {
                        self.resolved.insert(name.to_owned(), value.clone());
                        Ok(value)
                    }
                    None => Ok(Value::Unknown(name.to_owned())),
                },
            },
            None => Ok(Value::Int(self.builder.parameter(name).into())),
        }
    }

    /// Methods that every module has, and those of lists and dictionaries: `None` where it is another.
    pub(super) fn module_method(&mut self, object: usize, name: &str, args: &Args<'a>) -> Result<Option<Value>, Error> {
        let text = |position: usize| match args.values.get(position) {
            Some((Value::Text(text), _)) => text.clone(),
            _ => String::new(),
        };
        let second = || args.get(1, &["tensor", "module", "param"]).cloned().unwrap_or(Value::None);
        let element = match name {
            "half" => Some(Element::F16),
            "bfloat16" => Some(Element::Bf16),
            "double" => Some(Element::F64),
            "float" => Some(Element::F32),
            "to" | "type" => {
                let given =
                    args.values.iter().map(|(value, _)| value).chain(args.names.iter().map(|(_, value, _)| value));
                given.into_iter().find_map(|value| match value {
                    Value::Type(element) => Some(*element),
                    _ => None,
                })
            }
            _ => None,
        };
        if let Some(element) = element {
            self.convert(object, element, 0);
        }
        match name {
            "half" | "bfloat16" | "double" | "float" | "to" | "type" | "cuda" | "cpu" | "eval" | "train" | "apply"
            | "requires_grad_" => Ok(Some(Value::Object(object))),
            "compile" => {
                self.compile(&Value::Object(object));
                Ok(Some(Value::Object(object)))
            }
            "register_buffer" | "register_parameter" | "add_module" | "register_module" => {
                let (name, value) = (text(0), second());
                self.set_field(object, &name, value)?;
                Ok(Some(Value::None))
            }
            "update" => {
                let mut fields: Vec<(String, Value)> =
                    args.names.iter().map(|(name, value, _)| ((*name).to_owned(), value.clone())).collect();
                if let Some((Value::Object(other), _)) = args.values.first() {
                    fields.extend(self.objects.get(*other).map(|own| own.fields.clone()).unwrap_or_default());
                }
                for (name, value) in fields {
                    self.set_field(object, &name, value)?;
                }
                Ok(Some(Value::None))
            }
            "get" => {
                let found = self.objects.get(object).and_then(|own| own.fields.get(&text(0))).cloned();
                Ok(Some(found.unwrap_or_else(second)))
            }
            "keys" | "values" | "items" | "children" | "modules" => {
                let fields = self.objects.get(object).map(|own| own.fields.clone()).unwrap_or_default();
                let item = |(key, value): (String, Value)| match name {
                    "keys" => Value::Text(key),
                    "items" => Value::Tuple(vec![Value::Text(key), value]),
                    _ => value,
                };
                let module = |(_, value): &(String, Value)| name != "children" || matches!(value, Value::Object(_));
                Ok(Some(Value::Tuple(fields.into_iter().filter(module).map(item).collect())))
            }
            "step" | "zero_grad" => {
                self.assume(args.at, format!("`{name}` of {} is left out", self.class_name(object)));
                Ok(Some(Value::None))
            }
            "state_dict" | "parameters" | "named_parameters" | "buffers" => Ok(Some(Value::Tuple(Vec::new()))),
            _ => Ok(None),
        }
    }

    /// Gives the arrays of an object, and of those in it, another floating-point type.
    fn convert(&mut self, object: usize, element: Element, depth: usize) {
        let mut left: Vec<Value> =
            self.objects.get(object).map(|own| own.fields.values().cloned().collect()).unwrap_or_default();
        while let Some(value) = left.pop() {
            match value {
                Value::View(view) => {
                    let array = self.builder.program.arrays.get_mut(view.array);
                    if let Some(array) = array.filter(|array| array.element.is_float()) {
                        array.element = element;
                    }
                }
                Value::Object(inner) if depth < MAX_DEPTH => self.convert(inner, element, depth + 1),
                Value::Tuple(parts) => left.extend(parts),
                _ => {}
            }
        }
    }

    /// `super().__init__(...)`: a method of the classes behind the one whose method is being read.
    pub(super) fn of_super(&mut self, call: &'a ExprCall) -> Result<Option<Function<'a>>, Error> {
        let Tree::Attribute(attribute) = &*call.func else { return Ok(None) };
        if !matches!(&*attribute.value, Tree::Call(inner) if call_name(inner) == Some("super")) {
            return Ok(None);
        }
        let Some((own, Some(object))) = self.calls.last().copied() else {
            return self.refuse(call, "`super()` outside a method", "Call the function itself");
        };
        let class = self.objects.get(object).and_then(|object| object.class);
        let classes = class.map(|class| self.ancestry(class)).unwrap_or_default();
        let has = |class: &Class<'a>| {
            class.def.body.iter().filter_map(definition).any(|function| super::usage::address(function) == own)
        };
        let behind = classes.iter().position(has).map_or(0, |at| at + 1);
        let found = classes.get(behind..).unwrap_or_default().iter().find_map(|class| {
            let of = class.def.body.iter().filter_map(definition);
            let function = of.into_iter().find(|function| function.name.as_str() == attribute.attr.as_str())?;
            Some(Function { receiver: Some(object), ..Function::new(function, class.library) })
        });
        Ok(found)
    }

    /// Whether a statement of `__init__` has a part in what the object becomes: others start weights, or print.
    pub(super) fn builds(stmt: &Stmt) -> bool {
        const MAKES: [&str; 10] = [
            "__init__",
            "register_buffer",
            "register_parameter",
            "add_module",
            "register_module",
            "append",
            "extend",
            "insert",
            "update",
            "setattr",
        ];
        match stmt {
            Stmt::Expr(expr) => match &*expr.value {
                // The launch of a kernel.
                Tree::Call(call) if call.func.is_subscript_expr() => true,
                Tree::Call(call) => {
                    let own =
                        matches!(&*call.func, Tree::Attribute(method) if last_name(&method.value) == Some("self"));
                    let name = call_name(call).unwrap_or_default();
                    MAKES.contains(&name) || (own && name.starts_with("_make")) || (own && name.starts_with("_build"))
                }
                _ => false,
            },
            Stmt::For(f) => {
                let walks = matches!(&*f.iter, Tree::Call(call)
                    if call_name(call).is_some_and(|name| matches!(name, "named_parameters" | "parameters" | "modules" | "named_modules")));
                !walks && f.body.iter().any(Self::builds)
            }
            Stmt::If(branch) => {
                let others = branch.elif_else_clauses.iter().flat_map(|clause| clause.body.iter());
                branch.body.iter().chain(others).any(Self::builds)
            }
            Stmt::With(with) => with.body.iter().any(Self::builds),
            Stmt::Pass(_) | Stmt::Assert(_) => false,
            _ => true,
        }
    }

    /// Items of a list that has such: those of a tuple, of `nn.Sequential`, of a dictionary.
    pub(super) fn items_of(&self, value: &Value) -> Option<Vec<Value>> {
        match value {
            Value::Tuple(parts) => Some(parts.clone()),
            Value::Object(object) => match self.objects.get(*object)?.fields.get("layers") {
                Some(Value::Tuple(parts)) => Some(parts.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// `object["name"]`, `layers[0]`
    pub(super) fn object_item(&mut self, object: usize, key: &'a Tree, at: At) -> Result<Value, Error> {
        if let Some(parts) = self.items_of(&Value::Object(object))
            && (integer(key).is_some() || key.is_name_expr() || key.is_slice_expr())
        {
            return self.item_of(parts, key, at);
        }
        let key = self.eval(key)?;
        match self.key_of(&key) {
            Some(name) => match self.field(object, &name)? {
                Some(value) => Ok(value),
                None => Err(refuse(at, format!("{} has no \"{name}\"", self.class_name(object)), "Give it a value")),
            },
            None => Err(refuse(at, format!("{} as a key", key.description()), "Use names or numbers")),
        }
    }

    /// What a dictionary calls a key: a name, or a number that the source decides.
    pub(super) fn key_of(&self, key: &Value) -> Option<String> {
        match key {
            Value::Text(name) => Some(name.clone()),
            Value::Int(number) => self.number(number).map(|number| number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Type(element) => Some(element.name().to_owned()),
            _ => None,
        }
    }
}

/// Whether a class only holds values: a `@dataclass`, or one without methods.
pub(super) fn is_data(class: &StmtClassDef) -> bool {
    let decorated = class.decorator_list.iter().any(|own| match &own.expression {
        Tree::Call(call) => call_name(call) == Some("dataclass"),
        other => last_name(other) == Some("dataclass"),
    });
    decorated || !class.body.iter().any(Stmt::is_function_def_stmt)
}
