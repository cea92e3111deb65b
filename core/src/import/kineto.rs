//! The PyTorch profiler's traces (Kineto), in Chrome's trace format: operators with sizes and times.
//!
//! `traceEvents` holds an event for each call: `ph` is `X`, `cat` is `cpu_op` (`Operator` in old files), `args` has
//! `Input Dims` and `Input type` where `record_shapes` was on. Tensors have no identity in this format, so *reuse cannot
//! be known*: every tensor that a call takes is an object of its own, read once. What a call returns is not in the file.
//!
//! Calls nest by their times on a thread. One counts where no call inside it does; views and calls that touch no element
//! do not count, by name. Products and convolutions count whatever they call: what they call are copies of their own
//! operands, which then do not count.
//!
//! Profilers write what they are given, into files of a gigabyte. An operator's event that cannot be read is skipped, and a
//! warning says how many were and why.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::de::{self, Error as _, IgnoredAny, MapAccess, SeqAccess};

use super::input::Input;
use super::json::{Text, outer_keys, read_damaged};
use super::operators::{annotates, cut, is_gradient, moves_no_data, multiplies, operation, products};
use super::seed::{Form, Loose, Seed, ValueReader};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::{Kind, Mode, Tensor, Trace, TraceBuilder};

const CURE: &str = "Check that it is a trace of the PyTorch profiler (export_chrome_trace) and is not damaged";
/// The most calls, as for execution traces, and the most tensors in them: each becomes an object with a name of its own,
/// some 150 bytes.
const MOST_CALLS: usize = 6_000_000;
const MOST_TENSORS: usize = 8_000_000;
/// The most distinct names of calls.
const MOST_NAMES: usize = 200_000;
/// Bytes kept of a name.
const NAME: usize = 120;
/// The largest tensor: no memory holds 2^50 bytes, so a larger one is a damaged number.
const MOST_BYTES: u64 = 1 << 50;
/// How many unknown types are named in the warning.
const MOST_UNKNOWN: usize = 8;
/// How many events that were skipped are named in the warning.
const MOST_SKIPPED: usize = 3;
/// How many names have their times in the warning.
const SHOWN: usize = 8;

/// Bytes of an element of the type that c10 names so (c10/util/typeid.h); none where it is no tensor.
fn element_bytes(name: &str) -> Result<Option<u64>, ()> {
    let bytes = match name.strip_prefix("c10::").unwrap_or(name) {
        "" | "Scalar" | "ScalarList" | "TensorList" | "GenericList" | "nullptr (uninitialized)" => return Ok(None),
        "bool" | "unsigned char" | "signed char" | "char" | "qint8" | "quint8" | "quint4x2" | "quint2x4" | "bits8"
        | "bits4x2" | "bits2x4" | "bits1x8" => 1,
        "Half" | "BFloat16" | "short" | "short int" | "unsigned short" | "short unsigned int" | "bits16" => 2,
        "float" | "int" | "unsigned int" | "qint32" | "complex<c10::Half>" | "complex<Half>" => 4,
        "double" | "long" | "long int" | "long long" | "long long int" | "unsigned long" | "long unsigned int"
        | "complex<float>" => 8,
        "complex<double>" => 16,
        other if other.starts_with("Float8_") || other.starts_with("Float4_") => 1,
        _ => return Err(()),
    };
    Ok(Some(bytes))
}

/// Whether a file begins like this format: an object with `traceEvents`, or a list of events.
pub fn matches(head: &[u8]) -> bool {
    if outer_keys(head).contains(&&b"traceEvents"[..]) {
        return true;
    }
    let start = head.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    match head.get(start..) {
        Some([b'[', list @ ..]) => {
            let keys = outer_keys(list);
            keys.contains(&&b"ph"[..]) && keys.contains(&&b"name"[..])
        }
        _ => false,
    }
}

/// A call.
#[derive(Debug, Clone, Copy)]
struct Call {
    start: f64,
    end: f64,
    thread: u32,
    name: u32,
    /// Its tensors: up to `last`.
    first: u32,
    last: u32,
    flops: f32,
}

/// A name and what it says.
struct Name {
    text: String,
    no_data: bool,
    multiplies: bool,
}

