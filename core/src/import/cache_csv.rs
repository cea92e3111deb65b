//! CSV of a cache or storage trace as libCacheSim reads it: one request per line, its columns chosen by the user.
//!
//! The choice is written as in libCacheSim's option `-t`: `time-col=1,obj-id-col=2,obj-size-col=3,has-header=true,delimiter=,`
//! with columns counted from 1, `ttl-col=4` where objects expire, and `parent-col=5` where they continue others, as blocks
//! of a prompt do. A column may be named as well (`obj-id-col=key`). What is left out is detected from the file, and a
//! warning says how.

use std::fmt;
use std::io::BufRead;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::input::{Input, strip_mark};
use super::occurring;
use super::text::{Names, Row, Rows, shorten};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::{Kind, Op, Tensor, Trace, TraceBuilder};

/// The warning where no column holds sizes.
pub const UNSIZED: &str = "there is no column of sizes: every object counts one byte";
/// The columns that [`write()`] writes.
pub const COLUMNS: [&str; 3] = ["time", "obj_id", "obj_size"];
/// Names that such columns usually have, the most telling first; compared without case, `-` or spaces.
const TIMES: [&str; 6] = ["time", "timestamp", "ts", "clock_time", "real_time", "datetime"];
const IDS: [&str; 8] = ["obj_id", "object_id", "obj", "object", "key", "id", "lbn", "block_id"];
const SIZES: [&str; 6] = ["obj_size", "object_size", "size", "bytes", "size_bytes", "length"];
/// Delimiters, the most likely first.
const DELIMITERS: [(u8, &str); 5] = [(b',', ","), (b'\t', "\\t"), (b';', ";"), (b'|', "|"), (b' ', " ")];
/// A line that begins with it is a comment: it may name the columns, and holds no request.
const COMMENT: u8 = b'#';
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
    /// How long an object may be hit after it came in, in the unit of the time; for ever where it is empty or 0.
    pub ttl: Option<Column>,
    /// The object that it continues, without which it is worth nothing; none where it is empty.
    pub parent: Option<Column>,
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
        const KNOWN: &str =
            "The keys are time-col, obj-id-col, obj-size-col, ttl-col, parent-col, has-header and delimiter";
        /// Each key, and what else it is called.
        const KEYS: [&[&str]; 8] = [
            &["time-col", "time"],
            &["obj-id-col", "obj-id", "id"],
            &["obj-size-col", "obj-size", "size"],
            &["ttl-col", "ttl"],
            &["parent-col", "parent"],
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
                "ttl-col" => columns.ttl = column()?,
                "parent-col" => columns.parent = column()?,
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
        let keys = ["time-col", "obj-id-col", "obj-size-col", "ttl-col", "parent-col"];
        let columns = keys.into_iter().zip(self.all());
        parts.extend(columns.filter_map(|(key, column)| column.as_ref().map(|c| format!("{key}={c}"))));
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
    /// How long it may be hit after it came in, where that is chosen.
    pub ttl: Option<usize>,
    /// The object that it continues, where that is chosen.
    pub parent: Option<usize>,
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
    /// The choices, in the order of the keys.
    fn all(&self) -> [&Option<Column>; 5] {
        [&self.time, &self.id, &self.size, &self.ttl, &self.parent]
    }

    /// Whether no column is chosen.
    fn none_chosen(&self) -> bool {
        self.all().into_iter().all(Option::is_none)
    }

    fn names_one(&self) -> bool {
        self.all().into_iter().flatten().any(|column| matches!(column, Column::Name(_)))
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
                (true, Some(id)) => {
                    let guessed = fields != COLUMNS;
                    Ok(ColumnIndices { time, id, size, ttl: None, parent: None, header, guessed })
                }
                (true, None) => Err(bad(format!("no column is named as an object's id (found: {})", list()), cure())),
                (false, _) if fields.len() == 3 => {
                    let (time, id, size) = (Some(0), 1, Some(2));
                    Ok(ColumnIndices { time, id, size, ttl: None, parent: None, header, guessed: true })
                }
                (false, _) => {
                    let problem = format!("the first line names no columns and has {} of them, not 3", fields.len());
                    Err(bad(problem, cure()))
                }
            };
        }
        let optional = |what, chosen: &Option<Column>| chosen.as_ref().map(|c| column(what, c)).transpose();
        let chosen = optional("obj-id-col", &self.id)?.or(id.filter(|_| header));
        if self.ttl.is_some() && self.time.is_none() {
            let problem = "ttl-col is given, and time-col is not".to_owned();
            return Err(bad(problem, "Say which column holds the time, from which ages count: time-col=1".into()));
        }
        Ok(ColumnIndices {
            time: optional("time-col", &self.time)?,
            id: chosen
                .ok_or_else(|| bad("it is not said which column holds the object".into(), "Add obj-id-col=2".into()))?,
            size: optional("obj-size-col", &self.size)?,
            ttl: optional("ttl-col", &self.ttl)?,
            parent: optional("parent-col", &self.parent)?,
            header,
            guessed: self.id.is_none(),
        })
    }
}

