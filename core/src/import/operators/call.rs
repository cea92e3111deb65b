//! A call of an operator as a reader finds it in a file.

use super::names::annotates;

/// The parent of a call that has none.
pub(in crate::import) const NO_PARENT: u64 = u64::MAX;

/// A value that is no tensor, as far as the work depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) struct Flag {
    /// The argument.
    pub position: u32,
    /// Whether it (or this element of its list) is true.
    pub set: bool,
}

/// Stands for what is no whole number, or too large for one.
pub(in crate::import) const NOT_WHOLE: i64 = i64::MIN;

/// A tensor as a call names it.
#[derive(Debug, Clone, Copy)]
pub(in crate::import) struct RawTensor {
    /// Tensor id, storage id, offset, elements, bytes of an element; [`NOT_WHOLE`] where it is no whole number.
    pub numbers: [i64; 5],
    /// Index of its device.
    pub device: u16,
    /// The argument it belongs to.
    pub position: u32,
    /// Its place in that argument, where that is a list.
    pub element: u32,
}

/// Lists of numbers, one for each tensor: shapes or strides.
#[derive(Debug, Default)]
pub(in crate::import) struct Lists {
    /// Argument, place in it, and the end of its numbers.
    ends: Vec<(u32, u32, usize)>,
    numbers: Vec<i64>,
}

impl Lists {
    fn clear(&mut self) {
        self.ends.clear();
        self.numbers.clear();
    }

    /// Adds a number to the list that is being read.
    pub(in crate::import) fn number(&mut self, number: i64) {
        self.numbers.push(number);
    }

    /// Ends the list being read: it belongs to `element` of argument `position`.
    pub(in crate::import) fn end(&mut self, position: u32, element: u32) {
        self.ends.push((position, element, self.numbers.len()));
    }

    /// The list of `element` of argument `position`; the lists are in order.
    pub(super) fn get(&self, position: u32, element: u32) -> Option<&[i64]> {
        let at = self.ends.binary_search_by_key(&(position, element), |(p, e, _)| (*p, *e)).ok()?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, _, end)| *end);
        self.ends.get(at).and_then(|(_, _, end)| self.numbers.get(start..*end))
    }
}

/// What a type says of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Type {
    /// One tensor.
    Tensor,
    /// A list with tensors in it.
    Tensors,
    /// No tensor.
    Other,
}

impl Type {
    /// The type of that name.
    pub(in crate::import) fn of(name: &str) -> Self {
        if name.starts_with("Tensor") {
            Self::Tensor
        } else if name.contains("Tensor") {
            Self::Tensors
        } else {
            Self::Other
        }
    }
}

/// What a call takes, or what it returns.
#[derive(Debug, Default)]
pub(in crate::import) struct Side {
    /// Its tensors, in order.
    pub tensors: Vec<RawTensor>,
    /// Its truth values, in order.
    pub flags: Vec<Flag>,
    /// The type of each argument, where the file gives it.
    pub types: Vec<Type>,
    /// The shape of each tensor.
    pub shapes: Lists,
    /// The stride of each tensor.
    pub strides: Lists,
    /// Number of arguments.
    pub len: u32,
}

impl Side {
    fn clear(&mut self) {
        self.tensors.clear();
        self.flags.clear();
        self.types.clear();
        self.shapes.clear();
        self.strides.clear();
        self.len = 0;
    }

    pub(super) fn shape(&self, position: u32) -> Option<&[i64]> {
        self.shapes.get(position, 0)
    }

    /// How many of the truth values of an argument are set.
    pub(super) fn set(&self, position: u32) -> usize {
        self.flags.iter().filter(|f| f.position == position && f.set).count()
    }
}

/// A call as it is read, before it is reduced to what is kept. One is used for all.
#[derive(Debug, Default)]
pub(in crate::import) struct Call {
    /// Its number, which gives the order.
    pub id: u64,
    /// The number of the call above it.
    pub parent: u64,
    /// Its name.
    pub name: String,
    /// Its schema; empty where it has none.
    pub schema: String,
    /// PyTorch's RecordScope; none where the file does not give it.
    pub scope: Option<u64>,
    /// Whether it is known to be no operator.
    pub excluded: bool,
    /// What it takes.
    pub inputs: Side,
    /// What it returns.
    pub outputs: Side,
}

impl Call {
    /// Makes room for the next.
    pub(in crate::import) fn clear(&mut self) {
        (self.id, self.parent, self.scope, self.excluded) = (0, 0, None, false);
        self.name.clear();
        self.schema.clear();
        self.inputs.clear();
        self.outputs.clear();
    }

    /// RecordScope (ATen/record_function.h): 1 is an autograd function, which only wraps operators; 5 to 7 and 9 are
    /// features, interpreters, users' annotations and whole models. Without it, the profiler's names decide.
    pub(super) fn is_operator(&self) -> bool {
        !self.excluded && !annotates(&self.name) && !matches!(self.scope, Some(1 | 5 | 6 | 7 | 9))
    }
}
