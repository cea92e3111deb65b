//! CSV of a cache or storage trace as libCacheSim reads it: one request per line, its columns chosen by the user.
//!
//! The choice is written as in libCacheSim's option `-t`: `time-col=1,obj-id-col=2,obj-size-col=3,has-header=true,delimiter=,`
//! with columns counted from 1. A column may be named as well (`obj-id-col=key`). What is left out is detected from the
//! file, and a warning says how.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::input::{Input, strip_mark};
use super::occurring;
use super::text::{Names, Row, Rows, shorten};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::{Kind, Op, Tensor, Trace, TraceBuilder};

/// The columns that [`write()`] writes.
pub const COLUMNS: [&str; 3] = ["time", "obj_id", "obj_size"];
/// Names that such columns usually have, the most telling first; compared without case, `-` or spaces.
const TIMES: [&str; 6] = ["time", "timestamp", "ts", "clock_time", "real_time", "datetime"];
const IDS: [&str; 8] = ["obj_id", "object_id", "obj", "object", "key", "id", "lbn", "block_id"];
const SIZES: [&str; 6] = ["obj_size", "object_size", "size", "bytes", "size_bytes", "length"];
/// Delimiters, the most likely first.
const DELIMITERS: [(u8, &str); 5] = [(b',', ","), (b'\t', "\\t"), (b';', ";"), (b'|', "|"), (b' ', " ")];
/// The choice of columns that cures say.
const EXAMPLE: &str = "time-col=1,obj-id-col=2,obj-size-col=3";

/// A column by its number, counted from 1, or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// Counted from 1.
    Number(u32),
    /// As the first line writes it.
    Name(String),
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Which columns hold what, and how the file is laid out. What is absent is detected from the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Columns {
    /// The time of a request. Requests count in the order of the lines; times out of order are warned of.
    pub time: Option<Column>,
    /// The object: a number or text.
    pub id: Option<Column>,
    /// Its size in bytes.
    pub size: Option<Column>,
    /// Whether the first line names the columns.
    pub header: Option<bool>,
    /// What stands between fields.
    pub delimiter: Option<u8>,
}

impl FromStr for Columns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad =
            |problem: String, cure: &str| Error::field("columns", format!("\"{}\"", shorten(text)), problem, cure);
        const KNOWN: &str = "The keys are time-col, obj-id-col, obj-size-col, has-header and delimiter";
        /// Each key, and what else it is called.
        const KEYS: [&[&str]; 6] = [
            &["time-col", "time"],
            &["obj-id-col", "obj-id", "id"],
            &["obj-size-col", "obj-size", "size"],
            &["has-header", "header"],
            &["obj-id-is-num"],
            &["delimiter"],
        ];
        let mut columns = Self::default();
        // The last character may be the delimiter.
        let mut rest = text.trim_start();
        let mut seen: Vec<&str> = Vec::new();
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=') else {
                let cure = format!("Write the columns as in {EXAMPLE}");
                return Err(bad(format!("\"{}\" is not KEY=VALUE", shorten(rest)), &cure));
            };
            let key = key.trim().to_ascii_lowercase().replace('_', "-");
            // A delimiter may itself be a comma, as in `delimiter=,` or `delimiter=,,has-header=true`.
            let (value, next) = match after.strip_prefix(',') {
                Some(next) if key == "delimiter" => (",", next.strip_prefix(',').unwrap_or(next)),
                _ => after.split_once(',').unwrap_or((after, "")),
            };
            rest = next.trim_start();
            let known = |aliases: &[&'static str]| aliases.contains(&key.as_str()).then(|| aliases[0]);
            let called = KEYS.iter().find_map(|aliases| known(aliases));
            let Some(called) = called else {
                return Err(bad(format!("there is no key \"{}\"", shorten(&key)), KNOWN));
            };
            if seen.contains(&called) {
                return Err(bad(format!("{called} is given twice"), "Give each key once"));
            }
            seen.push(called);
            let column = || match value.trim() {
                "" => Err(bad(format!("{key} is empty"), "Give a number counted from 1, or a name")),
                "0" => Err(bad(format!("{key} is 0"), "Count columns from 1")),
                // A number too large for a column is refused later, as a name that the file does not have.
                value => Ok(Some(value.parse().map_or_else(|_| Column::Name(value.to_owned()), Column::Number))),
            };
            let boolean = || match value.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                other => Err(bad(format!("{key} is \"{}\"", shorten(other)), "Write true or false")),
            };
            match called {
                "time-col" => columns.time = column()?,
                "obj-id-col" => columns.id = column()?,
                "obj-size-col" => columns.size = column()?,
                "has-header" => columns.header = Some(boolean()?),
                // libCacheSim asks whether ids are numbers; here both kinds are read alike.
                "obj-id-is-num" => drop(boolean()?),
                _ => {
                    let known = DELIMITERS.into_iter().find(|(byte, name)| {
                        value == *name || value.as_bytes() == [*byte] || (*byte == b'\t' && value == "tab")
                    });
                    let (byte, _) = known.ok_or_else(|| {
                        bad(format!("the delimiter is \"{}\"", shorten(value)), "Choose , or ; or | or \\t or a space")
                    })?;
                    columns.delimiter = Some(byte);
                }
            }
        }
        Ok(columns)
    }
}