impl Columns {
    /// The columns of a file where the line `names` names them and `row` is the first request below.
    fn find_below(&self, input: &str, names: Row<'_>, row: Row<'_>) -> Result<ColumnIndices, Error> {
        let columns = Self { header: Some(true), ..self.clone() };
        let mut fields: Vec<&str> = names.fields().collect();
        while fields.len() > row.len() && fields.last().is_some_and(|field| field.is_empty()) {
            fields.pop();
        }
        if fields.len() == row.len() {
            return columns.find(input, Place::Line(names.line), &fields);
        }
        if self.none_chosen() || self.names_one() {
            let problem = format!("it names {} columns, and the line below has {} fields", fields.len(), row.len());
            let cure = format!("Choose columns by number, such as {EXAMPLE} (on the command line with --columns)");
            return Err(Error::input(input, Place::Line(names.line), problem, cure));
        }
        let by_number = Self { header: Some(false), ..columns };
        let found = by_number.find(input, Place::Line(row.line), &row.fields().collect::<Vec<_>>())?;
        Ok(ColumnIndices { header: true, ..found })
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

/// What takes requests as they are read.
pub trait Requests {
    /// Takes the next request, found at `place`.
    fn push(&mut self, request: Request<'_>, place: Place) -> Result<(), Error>;
    /// Hears something that the reader should know.
    fn warn(&mut self, warning: String);
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
    ages: Ages,
    /// What each object continues, and how many requests say something else later; where a column says it.
    parents: Vec<Option<u32>>,
    elsewhere: u64,
}

/// When objects come in and how long they last, where a file says it.
#[derive(Debug, Default)]
struct Ages {
    /// The time of each request; never before that of the one before.
    times: Vec<f64>,
    /// The last time at which what it brings in is hit.
    until: Vec<f64>,
}

impl Ages {
    fn push(&mut self, time: f64, ttl: f64) {
        let now = self.times.last().map_or(time, |last| last.max(time));
        self.times.push(now);
        self.until.push(if ttl > 0.0 { now + ttl } else { f64::INFINITY });
    }

    /// For each request, the first one for which what it brings in is too old.
    fn deadlines(self) -> Vec<u32> {
        let Self { times, until } = self;
        if until.iter().all(|until| *until == f64::INFINITY) {
            return Vec::new();
        }
        // The trace has fewer requests than 2^32.
        let first = |until: f64| times.partition_point(|time| *time <= until) as u32;
        let never = |until: f64| if first(until) as usize == times.len() { u32::MAX } else { first(until) };
        until.iter().map(|until| never(*until)).collect()
    }
}

/// A request as a file has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'r> {
    /// The object.
    pub id: &'r str,
    /// Its size; one byte where there is none.
    pub bytes: Option<u64>,
    /// When it comes, where that is a number.
    pub time: Option<f64>,
    /// How long the object may be hit after it came in, in the unit of the time; 0 for ever. None where no column says it.
    pub ttl: Option<f64>,
    /// The object that it continues; empty for none.
    pub parent: &'r str,
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
            ages: Ages::default(),
            parents: Vec::new(),
            elsewhere: 0,
        }
    }

    /// The trace.
    pub fn finish(mut self) -> Result<Trace, Error> {
        if self.unsized_ {
            self.builder.warn(UNSIZED);
        }
        if self.backwards > 0 {
            self.builder.warn(format!(
                "{} requests have an earlier time than the one before them; the order of the lines counts",
                self.backwards
            ));
        }
        if self.elsewhere > 0 {
            self.builder.warn(format!(
                "{} requests say that an object continues another one than at its first use; the first counts",
                self.elsewhere
            ));
        }
        self.builder.expires(self.ages.deadlines());
        self.builder.finish(self.input)
    }
}

