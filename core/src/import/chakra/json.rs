//! Chakra traces as JSON: one object with the nodes under `workload_graph`, as Chakra's feeder reads them
//! (src/feeder/json_node.cpp: `Id`, `Name`, `NodeType`, `data_deps`, `comm_size`, ...), or the messages one after another as
//! protobuf's JSON, as its jsonizer writes them (`id`, `type`, `dataDeps`, `attr`, ...; 64-bit numbers as strings).
//!
//! Letter case and `_` of keys do not matter. What the feeder's nodes have beside these keys is read as attributes.

use serde::de::{self, Error as _, IgnoredAny, MapAccess, SeqAccess};

use super::{Attribute, CURE, Facts, Node, Reader, Values};
use crate::error::{Error, Place};
use crate::import::input::Input;
use crate::import::json::{Text, outer_keys, read_each};
use crate::import::operators::Call;
use crate::import::seed::{Form, Seed, ValueReader};
use crate::progress::Progress;

/// The most dependencies of a node: operators take up to 4096 tensors.
const MOST_DEPENDENCIES: usize = 1 << 20;

/// The key of the feeder's nodes.
const NODES: &str = "workloadgraph";

/// The types of nodes as protobuf's JSON names them, by their numbers.
const TYPES: [&str; 8] = [
    "INVALID_NODE",
    "METADATA_NODE",
    "MEM_LOAD_NODE",
    "MEM_STORE_NODE",
    "COMP_NODE",
    "COMM_SEND_NODE",
    "COMM_RECV_NODE",
    "COMM_COLL_NODE",
];

/// Whether `head` begins with an object that has nodes, or with objects of which one is a node.
pub(super) fn matches(head: &[u8]) -> bool {
    let keys: Vec<String> = outer_keys(head).into_iter().map(|key| plain(&String::from_utf8_lossy(key))).collect();
    let has = |key: &str| keys.iter().any(|other| other == key);
    let node = has("id") && has("name") && has("type");
    has(NODES) || (node && ["ctrldeps", "datadeps", "durationmicros", "attr"].into_iter().any(has))
}

/// A key without what writers differ in.
fn plain(key: &str) -> String {
    key.chars().filter(|letter| *letter != '_').map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Reads all nodes.
pub(super) fn read(reader: &mut Reader<'_>, input: &Input<'_>, progress: &mut dyn Progress) -> Result<(), Error> {
    let mut state = State { reader, call: Call::default(), key: String::new(), error: None };
    let result =
        read_each(input, CURE, progress, &mut |json| de::DeserializeSeed::deserialize(Seed(Outer(&mut state)), json));
    state.error.take().map_or(result, Err)
}

struct State<'s, 'a> {
    reader: &'s mut Reader<'a>,
    call: Call,
    key: String,
    /// An error with a better place than the parser's.
    error: Option<Error>,
}

impl State<'_, '_> {
    fn keep<E: de::Error>(&mut self, (node, facts): (Node, Facts)) -> Result<(), E> {
        let place = Place::Item(self.reader.nodes.len() as u64);
        let result = self.reader.node(node, facts, &mut self.call, &place);
        result.map_err(|error| {
            self.error = Some(error);
            E::custom("refused")
        })
    }
}

/// An object of the file: one with the nodes, a node, or metadata.
struct Outer<'r, 's, 'a>(&'r mut State<'s, 'a>);

impl ValueReader for Outer<'_, '_, '_> {
    type Value = ();
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "an object with workload_graph, or a node";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut parts = NodeParts::default();
        while map.next_key_seed(Seed(Text(&mut self.0.key)))?.is_some() {
            match plain(&self.0.key).as_str() {
                NODES => map.next_value_seed(Seed(Nodes(self.0)))?,
                key => parts.take(key, &self.0.key, &mut map)?,
            }
        }
        // Metadata has no name.
        if parts.named { self.0.keep((parts.node, parts.facts)) } else { Ok(()) }
    }
}

/// The list of nodes.
struct Nodes<'r, 's, 'a>(&'r mut State<'s, 'a>);

impl ValueReader for Nodes<'_, '_, '_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of nodes";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(node) = list.next_element_seed(Seed(OneNode(&mut self.0.key)))? {
            self.0.keep(node)?;
        }
        Ok(())
    }
}

struct OneNode<'k>(&'k mut String);

impl ValueReader for OneNode<'_> {
    type Value = (Node, Facts);
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "a node: an object with Id, Name, NodeType and data_deps";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(Node, Facts), A::Error> {
        let mut parts = NodeParts::default();
        while map.next_key_seed(Seed(Text(self.0)))?.is_some() {
            parts.take(&plain(self.0), self.0, &mut map)?;
        }
        if !(parts.identified && parts.named) {
            return Err(A::Error::custom("a node has no Id or no Name"));
        }
        Ok((parts.node, parts.facts))
    }
}

/// A node as far as it is read.
#[derive(Default)]
struct NodeParts {
    node: Node,
    facts: Facts,
    identified: bool,
    named: bool,
}