#[derive(Default)]
struct State {
    input: String,
    calls: Vec<Call>,
    /// Bytes of each tensor of each call.
    tensors: Vec<u64>,
    names: Vec<Name>,
    name_numbers: FxHashMap<String, u32>,
    threads: FxHashMap<(u64, u64), u32>,
    /// Whether any call has shapes.
    shapes: bool,
    events: u64,
    lists: u64,
    /// Inputs with a shape and no type, and those of types that are not known here, by name.
    untyped: u64,
    unknown: BTreeMap<String, u64>,
    /// Events that cannot be read, and why the first of them cannot; calls whose duration is no number.
    skipped: u64,
    reasons: Vec<String>,
    untimed: u64,
    event: Event,
    text: String,
    error: Option<Error>,
}

/// The event being read.
#[derive(Default)]
struct Event {
    name: String,
    phase: String,
    category: String,
    process: u64,
    thread: u64,
    start: Option<f64>,
    duration: Option<f64>,
    /// Ends of the shapes of the inputs in `dims`; none where an input is a list of tensors or of scalars.
    shapes: Vec<Option<usize>>,
    dims: Vec<i64>,
    types: Vec<String>,
    types_used: usize,
    has_shapes: bool,
    /// Whether a part of it is not what it must be.
    bad: bool,
}

impl Event {
    fn clear(&mut self) {
        self.name.clear();
        self.phase.clear();
        self.category.clear();
        (self.process, self.thread, self.start, self.duration) = (0, 0, None, None);
        self.shapes.clear();
        self.dims.clear();
        self.types_used = 0;
        self.has_shapes = false;
        self.bad = false;
    }

    /// Whether it is that of an operator, or could be one.
    fn is_call(&self) -> bool {
        let is = |text: &str, wanted: &[&str]| wanted.contains(&text) || is_damaged(text);
        // The autograd engine's own events stand around operators, under the same category.
        let around = annotates(&self.name) || is_gradient(&self.name);
        is(&self.phase, &["X"]) && is(&self.category, &["cpu_op", "Operator"]) && !around
    }
}

