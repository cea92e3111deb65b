//! PyTorch execution traces: what `torch.profiler.ExecutionTraceObserver` writes, JSON of the schemas 1.0.1 to 1.1.1.
//!
//! One object with `schema` and `nodes`. A node is flat in 1.0.1 (`parent`, `inputs`, `input_shapes`, `input_types`,
//! `op_schema`, `scope`); from 1.0.2 the parent is `ctrl_deps`; later `inputs` and `outputs` hold `values`, `shapes`,
//! `types` and (1.1.1) `strides`, and `attrs` the rest. Each node is read in the form it has. A tensor is
//! `[tensor id, storage id, offset in elements, elements, bytes of an element, device]`; ids stand for addresses,
//! numbered in order of first mention by the same counter that numbers the calls as they begin
//! (execution_trace_observer.cpp). What counts as an access is told in [`operators`](super::operators).
//!
//! Nodes are reduced one by one: a file is never held as a whole.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::input::Input;
use super::json::{outer_keys, refuse, stream};
use super::operators::{Call, Calls, Flag, Lists, RawTensor, Side, Type};
use crate::error::{Error, Place};
use crate::run::Progress;
use crate::trace::Trace;

const CURE: &str = "Check that it is an execution trace of PyTorch (ExecutionTraceObserver) and is not damaged";

/// Whether a file begins like this format: an object with `schema` and `nodes`.
pub fn looks_like(head: &[u8]) -> bool {
    let keys = outer_keys(head);
    keys.contains(&&b"nodes"[..]) && keys.contains(&&b"schema"[..])
}

/// Reads an execution trace.
pub fn read(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut state = State { calls: Calls::new(input.name), call: Call::default(), text: String::new(), error: None };
    let mut json = stream(input, progress);
    let result = File { state: &mut state, input: input.name }.deserialize(&mut json).and_then(|found| {
        json.end()?;
        Ok(found)
    });
    drop(json);
    let found = match (result, state.error) {
        (_, Some(error)) => return Err(error),
        (Err(error), None) => return Err(refuse(input, error, CURE)),
        (Ok(found), None) => found,
    };
    if !found.schema || !found.nodes {
        let missing = if found.schema { "nodes" } else { "schema" };
        return Err(Error::input(input.name, Place::Key(missing.into()), "the key is missing", CURE));
    }
    if state.calls.len() == 0 {
        let cure = "Start the observer before the step that is to be recorded, and stop it after";
        return Err(Error::input(input.name, Place::Key("nodes".into()), "the trace has no nodes", cure));
    }
    state.calls.trace(progress)
}

/// What is read so far.
struct State {
    calls: Calls,
    /// The node being read.
    call: Call,
    /// A text being read.
    text: String,
    /// An error with a better place than the parser's.
    error: Option<Error>,
}

impl State {
    /// Keeps `error` and stops the parser.
    fn stop<T, E: serde::de::Error>(&mut self, result: Result<T, Error>) -> Result<T, E> {
        result.map_err(|error| {
            self.error = Some(error);
            E::custom("refused")
        })
    }
}

/// Which of the keys were there.
#[derive(Default)]
struct Found {
    schema: bool,
    nodes: bool,
}

/// The file.
struct File<'s> {
    state: &'s mut State,
    input: &'s str,
}

impl<'de> DeserializeSeed<'de> for File<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for File<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an execution trace: an object with schema and nodes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while map.next_key_seed(Text(&mut self.state.text))?.is_some() {
            match self.state.text.as_str() {
                "schema" => {
                    map.next_value_seed(Text(&mut self.state.text))?;
                    let checked = check_schema(self.input, &self.state.text);
                    self.state.stop(checked)?;
                    found.schema = true;
                }
                "nodes" if found.nodes => return Err(A::Error::custom("the key nodes comes twice")),
                "nodes" => {
                    map.next_value_seed(Nodes(self.state))?;
                    found.nodes = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// `1.0.1`, `1.1.1-chakra.0.0.4`: the first number tells whether this reader knows it.
fn check_schema(input: &str, schema: &str) -> Result<(), Error> {
    let known = schema.split('.').next() == Some("1") && schema.split('.').count() > 1;
    if known {
        return Ok(());
    }
    let shown: String = schema.chars().take(40).collect();
    let problem = format!("the schema is \"{shown}\"");
    let cure = "This build reads schemas 1.0.1 to 1.1.1: record with a PyTorch that writes one of them";
    Err(Error::input(input, Place::Key("schema".into()), problem, cure))
}

/// A text, into a buffer that is used again.
struct Text<'s>(&'s mut String);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.clear();
        self.0.push_str(text);
        Ok(())
    }
}