impl TryFrom<String> for Columns {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Columns> for String {
    fn from(columns: Columns) -> Self {
        columns.to_string()
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let columns = [("time-col", &self.time), ("obj-id-col", &self.id), ("obj-size-col", &self.size)];
        parts.extend(columns.iter().filter_map(|(key, column)| column.as_ref().map(|c| format!("{key}={c}"))));
        parts.extend(self.header.map(|header| format!("has-header={header}")));
        let name = |byte| DELIMITERS.into_iter().find(|(known, _)| *known == byte).map(|(_, name)| name);
        parts.extend(self.delimiter.and_then(name).map(|name| format!("delimiter={name}")));
        write!(f, "{}", parts.join(","))
    }
}

/// Where the columns of a file are, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnIndices {
    /// The time, where there is one.
    pub time: Option<usize>,
    /// The object.
    pub id: usize,
    /// Its size, where there is one.
    pub size: Option<usize>,
    /// Whether the first line names the columns.
    pub header: bool,
    /// Whether this is a guess, which deserves a warning.
    pub guessed: bool,
}

fn plain(name: &str) -> String {
    let name = name.trim_start_matches('#').trim().trim_matches('"');
    name.to_ascii_lowercase().replace(['-', ' '], "_")
}

/// The first of the `usual` names that is among `fields`.
fn usual(fields: &[&str], usual: &[&str]) -> Option<usize> {
    usual.iter().find_map(|name| fields.iter().position(|field| plain(field) == *name))
}

fn is_number(field: &str) -> bool {
    field.parse::<f64>().is_ok()
}

impl Columns {
    /// Whether no column is chosen.
    fn none_chosen(&self) -> bool {
        self.time.is_none() && self.id.is_none() && self.size.is_none()
    }

    fn names_one(&self) -> bool {
        [&self.time, &self.id, &self.size].into_iter().flatten().any(|column| matches!(column, Column::Name(_)))
    }

