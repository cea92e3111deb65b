//! Text that is read as it comes: the rows of a CSV file and the lines of any other, one at a time.

use std::io::{BufRead, Read as _};

use rustc_hash::FxHashMap;
use serde::de::DeserializeOwned;

use super::input::Input;
use super::json::without_literals;
use crate::error::{Error, Place};

/// The longest row or line. The longest that makes sense names each of 65,536 experts: 0.4 MB. Without a limit, a
/// quote that is never closed would make one row of the rest of the file.
pub(crate) const MOST_LINE: usize = 1 << 20;

fn too_long(input: &Input<'_>, line: u64) -> Error {
    Error::input(
        input.name,
        Place::Line(line),
        "the line is longer than 1 MiB",
        "Check that it is the file you meant and that every quote is closed",
    )
}

fn utf8<'t>(input: &Input<'_>, line: u64, text: &'t [u8]) -> Result<&'t str, Error> {
    std::str::from_utf8(text)
        .map_err(|_| Error::input(input.name, Place::Line(line), "the text is not UTF-8", "Save the file as UTF-8"))
}

/// `text` as an error quotes it: a name of a megabyte would hide the rest of the message.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The fields of one row of CSV, without surrounding space, and its line number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'r> {
    pub(crate) line: u64,
    text: &'r str,
    ends: &'r [usize],
}

impl<'r> Row<'r> {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The field at `i`; empty where the row is shorter.
    pub(crate) fn field(&self, i: usize) -> &'r str {
        let start = if i == 0 { Some(0) } else { self.ends.get(i - 1).copied() };
        let range = start.zip(self.ends.get(i).copied());
        range.and_then(|(start, end)| self.text.get(start..end)).unwrap_or_default().trim()
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &'r str> {
        let row = *self;
        (0..row.len()).map(move |i| row.field(i))
    }

    /// Whether the line begins with `#`.
    pub(crate) fn is_comment(&self) -> bool {
        self.text.trim_start().starts_with('#')
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept { line: self.line, text: self.text.to_owned(), ends: self.ends.to_vec() }
    }
}

/// A row that outlives the next.
#[derive(Debug)]
pub(crate) struct Kept {
    line: u64,
    text: String,
    ends: Vec<usize>,
}

impl Kept {
    pub(crate) fn get(&self) -> Row<'_> {
        Row { line: self.line, text: &self.text, ends: &self.ends }
    }
}

/// Reads rows with csv-core, which the csv crate is built on: its own reader is too large for the page.
pub(crate) struct Rows<'i, R> {
    input: Input<'i>,
    source: R,
    reader: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl<'i, R: BufRead> Rows<'i, R> {
    pub(crate) fn new(input: Input<'i>, source: R, delimiter: u8) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        Self { input, source, reader, text: vec![0; 128], ends: vec![0; 16] }
    }

    /// The next row that is not empty; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        let (mut text_len, mut ends_len, mut last, mut taken) = (0, 0, 0, 0);
        loop {
            let bytes = self.source.fill_buf().map_err(|e| self.input.error(&e))?;
            let (text, ends) = (&mut self.text[text_len..], &mut self.ends[ends_len..]);
            let (result, read, written, ended) = self.reader.read_record(bytes, text, ends);
            last = bytes[..read].last().copied().unwrap_or(last);
            self.source.consume(read);
            text_len += written;
            ends_len += ended;
            taken += read;
            match result {
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::OutputFull => self.text.resize(2 * self.text.len(), 0),
                csv_core::ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                csv_core::ReadRecordResult::End => return Ok(None),
                csv_core::ReadRecordResult::Record => break,
            }
            // Empty lines before the row count as well: a mebibyte of nothing is no table either.
            if taken > MOST_LINE {
                return Err(too_long(&self.input, self.reader.line()));
            }
        }
        // The reader counts line ends: it stands a line further once it has read this one's.
        let line = self.reader.line() - u64::from(last == b'\n');
        let text = utf8(&self.input, line, &self.text[..text_len])?;
        Ok(Some(Row { line, text, ends: &self.ends[..ends_len] }))
    }
}