impl Requests for FromRequests<'_> {
    fn warn(&mut self, warning: String) {
        self.builder.warn(warning);
    }

    fn push(&mut self, request: Request<'_>, place: Place) -> Result<(), Error> {
        let Request { id, bytes, time, ttl, parent } = request;
        if id.is_empty() {
            return Err(Error::input(self.input, place, "the object's id is empty", "Give every request an object"));
        }
        if let Some(ttl) = ttl {
            let Some(time) = time.filter(|time| time.is_finite()) else {
                let cure =
                    "Objects that expire need times that are numbers: choose another column, or leave ttl-col out";
                return Err(Error::input(self.input, place, "the time is not a number", cure));
            };
            self.ages.push(time, ttl);
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
        let parent = match parent {
            "" => None,
            parent => Some(self.names.get(parent).ok_or_else(|| {
                let problem = format!("it continues {}, which no request before it asked for", shorten(parent));
                let cure = "Ask for the blocks of a prompt in their order, the first ones first";
                Error::input(self.input, place, problem, cure)
            })?),
        };
        let number = match self.names.get(id) {
            Some(number) => {
                let first = self.parents.get(number as usize).copied().flatten();
                self.elsewhere += u64::from(parent.is_some() && parent != first);
                self.builder.resize(number, bytes)?;
                number
            }
            None => {
                let tensor = Tensor { name: id.to_owned(), bytes, layer: None, stride: 1, kind: Kind::Object };
                let number = self.builder.tensor(tensor)?;
                self.names.insert(self.input, id, number)?;
                if let Some(parent) = parent {
                    self.builder.continues(number, parent)?;
                    self.parents.resize(number as usize, None);
                    self.parents.push(Some(parent));
                }
                number
            }
        };
        self.builder.access(number, Op::Request)
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

/// What stands between the fields of the first line that is no comment, or of the comment where there is nothing else.
pub(super) fn delimiter(head: &[u8]) -> u8 {
    let line = Some(first_line(below_comments(head))).filter(|line| !line.is_empty()).unwrap_or(first_line(head));
    DELIMITERS.into_iter().find(|(byte, _)| line.contains(byte)).map_or(b',', |(byte, _)| byte)
}

fn first_line(head: &[u8]) -> &[u8] {
    head.split(|b| *b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default()
}

/// What follows the comments and blank lines at the top.
fn below_comments(mut head: &[u8]) -> &[u8] {
    loop {
        let end = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |end| end + 1);
        let line = head[..end].trim_ascii_start();
        if end == 0 || !(line.is_empty() || line.starts_with(&[COMMENT])) {
            return head;
        }
        head = &head[end..];
    }
}

/// Whether `first` is a line of words, with a number in the line below that is no object's id: it then names the
/// columns, whatever they are called.
fn words_over_numbers(first: &Row<'_>, second: &Row<'_>, id: Option<&Column>) -> bool {
    let is_id = |at: usize| matches!(id, Some(Column::Number(number)) if *number as usize == at + 1);
    !first.fields().any(is_number) && second.fields().enumerate().any(|(at, field)| is_number(field) && !is_id(at))
}

/// Whether `head` begins like a trace whose columns can be detected: usual names of an object and its size or time, or
/// three columns of time, id and size.
pub fn matches(head: &[u8]) -> bool {
    let below = below_comments(head);
    has_columns(head) || (below.len() < head.len() && has_columns(below))
}

fn has_columns(head: &[u8]) -> bool {
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
///
/// Comments at the top may name the columns. A line of names may have another number of fields than the requests (its
/// names hold delimiters, or there is one too many at its end): columns are then chosen by number.
pub fn read(input: &Input<'_>, columns: Option<&Columns>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut trace = FromRequests::new(input.name);
    each(input, input.text(progress)?, columns, &mut trace)?;
    trace.finish()
}

/// Hands every request of a table to `trace`, in its order. `source` has the content from its start, without a mark; `input`
/// has the beginning of it at least.
pub fn each(
    input: &Input<'_>,
    source: impl BufRead,
    columns: Option<&Columns>,
    trace: &mut dyn Requests,
) -> Result<(), Error> {
    let mut columns = columns.cloned().unwrap_or_default();
    let head = input.head();
    let delimiter = columns.delimiter.unwrap_or_else(|| delimiter(strip_mark(&head)));
    let mut rows = Rows::new(*input, source, delimiter);
    let (mut comment, mut first) = (None, rows.next()?.map(|row| row.kept()));
    // An object's name may begin like a comment.
    let id_first = columns.id == Some(Column::Number(1));
    let is_comment = |row: Row<'_>| row.is_comment() && !(id_first && row.fields().any(is_number));
    while first.as_ref().is_some_and(|row| is_comment(row.get())) {
        comment = std::mem::replace(&mut first, rows.next()?.map(|row| row.kept()));
    }
    let Some(first) = first else { return Ok(()) };
    let second = rows.next()?.map(|row| row.kept());
    let (first, second) = (first.get(), second.as_ref().map(|row| row.get()));
    let words = second.is_some_and(|second| words_over_numbers(&first, &second, columns.id.as_ref()));
    // A comment of as many fields that has the names which are looked for, or that is said to be there.
    let named = comment.as_ref().map(|row| row.get()).filter(|row| {
        let fields: Vec<&str> = row.fields().collect();
        let tells = columns.names_one() || usual(&fields, &IDS).is_some() || columns.header == Some(true);
        !words && tells && columns.header != Some(false)
    });
    let found = match named {
        Some(names) => columns.find_below(input.name, names, first)?,
        None => {
            if words && columns.header.is_none() {
                columns.header = Some(true);
            }
            match second.filter(|_| columns.header == Some(true)) {
                Some(second) => columns.find_below(input.name, first, second)?,
                None => columns.find(input.name, Place::Line(first.line), &first.fields().collect::<Vec<_>>())?,
            }
        }
    };
    if let Some(warning) = found.warning() {
        trace.warn(warning);
    }
    let is_request = named.is_some() || !found.header;
    if is_request && named.is_none() && columns.header.is_none() && !first.fields().any(is_number) {
        trace.warn(
            "the first line counts as a request, though no field of it is a number: if it names the columns, add \
             has-header=true"
                .to_owned(),
        );
    }
    let width = if is_request { first.len() } else { second.map_or(first.len(), |second| second.len()) };
    let mut take = |row: Row<'_>| {
        if row.len() == width {
            return push(trace, input, &found, row);
        }
        if row.is_comment() {
            return Ok(());
        }
        Err(Error::input(
            input.name,
            Place::Line(row.line),
            format!("{} fields where the first line has {width}", row.len()),
            "Give every line the same columns, or choose another delimiter",
        ))
    };
    if is_request {
        take(first)?;
    }
    second.map_or(Ok(()), &mut take)?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn push(trace: &mut dyn Requests, input: &Input<'_>, found: &ColumnIndices, row: Row<'_>) -> Result<(), Error> {
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
    let ttl = found.ttl.map(|at| {
        let field = row.field(at);
        ttl(field).ok_or_else(|| {
            let problem = format!("the time to live in column {} is \"{}\"", at + 1, shorten(field));
            Error::input(input.name, Place::Line(row.line), problem, TTL_CURE)
        })
    });
    let parent = found.parent.map_or("", |at| row.field(at));
    let request = Request { id: row.field(found.id), bytes: bytes.transpose()?, time, ttl: ttl.transpose()?, parent };
    trace.push(request, Place::Line(row.line))
}

/// What a time to live must be.
pub const TTL_CURE: &str = "Write a number in the unit of the time, zero or more; nothing or 0 is for ever";

/// A time to live: a number that is not negative, or nothing.
fn ttl(field: &str) -> Option<f64> {
    let number = if field.is_empty() { Some(0.0) } else { field.parse().ok() };
    number.filter(|ttl: &f64| (0.0..f64::INFINITY).contains(ttl))
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
        (trace.expires(), "when objects expire"),
        (!trace.model_type().is_empty(), "the type of the model"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::policy::{PolicyKind, Setup};
    use crate::progress::Unattended;
    use crate::sim::simulate;
    use crate::trace::NO_PARENT;
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
            "time-col=1,obj-id-col=2,obj-size-col=3,ttl-col=4",
            "obj-id-col=2,parent-col=4",
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
            ("age-col=3", "there is no key \"age-col\". The keys are time-col"),
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

    /// Comments, and lines of names that have another number of fields than the requests.
    #[test]
    fn comments_and_headers_of_another_width() {
        let plain = "0,a,10\n1,b,20\n2,a,10\n";
        let numbered = "time-col=1,obj-id-col=2,obj-size-col=3,delimiter=,";
        for (columns, text) in [
            // IBM's object store: the list in brackets holds the delimiter.
            (numbered, format!("# when (ms), object [Key, or Name], bytes\n{plain}")),
            ("time-col=1,obj-id-col=2,obj-size-col=3,has-header=true", format!("# when, what [a, b], bytes\n{plain}")),
            (numbered, format!("time (s), object (key, hashed), bytes\n{plain}")),
            (numbered, format!("object, bytes\n{plain}")),
            ("", format!("time,id,size,\n{plain}")),
            ("", format!("# made by a script\n#\n\n# of the storage team; see our page\n{plain}")),
            ("", format!("# made by a script, version 2\ntime,id,size\n{plain}")),
            ("", format!("# made by a script\n# time,id,size\n{plain}")),
            ("id=id,size=size", format!("# time,id,size\n{plain}")),
            ("id=2,size=3", format!("{plain}# end of the trace\n")),
            (numbered, format!("\u{feff}# when, object, bytes, and more\n{plain}")),
        ] {
            let trace = read(columns, &text).unwrap_or_else(|e| panic!("{columns} {text:?}: {e}"));
            assert_eq!(names(&trace), ["a", "b", "a"], "{columns} {text:?}");
            assert_eq!(trace.sizes(), [10, 20], "{columns} {text:?}");
        }
        let trace = read("id=1,size=2", "# who, how much\n#a,10\n#b,20\n#a,10\n").unwrap();
        assert_eq!(names(&trace), ["#a", "#b", "#a"]);
        for (columns, text, wanted) in [
            ("", "time,id,size,extra\n0,a,10\n", "line 1: it names 4 columns, and the line below has 3 fields. Choose"),
            ("id=id", "time,id,size,extra\n0,a,10\n", "line 1: it names 4 columns"),
            ("id=4", "a,b,c,d\n0,a,10\n", "line 2: obj-id-col is 4 and the line has 3 columns"),
        ] {
            let error = read(columns, text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{columns} {text:?} gave {error}");
        }
        assert!(matches(b"# made by a script\n0,7,4096\n1,9,4096\n"));
        assert!(!matches(b"# hello\nthis is no trace\n"));
    }

    /// An object lives from the access that brought it in, and is too old once its age is more than its time to live.
    #[test]
    fn objects_grow_too_old() {
        let chosen = "time=1,id=2,size=3,ttl=4";
        let trace = read(chosen, "0,a,1,10\n5,a,1,10\n10,a,1,\n11,b,1,0\n16,a,1,2\n").unwrap();
        assert!(trace.expires());
        // Brought in at 0 until 10, at 5 until 15; for ever; for ever; until 18, when there is nothing any more.
        assert_eq!(trace.whole().deadlines, [3, 4, u32::MAX, u32::MAX, u32::MAX]);
        assert!(!read(chosen, "0,a,1,0\n1,a,1,\n").unwrap().expires());
        // Times that go back count as the latest so far.
        assert_eq!(read(chosen, "9,a,1,1\n3,a,1,1\n10,a,1,1\n11,a,1,1\n").unwrap().whole().deadlines[1], 3);
        for (columns, text, wanted) in [
            (chosen, "0,a,1,-1\n", "line 1: the time to live in column 4 is \"-1\". Write a number in the unit"),
            (chosen, "2020-01-01,a,1,7\n", "line 1: the time is not a number. Objects that expire"),
            ("id=2,ttl=4", "0,a,1,7\n", "ttl-col is given, and time-col is not"),
        ] {
            let error = read(columns, text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{columns} {text:?} gave {error}");
        }
    }

    /// A prompt of three blocks that comes back after another object: from the ends, two of them stay.
    #[test]
    fn objects_continue_others() {
        let text = "time,obj_id,obj_size,after\n0,b1,1,\n1,b2,1,b1\n2,b3,1,b2\n3,x,1,\n4,b1,1,\n5,b2,1,b1\n6,b3,1,x\n";
        let trace = read("obj-id-col=obj_id,obj-size-col=obj_size,parent-col=after", text).unwrap();
        assert_eq!(trace.parents(), [NO_PARENT, 0, 1, NO_PARENT]);
        assert!(trace.warnings().iter().any(|w| w.starts_with("1 requests say that an object continues another one")));
        let sizes = trace.sizes();
        let setup = Setup { parents: trace.parents(), ..Setup::new(&sizes, 3) };
        let hits = |policy: PolicyKind| simulate(policy, &setup, &trace).unwrap().hits;
        assert_eq!((hits(PolicyKind::Lru), hits(PolicyKind::Radix)), (0, 2));
        let error = read("id=1,parent=2", "a,b\n").unwrap_err().to_string();
        assert!(error.contains("line 1: it continues b, which no request before it asked for"), "{error}");
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