    /// The columns of a file whose first line, at `place`, has these `fields`.
    pub fn find(&self, input: &str, place: Place, fields: &[&str]) -> Result<ColumnIndices, Error> {
        let bad = |problem: String, cure: String| Error::input(input, place.clone(), problem, cure);
        let list = || shorten(&fields.join(","));
        let (time, id, size) = (usual(fields, &TIMES), usual(fields, &IDS), usual(fields, &SIZES));
        let named = self.names_one() || self.size.is_some() || time.or(id).or(size).is_some();
        let header = self.header.unwrap_or_else(|| named && !fields.iter().any(|field| is_number(field)));
        let column = |what: &str, column: &Column| match column {
            Column::Number(number) => {
                let at = *number as usize - 1;
                (at < fields.len()).then_some(at).ok_or_else(|| {
                    let problem = format!("{what} is {number} and the line has {} columns", fields.len());
                    bad(problem, "Count columns from 1, and check the delimiter".into())
                })
            }
            Column::Name(name) if header => {
                fields.iter().position(|field| plain(field) == plain(name)).ok_or_else(|| {
                    let problem = format!("there is no column \"{}\" (found: {})", shorten(name), list());
                    bad(problem, "Choose a column of the first line, by its name or its number from 1".into())
                })
            }
            Column::Name(name) => {
                let problem = format!("{what} is \"{}\", and the first line names no columns", shorten(name));
                Err(bad(problem, format!("Choose columns by number, such as {EXAMPLE}")))
            }
        };
        if self.none_chosen() {
            let cure =
                || format!("Say which columns hold what, such as {EXAMPLE} (on the command line with --columns)");
            return match (header, id) {
                // The names that are written here need no warning.
                (true, Some(id)) => Ok(ColumnIndices { time, id, size, header, guessed: fields != COLUMNS }),
                (true, None) => Err(bad(format!("no column is named as an object's id (found: {})", list()), cure())),
                (false, _) if fields.len() == 3 => {
                    Ok(ColumnIndices { time: Some(0), id: 1, size: Some(2), header, guessed: true })
                }
                (false, _) => {
                    let problem = format!("the first line names no columns and has {} of them, not 3", fields.len());
                    Err(bad(problem, cure()))
                }
            };
        }
        let optional = |what, chosen: &Option<Column>| chosen.as_ref().map(|c| column(what, c)).transpose();
        let chosen = optional("obj-id-col", &self.id)?.or(id.filter(|_| header));
        Ok(ColumnIndices {
            time: optional("time-col", &self.time)?,
            id: chosen
                .ok_or_else(|| bad("it is not said which column holds the object".into(), "Add obj-id-col=2".into()))?,
            size: optional("obj-size-col", &self.size)?,
            header,
            guessed: self.id.is_none(),
        })
    }
}

impl ColumnIndices {
    /// The warning that a guess deserves.
    pub fn warning(&self) -> Option<String> {
        let one = |what: &str, at: Option<usize>| at.map(|at| format!("{what} = {}", at + 1));
        let columns = [one("time", self.time), one("object", Some(self.id)), one("size", self.size)];
        let columns = columns.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let from = if self.header { "the names in the first line" } else { "their number" };
        self.guessed.then(|| format!("the columns are guessed from {from}: {columns}; choose others if that is wrong"))
    }
}

/// Builds a trace from requests one at a time; CSV and Parquet both come through here.
#[derive(Debug)]
pub struct FromRequests<'a> {
    input: &'a str,
    builder: TraceBuilder,
    names: Names,
    unsized_: bool,
    last_time: f64,
    backwards: u64,
}

impl<'a> FromRequests<'a> {
    /// An empty trace; `input` is named in the errors.
    pub fn new(input: &'a str) -> Self {
        Self {
            input,
            builder: TraceBuilder::new(""),
            names: Names::default(),
            unsized_: false,
            last_time: f64::NEG_INFINITY,
            backwards: 0,
        }
    }

