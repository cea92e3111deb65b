//! All calls of a trace, reduced to what is kept while they are read.

use rustc_hash::FxHashMap;

use super::NONE;
use super::call::{Call, NOT_WHOLE, Side, Type};
use super::flops::work;
use super::names::{Name, cut};
use super::schema::Schema;
use crate::error::{Error, Place};

/// The most calls: three gigabytes of JSON, hours of training. They take some 200 bytes each while they are sorted, so
/// that a file needs less than 2 GB.
const MOST_NODES: usize = 6_000_000;
/// The most tensors that all calls together may name.
const MOST_MENTIONS: usize = 15_000_000;
/// The most distinct names (and schemas): PyTorch has some three thousand operators.
const MOST_NAMES: usize = 200_000;
/// Of a name, this many bytes are kept: kernels made by compilers have long ones.
const NAME: usize = 120;
/// The longest name of a device (`cuda:0`).
const DEVICE: usize = 64;
/// The largest tensor: no memory holds 2^50 bytes, so a larger one is a damaged number.
const MOST_BYTES: u64 = 1 << 50;

/// What is kept of a call.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) name: u32,
    pub(super) schema: u32,
    /// Its tensors: inputs up to `split`, outputs up to `end`.
    pub(super) start: u32,
    pub(super) split: u32,
    pub(super) end: u32,
    pub(super) flops: f32,
    pub(super) operator: bool,
}

/// A tensor with elements, as a call names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mention {
    pub(super) tensor: u64,
    /// Bytes of its elements.
    pub(super) bytes: u64,
    /// Bytes of the storage up to its last element.
    pub(super) extent: u64,
    pub(super) storage: u32,
    pub(super) argument: u16,
    /// Whether the extent comes from strides.
    pub(super) exact: bool,
}

/// Strings that occur many times, numbered.
#[derive(Debug, Default)]
struct Interned(FxHashMap<String, u32>);

impl Interned {
    /// The number of `text`, and whether it is new.
    fn number(&mut self, text: &str, what: &str, input: &str) -> Result<(u32, bool), Error> {
        if let Some(&number) = self.0.get(text) {
            return Ok((number, false));
        }
        if self.0.len() >= MOST_NAMES {
            let problem = format!("it has more than {MOST_NAMES} distinct {what}");
            let cure = "Check that it is an execution trace and is not damaged";
            return Err(Error::input(input, Place::Whole, problem, cure));
        }
        let number = self.0.len() as u32;
        self.0.insert(text.to_owned(), number);
        Ok((number, true))
    }
}

/// All calls of a trace, as they are read.
#[derive(Debug, Default)]
pub(in crate::import) struct Calls {
    pub(super) input: String,
    pub(super) nodes: Vec<Node>,
    pub(super) mentions: Vec<Mention>,
    name_numbers: Interned,
    pub(super) names: Vec<Name>,
    schema_numbers: Interned,
    pub(super) schemas: Vec<Schema>,
    storage_numbers: FxHashMap<(u64, u16), u32>,
    pub(super) storages: Vec<(u64, u16)>,
    pub(super) devices: Vec<String>,
    pub(super) empty: u64,
}

impl Calls {
    /// None yet, of the file `input`.
    pub(in crate::import) fn new(input: &str) -> Self {
        Self { input: input.to_owned(), ..Self::default() }
    }

    /// Number of calls so far.
    pub(in crate::import) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether any call so far names a tensor.
    pub(in crate::import) fn names_tensors(&self) -> bool {
        !self.mentions.is_empty() || self.empty > 0
    }

    /// The number of a device.
    pub(in crate::import) fn device(&mut self, name: &str) -> Result<u16, Error> {
        if let Some(at) = self.devices.iter().position(|d| d == name) {
            return Ok(at as u16);
        }
        // A search of a short list: more devices than any machine has are refused, so it stays short.
        if name.len() > DEVICE || self.devices.len() >= 4096 {
            let problem = format!("a tensor lies on the device \"{}\"", cut(name, DEVICE));
            return Err(Error::input(&self.input, self.place(), problem, "Devices are named such as cpu or cuda:0"));
        }
        self.devices.push(name.to_owned());
        Ok((self.devices.len() - 1) as u16)
    }

    /// Gives each call the id and the parent that `choose` makes of its own, and excludes it where `choose` says false.
    pub(in crate::import) fn renumber(&mut self, mut choose: impl FnMut(u64, u64) -> (u64, u64, bool)) {
        for node in &mut self.nodes {
            let operator;
            (node.id, node.parent, operator) = choose(node.id, node.parent);
            node.operator &= operator;
        }
    }

    /// Frees what only reading needs, and puts the calls in order of their ids.
    pub(super) fn complete(&mut self) {
        self.storage_numbers = FxHashMap::default();
        (self.name_numbers, self.schema_numbers) = (Interned::default(), Interned::default());
        self.mentions.shrink_to_fit();
        self.nodes.sort_by_key(|node| node.id);
    }

    /// The tensors that a call takes.
    pub(super) fn inputs(&self, node: &Node) -> &[Mention] {
        &self.mentions[node.start as usize..node.split as usize]
    }

    /// The tensors that a call returns.
    pub(super) fn outputs(&self, node: &Node) -> &[Mention] {
        &self.mentions[node.split as usize..node.end as usize]
    }

    fn place(&self) -> Place {
        Place::Key(format!("nodes[{}]", self.nodes.len()))
    }