/// Whether a text has characters that none has which a profiler writes.
fn is_damaged(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Reads a profiler's trace.
pub fn read(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut state = State { input: input.name.to_owned(), ..State::default() };
    let result = read_damaged(File(&mut state), input, CURE, progress);
    let (found, damage) = state.error.take().map_or(result, Err)?;
    if !found {
        return Err(Error::input(input.name, Place::Key("traceEvents".into()), "the key is missing", CURE));
    }
    let mut trace = state.trace()?;
    if damage > 0 {
        trace.warn(format!("{damage} bytes in its strings are control characters or no UTF-8: passed over"));
    }
    Ok(trace)
}

impl State {
    fn name(&mut self, name: &str) -> Result<u32, Error> {
        let name = cut(name, NAME);
        if let Some(&number) = self.name_numbers.get(name) {
            return Ok(number);
        }
        if self.names.len() >= MOST_NAMES {
            let problem = format!("it has more than {MOST_NAMES} distinct names of operators");
            return Err(Error::input(&self.input, Place::Whole, problem, CURE));
        }
        let number = self.names.len() as u32;
        self.name_numbers.insert(name.to_owned(), number);
        self.names.push(Name { text: name.to_owned(), no_data: moves_no_data(name), multiplies: multiplies(name) });
        Ok(number)
    }

    /// Keeps the event that was read, if it is a call.
    fn push(&mut self) -> Result<(), Error> {
        let at = self.events;
        self.events += 1;
        let event = std::mem::take(&mut self.event);
        let result = self.keep(&event, at);
        self.event = event;
        result
    }

    fn keep(&mut self, event: &Event, at: u64) -> Result<(), Error> {
        if !event.is_call() {
            return Ok(());
        }
        if let Err(problem) = self.call(event)? {
            self.skipped += 1;
            if self.reasons.len() < MOST_SKIPPED {
                let name: String = cut(&event.name, NAME).chars().filter(|letter| !letter.is_control()).collect();
                self.reasons.push(format!("traceEvents[{at}] {name}: {problem}"));
            }
        }
        Ok(())
    }

    /// Keeps a call, or says what is wrong with it.
    fn call(&mut self, event: &Event) -> Result<Result<(), String>, Error> {
        let texts = [&event.name, &event.phase, &event.category];
        if texts.into_iter().any(|text| is_damaged(text)) {
            return Ok(Err("it has characters that are not text".into()));
        }
        if event.bad {
            return Ok(Err("its values are of other types than a profiler writes".into()));
        }
        let Some(start) = event.start.filter(|start| start.is_finite()) else {
            return Ok(Err("it has no ts that is a number".into()));
        };
        let Some(duration) = event.duration.filter(|duration| *duration >= 0.0 || duration.is_nan()) else {
            return Ok(Err("it has no dur that is zero or more".into()));
        };
        self.untimed += u64::from(!duration.is_finite());
        let duration = if duration.is_finite() { duration } else { 0.0 };
        if self.calls.len() >= MOST_CALLS || self.tensors.len() >= MOST_TENSORS {
            return Err(Error::TooLarge {
                problem: format!("{} has more than {MOST_CALLS} calls or {MOST_TENSORS} tensors in them", self.input),
                cure: "Profile fewer steps".into(),
            });
        }
        let first = self.tensors.len();
        let types = event.types.get(..event.types_used).unwrap_or_default();
        let mut from = 0;
        let mut shapes: Vec<Option<&[i64]>> = Vec::with_capacity(event.shapes.len());
        for (position, shape) in event.shapes.iter().enumerate() {
            let dims = shape.and_then(|end| event.dims.get(from..end));
            from = shape.unwrap_or(from);
            shapes.push(dims);
            let Some(kind) = types.get(position) else {
                // Scalars have an empty shape.
                self.untyped += u64::from(dims.is_some_and(|dims| !dims.is_empty()));
                continue;
            };
            self.lists += u64::from(kind == "TensorList");
            let Ok(width) = element_bytes(kind) else {
                if self.unknown.len() < MOST_UNKNOWN || self.unknown.contains_key(kind) {
                    *self.unknown.entry(kind.clone()).or_default() += 1;
                } else {
                    self.untyped += 1;
                }
                continue;
            };
            let (Some(width), Some(dims)) = (width, dims) else { continue };
            let bytes = dims.iter().try_fold(width, |bytes, dim| {
                let dim = u64::try_from(*dim).ok()?;
                bytes.checked_mul(dim).filter(|b| *b <= MOST_BYTES)
            });
            match bytes {
                Some(0) => {}
                Some(bytes) => self.tensors.push(bytes),
                None => {
                    self.tensors.truncate(first);
                    let shown: Vec<i64> = dims.iter().copied().take(8).collect();
                    return Ok(Err(format!(
                        "input {position} has the shape {shown:?}: negative, or more than 2^50 bytes"
                    )));
                }
            }
        }
        self.shapes |= event.has_shapes;
        let flops = products(&event.name, &|position| shapes.get(position as usize).copied().flatten()) as f32;
        let threads = self.threads.len() as u32;
        let thread = *self.threads.entry((event.process, event.thread)).or_insert(threads);
        let name = self.name(&event.name)?;
        let (first, last) = (first as u32, self.tensors.len() as u32);
        self.calls.push(Call { start, end: start + duration, thread, name, first, last, flops });
        Ok(Ok(()))
    }

    fn trace(self) -> Result<Trace, Error> {
        let whole = |problem: String, cure: &str| Err(Error::input(&self.input, Place::Whole, problem, cure));
        let skipped = self.skipped();
        if self.calls.is_empty() {
            let problem = format!("none of its {} events is an operator that can be read", self.events);
            let problem = skipped.map_or_else(|| problem.clone(), |skipped| format!("{problem}. {skipped}"));
            return whole(problem, "Profile with activities=[ProfilerActivity.CPU, ...]");
        }
        if !self.shapes {
            let problem = format!("its {} operators have no shapes", self.calls.len());
            return whole(problem, "Profile again with record_shapes=True");
        }
        // Outer calls before those inside them.
        let mut order: Vec<u32> = (0..self.calls.len() as u32).collect();
        let at = |i: &u32| &self.calls[*i as usize];
        order.sort_by(|a, b| {
            let (x, y) = (at(a), at(b));
            let key = |c: &Call| (c.thread, c.start);
            key(x)
                .partial_cmp(&key(y))
                .unwrap_or(std::cmp::Ordering::Equal)
                .then(y.end.total_cmp(&x.end))
                .then(a.cmp(b))
        });
        let mut counts = vec![true; self.calls.len()];
        let (mut inside, mut views, mut without) = (0u64, 0u64, 0u64);
        // The calls that are open, and whether one of them multiplies.
        let mut open: Vec<(u32, bool)> = Vec::new();
        for &call in &order {
            let this = at(&call);
            while open.last().is_some_and(|(above, _)| at(above).thread != this.thread || at(above).end <= this.start) {
                open.pop();
            }
            let name = &self.names[this.name as usize];
            let covered = open.last().is_some_and(|(_, covered)| *covered);
            let works = !name.no_data && this.last > this.first;
            views += u64::from(name.no_data);
            without += u64::from(!name.no_data && this.last == this.first);
            if !works || covered {
                counts[call as usize] = false;
                inside += u64::from(works);
            } else {
                // What is above works through this one. It was cleared already if an earlier one did.
                for (above, _) in open.iter().rev() {
                    let was = std::mem::replace(&mut counts[*above as usize], false);
                    inside += u64::from(was);
                    if !was && at(above).last > at(above).first && !self.names[at(above).name as usize].no_data {
                        break;
                    }
                }
            }
            open.push((call, covered || (works && name.multiplies)));
        }
        self.build(order, &counts, [inside, views, without])
    }

    /// How many events were skipped and why, where any were.
    fn skipped(&self) -> Option<String> {
        let more = if self.skipped > self.reasons.len() as u64 { ", ..." } else { "" };
        (self.skipped > 0).then(|| {
            format!("{} events cannot be read and are skipped: {}{more}", self.skipped, self.reasons.join("; "))
        })
    }

    fn build(&self, mut order: Vec<u32>, counts: &[bool], not_counted: [u64; 3]) -> Result<Trace, Error> {
        // As they began, on whatever thread.
        order.sort_by(|a, b| self.calls[*a as usize].start.total_cmp(&self.calls[*b as usize].start));
        let mut builder = TraceBuilder::new("");
        let mut counted = 0u64;
        let mut times = vec![(0u64, 0.0f64); self.names.len()];
        for call in order.into_iter().filter(|call| counts[*call as usize]) {
            let this = &self.calls[call as usize];
            let name = &self.names[this.name as usize];
            let time = &mut times[this.name as usize];
            time.0 += 1;
            time.1 += this.end - this.start;
            counted += 1;
            let tensors = &self.tensors[this.first as usize..this.last as usize];
            let largest = (0..tensors.len()).rev().max_by_key(|at| tensors[*at]).unwrap_or(0);
            for (at, bytes) in tensors.iter().enumerate() {
                let tensor = builder.tensor(Tensor {
                    name: format!("call {call} {} input {at}", name.text),
                    bytes: *bytes,
                    layer: None,
                    stride: 1,
                    kind: Kind::Object,
                })?;
                let flops = if at == largest { f64::from(this.flops) } else { 0.0 };
                builder.access_with(tensor, operation(&name.text), Mode::Read, flops)?;
            }
        }
        if builder.is_empty() {
            let types = self.unknown.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let unknown = if types.is_empty() { String::new() } else { format!(" of a type known here (but {types})") };
            let problem = format!("none of its {} operators takes a tensor with elements{unknown}", self.calls.len());
            return Err(Error::input(&self.input, Place::Whole, problem, "Profile again with record_shapes=True"));
        }
        builder.warn(
            "Reuse cannot be known from this file: a profile does not say which tensors are the same tensor, so each one \
             that an operator takes is an object of its own, and what operators return is missing. For reuse, record an \
             execution trace (torch.profiler.ExecutionTraceObserver) and open that",
        );
        let [inside, views, without] = not_counted;
        builder.warn(format!(
            "Of {} operators, {counted} count. Not counted: {inside} whose work operators inside or around them do, \
             {views} views and others that touch no element, {without} without tensors",
            self.calls.len(),
        ));
        if let Some(skipped) = self.skipped() {
            builder.warn(skipped);
        }
        if self.untimed > 0 {
            builder.warn(format!("{} operators take no time that is a number: they count, with none", self.untimed));
        }
        if self.lists > 0 {
            builder.warn(format!(
                "{} inputs are lists of tensors, whose types this format does not record: left out",
                self.lists
            ));
        }
        if !self.unknown.is_empty() {
            let types = self.unknown.iter().map(|(kind, count)| format!("{kind} ({count})")).collect::<Vec<_>>();
            builder.warn(format!("Inputs of types whose size is not known here were left out: {}", types.join(", ")));
        }
        if self.untyped > 0 {
            builder.warn(format!("{} inputs have a shape and no type that is known: left out", self.untyped));
        }
        let mut longest: Vec<usize> = (0..times.len()).filter(|at| times[*at].0 > 0).collect();
        longest.sort_by(|a, b| times[*b].1.total_cmp(&times[*a].1).then(a.cmp(b)));
        let total: f64 = times.iter().map(|(_, time)| time).sum();
        let shown = longest.iter().take(SHOWN).map(|at| {
            let (calls, time) = times[*at];
            format!("{} {:.3} ms in {calls}", self.names[*at].text, time / 1000.0)
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        builder.warn(format!("Times as measured, {:.3} ms in all; the longest: {shown}", total / 1000.0));
        builder.finish(&self.input)
    }
}

/// The file: an object with the events, or the events alone.
struct File<'s>(&'s mut State);

impl ValueReader for File<'_> {
    type Value = bool;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "a profiler's trace: an object with traceEvents";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while map.next_key_seed(Seed(Text(&mut self.0.text)))?.is_some() {
            match self.0.text.as_str() {
                "traceEvents" if found => return Err(A::Error::custom("the key traceEvents comes twice")),
                "traceEvents" => {
                    map.next_value_seed(Seed(Events(self.0)))?;
                    found = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn list<'de, A: SeqAccess<'de>>(self, list: A) -> Result<bool, A::Error> {
        Events(self.0).list(list)?;
        Ok(true)
    }
}

struct Events<'s>(&'s mut State);

impl ValueReader for Events<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of events";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            self.0.event.clear();
            if list.next_element_seed(Seed(Loose(EventOf(self.0))))?.is_none() {
                return Ok(());
            }
            if let Err(error) = self.0.push() {
                self.0.error = Some(error);
                return Err(A::Error::custom("refused"));
            }
        }
    }
}