/// The list of nodes.
struct Nodes<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Nodes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Nodes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of nodes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Node(self.0))?.is_some() {
            let pushed = self.0.calls.push(&self.0.call);
            self.0.stop(pushed)?;
        }
        Ok(())
    }
}

/// One node, into the call being read.
struct Node<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node: an object with id, name, inputs and outputs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let state = self.0;
        state.call.clear();
        let (mut id, mut parent, mut named) = (false, false, false);
        while map.next_key_seed(Text(&mut state.text))?.is_some() {
            match state.text.as_str() {
                "id" => {
                    state.call.id = map.next_value()?;
                    id = true;
                }
                "parent" | "ctrl_deps" => {
                    state.call.parent = map.next_value()?;
                    parent = true;
                }
                "name" => {
                    map.next_value_seed(Text(&mut state.call.name))?;
                    named = true;
                }
                "scope" => state.call.scope = Some(map.next_value()?),
                "op_schema" => map.next_value_seed(Text(&mut state.call.schema))?,
                "attrs" => map.next_value_seed(Attributes(state))?,
                "inputs" => map.next_value_seed(SideOf { state, part: Part::Inputs })?,
                "outputs" => map.next_value_seed(SideOf { state, part: Part::Outputs })?,
                "input_shapes" => map.next_value_seed(Shapes(&mut state.call.inputs.shapes))?,
                "output_shapes" => map.next_value_seed(Shapes(&mut state.call.outputs.shapes))?,
                "input_strides" => map.next_value_seed(Shapes(&mut state.call.inputs.strides))?,
                "output_strides" => map.next_value_seed(Shapes(&mut state.call.outputs.strides))?,
                "input_types" => map.next_value_seed(Types(&mut state.call.inputs.types))?,
                "output_types" => map.next_value_seed(Types(&mut state.call.outputs.types))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        for (there, key) in [(id, "id"), (named, "name"), (parent, "parent (or ctrl_deps)")] {
            if !there {
                return Err(A::Error::custom(format!("node {} has no {key}", state.calls.len())));
            }
        }
        Ok(())
    }
}

/// The list of `{"name", "type", "value"}`.
struct Attributes<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Attributes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Attributes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of attributes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Attribute(self.0))?.is_some() {}
        Ok(())
    }
}

struct Attribute<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Attribute<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Attribute<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute: an object with name, type and value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let state = self.0;
        let (mut name, mut number) = (Name::Other, None);
        // The name comes before the value in every file; where it does not, the value's text is kept meanwhile.
        let mut early: Option<String> = None;
        while map.next_key_seed(Text(&mut state.text))?.is_some() {
            match state.text.as_str() {
                "name" => {
                    map.next_value_seed(Text(&mut state.text))?;
                    name = match state.text.as_str() {
                        "op_schema" => Name::Schema,
                        "scope" => Name::Scope,
                        _ => Name::Other,
                    };
                }
                "value" => match map.next_value_seed(Value { state, place: None })? {
                    Leaf::Text if name == Name::Schema => {
                        std::mem::swap(&mut state.text, &mut state.call.schema);
                    }
                    Leaf::Text if name == Name::Other => early = Some(state.text.clone()),
                    Leaf::Int(value) => number = Some(value),
                    _ => {}
                },
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match (name, number, early) {
            (Name::Scope, Some(value), _) => state.call.scope = u64::try_from(value).ok(),
            (Name::Schema, _, Some(text)) => state.call.schema = text,
            _ => {}
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Schema,
    Scope,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Inputs,
    Outputs,
}

/// What a call takes or returns: a list of values, or an object with them.
struct SideOf<'s> {
    state: &'s mut State,
    part: Part,
}

impl SideOf<'_> {
    fn side(&mut self) -> &mut Side {
        side_of(self.state, self.part)
    }
}

fn side_of(state: &mut State, part: Part) -> &mut Side {
    match part {
        Part::Inputs => &mut state.call.inputs,
        Part::Outputs => &mut state.call.outputs,
    }
}