    /// Keeps what counts of `call`.
    pub(in crate::import) fn push(&mut self, call: &Call) -> Result<(), Error> {
        if self.nodes.len() >= MOST_NODES || self.mentions.len() >= MOST_MENTIONS {
            return Err(Error::TooLarge {
                problem: format!("{} has more than {MOST_NODES} calls or {MOST_MENTIONS} tensors in them", self.input),
                cure: "Record fewer steps".into(),
            });
        }
        let (name, new) = self.name_numbers.number(cut(&call.name, NAME), "names of operators", &self.input)?;
        if new {
            self.names.push(Name::new(cut(&call.name, NAME)));
        }
        let operator = call.is_operator();
        let schema = if call.schema.is_empty() || !operator {
            NONE
        } else {
            // The longest schemas, of optimizers, have some 600 bytes.
            let (schema, new) = self.schema_numbers.number(cut(&call.schema, 4096), "schemas", &self.input)?;
            if new {
                self.schemas.push(Schema::parse(&call.schema));
            }
            schema
        };
        let start = self.mentions.len() as u32;
        let mut split = start;
        if operator {
            self.side(call, &call.inputs, "input")?;
            split = self.mentions.len() as u32;
            self.side(call, &call.outputs, "output")?;
        }
        self.nodes.push(Node {
            id: call.id,
            parent: call.parent,
            name,
            schema,
            start,
            split,
            end: self.mentions.len() as u32,
            flops: if operator { work(&call.name, &call.inputs, &call.outputs) as f32 } else { 0.0 },
            operator,
        });
        Ok(())
    }

    fn side(&mut self, call: &Call, side: &Side, what: &str) -> Result<(), Error> {
        let refuse = |position: u32, problem: String| {
            let place = Place::Key(format!("nodes[{}], id {}, {what} {position}", self.nodes.len(), call.id));
            let cure = "Check that the file is not damaged; a tensor is [tensor id, storage id, offset, elements, \
                        bytes of an element, device]";
            Error::input(&self.input, place, problem, cure)
        };
        for (position, kind) in (0u32..).zip(&side.types).take(side.len as usize) {
            if *kind == Type::Tensor && side.tensors.binary_search_by_key(&position, |t| t.position).is_err() {
                return Err(refuse(position, "its type is a tensor, but its value is not".into()));
            }
        }
        for raw in &side.tensors {
            // A list whose values only happen to be those of a tensor.
            if side.types.get(raw.position as usize) == Some(&Type::Other) {
                continue;
            }
            let mut numbers = [0u64; 5];
            let names = ["tensor id", "storage id", "offset", "number of elements", "size of an element"];
            for ((number, raw_number), name) in numbers.iter_mut().zip(raw.numbers).zip(names) {
                *number = u64::try_from(raw_number).map_err(|_| {
                    let found = if raw_number == NOT_WHOLE {
                        "not a whole number below 2^63".into()
                    } else {
                        raw_number.to_string()
                    };
                    refuse(raw.position, format!("its {name} is {found}"))
                })?;
            }
            let [tensor, storage, offset, elements, width] = numbers;
            let bytes = elements.checked_mul(width).filter(|b| *b <= MOST_BYTES);
            let begin = offset.checked_mul(width).filter(|b| *b <= MOST_BYTES);
            let (Some(bytes), Some(begin)) = (bytes, begin) else {
                let problem = format!("it has {elements} elements of {width} bytes at {offset}: more than 2^50 bytes");
                return Err(refuse(raw.position, problem));
            };
            // 16 bytes is a complex number in double precision.
            if elements > 0 && !matches!(width, 1 | 2 | 4 | 8 | 16) {
                let problem = format!("an element has {width} bytes, and no type of PyTorch has");
                return Err(refuse(raw.position, problem));
            }
            let device = self.devices.get(usize::from(raw.device)).map_or("", String::as_str);
            if bytes == 0 || device == "meta" {
                self.empty += 1;
                continue;
            }
            let shape = side.shapes.get(raw.position, raw.element);
            let strides = side.strides.get(raw.position, raw.element);
            let span = shape.zip(strides).and_then(|(shape, strides)| span(shape, strides, elements));
            let end = span.and_then(|span| span.checked_mul(width)).filter(|b| *b <= MOST_BYTES);
            let next = self.storages.len() as u32;
            let number = *self.storage_numbers.entry((storage, raw.device)).or_insert(next);
            if number == next {
                self.storages.push((storage, raw.device));
            }
            self.mentions.push(Mention {
                tensor,
                bytes,
                extent: begin + end.unwrap_or(bytes),
                storage: number,
                argument: raw.position.min(u32::from(u16::MAX)) as u16,
                exact: end.is_some(),
            });
        }
        Ok(())
    }
}

/// Elements from the first to the last of a tensor, both counted; none where shape and strides do not belong to it.
fn span(shape: &[i64], strides: &[i64], elements: u64) -> Option<u64> {
    if shape.len() != strides.len() {
        return None;
    }
    let (mut count, mut last) = (1u64, 0u64);
    for (size, stride) in shape.iter().zip(strides) {
        let (size, stride) = (u64::try_from(*size).ok()?, u64::try_from(*stride).ok()?);
        count = count.checked_mul(size)?;
        last = last.checked_add(size.checked_sub(1)?.checked_mul(stride)?)?;
    }
    (count == elements).then(|| last.checked_add(1)).flatten()
}
