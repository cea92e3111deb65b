//! What the readers of JSON traces share: a guarded stream, errors with a place, the keys in the first bytes.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use serde::de::{self, DeserializeSeed as _};
use serde_json::de::{Deserializer, IoRead};

use super::input::{Input, Stop, Tracked};
use super::seed::{Form, Seed, ValueReader};
use crate::error::{Error, Place};
use crate::progress::Progress;

/// The longest string: the observer cuts lists at 4096 elements, and no name or schema comes near it.
const MOST_STRING: usize = 1 << 20;
/// The longest run of blanks between two tokens: indentation takes some hundred.
const MOST_BLANKS: usize = 1 << 20;
/// The deepest nesting: the parser stops at 128 by itself, but not in what it passes over.
const MOST_DEPTH: u32 = 128;

/// A JSON text that is read as a stream.
pub(super) type Json<'a, 'p> = Deserializer<IoRead<BufReader<Guard<BufReader<Tracked<'a, 'p>>>>>>;

/// Reads the content of `input` as one JSON value, with bounded memory whatever it holds.
pub(super) fn read<R: ValueReader>(
    reader: R,
    input: &Input<'_>,
    cure: &str,
    progress: &mut dyn Progress,
) -> Result<R::Value, Error> {
    let mut json = stream(input, None, progress)?;
    let result = Seed(reader).deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    result.map_err(|error| refuse(input, error, cure))
}

/// The same of a file whose strings may hold what JSON does not allow: bytes that are no UTF-8 and control characters come as
/// [`DAMAGED`], and so many were found.
pub(super) fn read_damaged<R: ValueReader>(
    reader: R,
    input: &Input<'_>,
    cure: &str,
    progress: &mut dyn Progress,
) -> Result<(R::Value, u64), Error> {
    let damage = Rc::new(Cell::new(0));
    let mut json = stream(input, Some(Rc::clone(&damage)), progress)?;
    let result = Seed(reader).deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    Ok((result.map_err(|error| refuse(input, error, cure))?, damage.get()))
}

/// What stands for a byte that JSON does not allow in a string.
pub(super) const DAMAGED: char = '\u{7f}';

/// Reads the content of `input` as JSON values one after another, each with `one`.
pub(super) fn read_each(
    input: &Input<'_>,
    cure: &str,
    progress: &mut dyn Progress,
    one: &mut dyn FnMut(&mut Json<'_, '_>) -> serde_json::Result<()>,
) -> Result<(), Error> {
    let mut json = stream(input, None, progress)?;
    // Reads what is blank, and fails where anything else follows.
    while json.end().is_err() {
        one(&mut json).map_err(|error| refuse(input, error, cure))?;
    }
    Ok(())
}

fn stream<'a, 'p>(
    input: &Input<'a>,
    damage: Option<Rc<Cell<u64>>>,
    progress: &'p mut dyn Progress,
) -> Result<Json<'a, 'p>, Error> {
    Ok(guarded(input.text(progress)?, damage))
}

/// The JSON text that `inner` holds, from its start and without a mark.
pub(super) fn guarded<R: BufRead>(
    inner: R,
    damage: Option<Rc<Cell<u64>>>,
) -> Deserializer<IoRead<BufReader<Guard<R>>>> {
    let (tokens, held) = (Tokens::default(), Vec::new());
    let guard = Guard { inner, length: 0, depth: 0, tokens, damage, held };
    Deserializer::from_reader(BufReader::with_capacity(64 * 1024, guard))
}

/// Python and C++ write numbers that JSON does not have. An empty string of the same length replaces each: a reader that
/// needs the number refuses it, and all others pass over it.
const LITERALS: [(&[u8], &[u8]); 4] =
    [(b"NaN", b"\"\" "), (b"nan", b"\"\" "), (b"Infinity", b"\"\"      "), (b"inf", b"\"\" ")];

/// Where a JSON text stands that is looked at byte by byte.
#[derive(Default)]
struct Tokens {
    in_string: bool,
    escaped: bool,
    /// What is left of a literal, and what it is replaced by.
    literal: (&'static [u8], &'static [u8]),
}

impl Tokens {
    /// Takes a byte inside a string.
    fn string(&mut self, byte: u8) {
        match (self.escaped, byte) {
            (true, _) => self.escaped = false,
            (false, b'\\') => self.escaped = true,
            (false, b'"') => self.in_string = false,
            _ => {}
        }
    }

