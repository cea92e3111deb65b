//! PyTorch execution traces: what `torch.profiler.ExecutionTraceObserver` writes, JSON of the schemas 1.0.1 to 1.1.1.
//!
//! One object with `schema` and `nodes`. A node is flat in 1.0.1 (`parent`, `inputs`, `input_shapes`, `input_types`,
//! `op_schema`, `scope`); from 1.0.2 the parent is `ctrl_deps`; later `inputs` and `outputs` hold `values`, `shapes`,
//! `types` and (1.1.1) `strides`, and `attrs` the rest. Each node is read in the form it has. A tensor is
//! `[tensor id, storage id, offset in elements, elements, bytes of an element, device]`; ids stand for addresses,
//! numbered in order of first mention by the same counter that numbers the calls as they begin
//! (execution_trace_observer.cpp). What counts as an access stands in [`operators`](super::operators).
//!
//! Nodes are reduced one by one: a file is never held as a whole.

use serde::de::{self, Error as _, IgnoredAny, MapAccess, SeqAccess};

use super::input::Input;
use super::json::{self, Text, outer_keys};
use super::operators::{Call, Calls, Flag, Lists, NOT_WHOLE, RawTensor, Side, Type};
use super::seed::{Form, Seed, ValueReader};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::Trace;

const CURE: &str = "Check that it is an execution trace of PyTorch (ExecutionTraceObserver) and is not damaged";

/// Whether a file begins like this format: an object with `schema` and `nodes`. Where keys are sorted, the schema
/// stands behind the nodes: then the first node decides.
pub fn matches(head: &[u8]) -> bool {
    let has = |keys: &[&[u8]], wanted: &[u8]| keys.contains(&wanted);
    let keys = outer_keys(head);
    if !has(&keys, b"nodes") || has(&keys, b"schema") {
        return has(&keys, b"nodes");
    }
    let Some(nodes) = head.windows(7).position(|part| part == b"\"nodes\"") else { return false };
    let node = head[nodes..].iter().position(|byte| *byte == b'{').map(|start| outer_keys(&head[nodes + start..]));
    node.is_some_and(|keys| has(&keys, b"id") && (has(&keys, b"ctrl_deps") || has(&keys, b"parent")))
}

/// Reads an execution trace.
pub fn read(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut state =
        State { calls: Calls::new(input.name), call: Call::default(), text: String::new(), newer: None, error: None };
    let result = json::read(File { state: &mut state, input: input.name }, input, CURE, progress);
    let found = state.error.take().map_or(result, Err)?;
    if !found.schema || !found.nodes {
        let missing = if found.schema { "nodes" } else { "schema" };
        return Err(Error::input(input.name, Place::Key(missing.into()), "the key is missing", CURE));
    }
    if state.calls.len() == 0 {
        let cure = "Start the observer before the step that is to be recorded, and stop it after";
        return Err(Error::input(input.name, Place::Key("nodes".into()), "the trace has no nodes", cure));
    }
    // The last node's lists are not needed any more.
    let State { calls, newer, .. } = state;
    let mut trace = calls.trace(progress)?;
    if let Some(schema) = newer {
        let known = "newer than those that this build knows (1.0.1 to 1.1.1), and read as the newest of them";
        trace.warn(format!("the schema is \"{schema}\", {known}"));
    }
    Ok(trace)
}