    /// Records something the reader should know.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.builder.warn(warning);
    }

    /// Appends a request for `id`, found at `place`. An object without a size counts one byte.
    pub fn push(&mut self, id: &str, bytes: Option<u64>, time: Option<f64>, place: Place) -> Result<(), Error> {
        if id.is_empty() {
            return Err(Error::input(self.input, place, "the object's id is empty", "Give every request an object"));
        }
        self.unsized_ |= bytes.is_none();
        let bytes = bytes.unwrap_or(1);
        if let Some(time) = time {
            if time != self.builder.len() as f64 {
                self.builder.timed();
            }
            self.backwards += u64::from(time < self.last_time);
            self.last_time = time;
        }
        let number = match self.names.get(id) {
            Some(number) => {
                self.builder.resize(number, bytes)?;
                number
            }
            None => {
                let tensor = Tensor { name: id.to_owned(), bytes, layer: None, stride: 1, kind: Kind::Object };
                let number = self.builder.tensor(tensor)?;
                self.names.insert(self.input, id, number)?;
                number
            }
        };
        self.builder.access(number, Op::Request)
    }

    /// The trace.
    pub fn finish(mut self) -> Result<Trace, Error> {
        if self.unsized_ {
            self.builder.warn("there is no column of sizes: every object counts one byte");
        }
        if self.backwards > 0 {
            self.builder.warn(format!(
                "{} requests have an earlier time than the one before them; the order of the lines counts",
                self.backwards
            ));
        }
        self.builder.finish(self.input)
    }
}

/// A size in bytes: a whole number, also as a table with gaps writes it (`4096.0`).
fn size(field: &str) -> Option<u64> {
    field.parse().ok().or_else(|| {
        let value: f64 = field.parse().ok()?;
        // Beyond 2^53 a number with a point is no longer exact.
        (value.fract() == 0.0 && (0.0..9e15).contains(&value)).then_some(value as u64)
    })
}

/// What stands between the fields of the first line.
fn delimiter(head: &[u8]) -> u8 {
    let line = first_line(head);
    DELIMITERS.into_iter().find(|(byte, _)| line.contains(byte)).map_or(b',', |(byte, _)| byte)
}