/// Reads lines.
pub(crate) struct Lines<'i, R> {
    input: Input<'i>,
    source: R,
    line: u64,
    text: Vec<u8>,
}

impl<'i, R: BufRead> Lines<'i, R> {
    pub(crate) fn new(input: Input<'i>, source: R) -> Self {
        Self { input, source, line: 0, text: Vec::new() }
    }

    /// The number of the next line that is not blank, and its text; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        let mut blank = 0;
        loop {
            self.text.clear();
            let mut source = (&mut self.source).take(MOST_LINE as u64 + 1);
            let read = source.read_until(b'\n', &mut self.text).map_err(|e| self.input.error(&e))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if read > MOST_LINE {
                return Err(too_long(&self.input, self.line));
            }
            if !self.text.trim_ascii().is_empty() {
                return Ok(Some((self.line, self.text.trim_ascii_end())));
            }
            blank += read;
            if blank > MOST_LINE {
                let problem = "more than 1 MiB of blanks stand in a row";
                let cure = "Check that it is the file you meant and is not damaged";
                return Err(Error::input(self.input.name, Place::Line(self.line), problem, cure));
            }
        }
    }
}

/// Reads a line of JSON; numbers that JSON does not have are passed over where they are not needed.
pub(crate) fn parse_line<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| {
        // Only a line that is no JSON can hold them.
        if error.is_syntax() { serde_json::from_slice(&without_literals(text)).map_err(|_| error) } else { Err(error) }
    })
}

/// What a failed parse of JSON means: serde_json repeats the place at the end of its message.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The most bytes that the distinct names of a file take. Real ids take 5 to 40 bytes: this is some 50 million objects.
const MOST_NAMES: usize = 1 << 30;

/// Numbers for names, in order of first mention.
#[derive(Debug, Default)]
pub(crate) struct Names {
    index: FxHashMap<Box<str>, u32>,
    bytes: usize,
}

impl Names {
    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    pub(crate) fn insert(&mut self, input: &str, name: &str, number: u32) -> Result<(), Error> {
        self.bytes += name.len();
        if self.bytes > MOST_NAMES {
            return Err(Error::input(
                input,
                Place::Whole,
                "the names of its objects take more than 1 GiB",
                "Split the file, or write it as oracleGeneral, whose ids are numbers",
            ));
        }
        self.index.insert(name.into(), number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_or_line_without_end_is_refused() {
        let open = [b"a,b\n1,\"".to_vec(), vec![b'x'; 2 << 20]].concat();
        let input = Input::new("t", &open);
        let mut rows = Rows::new(input, &open[..], b',');
        assert_eq!(rows.next().unwrap().unwrap().fields().collect::<Vec<_>>(), ["a", "b"]);
        assert!(rows.next().unwrap_err().to_string().starts_with("t, line 2: the line is longer"));
        let mut lines = Lines::new(input, &open[..]);
        assert_eq!(lines.next().unwrap(), Some((1, &b"a,b"[..])));
        assert!(lines.next().unwrap_err().to_string().starts_with("t, line 2: the line is longer"));
    }

    #[test]
    fn lines_are_counted_over_blank_ones() {
        let text = b"one\r\n\n  \ntwo";
        let mut lines = Lines::new(Input::new("t", text), &text[..]);
        assert_eq!(lines.next().unwrap(), Some((1, &b"one"[..])));
        assert_eq!(lines.next().unwrap(), Some((4, &b"two"[..])));
        assert_eq!(lines.next().unwrap(), None);
        let blank = vec![b'\n'; 2 << 20];
        let error = Lines::new(Input::new("t", &blank), &blank[..]).next().unwrap_err().to_string();
        assert!(error.contains("more than 1 MiB of blanks"), "{error}");
    }
}