/// One event, into the event being read.
struct EventOf<'s>(&'s mut State);

impl ValueReader for EventOf<'_> {
    type Value = ();
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "an event: an object";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let State { event, text, .. } = self.0;
        while map.next_key_seed(Seed(Text(text)))?.is_some() {
            let read = match text.as_str() {
                "ph" => map.next_value_seed(Seed(Loose(Text(&mut event.phase))))?,
                "cat" => map.next_value_seed(Seed(Loose(Text(&mut event.category))))?,
                "name" => map.next_value_seed(Seed(Loose(Text(&mut event.name))))?,
                "pid" => map.next_value_seed(Seed(Loose(Key)))?.map(|key| event.process = key),
                "tid" => map.next_value_seed(Seed(Loose(Key)))?.map(|key| event.thread = key),
                "ts" => map.next_value_seed(Seed(Loose(Number)))?.map(|number| event.start = number),
                "dur" => map.next_value_seed(Seed(Loose(Number)))?.map(|number| event.duration = number),
                "args" => map.next_value_seed(Seed(Loose(Arguments { event, text })))?,
                _ => map.next_value::<IgnoredAny>().map(|_| Some(()))?,
            };
            event.bad |= read.is_none();
        }
        Ok(())
    }
}

/// The arguments of an event.
struct Arguments<'s> {
    event: &'s mut Event,
    text: &'s mut String,
}