fn first_line(head: &[u8]) -> &[u8] {
    head.split(|b| *b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default()
}

/// Whether the first line is one of words, with a number below one of them that is no object's id: it then names the
/// columns, whatever they are called.
fn words_over_numbers(head: &[u8], delimiter: u8, id: Option<&Column>) -> bool {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let mut split = || -> Vec<&str> {
        let fields = lines.next().unwrap_or_default().split(char::from(delimiter));
        fields.map(|field| field.trim().trim_matches('"')).collect()
    };
    let (first, second) = (split(), split());
    let is_id = |at: usize| matches!(id, Some(Column::Number(number)) if *number as usize == at + 1);
    !first.iter().any(|field| is_number(field))
        && first.len() == second.len()
        && second.iter().enumerate().any(|(at, field)| is_number(field) && !is_id(at))
}

/// Whether `head` begins like a trace whose columns can be detected: usual names of an object and its size or time, or
/// three columns of time, id and size.
pub fn matches(head: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(first_line(head)) else { return false };
    let byte = delimiter(head);
    let split = |line: &str| line.split(char::from(byte)).map(|f| f.trim().to_owned()).collect::<Vec<_>>();
    let fields = split(line);
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let Ok(found) = Columns::default().find("", Place::Whole, &fields) else { return false };
    if found.header {
        return found.time.or(found.size).is_some();
    }
    // The last line may be cut.
    let text = String::from_utf8_lossy(head);
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(5).collect::<Vec<_>>();
    let complete = if lines.len() > 1 && !head.ends_with(b"\n") { lines.len() - 1 } else { lines.len() };
    lines.iter().take(complete).all(|line| {
        let fields = split(line);
        matches!(&fields[..], [time, id, bytes] if is_number(time) && !id.is_empty() && size(bytes).is_some())
    })
}

/// Reads a trace whose columns are chosen or detected.
pub fn read(input: &Input<'_>, columns: Option<&Columns>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut columns = columns.cloned().unwrap_or_default();
    let head = input.head();
    let head = strip_mark(&head);
    let delimiter = columns.delimiter.unwrap_or_else(|| delimiter(head));
    if columns.header.is_none() && words_over_numbers(head, delimiter, columns.id.as_ref()) {
        columns.header = Some(true);
    }
    let mut rows = Rows::new(*input, input.text(progress)?, delimiter);
    let mut trace = FromRequests::new(input.name);
    let Some(first) = rows.next()? else { return trace.finish() };
    let width = first.len();
    let found = columns.find(input.name, Place::Line(first.line), &first.fields().collect::<Vec<_>>())?;
    if let Some(warning) = found.warning() {
        trace.warn(warning);
    }
    if !found.header {
        if columns.header.is_none() && !first.fields().any(is_number) {
            trace.warn(
                "the first line counts as a request, though no field of it is a number: if it names the columns, add \
                 has-header=true",
            );
        }
        push(&mut trace, input, &found, first)?;
    }
    while let Some(row) = rows.next()? {
        if row.len() != width {
            return Err(Error::input(
                input.name,
                Place::Line(row.line),
                format!("{} fields where the first line has {width}", row.len()),
                "Give every line the same columns, or choose another delimiter",
            ));
        }
        push(&mut trace, input, &found, row)?;
    }
    trace.finish()
}

fn push(trace: &mut FromRequests<'_>, input: &Input<'_>, found: &ColumnIndices, row: Row<'_>) -> Result<(), Error> {
    let bytes = found.size.map(|at| {
        let field = row.field(at);
        size(field).ok_or_else(|| {
            let problem = format!("the size in column {} is \"{}\"", at + 1, shorten(field));
            let cure =
                "Write a whole number of bytes, zero or more, in digits; if another column holds the sizes, choose it";
            Error::input(input.name, Place::Line(row.line), problem, cure)
        })
    });
    // A time may be a date, which is not read: the order of the lines counts.
    let time = found.time.map(|at| row.field(at).parse().unwrap_or(f64::NAN));
    trace.push(row.field(found.id), bytes.transpose()?, time, Place::Line(row.line))
}

/// Writes `time,obj_id,obj_size` with a header; the time is the index of the access, the id the tensor's name.
pub fn write(trace: &Trace) -> Result<Vec<u8>, Error> {
    let internal = |e: csv::Error| Error::Internal(e.to_string());
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(internal)?;
    for (now, (tensor, bytes)) in trace.sized().enumerate() {
        writer.serialize((now, &trace.tensors()[tensor as usize].name, bytes)).map_err(internal)?;
    }
    writer.into_inner().map_err(|e| Error::Internal(e.to_string()))
}

/// What CSV leaves out of `trace`.
pub(super) fn lost(trace: &Trace) -> Vec<&'static str> {
    let spaced = trace.tensors().iter().any(|t| t.name != t.name.trim());
    let mut lost = lost_in_requests(trace);
    lost.extend(occurring([(spaced, "the space around names"), (trace.was_timed(), RENUMBERED)]));
    lost
}

/// Times are written as the numbers of the accesses.
pub(super) const RENUMBERED: &str = "the times: the number of an access stands for each";

