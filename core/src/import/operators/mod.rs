//! From the calls of operators that a framework recorded to the accesses of a trace.
//!
//! An execution trace is a tree of calls; every call names the tensors it takes and returns. The rules:
//!
//! 1. *What counts.* A call counts where it does work of its own. It does when no call below it works, and it names
//!    tensors. Where calls below it work (the fill before a scatter, the copy of a bias before a product), it still
//!    does when it takes a tensor that none of them takes, or returns one that none of them writes: only those count
//!    for it, and what it returns and they have begun is an update. Everything else above a working call is
//!    bookkeeping; counting it would count accesses twice. Annotations, the autograd engine's own nodes and the
//!    profiler's roots are no calls.
//! 2. *What moves no data.* Views are dropped: calls that promise to change nothing (no `!` in the schema) and return
//!    only memory that they were given; without a schema, a table of names decides, and a name that ends in `_` changes
//!    its first argument whatever its schema says. So a reshape that copies counts (its
//!    result lies elsewhere), and one that does not, does not. Allocations and queries of shapes are dropped by name.
//! 3. *Objects.* An object is one life of one storage on one device. Storages are numbered by address, and allocators
//!    hand addresses out again: a new life begins where a call returns memory that neither it nor a call around it was
//!    given.
//! 4. *Size.* The largest extent (offset and elements, or what shape and strides span) that any call names in a life.
//!    Without strides, a view with more elements than what it views repeats them, and does not count.
//! 5. *Accesses.* A call accesses an object once for reading and once for writing at most, however many views of it
//!    it names. What the schema marks `!` is an update, and so is a storage that a call without a schema takes and
//!    returns; new memory is written. An update that is known to replace the whole object is a write.
//! 6. *Order.* Reads in the order of the arguments, then writes. Calls come in the order of their ids, which one
//!    counter gives out as calls begin, across threads; work that a call does beside calls below it comes after them.
//! 7. *Look-ups* (embeddings, selections by index) read rows: of memory older than the trace, which is a table, each
//!    look-up reads an object of its own, as large as its rows. The file does not say which rows those are.
//! 8. *Kinds.* Weights are storages older than the trace that a linear, convolution, normalisation, recurrent or
//!    embedding operator takes as its `weight` or `bias`, and storages that only an optimizer's step changes and other
//!    operators read. Running statistics, and what older than the trace only the optimizer uses (its state), are
//!    objects of no kind. The rest are activations.

mod build;
mod call;
mod calls;
mod flops;
mod lives;
mod names;
mod schema;
mod tree;
mod visit;

pub(super) use call::{Call, Flag, Lists, NO_PARENT, NOT_WHOLE, RawTensor, Side, Type};
pub(super) use calls::Calls;
pub(super) use flops::{multiplies, products};
pub(super) use names::{annotates, cut, is_gradient, moves_no_data, operation};

/// No node, storage or life.
const NONE: u32 = u32::MAX;