impl NodeParts {
    /// Takes the value of a key, which is `plain` without what writers differ in.
    fn take<'de, A: MapAccess<'de>>(&mut self, plain: &str, key: &str, map: &mut A) -> Result<(), A::Error> {
        match plain {
            "id" => {
                self.node.id = map.next_value_seed(Seed(Whole))?;
                self.identified = true;
            }
            "name" => {
                map.next_value_seed(Seed(Text(&mut self.node.name)))?;
                self.named = true;
            }
            "type" | "nodetype" => self.node.kind = map.next_value_seed(Seed(NodeType))?,
            "ctrldeps" => map.next_value_seed(Seed(Ids(&mut self.node.control)))?,
            "datadeps" => map.next_value_seed(Seed(Ids(&mut self.node.data)))?,
            "inputs" => self.node.inputs = Some(map.next_value_seed(Seed(ValuesOf))?),
            "outputs" => self.node.outputs = Some(map.next_value_seed(Seed(ValuesOf))?),
            "attr" => map.next_value_seed(Seed(Attributes(&mut self.facts)))?,
            // Of the feeder's nodes, attributes are keys.
            "iscpuop" | "tensorsize" | "commsize" | "numops" | "rfid" | "scope" | "opschema" => {
                let mut attribute = map.next_value_seed(Seed(Scalar))?;
                attribute.name = key.to_owned();
                self.facts.take(attribute);
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A whole number without a sign; protobuf's JSON writes those of 64 bits as strings.
struct Whole;

impl ValueReader for Whole {
    type Value = u64;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "a whole number, zero or more";

    fn unsigned<E: de::Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn text<E: de::Error>(self, text: &str) -> Result<u64, E> {
        text.trim().parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &Self::EXPECTED))
    }
}

/// The type of a node: its number or its name. A name that is not known here is that of a node without meaning here.
struct NodeType;

impl ValueReader for NodeType {
    type Value = i32;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "the type of a node, such as COMP_NODE or 4";

    fn unsigned<E: de::Error>(self, number: u64) -> Result<i32, E> {
        i32::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &Self::EXPECTED))
    }

    fn text<E: de::Error>(self, text: &str) -> Result<i32, E> {
        Ok(TYPES.into_iter().position(|name| name == text).unwrap_or(0) as i32)
    }
}

/// The ids of other nodes; some writers write one alone without a list.
struct Ids<'i>(&'i mut Vec<u64>);

impl ValueReader for Ids<'_> {
    type Value = ();
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "a list of the ids of nodes";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(id) = list.next_element_seed(Seed(Whole))? {
            if self.0.len() == MOST_DEPENDENCIES {
                return Err(A::Error::custom("a node has more than 1048576 dependencies"));
            }
            self.0.push(id);
        }
        Ok(())
    }

    fn unsigned<E: de::Error>(self, number: u64) -> Result<(), E> {
        self.0.push(number);
        Ok(())
    }

    fn null<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// What a node takes or returns.
struct ValuesOf;

impl ValueReader for ValuesOf {
    type Value = Values;
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "inputs or outputs: an object with values, shapes and types";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
        let (mut values, mut key) = (Values::default(), String::new());
        while map.next_key_seed(Seed(Text(&mut key)))?.is_some() {
            match key.as_str() {
                "values" => map.next_value_seed(Seed(Text(&mut values.values)))?,
                "shapes" => map.next_value_seed(Seed(Text(&mut values.shapes)))?,
                "types" => map.next_value_seed(Seed(Text(&mut values.types)))?,
                "strides" => map.next_value_seed(Seed(Text(&mut values.strides)))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(values)
    }
}

/// The list of attributes.
struct Attributes<'f>(&'f mut Facts);

impl ValueReader for Attributes<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of attributes";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(attribute) = list.next_element_seed(Seed(OneAttribute))? {
            self.0.take(attribute);
        }
        Ok(())
    }
}

struct OneAttribute;

impl ValueReader for OneAttribute {
    type Value = Attribute;
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "an attribute: an object with name and a value";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Attribute, A::Error> {
        let (mut attribute, mut name, mut key) = (Attribute::default(), String::new(), String::new());
        while map.next_key_seed(Seed(Text(&mut key)))?.is_some() {
            match plain(&key).as_str() {
                "name" => map.next_value_seed(Seed(Text(&mut name)))?,
                value if value.ends_with("val") => attribute = map.next_value_seed(Seed(Scalar))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        attribute.name = name;
        Ok(attribute)
    }
}

/// The value of an attribute.
struct Scalar;

impl ValueReader for Scalar {
    type Value = Attribute;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "a number, a string, true or false";

    fn unsigned<E: de::Error>(self, number: u64) -> Result<Attribute, E> {
        Ok(Attribute { uint64: Some(number), ..Attribute::default() })
    }

    fn signed<E: de::Error>(self, number: i64) -> Result<Attribute, E> {
        Ok(Attribute { int64: Some(number), ..Attribute::default() })
    }

    fn float<E: de::Error>(self, number: f64) -> Result<Attribute, E> {
        Ok(Attribute { double: Some(number), ..Attribute::default() })
    }

    fn boolean<E: de::Error>(self, value: bool) -> Result<Attribute, E> {
        Ok(Attribute { bool: Some(value), ..Attribute::default() })
    }

    fn text<E: de::Error>(self, text: &str) -> Result<Attribute, E> {
        let int64 = text.parse().ok();
        let uint64 = if int64.is_some() { None } else { text.parse().ok() };
        Ok(Attribute { int64, uint64, string: Some(text.to_owned()), ..Attribute::default() })
    }

    fn null<E: de::Error>(self) -> Result<Attribute, E> {
        Ok(Attribute::default())
    }
}