/// What requests of either encoding leave out of `trace`, besides names and times.
pub(super) fn lost_in_requests(trace: &Trace) -> Vec<&'static str> {
    let tensors = || trace.tensors().iter();
    occurring([
        (tensors().any(|t| t.layer.is_some()), "the layers"),
        (tensors().any(|t| t.kind != Kind::Object), "what kind each tensor is of"),
        (tensors().any(|t| t.stride != 1), "the strides"),
        (trace.knows_operations(), "the operations"),
        (!trace.model_type().is_empty(), "the type of the model"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;
    use crate::trace::testing::trace;

    fn read(columns: &str, text: &str) -> Result<Trace, Error> {
        let columns: Columns = columns.parse()?;
        super::read(&Input::new("t.csv", text.as_bytes()), Some(&columns), &mut Unattended)
    }

    fn names(trace: &Trace) -> Vec<&str> {
        trace.accesses().iter().map(|t| trace.tensors()[*t as usize].name.as_str()).collect()
    }

    #[test]
    fn columns_are_read_and_written_as_libcachesim_does() {
        for text in [
            "time-col=1,obj-id-col=2,obj-size-col=3,has-header=true,delimiter=,",
            "obj-id-col=5",
            "obj-id-col=key,obj-size-col=bytes",
            "has-header=false,delimiter=\\t",
            "obj-id-col=2,delimiter= ",
            "",
        ] {
            let columns: Columns = text.parse().unwrap();
            assert_eq!(columns.to_string(), text);
            let json = serde_json::to_string(&columns).unwrap();
            assert_eq!(serde_json::from_str::<Columns>(&json).unwrap(), columns);
        }
        let same = ["time-col=1, obj-id-col=2,delimiter=,,has-header=1", "ID=2,Time=1,delimiter=,,header=true,"];
        let parsed = same.map(|text| text.parse::<Columns>().unwrap());
        assert_eq!(parsed[0], parsed[1]);
        assert_eq!(parsed[0].delimiter, Some(b','));
        for (text, wanted) in [
            ("3", "\"3\" is not KEY=VALUE. Write the columns as in time-col=1"),
            ("obj-id-col=0", "Count columns from 1"),
            ("obj-id-col=,time-col=1", "obj-id-col is empty"),
            ("ttl-col=3", "there is no key \"ttl-col\". The keys are time-col"),
            ("has-header=maybe", "Write true or false"),
            ("delimiter=x", "the delimiter is \"x\""),
            ("id=2,obj-id-col=1", "obj-id-col is given twice. Give each key once"),
        ] {
            let error = text.parse::<Columns>().unwrap_err().to_string();
            assert!(error.starts_with("columns is ") && error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn headers_delimiters_and_text_ids() {
        let plain = "0,a,10\n1,b,20\n2,a,10\n";
        for (columns, text) in [
            ("", plain.to_owned()),
            ("", format!("time,id,size\n{plain}")),
            ("", format!("# Timestamp, Obj-ID, Obj_Size\n{plain}")),
            ("id=id,size=size", format!("time,id,size\n{plain}")),
            ("id=2,size=3", plain.to_owned()),
            ("id=2,size=3", format!("x,y,z\n{plain}")),
            ("id=2,size=3", format!("\u{feff}{plain}")),
            ("", format!("\u{feff}{plain}")),
            ("id=2,size=3,has-header=true", format!("1,2,3\n{plain}")),
            ("", plain.replace(',', "\t")),
            ("", plain.replace(',', ";")),
            ("delimiter=|", plain.replace(',', "|")),
            ("id=2,size=3", plain.replace(',', " ")),
            ("id=1,size=2", "a,10.0\nb,20\na,10".into()),
            ("time=3,id=1,size=2", "a,10,2020-01-01\r\n\r\nb,20,2020\r\na,10,2021\r\n".into()),
        ] {
            let trace = read(columns, &text).unwrap_or_else(|e| panic!("{columns} {text:?}: {e}"));
            assert_eq!(names(&trace), ["a", "b", "a"], "{columns} {text:?}");
            assert_eq!(trace.sizes(), [10, 20]);
            let guessed = trace.warnings().iter().any(|w| w.contains("guessed"));
            assert_eq!(guessed, !columns.contains("id="), "{columns} {text:?}");
        }
        let trace = read("time=1,id=2", "5,a\n4,b\n").unwrap();
        assert_eq!(trace.sizes(), [1, 1]);
        assert!(trace.warnings()[0].contains("every object counts one byte"), "{:?}", trace.warnings());
        assert!(trace.warnings()[1].contains("earlier time"), "{:?}", trace.warnings());
        let trace = read("", "0,a,1\n1,a,7\n").unwrap();
        assert_eq!((trace.sizes(), trace.largest_sizes()), (vec![1], vec![7]));
        assert_eq!(trace.summary().requested_bytes, 8);
        // Names that nobody knows, above numbers; where there are none, a warning.
        for (columns, text, wanted) in [
            ("id=2", "x;y;z\n0;a;10\n1;b;20\n", &["a", "b"][..]),
            ("id=2", "0;a;10\n1;b;20\n", &["a", "b"]),
            ("id=1", "deadbeef,0\n12345678,1\n", &["deadbeef", "12345678"]),
            ("id=1", "name\nfoo\nbar\n", &["name", "foo", "bar"]),
        ] {
            let trace = read(columns, text).unwrap();
            assert_eq!(names(&trace), wanted, "{text:?}");
            let advised = trace.warnings().iter().any(|w| w.contains("add has-header=true"));
            assert_eq!(advised, wanted.contains(&"name"), "{:?}", trace.warnings());
        }
    }

    #[test]
    fn round_trip_and_detection() {
        let trace = trace(&[10, 20, 30], &[0, 1, 0, 2, 1, 0]);
        let text = write(&trace).unwrap();
        let input = Input::new("t", &text);
        assert_eq!(detect(&input).unwrap(), Format::Csv);
        let again = super::read(&input, None, &mut Unattended).unwrap();
        assert_eq!((again.accesses(), again.tensors()), (trace.accesses(), trace.tensors()));
        assert_eq!(detect(&Input::new("t", b"\xef\xbb\xbf0,7,4096\n1,9,4096\n")).unwrap(), Format::Csv);
        assert!(matches(b"0,7,4096\n1,9,4096\n2,1"));
        for other in [
            "hello, this is no trace",
            "Layer name, IFMAP Height, IFMAP Width,\nConv1, 224, 224,",
            "Layer, M, N, K,\na, 1, 2, 3,",
            "{\"nodes\": [1,2,3]}",
            "0,7,big\n",
            "1,2\n3,4\n",
            "a,b,c\n1,2,3\n",
            "",
        ] {
            assert!(!matches(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn broken_files_name_the_line_and_the_cure() {
        let digits = "9".repeat(30);
        for (columns, text, wanted) in [
            ("", "", "the trace has no accesses"),
            ("", "time,id,size\n", "the trace has no accesses"),
            ("", "1,2\n", "line 1: the first line names no columns and has 2 of them, not 3. Say which"),
            ("", "time,size\n1,2\n", "line 1: no column is named as an object's id (found: time,size)"),
            ("", "0,a,10\n1,b\n", "line 2: 2 fields where the first line has 3"),
            ("", "0,a,10\n1,b,20,30\n", "line 2: 4 fields where the first line has 3"),
            (
                "",
                "0,a,10\n1,b,-20\n",
                "line 2: the size in column 3 is \"-20\". Write a whole number of bytes, zero or more, in digits",
            ),
            ("", "0,a,10\n\n1,b,big\n", "line 3: the size in column 3 is \"big\""),
            ("", "0,a,10\n1,b,1.5\n", "line 2: the size in column 3 is \"1.5\""),
            ("", "0,a,10\n1,b,1e16\n", "line 2: the size in column 3 is \"1e16\". Write a whole number of bytes"),
            ("", "0,a,10\n1,b,nan\n", "line 2: the size in column 3 is \"nan\""),
            ("", &format!("0,a,10\n1,b,{digits}\n"), "line 2: the size in column 3 is \"999"),
            ("", "0,,10\n", "line 1: the object's id is empty"),
            ("id=4", "0,a,10\n", "line 1: obj-id-col is 4 and the line has 3 columns"),
            ("size=3", "0,a,10\n", "it is not said which column holds the object. Add obj-id-col"),
            ("id=key", "0,a,10\n", "obj-id-col is \"key\", and the first line names no columns"),
            ("id=key", "time,id,size\n0,a,10\n", "there is no column \"key\" (found: time,id,size)"),
            ("", "0,a,18446744073709551615\n1,a,1\n", "add up to more than 2^64"),
        ] {
            let error = read(columns, text).unwrap_err().to_string();
            assert!(error.starts_with("t.csv, ") && error.contains(wanted), "{columns} {text:?} gave {error}");
        }
    }
}