    /// Takes a byte outside of strings, and returns what replaces it; `after` is what follows, where it begins or signs a
    /// literal.
    fn outside(&mut self, byte: u8, after: Option<u8>) -> u8 {
        if byte == b'-' && matches!(after, Some(b'N' | b'n' | b'I' | b'i')) {
            return b' ';
        }
        // An n begins null as well.
        let begins = |from: &[u8]| from.first() == Some(&byte) && (byte != b'n' || after == Some(b'a'));
        let begun = LITERALS.iter().find(|(from, _)| self.literal.0.is_empty() && begins(from));
        self.literal = begun.copied().unwrap_or(self.literal);
        match self.literal {
            ([from, rest @ ..], [to, others @ ..]) if *from == byte => {
                self.literal = (rest, others);
                *to
            }
            _ => {
                self.literal = (b"", b"");
                self.in_string = byte == b'"';
                byte
            }
        }
    }
}

/// A JSON text whose numbers JSON has: what a parser refuses because of `NaN` or `Infinity` is read with this instead.
pub(crate) fn without_literals(text: &[u8]) -> Vec<u8> {
    let mut tokens = Tokens::default();
    let mut out = text.to_vec();
    for (at, byte) in out.iter_mut().enumerate() {
        if tokens.in_string {
            tokens.string(*byte);
        } else {
            *byte = tokens.outside(*byte, text.get(at + 1).copied());
        }
    }
    out
}

/// A string, into a buffer that is used again.
pub(super) struct Text<'s>(pub(super) &'s mut String);

impl ValueReader for Text<'_> {
    type Value = ();
    const FORM: Form = Form::Text;
    const EXPECTED: &'static str = "a string";

    fn text<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.clear();
        self.0.push_str(text);
        Ok(())
    }
}

/// Refuses what a parser would have to hold as a whole: endless strings and endless nesting; and endless blanks, of which a
/// packed file can hold gigabytes.
pub(super) struct Guard<R> {
    inner: R,
    /// Bytes of the string or the blanks so far.
    length: usize,
    depth: u32,
    tokens: Tokens,
    /// Where strings may be damaged: how many bytes were.
    damage: Option<Rc<Cell<u64>>>,
    /// The beginning of a character whose end is not read yet.
    held: Vec<u8>,
}

impl<R: BufRead> Guard<R> {
    /// Reads bytes that are UTF-8, where strings may be damaged, and any bytes elsewhere.
    fn fill(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(damage) = &self.damage else { return self.inner.read(out) };
        loop {
            let held = self.held.len().min(out.len());
            out[..held].copy_from_slice(&self.held[..held]);
            self.held.clear();
            let read = self.inner.read(&mut out[held..])?;
            let (mut at, mut end) = (0, held + read);
            while let Err(error) = std::str::from_utf8(&out[at..end]) {
                let bad = at + error.valid_up_to();
                match error.error_len() {
                    None if read > 0 => {
                        self.held.extend_from_slice(&out[bad..end]);
                        end = bad;
                    }
                    length => {
                        at = length.map_or(end, |length| bad + length);
                        out[bad..at].fill(DAMAGED as u8);
                        damage.set(damage.get() + (at - bad) as u64);
                    }
                }
            }
            if end > 0 || read == 0 {
                return Ok(end);
            }
        }
    }
}

impl<R: BufRead> Read for Guard<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // A character that is held takes three bytes.
        if out.len() < 4 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let read = self.fill(out)?;
        for at in 0..read {
            let Some([byte, after @ ..]) = out.get(at..read) else { break };
            let (byte, mut after) = (*byte, after.first().copied());
            if self.tokens.in_string {
                self.length += 1;
                if self.length > MOST_STRING {
                    return Err(Stop::Guard(format!("a string in it is longer than {MOST_STRING} bytes")).into_io());
                }
                if let Some(damage) = &self.damage {
                    let unknown = self.tokens.escaped && !b"\"\\/bfnrtu".contains(&byte);
                    if byte < b' ' || unknown {
                        // Behind a backslash, the letter of a control character.
                        out[at] = if self.tokens.escaped { b'b' } else { DAMAGED as u8 };
                        damage.set(damage.get() + 1);
                    }
                }
                self.tokens.string(byte);
                continue;
            }
            if byte.is_ascii_whitespace() {
                self.length += 1;
                if self.length > MOST_BLANKS {
                    return Err(Stop::Guard(format!("more than {MOST_BLANKS} blanks stand in a row")).into_io());
                }
                continue;
            }
            self.length = 0;
            if after.is_none() && matches!(byte, b'n' | b'-') {
                after = self.held.first().copied().or(self.inner.fill_buf()?.first().copied());
            }
            let replaced = self.tokens.outside(byte, after);
            if replaced != byte {
                out[at] = replaced;
                continue;
            }
            match byte {
                b'[' | b'{' => {
                    self.depth += 1;
                    if self.depth > MOST_DEPTH {
                        return Err(Stop::Guard(format!("it nests deeper than {MOST_DEPTH} levels")).into_io());
                    }
                }
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(read)
    }
}