/// What is read so far.
struct State {
    calls: Calls,
    /// The node being read.
    call: Call,
    /// A string being read.
    text: String,
    /// The schema, where it is newer than those that are known.
    newer: Option<String>,
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

impl ValueReader for File<'_> {
    type Value = Found;
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "an execution trace: an object with schema and nodes";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while map.next_key_seed(Seed(Text(&mut self.state.text)))?.is_some() {
            match self.state.text.as_str() {
                "schema" => {
                    map.next_value_seed(Seed(Text(&mut self.state.text)))?;
                    let checked = check_schema(self.input, &self.state.text);
                    self.state.newer = self.state.stop(checked)?;
                    found.schema = true;
                }
                "nodes" if found.nodes => return Err(A::Error::custom("the key nodes comes twice")),
                "nodes" => {
                    map.next_value_seed(Seed(Nodes(self.state)))?;
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

/// `1.0.1`, `1.1.1-chakra.0.0.4`: the first number decides whether this reader knows it. Gives the schema back where the
/// others are newer.
fn check_schema(input: &str, schema: &str) -> Result<Option<String>, Error> {
    let shown: String = schema.chars().take(40).collect();
    let version = schema.split('-').next().unwrap_or_default();
    let numbers: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
    if let Ok(numbers) = numbers
        && numbers.first() == Some(&1)
        && numbers.len() > 1
    {
        return Ok((numbers > vec![1, 1, 1]).then_some(shown));
    }
    let problem = format!("the schema is \"{shown}\"");
    let cure = "This build reads schemas 1.0.1 to 1.1.1: record with a PyTorch that writes one of them";
    Err(Error::input(input, Place::Key("schema".into()), problem, cure))
}

/// The list of nodes.
struct Nodes<'s>(&'s mut State);

impl ValueReader for Nodes<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of nodes";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Seed(Node(self.0)))?.is_some() {
            let pushed = self.0.calls.push(&self.0.call);
            self.0.stop(pushed)?;
        }
        Ok(())
    }
}

/// One node, into the call being read.
struct Node<'s>(&'s mut State);

impl ValueReader for Node<'_> {
    type Value = ();
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "a node: an object with id, name, inputs and outputs";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let state = self.0;
        state.call.clear();
        let (mut id, mut parent, mut named) = (false, false, false);
        while map.next_key_seed(Seed(Text(&mut state.text)))?.is_some() {
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
                    map.next_value_seed(Seed(Text(&mut state.call.name)))?;
                    named = true;
                }
                "scope" => state.call.scope = Some(map.next_value()?),
                "op_schema" => map.next_value_seed(Seed(Text(&mut state.call.schema)))?,
                "attrs" => map.next_value_seed(Seed(Attributes(state)))?,
                // Chakra's trace linker adds kernels, with the tensors of the operator that launched them.
                "cat" => {
                    map.next_value::<IgnoredAny>()?;
                    state.call.excluded = true;
                }
                "inputs" => map.next_value_seed(Seed(SideOf { state, part: Part::Inputs }))?,
                "outputs" => map.next_value_seed(Seed(SideOf { state, part: Part::Outputs }))?,
                "input_shapes" => map.next_value_seed(Seed(Shapes(&mut state.call.inputs.shapes)))?,
                "output_shapes" => map.next_value_seed(Seed(Shapes(&mut state.call.outputs.shapes)))?,
                "input_strides" => map.next_value_seed(Seed(Shapes(&mut state.call.inputs.strides)))?,
                "output_strides" => map.next_value_seed(Seed(Shapes(&mut state.call.outputs.strides)))?,
                "input_types" => map.next_value_seed(Seed(Types(&mut state.call.inputs.types)))?,
                "output_types" => map.next_value_seed(Seed(Types(&mut state.call.outputs.types)))?,
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

impl ValueReader for Attributes<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of attributes";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Seed(Attribute(self.0)))?.is_some() {}
        Ok(())
    }
}

struct Attribute<'s>(&'s mut State);

