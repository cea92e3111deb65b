//! What the readers of JSON traces share: a guarded stream, errors with a place, the keys in the first bytes.

use std::io::{self, BufRead, BufReader, Read};

use serde::de::{self, DeserializeSeed as _};
use serde_json::de::{Deserializer, IoRead};

use super::input::{Input, Stop, Tracked};
use super::seed::{Form, Seed, ValueReader};
use crate::error::{Error, Place};
use crate::progress::Progress;

/// The longest string: the observer cuts lists at 4096 elements, and no name or schema comes near it.
const MOST_STRING: usize = 1 << 20;
/// The deepest nesting: the parser stops at 128 by itself, but not in what it passes over.
const MOST_DEPTH: u32 = 128;

/// A JSON text that is read as a stream.
type Json<'a, 'p> = Deserializer<IoRead<BufReader<Guard<BufReader<Tracked<'a, 'p>>>>>>;

/// Reads the content of `input` as one JSON value, with bounded memory whatever it holds.
pub(super) fn read<R: ValueReader>(
    reader: R,
    input: &Input<'_>,
    cure: &str,
    progress: &mut dyn Progress,
) -> Result<R::Value, Error> {
    let mut json = stream(input, progress)?;
    let result = Seed(reader).deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    result.map_err(|error| refuse(input, error, cure))
}

fn stream<'a, 'p>(input: &Input<'a>, progress: &'p mut dyn Progress) -> Result<Json<'a, 'p>, Error> {
    let inner = input.text(progress)?;
    let guard = Guard { inner, in_string: false, escaped: false, length: 0, depth: 0, literal: (b"", b"") };
    Ok(Deserializer::from_reader(BufReader::with_capacity(64 * 1024, guard)))
}

/// Python and C++ write numbers that JSON does not have. No reader needs their values: a number of the same length
/// replaces each.
const LITERALS: [(&[u8], &[u8]); 4] =
    [(b"NaN", b"0.0"), (b"nan", b"0.0"), (b"Infinity", b"10000000"), (b"inf", b"100")];

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

/// Refuses what a parser would have to hold as a whole: endless strings and endless nesting.
struct Guard<R> {
    inner: R,
    in_string: bool,
    escaped: bool,
    length: usize,
    depth: u32,
    /// What is left of a literal, and what it is replaced by.
    literal: (&'static [u8], &'static [u8]),
}

impl<R: BufRead> Read for Guard<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        for at in 0..read {
            let Some([byte, after @ ..]) = out.get(at..read) else { break };
            let (byte, mut after) = (*byte, after.first().copied());
            if self.in_string {
                self.length += 1;
                if self.length > MOST_STRING {
                    return Err(Stop::Guard(format!("a string in it is longer than {MOST_STRING} bytes")).into_io());
                }
                if self.escaped {
                    self.escaped = false;
                } else if byte == b'\\' {
                    self.escaped = true;
                } else if byte == b'"' {
                    self.in_string = false;
                }
                continue;
            }
            // An n begins null as well.
            if byte == b'n' && after.is_none() {
                after = self.inner.fill_buf()?.first().copied();
            }
            let begins = |from: &[u8]| from.first() == Some(&byte) && (byte != b'n' || after == Some(b'a'));
            let begun = LITERALS.iter().find(|(from, _)| self.literal.0.is_empty() && begins(from));
            self.literal = begun.copied().unwrap_or(self.literal);
            match self.literal {
                ([from, rest @ ..], [to, others @ ..]) if *from == byte => {
                    out[at] = *to;
                    self.literal = (rest, others);
                    continue;
                }
                _ => self.literal = (b"", b""),
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.length = 0;
                }
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
            ("[".repeat(1000), "deeper than 128 levels"),
        ] {
            let mut progress = Unattended;
            let input = Input::new("t.json", text.as_bytes());
            let mut json = stream(&input, &mut progress).unwrap();
            let result = <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut json);
            let error = refuse(&input, result.unwrap_err(), "").to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_passed() {
        let text = r#"[NaN, -Infinity, inf, -inf, "NaN", null, 7, nan, -nan]"#;
        let mut progress = Unattended;
        let mut json = stream(&Input::new("t.json", text.as_bytes()), &mut progress).unwrap();
        let list = <Vec<serde_json::Value> as serde::Deserialize>::deserialize(&mut json).unwrap();
        assert_eq!(list.len(), 9);
        assert_eq!(list[4], "NaN");
        assert_eq!(list[6], 7);
        for broken in ["[Nan]", "[info]", "[naan]", "[nanx]", "[Infx]"] {
            let mut progress = Unattended;
            let mut json = stream(&Input::new("t.json", broken.as_bytes()), &mut progress).unwrap();
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