impl ValueReader for Arguments<'_> {
    type Value = ();
    const FORM: Form = Form::Object;
    const EXPECTED: &'static str = "args: an object";

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { event, text } = self;
        while map.next_key_seed(Seed(Text(text)))?.is_some() {
            // Older versions write `Input dims`.
            let read = if text.eq_ignore_ascii_case("input dims") {
                event.has_shapes = true;
                map.next_value_seed(Seed(Loose(Shapes(event))))?
            } else if text.eq_ignore_ascii_case("input type") {
                map.next_value_seed(Seed(Loose(TypeNames(event))))?
            } else {
                map.next_value::<IgnoredAny>().map(|_| Some(()))?
            };
            event.bad |= read.is_none();
        }
        Ok(())
    }
}

/// The shapes of the inputs.
struct Shapes<'s>(&'s mut Event);

impl ValueReader for Shapes<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = SHAPES;

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Seed(Dims { event: self.0, depth: 1 }))?.is_some() {}
        Ok(())
    }
}

const SHAPES: &str = "the shapes of the inputs: lists of whole numbers";

/// The shape of one input: a list of numbers for a tensor, of lists for a list of tensors.
struct Dims<'s> {
    event: &'s mut Event,
    depth: u32,
}

impl ValueReader for Dims<'_> {
    /// Whether it is a number.
    type Value = bool;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = SHAPES;

    fn unsigned<E: de::Error>(self, number: u64) -> Result<bool, E> {
        if self.depth == 2 {
            self.event.dims.push(i64::try_from(number).unwrap_or(i64::MAX));
        }
        Ok(true)
    }

    fn signed<E: de::Error>(self, number: i64) -> Result<bool, E> {
        if self.depth == 2 {
            self.event.dims.push(number);
        }
        Ok(true)
    }

    fn float<E: de::Error>(self, _: f64) -> Result<bool, E> {
        self.event.bad = true;
        Ok(true)
    }

    fn text<E: de::Error>(self, _: &str) -> Result<bool, E> {
        self.event.bad = true;
        Ok(true)
    }

    fn boolean<E: de::Error>(self, _: bool) -> Result<bool, E> {
        self.event.bad = true;
        Ok(true)
    }

    fn null<E: de::Error>(self) -> Result<bool, E> {
        self.event.bad = true;
        Ok(true)
    }

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.event.bad = true;
        Ok(true)
    }

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let Self { event, depth } = self;
        let mut plain = true;
        while let Some(number) = list.next_element_seed(Seed(Dims { event, depth: depth + 1 }))? {
            plain &= number;
        }
        if depth == 1 {
            let end = event.dims.len();
            event.shapes.push(plain.then_some(end));
        }
        Ok(false)
    }
}