impl<'de> DeserializeSeed<'de> for SideOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SideOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inputs or outputs of a node: a list, or an object with values, shapes and types")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { state, part } = self;
        let mut position = 0;
        loop {
            let place = Some(At { part, position, element: 0 });
            match list.next_element_seed(Value { state, place })? {
                None => break,
                Some(Leaf::Bool(set)) => side_of(state, part).flags.push(Flag { position, set }),
                Some(_) => {}
            }
            position += 1;
        }
        side_of(state, part).len = position;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Text(&mut self.state.text))?.is_some() {
            match self.state.text.as_str() {
                "values" => map.next_value_seed(SideOf { state: self.state, part: self.part })?,
                "shapes" => map.next_value_seed(Shapes(&mut self.side().shapes))?,
                "strides" => map.next_value_seed(Shapes(&mut self.side().strides))?,
                "types" => map.next_value_seed(Types(&mut self.side().types))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Where a value belongs.
#[derive(Clone, Copy)]
struct At {
    part: Part,
    position: u32,
    element: u32,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaf {
    Int(i128),
    Number,
    Bool(bool),
    /// A text, left in the buffer.
    Text,
    Nothing,
    /// A list, and how many leaves it has.
    List(u32),
}

/// A value: tensors in it, at any depth, are kept if it has a place.
struct Value<'s> {
    state: &'s mut State,
    place: Option<At>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Leaf;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Leaf, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Leaf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, set: bool) -> Result<Leaf, E> {
        Ok(Leaf::Bool(set))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Leaf, E> {
        Ok(Leaf::Int(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Leaf, E> {
        Ok(Leaf::Int(number.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Leaf, E> {
        Ok(Leaf::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Leaf, E> {
        self.state.text.clear();
        self.state.text.push_str(text);
        Ok(Leaf::Text)
    }

    fn visit_unit<E>(self) -> Result<Leaf, E> {
        Ok(Leaf::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Leaf, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Leaf::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Leaf, A::Error> {
        let Self { state, place } = self;
        let mut numbers = [None; 5];
        // Five numbers and a text are a tensor.
        let (mut count, mut tensor, mut leaves) = (0usize, true, 0u32);
        loop {
            let inside = place.map(|at| At { element: at.element.saturating_add(leaves), ..at });
            let Some(leaf) = list.next_element_seed(Value { state, place: inside })? else { break };
            match (leaf, numbers.get_mut(count)) {
                (Leaf::Int(number), Some(slot)) => *slot = Some(number),
                (Leaf::Number, Some(_)) => {}
                (Leaf::Text, None) if count == 5 => {}
                _ => tensor = false,
            }
            if let (Leaf::Bool(set), Some(at)) = (leaf, place) {
                side_of(state, at.part).flags.push(Flag { position: at.position, set });
            }
            leaves = leaves.saturating_add(match leaf {
                Leaf::List(inner) => inner,
                _ => 1,
            });
            count += 1;
        }
        let Some(at) = place else { return Ok(Leaf::List(leaves)) };
        if !tensor || count != 6 {
            return Ok(Leaf::List(leaves));
        }
        let device = {
            let name = std::mem::take(&mut state.text);
            let device = state.calls.device(&name);
            state.text = name;
            state.stop(device)?
        };
        let tensor = RawTensor { numbers, device, position: at.position, element: at.element };
        side_of(state, at.part).tensors.push(tensor);
        // One leaf of the list around it.
        Ok(Leaf::List(1))
    }
}

/// Shapes or strides: one list of numbers for each value, nested as the values are.
struct Shapes<'s>(&'s mut Lists);

impl<'de> DeserializeSeed<'de> for Shapes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Shapes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of shapes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut position = 0;
        while list.next_element_seed(Shape { lists: self.0, position, element: 0 })?.is_some() {
            position += 1;
        }
        Ok(())
    }
}

/// One shape, or a list of them.
struct Shape<'s> {
    lists: &'s mut Lists,
    position: u32,
    element: u32,
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    /// How many shapes it held; none for a number.
    type Value = Option<u32>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u32>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shape: a list of whole numbers")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Option<u32>, E> {
        self.lists.number(i64::try_from(number).unwrap_or(i64::MAX));
        Ok(None)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Option<u32>, E> {
        self.lists.number(number);
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<u32>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<u32>, A::Error> {
        let Self { lists, position, element } = self;
        let (mut inner, mut nested) = (0u32, false);
        loop {
            let next = Shape { lists, position, element: element.saturating_add(inner) };
            match list.next_element_seed(next)? {
                None => break,
                Some(None) => {}
                Some(Some(count)) => {
                    nested = true;
                    inner = inner.saturating_add(count);
                }
            }
        }
        if nested {
            return Ok(Some(inner));
        }
        lists.end(position, element);
        Ok(Some(1))
    }
}

/// The types of the arguments.
struct Types<'s>(&'s mut Vec<Type>);

impl<'de> DeserializeSeed<'de> for Types<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Types<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names of types")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(kind) = list.next_element::<TypeName>()? {
            self.0.push(kind.0);
        }
        Ok(())
    }
}

struct TypeName(Type);

impl<'de> serde::Deserialize<'de> for TypeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TypeVisitor)
    }
}

struct TypeVisitor;

impl Visitor<'_> for TypeVisitor {
    type Value = TypeName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a type")
    }

    fn visit_str<E>(self, name: &str) -> Result<TypeName, E> {
        Ok(TypeName(Type::of(name)))
    }
}
