//! A trace with all that is known of it: what [`write`](super::write()) writes, read back.
//!
//! Rows name what belongs to the access (size, operation, mode, work) and repeat what belongs to its tensor (kind,
//! layer, stride, parent). What belongs to neither stands in the file's metadata.

use std::collections::HashMap;

use accel_core::closed::{self, Closed};
use accel_core::error::{Error, Place};
use accel_core::import::cache_csv;
use accel_core::progress::Progress;
use accel_core::trace::{Decoding, Mark, Tensor, Trace, TraceBuilder};
use parquet::record::Field;
use serde::{Deserialize, Serialize};

use super::{Table, bytes, number, text};

/// Columns by which such a file is known, beside those of requests.
pub(super) const COLUMNS: [&str; 5] = ["kind", "op", "mode", "layer", "stride"];
/// The number of the tensor in the table of tensors, which decides between equals.
pub(super) const NUMBER: &str = "tensor";
/// Floating-point operations that wait for the access.
pub(super) const FLOPS: &str = "flops";
/// The tensor without which this one is worth nothing.
pub(super) const PARENT: &str = "parent";
/// The number of the first access for which what this one brings in is too old.
pub(super) const EXPIRES: &str = "expires";
/// The key of [`About`] in the file's metadata.
pub(super) const KEY: &str = "accel.trace";

/// What is known of a trace as a whole.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct About {
    model_type: String,
    marks: Vec<Mark>,
    decoding: Option<Decoding>,
    least_bytes: u64,
    timed: bool,
    warnings: Vec<String>,
}

impl About {
    pub(super) fn of(trace: &Trace) -> Self {
        Self {
            model_type: trace.model_type().to_owned(),
            marks: trace.marks().to_vec(),
            decoding: trace.decoding(),
            least_bytes: trace.least_bytes(),
            timed: trace.was_timed(),
            warnings: trace.warnings().to_vec(),
        }
    }
}

impl Table {
    /// What the metadata tells of the whole; nothing where another program has written the file anew.
    fn about(&self) -> Result<About, Error> {
        let metadata = self.reader.metadata().file_metadata().key_value_metadata();
        let found = metadata.and_then(|pairs| pairs.iter().find(|pair| pair.key == KEY));
        found.and_then(|pair| pair.value.as_deref()).map_or(Ok(About::default()), |json| {
            serde_json::from_str(json).map_err(|error| {
                let problem = format!("the metadata {KEY} cannot be read: {error}");
                Error::input(&self.name, Place::Whole, problem, "Convert the trace again, with this version")
            })
        })
    }

    /// The value of a closed list that a field names.
    fn named<T: Closed>(&self, place: &Place, column: &str, field: Option<&Field>) -> Result<T, Error> {
        let value = field.and_then(text).and_then(|name| closed::find(&name));
        let cure = || format!("Write one of {}", closed::names(T::ALL));
        value.ok_or_else(|| self.bad(place.clone(), column, field, &cure()))
    }

    pub(super) fn whole(&self, progress: &mut dyn Progress) -> anyhow::Result<Trace> {
        let about = self.about()?;
        let [time, id, size] = cache_csv::COLUMNS;
        let [kind, op, mode, layer, stride] = COLUMNS;
        let wanted = [time, id, size, kind, op, mode, layer, stride, FLOPS, PARENT, EXPIRES, NUMBER];
        let has = |name: &str| self.columns.iter().any(|column| column == name);
        if let Some(missing) = [id, size].into_iter().find(|name| !has(name)) {
            let cure = "Convert the trace again, or choose columns with --columns";
            return Err(Error::input(&self.name, Place::Whole, format!("there is no column {missing}"), cure).into());
        }
        let mut builder = TraceBuilder::new(about.model_type);
        let mut marks = about.marks.into_iter().peekable();
        let mut known: HashMap<String, (u32, Option<String>)> = HashMap::new();
        let (mut deadlines, mut numbers) = (Vec::new(), Vec::new());
        self.rows(&wanted, progress, |fields, place| {
            let field = |at: usize| fields.get(at).copied().flatten().filter(|field| **field != Field::Null);
            let bad = |at: usize, cure: &str| self.bad(place.clone(), wanted[at], field(at), cure);
            let word = |at: usize| field(at).and_then(text).ok_or_else(|| bad(at, "Write text, without gaps"));
            let whole = |at: usize| {
                let value = field(at).and_then(bytes);
                value.ok_or_else(|| bad(at, "Write a whole number, zero or more, without gaps"))
            };
            let small = |at: usize| {
                let value = whole(at)?;
                u32::try_from(value).map_err(|_| bad(at, "Write a whole number below 2^32"))
            };
            let (name, bytes) = (word(1)?, whole(2)?);
            let tensor = Tensor {
                name: name.clone(),
                bytes,
                layer: field(6).map(|_| small(6)).transpose()?,
                stride: small(7)?,
                kind: self.named(&place, kind, field(3))?,
            };
            let parent = field(9).map(|_| word(9)).transpose()?;
            let index = match known.get(&name) {
                Some((index, before)) => {
                    let first = builder.tensor_mut(*index);
                    if (first.kind, first.layer, first.stride) != (tensor.kind, tensor.layer, tensor.stride)
                        || *before != parent
                    {
                        let problem = format!("{name} has another kind, layer, stride or parent than before");
                        let cure = "Give all accesses of a tensor the same";
                        return Err(Error::input(&self.name, place, problem, cure));
                    }
                    *index
                }
                None => {
                    let index = builder.tensor(tensor)?;
                    if let Some(parent) = &parent {
                        let (parent, _) = known
                            .get(parent)
                            .ok_or_else(|| bad(9, "Let a tensor continue one that an earlier access names"))?;
                        builder.continues(index, *parent)?;
                    }
                    if has(NUMBER) {
                        numbers.push(small(11)?);
                    }
                    known.insert(name, (index, parent));
                    index
                }
            };
            let flops = match field(8) {
                None => 0.0,
                Some(field) => number(field)
                    .filter(|flops| (0.0..f64::INFINITY).contains(flops))
                    .ok_or_else(|| bad(8, "Write a number, zero or more"))?,
            };
            if has(EXPIRES) {
                deadlines.push(small(10)?);
            }
            while let Some(mark) = marks.next_if(|mark| mark.at <= builder.len() as u64) {
                builder.mark(mark.label);
            }
            builder.resize(index, bytes)?;
            builder.access_with(index, self.named(&place, op, field(4))?, self.named(&place, mode, field(5))?, flops)
        })?;
        marks.for_each(|mark| builder.mark(mark.label));
        if let Some(decoding) = about.decoding {
            builder.decodes(decoding);
        }
        if has(NUMBER) && !builder.renumber(&numbers) {
            let problem = format!("the numbers in the column {NUMBER} are not those of a table of tensors");
            let cure = "Number the tensors from 0 on, a parent before those that continue it, or leave the column out";
            return Err(Error::input(&self.name, Place::Whole, problem, cure).into());
        }
        if has(EXPIRES) {
            builder.expires(deadlines);
        }
        if about.timed {
            builder.timed();
        }
        builder.moves_at_least(about.least_bytes);
        about.warnings.into_iter().for_each(|warning| builder.warn(warning));
        Ok(builder.finish(&self.name)?)
    }
}