/// What an error of the parser means.
fn refuse(input: &Input<'_>, error: serde_json::Error, cure: &str) -> Error {
    use serde_json::error::Category;
    let place = Place::LineColumn(error.line() as u64, error.column() as u64);
    match error.classify() {
        Category::Io => input.error(&error.into()),
        Category::Eof => {
            let cure = "Fetch it again, or stop the recording before the file is copied: its end is written last";
            Error::input(input.name, place, "the text ends here, before the trace is complete", cure)
        }
        Category::Syntax | Category::Data => {
            let text = error.to_string();
            let problem = text.split(" at line ").next().unwrap_or(&text).to_owned();
            Error::input(input.name, place, problem, cure)
        }
    }
}

/// The keys of the outermost object, as far as `head` reaches; none where it is not an object.
pub(super) fn outer_keys(head: &[u8]) -> Vec<&[u8]> {
    let mut keys = Vec::new();
    let (mut depth, mut start, mut escaped) = (0u32, None, false);
    let mut last: &[u8] = &[];
    for (at, &byte) in head.iter().enumerate() {
        if let Some(from) = start {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                last = head.get(from..at).unwrap_or_default();
                start = None;
            }
            continue;
        }
        match byte {
            b'"' => start = Some(at + 1),
            b'{' | b'[' if depth == 0 && byte == b'[' => return keys,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => keys.push(last),
            _ if depth == 0 && !byte.is_ascii_whitespace() && at > 2 => return keys,
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unattended;

    #[test]
    fn endless_strings_and_nesting_are_refused() {
        for (text, wanted) in [
            (format!("{{\"a\": \"{}\"}}", "x".repeat(MOST_STRING + 1)), "longer than 1048576 bytes"),
            (format!("{{\"a\":{}1}}", " \n".repeat(MOST_BLANKS)), "more than 1048576 blanks stand in a row"),
            ("[".repeat(1000), "deeper than 128 levels"),
        ] {
            let mut progress = Unattended;
            let input = Input::new("t.json", text.as_bytes());
            let mut json = stream(&input, None, &mut progress).unwrap();
            let result = <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut json);
            let error = refuse(&input, result.unwrap_err(), "").to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_passed() {
        let text = r#"[NaN, -Infinity, inf, -inf, "NaN", null, 7, nan, -nan]"#;
        let mut progress = Unattended;
        let mut json = stream(&Input::new("t.json", text.as_bytes()), None, &mut progress).unwrap();
        let list = <Vec<serde_json::Value> as serde::Deserialize>::deserialize(&mut json).unwrap();
        assert_eq!(list.len(), 9);
        assert_eq!(list[4], "NaN");
        assert_eq!(list[6], 7);
        for broken in ["[Nan]", "[info]", "[naan]", "[nanx]", "[Infx]"] {
            let mut progress = Unattended;
            let mut json = stream(&Input::new("t.json", broken.as_bytes()), None, &mut progress).unwrap();
            <Vec<serde_json::Value> as serde::Deserialize>::deserialize(&mut json).unwrap_err();
        }
    }

    #[test]
    fn outer_keys_are_those_of_the_first_object() {
        let head = br#" {"schema": "1.0 \" nodes\":", "a": {"x": [1]}, "nodes": [{"id": 1"#;
        assert_eq!(outer_keys(head), [&b"schema"[..], b"a", b"nodes"]);
        assert!(outer_keys(b"[{\"nodes\": 1}]").is_empty());
        assert!(outer_keys(b"a,b\nx:{\"nodes\": 1}").is_empty());
    }
}