/// The types of the inputs.
struct TypeNames<'s>(&'s mut Event);

impl ValueReader for TypeNames<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "the types of the inputs: a list of names";

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let event = self.0;
        event.types_used = 0;
        loop {
            if event.types.len() == event.types_used {
                event.types.push(String::new());
            }
            let Some(slot) = event.types.get_mut(event.types_used) else { return Ok(()) };
            match list.next_element_seed(Seed(Loose(Text(slot))))? {
                None => return Ok(()),
                Some(None) => event.bad = true,
                Some(Some(())) => {}
            }
            // No type has a name as long; buffers stay, so they must be small.
            if slot.len() > NAME {
                *slot = cut(slot, NAME).to_owned();
            }
            event.types_used += 1;
        }
    }
}

/// A process or thread: a number, or a name, which stands for its hash.
struct Key;

impl ValueReader for Key {
    type Value = u64;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "the number or name of a process or thread";

    fn unsigned<E: de::Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn signed<E: de::Error>(self, number: i64) -> Result<u64, E> {
        Ok(number as u64)
    }

    fn float<E: de::Error>(self, number: f64) -> Result<u64, E> {
        Ok(number.to_bits())
    }

    fn text<E: de::Error>(self, text: &str) -> Result<u64, E> {
        // FNV-1a: names are few, and only tell threads apart.
        Ok(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)))
    }
}

/// A time in microseconds: a number, or a string that holds one.
struct Number;

impl ValueReader for Number {
    type Value = Option<f64>;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = "a time in microseconds";

    fn unsigned<E: de::Error>(self, number: u64) -> Result<Option<f64>, E> {
        Ok(Some(number as f64))
    }

    fn signed<E: de::Error>(self, number: i64) -> Result<Option<f64>, E> {
        Ok(Some(number as f64))
    }

    fn float<E: de::Error>(self, number: f64) -> Result<Option<f64>, E> {
        Ok(Some(number))
    }