impl ValueReader for Attribute<'_> {
    type Value = ();
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "an attribute: an object with name, type and value";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let state = self.0;
        let (mut name, mut number) = (Name::Other, None);
        // The name comes before the value in every file; where it does not, its string is kept meanwhile.
        let mut early: Option<String> = None;
        while map.next_key_seed(Seed(Text(&mut state.text)))?.is_some() {
            match state.text.as_str() {
                "name" => {
                    map.next_value_seed(Seed(Text(&mut state.text)))?;
                    name = match state.text.as_str() {
                        "op_schema" => Name::Schema,
                        "scope" => Name::Scope,
                        _ => Name::Other,
                    };
                }
                "value" => match map.next_value_seed(Seed(ArgumentValue { state, place: None }))? {
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

impl ValueReader for SideOf<'_> {
    type Value = ();
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str =
        "the inputs or outputs of a node: a list, or an object with values, shapes and types";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { state, part } = self;
        let mut position = 0;
        loop {
            let place = Some(At { part, position, element: 0 });
            match list.next_element_seed(Seed(ArgumentValue { state, place }))? {
                None => break,
                Some(Leaf::Bool(set)) => side_of(state, part).flags.push(Flag { position, set }),
                Some(_) => {}
            }
            position += 1;
        }
        side_of(state, part).len = position;
        Ok(())
    }

    fn object<'de, A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Seed(Text(&mut self.state.text)))?.is_some() {
            match self.state.text.as_str() {
                "values" => map.next_value_seed(Seed(SideOf { state: self.state, part: self.part }))?,
                "shapes" => map.next_value_seed(Seed(Shapes(&mut self.side().shapes)))?,
                "strides" => map.next_value_seed(Seed(Shapes(&mut self.side().strides)))?,
                "types" => map.next_value_seed(Seed(Types(&mut self.side().types)))?,
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
    Int(i64),
    Number,
    Bool(bool),
    /// A string, left in the buffer.
    Text,
    Nothing,
    /// A list, and how many leaves it has.
    List(u32),
}

/// A value: tensors in it, at any depth, are kept if it has a place.
struct ArgumentValue<'s> {
    state: &'s mut State,
    place: Option<At>,
}

impl ValueReader for ArgumentValue<'_> {
    type Value = Leaf;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "a value";

    fn boolean<E: de::Error>(self, set: bool) -> Result<Leaf, E> {
        Ok(Leaf::Bool(set))
    }

    fn unsigned<E: de::Error>(self, number: u64) -> Result<Leaf, E> {
        Ok(i64::try_from(number).map_or(Leaf::Number, Leaf::Int))
    }

    fn signed<E: de::Error>(self, number: i64) -> Result<Leaf, E> {
        Ok(Leaf::Int(number))
    }

    fn float<E: de::Error>(self, _: f64) -> Result<Leaf, E> {
        Ok(Leaf::Number)
    }

    fn text<E: de::Error>(self, text: &str) -> Result<Leaf, E> {
        self.state.text.clear();
        self.state.text.push_str(text);
        Ok(Leaf::Text)
    }

    fn null<E: de::Error>(self) -> Result<Leaf, E> {
        Ok(Leaf::Nothing)
    }

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Leaf, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Leaf::Nothing)
    }

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<Leaf, A::Error> {
        let Self { state, place } = self;
        let mut numbers = [NOT_WHOLE; 5];
        // Five numbers and a string are a tensor.
        let (mut count, mut tensor, mut leaves) = (0usize, true, 0u32);
        loop {
            let inside = place.map(|at| At { element: at.element.saturating_add(leaves), ..at });
            let Some(leaf) = list.next_element_seed(Seed(ArgumentValue { state, place: inside }))? else { break };
            match (leaf, numbers.get_mut(count)) {
                (Leaf::Int(number), Some(slot)) => *slot = number,
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

impl ValueReader for Shapes<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of shapes";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut position = 0;
        while list.next_element_seed(Seed(Shape { lists: self.0, position, element: 0 }))?.is_some() {
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

impl ValueReader for Shape<'_> {
    /// How many shapes it held; none for a number.
    type Value = Option<u32>;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "a shape: a list of whole numbers";

    fn unsigned<E: de::Error>(self, number: u64) -> Result<Option<u32>, E> {
        self.lists.number(i64::try_from(number).unwrap_or(i64::MAX));
        Ok(None)
    }

    fn signed<E: de::Error>(self, number: i64) -> Result<Option<u32>, E> {
        self.lists.number(number);
        Ok(None)
    }

    fn null<E: de::Error>(self) -> Result<Option<u32>, E> {
        Ok(None)
    }

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<u32>, A::Error> {
        let Self { lists, position, element } = self;
        let (mut inner, mut nested) = (0u32, false);
        loop {
            let next = Shape { lists, position, element: element.saturating_add(inner) };
            match list.next_element_seed(Seed(next))? {
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

impl ValueReader for Types<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of names of types";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(kind) = list.next_element_seed(Seed(TypeName))? {
            self.0.push(kind);
        }
        Ok(())
    }
}

/// The type of one argument.
struct TypeName;

impl ValueReader for TypeName {
    type Value = Type;
    const FORM: Form = Form::Text;
    const EXPECTED: &'static str = "the name of a type";

    fn text<E: de::Error>(self, name: &str) -> Result<Type, E> {
        Ok(Type::of(name))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;
    use crate::trace::{Kind, Mode, Op};

    /// A node of schema 1.1.1; inputs and outputs as `(value, type)`.
    fn node(
        id: u64,
        parent: u64,
        name: &str,
        schema: &str,
        inputs: &[(&str, &str)],
        outputs: &[(&str, &str)],
    ) -> String {
        let side = |side: &[(&str, &str)]| {
            let values = side.iter().map(|(value, _)| *value).collect::<Vec<_>>().join(",");
            let types = side.iter().map(|(_, kind)| format!("\"{kind}\"")).collect::<Vec<_>>().join(",");
            format!("{{\"values\":[{values}],\"shapes\":[],\"types\":[{types}]}}")
        };
        format!(
            "{{\"id\":{id},\"name\":\"{name}\",\"ctrl_deps\":{parent},\"inputs\":{},\"outputs\":{},\"attrs\":[\
             {{\"name\":\"scope\",\"type\":\"uint64\",\"value\":0}},\
             {{\"name\":\"op_schema\",\"type\":\"string\",\"value\":\"{schema}\"}}]}}",
            side(inputs),
            side(outputs)
        )
    }

    fn file(nodes: &[String]) -> String {
        let root = r#"{"id":1,"name":"[pytorch|profiler|execution_trace|process]","ctrl_deps":1,"inputs":{"values":[]},
            "outputs":{"values":[]},"attrs":[{"name":"scope","type":"uint64","value":7}]}"#;
        let nodes = [&[root.to_owned()], nodes].concat().join(",");
        format!("{{\"schema\":\"1.1.1-chakra.0.0.4\",\"pid\":1,\"nodes\":[{nodes}],\"finish_ts\":3}}")
    }

    /// A float tensor of `elements` on the CPU.
    fn tensor(id: u64, storage: u64, elements: i64) -> String {
        format!("[{id},{storage},0,{elements},4,\"cpu\"]")
    }

    const T: &str = "Tensor(float)";
    const ADD: &str = "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor";

    fn read_text(text: &str) -> Result<Trace, Error> {
        read(&Input::new("t.json", text.as_bytes()), &mut Unattended)
    }

    /// Tensor and mode of each access.
    fn uses(trace: &Trace) -> Vec<(String, Mode)> {
        let name = |t: &u32| trace.tensors()[*t as usize].name.clone();
        trace.accesses().iter().enumerate().map(|(at, t)| (name(t), trace.mode(at))).collect()
    }

    fn uses_of(nodes: &[String]) -> Vec<(String, Mode)> {
        uses(&read_text(&file(nodes)).unwrap())
    }

    #[test]
    fn detected_by_its_keys() {
        let text = file(&[]);
        assert_eq!(detect(&Input::new("t", text.as_bytes())).unwrap(), Format::PytorchEt);
        assert!(!matches(br#"{"schemaVersion": 1, "traceEvents": [{"nodes": 1, "schema": 2}]}"#));
        assert!(!matches(b"{\"nodes\": []}"));
        // With sorted keys.
        assert!(matches(
            b"{\"finish_ts\":3,\"nodes\":[{\"attrs\":[{\"name\":\"a\"}],\"ctrl_deps\":1,\"id\":2,\"inputs\":{"
        ));
        assert!(!matches(b"{\"nodes\":[{\"id\":1,\"op\":\"null\",\"inputs\":[]}]}"));
        let marked = format!("\u{feff}{text}");
        assert_eq!(detect(&Input::new("t", marked.as_bytes())).unwrap(), Format::PytorchEt);
        assert!(!matches(b""));
    }

    #[test]
    fn newer_schemas_are_told() {
        let (x, y) = (&tensor(10, 11, 8), &tensor(12, 13, 8));
        let text = file(&[node(2, 1, "aten::add", ADD, &[(x, T), (x, T)], &[(y, T)])]);
        for (schema, warns) in
            [("1.1.1-chakra.0.0.4", false), ("1.0.3-x", false), ("1.1.2", true), ("1.9.9-chakra", true)]
        {
            let trace = read_text(&text.replace("1.1.1-chakra.0.0.4", schema)).unwrap();
            assert_eq!(trace.warnings().iter().any(|w| w.starts_with("the schema is")), warns, "{schema}");
        }
    }

    /// Of a table of 100 rows of 8 floats, two rows are read; a bag of three bags reads six.
    #[test]
    fn look_ups_read_rows() {
        let (table, rows) = (&tensor(10, 11, 800), &tensor(12, 13, 16));
        let index = |id: u64, storage: u64, elements: u64| format!("[{id},{storage},0,{elements},8,\"cpu\"]");
        let (two, six, three) = (&index(14, 15, 2), &index(16, 17, 6), &index(18, 19, 3));
        let embedding = "aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1) -> Tensor";
        let bag = "aten::_embedding_bag(Tensor weight, Tensor indices, Tensor offsets) -> (Tensor, Tensor)";
        let (bags, add) = (&tensor(20, 21, 24), "aten::add(Tensor self, Tensor other) -> Tensor");
        let nodes = [
            node(2, 1, "aten::embedding", embedding, &[(table, T), (two, "Tensor(long int)")], &[(rows, T)]),
            node(3, 1, "aten::_embedding_bag", bag, &[(table, T), (six, T), (three, T)], &[(bags, T)]),
            // What was made in the trace is no table.
            node(4, 1, "aten::index_select", "", &[(bags, T), (two, T)], &[(&tensor(22, 23, 4), T)]),
            node(5, 1, "aten::add", add, &[(table, T), (table, T)], &[(&tensor(24, 25, 800), T)]),
        ];
        let trace = read_text(&file(&nodes)).unwrap();
        let bytes = |name: &str| trace.tensors().iter().find(|t| t.name == name).map(|t| (t.bytes, t.kind));
        assert_eq!(bytes("storage 11 (cpu) aten::embedding rows[2]"), Some((64, Kind::Weights)));
        assert_eq!(bytes("storage 11 (cpu) aten::_embedding_bag rows[3]"), Some((192, Kind::Weights)));
        assert_eq!(bytes("storage 11 (cpu) aten::add"), Some((3200, Kind::Weights)));
        assert_eq!(bytes("storage 21 (cpu) aten::_embedding_bag").map(|(bytes, _)| bytes), Some(96));
        assert!(trace.warnings().iter().any(|w| w.starts_with("2 look-ups read rows of a table")));
    }

    #[test]
    fn a_call_around_others_counts_for_what_they_leave() {
        // As on the CPU: the bias is copied into the result by a call inside, the product is the outer one's own.
        let (bias, x, w, y) = (&tensor(10, 11, 8), &tensor(12, 13, 32), &tensor(14, 15, 64), &tensor(16, 17, 16));
        let addmm = "aten::addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor";
        let linear = "aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor";
        let copy = "aten::copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)";
        let trace = read_text(&file(&[
            node(4, 3, "aten::copy_", copy, &[(y, T), (bias, T)], &[(y, T)]),
            node(3, 2, "aten::addmm", addmm, &[(bias, T), (x, T), (w, T), ("1", "Int"), ("1", "Int")], &[(y, T)]),
            node(2, 1, "aten::linear", linear, &[(x, T), (w, T), (bias, T)], &[(y, T)]),
        ]))
        .unwrap();
        let named = |storage: u64, op: &str| format!("storage {storage} (cpu) aten::{op}");
        assert_eq!(
            uses(&trace),
            [
                (named(11, "copy_"), Mode::Read),
                (named(17, "copy_"), Mode::Write),
                (named(13, "addmm"), Mode::Read),
                (named(15, "addmm"), Mode::Read),
                (named(17, "copy_"), Mode::Update),
            ]
        );
        let kinds: Vec<Kind> = trace.tensors().iter().map(|t| t.kind).collect();
        assert_eq!(kinds, [Kind::Weights, Kind::Activations, Kind::Activations, Kind::Weights]);
        assert_eq!((trace.op(0), trace.op(2)), (Op::Other, Op::Matmul));
        assert!(trace.warnings()[0].starts_with("Of 4 nodes, 3 are operators (1 without"), "{:?}", trace.warnings());
    }

    #[test]
    fn views_are_dropped_and_repeated_elements_take_no_room() {
        let view = "aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)";
        let expand = "aten::expand(Tensor(a) self, SymInt[] size, *, bool implicit=False) -> Tensor(a)";
        let (x, wide, y) = (&tensor(10, 11, 8), &tensor(12, 11, 80), &tensor(14, 15, 80));
        let nodes = [
            node(2, 1, "aten::view", view, &[(x, T)], &[(x, T)]),
            node(3, 1, "aten::expand", expand, &[(x, T)], &[(wide, T)]),
            // No schema: the name decides.
            node(4, 1, "detach", "", &[(x, T)], &[(x, T)]),
            node(5, 1, "aten::add", ADD, &[(wide, T), (x, T)], &[(y, T)]),
        ];
        let trace = read_text(&file(&nodes)).unwrap();
        assert_eq!(trace.accesses(), [0, 1]);
        assert_eq!(trace.sizes(), [32, 320]);
        // A reshape that copies lies elsewhere, and counts.
        let reshape = node(
            2,
            1,
            "aten::reshape",
            "aten::reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)",
            &[(x, T)],
            &[(y, T)],
        );
        assert_eq!(uses_of(&[reshape]).len(), 2);
    }

    #[test]
    fn strides_tell_the_extent() {
        // Column 1 of a matrix of 4 by 8: elements 1, 9, 17 and 25.
        let text = file(&[node(2, 1, "aten::neg", "", &[("[5,6,1,4,4,\"cpu\"]", T)], &[])]).replace(
            "\"shapes\":[],\"types\":[\"Tensor(float)\"]",
            "\"shapes\":[[4]],\"strides\":[[8]],\"types\":[\"Tensor(float)\"]",
        );
        assert_eq!(read_text(&text).unwrap().sizes(), [26 * 4]);
    }

    #[test]
    fn an_address_that_is_handed_out_again_is_a_new_tensor() {
        let (a, b, c, d) = (&tensor(10, 11, 8), &tensor(12, 13, 8), &tensor(14, 15, 4), &tensor(16, 17, 4));
        let small = &tensor(12, 13, 2);
        let empty = "aten::empty.memory_format(SymInt[] size) -> Tensor";
        let fill = "aten::fill_.Scalar(Tensor(a!) self, Scalar value) -> Tensor(a!)";
        let found = uses_of(&[
            node(2, 1, "aten::add", ADD, &[(a, T), (a, T)], &[(b, T)]),
            node(3, 1, "aten::add", ADD, &[(b, T), (a, T)], &[(c, T)]),
            node(4, 1, "aten::empty", empty, &[("[2]", "GenericList[Int]")], &[(small, T)]),
            node(5, 1, "aten::fill_", fill, &[(small, T), ("1", "Int")], &[(small, T)]),
            node(6, 1, "aten::add", ADD, &[(small, T), (c, T)], &[(d, T)]),
        ]);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "storage 11 (cpu) aten::add",
                "storage 13 (cpu) aten::add",
                "storage 13 (cpu) aten::add",
                "storage 11 (cpu) aten::add",
                "storage 15 (cpu) aten::add",
                "storage 13 (cpu) #2 aten::fill_",
                "storage 13 (cpu) #2 aten::fill_",
                "storage 15 (cpu) aten::add",
                "storage 17 (cpu) aten::add",
            ]
        );
        // An update that replaces the whole tensor.
        assert_eq!(found[5].1, Mode::Write);
    }

    #[test]
    fn lists_of_tensors_devices_and_updates() {
        let (p, g) = (tensor(10, 11, 8), tensor(12, 13, 8));
        let far = p.replace("cpu", "cuda:1");
        let foreach = "aten::_foreach_add_.List(Tensor(a!)[] self, Tensor[] other, *, Scalar alpha=1) -> ()";
        let list = "GenericList[Tensor(float),Tensor(float)]";
        let (left, right) = (format!("[{p},{far}]"), format!("[{g},{g}]"));
        let found = uses_of(&[node(
            2,
            1,
            "aten::_foreach_add_",
            foreach,
            &[(&left, list), (&right, list), ("-1", "Int")],
            &[],
        )]);
        let modes: Vec<_> = found.iter().map(|(name, mode)| (name.as_str(), *mode)).collect();
        assert_eq!(
            modes,
            [
                ("storage 13 (cpu) aten::_foreach_add_", Mode::Read),
                ("storage 11 (cpu) aten::_foreach_add_", Mode::Update),
                ("storage 11 (cuda:1) aten::_foreach_add_", Mode::Update),
            ]
        );
    }

    #[test]
    fn collectives_write_the_buffer_that_they_are_given() {
        let (part, whole, y) = (&tensor(10, 11, 4), &tensor(12, 13, 8), &tensor(14, 15, 8));
        let gather = "c10d::_allgather_base_(Tensor output_tensor, Tensor input_tensor) -> (Tensor, Work)";
        let reduce = "c10d::allreduce_(Tensor[] tensors) -> (Tensor[], Work)";
        let (list, lists) = (format!("[{whole}]"), "GenericList[Tensor(float)]");
        let names = |nodes: &[String]| {
            let found = uses_of(nodes);
            found.into_iter().map(|(name, mode)| (name.split(' ').nth(1).unwrap().to_owned(), mode)).collect::<Vec<_>>()
        };
        let expected =
            [("13", Mode::Read), ("15", Mode::Write), ("11", Mode::Read), ("13", Mode::Write), ("13", Mode::Update)];
        let expected = expected.map(|(storage, mode)| (storage.to_owned(), mode));
        // With a node that records the communication, and without.
        for recorded in [true, false] {
            let mut nodes = vec![
                node(2, 1, "aten::neg", "", &[(whole, T)], &[(y, T)]),
                node(
                    3,
                    1,
                    "c10d::_allgather_base_",
                    gather,
                    &[(whole, T), (part, T)],
                    &[(whole, T), ("\"\"", "Object")],
                ),
                node(5, 1, "c10d::allreduce_", reduce, &[(&list, lists)], &[(&list, lists), ("\"\"", "Object")]),
            ];
            if recorded {
                nodes.push(node(4, 3, "record_param_comms", "", &[(part, T)], &[(whole, T)]));
                nodes.push(node(6, 5, "record_param_comms", "", &[(&list, lists)], &[(&list, lists)]));
            }
            assert_eq!(names(&nodes), expected, "{recorded}");
        }
    }

    #[test]
    fn broken_files_name_the_place_and_the_cure() {
        let good = |value: &str| file(&[node(2, 1, "aten::relu", "", &[(value, T)], &[(&tensor(8, 9, 4), T)])]);
        let whole = good(&tensor(5, 6, 4));
        read_text(&whole).unwrap();
        let add = |id, parent| node(id, parent, "aten::add", ADD, &[(&tensor(5, 6, 4), T)], &[]);
        for (text, wanted) in [
            (whole[..whole.len() - 20].to_owned(), "the text ends here, before the trace is complete. Fetch it again"),
            (String::from("{"), "line 1, column 1: the text ends here"),
            (String::from("[]"), "expected an execution trace: an object with schema and nodes"),
            (String::from("{\"nodes\": []}"), "key `schema`: the key is missing"),
            (String::from("{\"schema\": \"1.1.1\"}"), "key `nodes`: the key is missing"),
            (String::from("{\"schema\": \"1.1.1\", \"nodes\": []}"), "key `nodes`: the trace has no nodes"),
            (String::from("{\"schema\": \"1.1.1\", \"nodes\": {}}"), "invalid type: map, expected a list of nodes"),
            (
                whole.replace("1.1.1", "2.0.0"),
                "key `schema`: the schema is \"2.0.0-chakra.0.0.4\". This build reads schemas 1.0.1 to 1.1.1",
            ),
            (whole.replace("\"id\":2", "\"id\":-2"), "invalid value: integer `-2`, expected u64"),
            (whole.replace("\"id\":2", "\"id\":\"2\""), "invalid type: string"),
            (whole.replace("\"id\":2,", ""), "node 1 has no id"),
            (whole.replace("\"name\":\"aten::relu\",", ""), "node 1 has no name"),
            (
                whole.replace("\"ctrl_deps\":1,\"inputs\":{\"values\":[[", "\"inputs\":{\"values\":[["),
                "node 1 has no parent (or ctrl_deps)",
            ),
            (
                whole.replace("{\"values\":[[5,6,0,4,4,\"cpu\"]],", "7,\"x\":{"),
                "expected the inputs or outputs of a node",
            ),
            (good(&tensor(5, 6, -4)), "key `nodes[1], id 2, input 0`: its number of elements is -4"),
            (good("[5,6,0,1.5,4,\"cpu\"]"), "its number of elements is not a whole number"),
            (good("[5,6,0,1e30,4,\"cpu\"]"), "its number of elements is not a whole number"),
            (
                good(&tensor(5, 6, 1_000_000_000_000_000_000)),
                "it has 1000000000000000000 elements of 4 bytes at 0: more than 2^50",
            ),
            (good("[5,6,18446744073709551615,4,4,\"cpu\"]"), "its offset is not a whole number below 2^63"),
            (
                good("[5,6,9223372036854775807,4,4,\"cpu\"]"),
                "elements of 4 bytes at 9223372036854775807: more than 2^50",
            ),
            (good("[5,-6,0,4,4,\"cpu\"]"), "its storage id is -6"),
            (good("[5,6,0,4,3,\"cpu\"]"), "an element has 3 bytes, and no type of PyTorch has"),
            (good(&format!("[5,6,0,4,4,\"{}\"]", "x".repeat(65))), "a tensor lies on the device \"xxx"),
            (good("\"abc\""), "input 0`: its type is a tensor, but its value is not"),
            (good("[5,6,0,4,4]"), "input 0`: its type is a tensor, but its value is not"),
            (good(&format!("\"{}\"", "x".repeat(2 << 20))), "a string in it is longer than 1048576 bytes"),
            (good(&"[".repeat(300)), "it nests deeper than 128 levels"),
            (file(&[add(2, 1), add(2, 1)]), "key `nodes, id 2`: two nodes have this id (aten::add and aten::add)"),
            (file(&[add(2, 3), add(3, 2)]), "aten::add is above itself: its parents form a cycle"),
            (file(&[add(2, 2)]), "key `nodes, id 2`: aten::add is above itself"),
            (file(&[]), "none of its 1 nodes is an operator that uses a tensor"),
            (whole.clone() + "x", "trailing characters"),
        ] {
            let error = read_text(&text).unwrap_err().to_string();
            let shown = &text[..text.len().min(600)];
            assert!(error.starts_with("t.json, ") && error.contains(wanted), "{shown} gave {error}");
        }
    }

    #[test]
    fn damaged_packing_and_bombs_are_told() {
        let gzip = |content: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        };
        let read = |bytes: &[u8]| read(&Input::new("t.json.gz", bytes), &mut Unattended).unwrap_err().to_string();
        let packed = gzip(file(&[]).as_bytes());
        assert!(read(&packed[..packed.len() - 9]).contains("data are damaged or cut off"));
        let head = b"{\"schema\":\"1.1.1\",\"nodes\":[{\"name\":\"";
        assert!(read(&gzip(&[&head[..], &vec![b'x'; 20 << 20]].concat())).contains("longer than 1048576 bytes"));
    }

    /// A chain as long as the file allows must not use the stack.
    #[test]
    fn calls_nest_as_deep_as_they_like() {
        let nodes: Vec<String> =
            (2..50_000).map(|id| node(id, id - 1, "aten::add", ADD, &[(&tensor(5, 6, 4), T)], &[])).collect();
        assert_eq!(uses_of(&nodes).len(), 1);
    }
}