    fn text<E: de::Error>(self, text: &str) -> Result<Option<f64>, E> {
        // An empty string stands for a number that JSON does not have.
        Ok(if text.is_empty() { Some(f64::NAN) } else { text.parse().ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;
    use crate::trace::Op;

    fn event(name: &str, start: u32, duration: u32, args: &str) -> String {
        format!(
            "{{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"{name}\",\"pid\":1,\"tid\":7,\"ts\":{start},\"dur\":{duration},\
             \"args\":{{{args}}}}}"
        )
    }

    fn file(events: &[String]) -> String {
        format!("{{\"schemaVersion\":1,\"traceEvents\":[{}],\"traceName\":\"x\"}}", events.join(","))
    }

    fn read_text(text: &str) -> Result<Trace, Error> {
        read(&Input::new("t.json", text.as_bytes()), &mut Unattended)
    }

    const SHAPES: &str = "\"Input Dims\":[[4,8],[8,2],[]],\"Input type\":[\"float\",\"c10::Half\",\"Scalar\"]";

    #[test]
    fn operators_with_sizes_and_no_reuse() {
        let text = file(&[
            "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":\"a\",\"args\":{\"name\":\"python\"}}".into(),
            event("aten::linear", 10, 50, SHAPES),
            event("aten::t", 11, 2, "\"Input Dims\":[[8,2]],\"Input type\":[\"c10::Half\"]"),
            event("aten::mm", 20, 30, SHAPES),
            event("aten::copy_", 21, 1, SHAPES),
            event("AddmmBackward0", 70, 9, SHAPES),
            event("aten::relu", 71, 5, "\"Input dims\":[[4,2],[[3],[4]]],\"Input type\":[\"float\",\"TensorList\"]"),
        ]);
        assert_eq!(detect(&Input::new("t", text.as_bytes())).unwrap(), Format::Kineto);
        let trace = read_text(&text).unwrap();
        assert_eq!(trace.sizes(), [128, 32, 32]);
        assert_eq!(trace.accesses(), [0, 1, 2]);
        assert_eq!((trace.op(0), trace.op(2)), (Op::Matmul, Op::Relu));
        assert_eq!((trace.flops(0), trace.flops(1)), (128.0, 0.0));
        let warnings = trace.warnings().join("\n");
        for wanted in [
            "Reuse cannot be known from this file",
            "ExecutionTraceObserver",
            "Of 5 operators, 2 count",
            "1 inputs are lists of tensors",
            "0.035 ms in all; the longest: aten::mm 0.030 ms in 1, aten::relu 0.005 ms in 1",
        ] {
            assert!(warnings.contains(wanted), "{warnings}");
        }
        // A bare list of events is the same format.
        let list = text.split_once("\"traceEvents\":").unwrap().1.split(",\"traceName\"").next().unwrap();
        assert_eq!(detect(&Input::new("t", list.as_bytes())).unwrap(), Format::Kineto);
        assert_eq!(read_text(list).unwrap(), trace);
    }

    #[test]
    fn inputs_without_a_known_type_are_told() {
        let good = file(&[event("aten::mm", 1, 2, SHAPES)]);
        for (text, wanted) in [
            (
                good.replacen("\"float\"", "\"float9000\"", 1),
                "Inputs of types whose size is not known here were left out: float9000 (1)",
            ),
            (
                good.replace(",\"c10::Half\",\"Scalar\"", ""),
                "1 inputs have a shape and no type that is known: left out",
            ),
        ] {
            let trace = read_text(&text).unwrap();
            assert_eq!(trace.tensors().len(), 1);
            assert!(trace.warnings().iter().any(|w| w == wanted), "{:?}", trace.warnings());
        }
    }

    #[test]
    fn broken_files_name_the_place_and_the_cure() {
        let good = file(&[event("aten::mm", 1, 2, SHAPES)]);
        read_text(&good).unwrap();
        for (text, wanted) in [
            (good[..good.len() - 30].to_owned(), "the text ends here, before the trace is complete"),
            (String::from("{\"a\":1}"), "key `traceEvents`: the key is missing"),
            (String::from("{\"traceEvents\":7}"), "invalid type: integer `7`, expected a list of events"),
            (
                file(&[]),
                "none of its 0 events is an operator that can be read. Profile with activities=[ProfilerActivity.CPU",
            ),
            (
                file(&[event("aten::mm", 1, 2, "")]),
                "its 1 operators have no shapes. Profile again with record_shapes=True",
            ),
            (
                good.replace("float", "float9000").replace("c10::Half", "Scalar"),
                "none of its 1 operators takes a tensor with elements of a type known here (but float9000)",
            ),
            (good.replace("[4,8],[8,2]", "[0],[0]"), "none of its 1 operators takes a tensor with elements"),
            (good.replace("aten", &"x".repeat(2 << 20)), "a string in it is longer than 1048576 bytes"),
        ] {
            let error = read_text(&text).unwrap_err().to_string();
            let shown = &text[..text.len().min(600)];
            assert!(error.starts_with("t.json, ") && error.contains(wanted), "{shown} gave {error}");
        }
    }

    #[test]
    fn bad_events_are_skipped_and_told() {
        let good = event("aten::mm", 1, 2, SHAPES);
        let wanted = read_text(&file(std::slice::from_ref(&good))).unwrap();
        for (bad, reason) in [
            (
                good.replace("[4,8]", "[4,-8]"),
                "aten::mm: input 0 has the shape [4, -8]: negative, or more than 2^50 bytes",
            ),
            (good.replace("[4,8]", "[1000000000,1000000000]"), "more than 2^50 bytes"),
            (good.replace("[4,8]", "[99999999999999999999]"), "its values are of other types"),
            (good.replace("[4,8]", "\"x\""), "its values are of other types"),
            (good.replace("[4,8]", "[{\"a\":1},null,true]"), "its values are of other types"),
            (good.replace("\"float\"", "7"), "its values are of other types"),
            (good.replace("\"tid\":7", "\"tid\":[7]"), "its values are of other types"),
            (good.replace("\"ts\":1,", ""), "it has no ts that is a number"),
            (good.replace("\"ts\":1", "\"ts\":\"nan\""), "it has no ts that is a number"),
            (good.replace("\"ts\":1", "\"ts\":Infinity"), "it has no ts that is a number"),
            (good.replace("\"dur\":2", "\"dur\":-2"), "it has no dur that is zero or more"),
            (good.replace("\"dur\":2", "\"dur\":null"), "its values are of other types"),
            (good.replace("\"args\":{", "\"args\":[{").replace("}}", "}]}"), "its values are of other types"),
            (good.replace("aten", "at\u{1}en"), "] aten::mm: it has characters that are not text"),
            (good.replace("aten", "at\\qen"), "it has characters that are not text"),
        ] {
            let trace = read_text(&file(&[good.clone(), bad.clone()])).unwrap();
            assert_eq!((trace.sizes(), trace.accesses()), (wanted.sizes(), wanted.accesses()), "{bad}");
            let told = |w: &String| w.starts_with("1 events cannot be read and are skipped") && w.contains(reason);
            assert!(trace.warnings().iter().any(told), "{bad}: {:?}", trace.warnings());
            let error = read_text(&file(std::slice::from_ref(&bad))).unwrap_err().to_string();
            assert!(error.contains("none of its 1 events") && error.contains(reason), "{bad}: {error}");
        }
        // What is no operator may be anything; a byte that is no UTF-8 outside of one harms nothing.
        let others = ["7", "null", "[]", "{\"ph\":7,\"args\":{\"Input Dims\":7}}"].map(String::from);
        let trace = read_text(&file(&[&[good.clone()][..], &others].concat())).unwrap();
        assert_eq!(trace.warnings(), wanted.warnings());
        let mut bytes = file(std::slice::from_ref(&good)).into_bytes();
        bytes[5] = 0xff;
        let trace = read(&Input::new("t.json", &bytes), &mut Unattended).unwrap();
        assert_eq!(trace.accesses(), wanted.accesses());
        assert!(trace.warnings().iter().any(|w| w.starts_with("1 bytes in its strings")), "{:?}", trace.warnings());
        // Characters of several bytes may stand anywhere.
        let names = (0..40_000).map(|i| event(&format!("{}\u{e9}\u{4e00}\u{1f600}", "x".repeat(i % 7)), 9, 1, ""));
        let trace = read_text(&file(&[vec![good.clone()], names.collect()].concat())).unwrap();
        assert!(trace.warnings().iter().all(|w| !w.contains("UTF-8")), "{:?}", trace.warnings());
        // A time that is no number is none.
        let trace = read_text(&file(&[good.replace("\"dur\":2", "\"dur\":Infinity")])).unwrap();
        assert_eq!(trace.accesses(), wanted.accesses());
        assert!(trace.warnings().iter().any(|w| w.starts_with("1 operators take no time")), "{:?}", trace.warnings());
    }
}
