//! The prototype's records as JSON: an array, as `/generate-trace` answers, or one object per line.
//!
//! The fields are those of [`prototype_csv`](super::prototype_csv); a score is not read back.

use std::io::BufRead;

use serde::de::{DeserializeSeed as _, SeqAccess};

use super::input::{Input, strip_mark};
use super::json::{self, outer_keys};
pub(super) use super::prototype_csv::lost_in_records as lost;
use super::prototype_csv::{COLUMNS, FromRecords, Record, Records, check, records};
use super::seed::{Form, Seed, ValueReader};
use super::text::{Lines, json_problem, parse_line};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::score::Scores;
use crate::trace::Trace;

/// What a broken record needs.
fn cure() -> String {
    format!("Write records as {{\"tensor_id\":\"Q_0\",\"size_mb\":4,...}} with the fields {}", COLUMNS.join(", "))
}

/// Whether the first object of `head`, alone on its line or the first of an array, has a `tensor_id`.
pub fn matches(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    let object = text.strip_prefix(b"[").unwrap_or(text).trim_ascii_start();
    object.starts_with(b"{") && outer_keys(object).contains(&&b"tensor_id"[..])
}

/// Reads an array of records, or one record per line.
pub fn read(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut trace = FromRecords::new(input.name);
    each(input, input.text(progress)?, &mut trace)?;
    trace.finish()
}

/// Hands every record to `trace`, in its order. `source` has the content from its start, without a mark; `input` has the
/// beginning of it at least.
pub fn each(input: &Input<'_>, source: impl BufRead, trace: &mut dyn Records) -> Result<(), Error> {
    match strip_mark(&input.head()).trim_ascii_start().starts_with(b"[") {
        true => array(input, source, trace),
        false => lines(input, source, trace),
    }
}

fn lines(input: &Input<'_>, source: impl BufRead, trace: &mut dyn Records) -> Result<(), Error> {
    let mut lines = Lines::new(*input, source);
    while let Some((line, text)) = lines.next()? {
        let record: Record = parse_line(text).map_err(|e| {
            Error::input(input.name, Place::LineColumn(line, e.column() as u64), json_problem(&e), cure())
        })?;
        trace.push(&record, Place::Line(line))?;
    }
    Ok(())
}

fn array(input: &Input<'_>, source: impl BufRead, trace: &mut dyn Records) -> Result<(), Error> {
    let mut elements = Elements { trace, refused: None };
    let mut source = json::guarded(source, None);
    let result = Seed(&mut elements).deserialize(&mut source).and_then(|()| source.end());
    match (elements.refused, result) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) if error.is_io() => Err(input.error(&error.into())),
        (None, Err(error)) => {
            let place = Place::LineColumn(error.line() as u64, error.column() as u64);
            Err(Error::input(input.name, place, json_problem(&error), cure()))
        }
    }
}

/// Takes the records of an array one at a time.
struct Elements<'t> {
    trace: &'t mut dyn Records,
    /// Why a record was refused: serde knows no such errors.
    refused: Option<Error>,
}

impl ValueReader for &mut Elements<'_> {
    type Value = ();
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "an array of records";

    fn list<'de, A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(record) = elements.next_element::<Record>()? {
            if let Err(error) = self.trace.push(&record, Place::Item(number)) {
                self.refused = Some(error);
                return Err(serde::de::Error::custom("refused"));
            }
            number += 1;
        }
        Ok(())
    }
}

/// Writes the trace as an array, one record per line, with the scores if given.
pub fn write(trace: &Trace, scores: Option<&Scores>) -> Result<Vec<u8>, Error> {
    let mut out = b"[\n".to_vec();
    for (number, record) in records(trace, scores).enumerate() {
        if number > 0 {
            out.extend(b",\n");
        }
        serde_json::to_writer(&mut out, &record).map_err(|e| Error::Internal(e.to_string()))?;
    }
    out.extend(b"\n]\n");
    Ok(out)
}

/// Writes the records of `trace` without scores.
pub(super) fn write_trace(trace: &Trace) -> Result<Vec<u8>, Error> {
    check(trace)?;
    write(trace, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect, prototype_csv};
    use crate::progress::Unattended;

    fn read(text: &str) -> Result<Trace, Error> {
        super::read(&Input::new("t.json", text.as_bytes()), &mut Unattended)
    }

    const GOOD: &str = r#"[
        {"tensor_id":"Q_0","size_mb":4,"reuse_distance":0,"stride":1,"op":"matmul","model_type":"Transformer"},
        {"tensor_id":"K_0","size_mb":8.5,"reuse_distance":0,"stride":1,"op":"attention","model_type":"Transformer","eviction_score":0.5},
        {"tensor_id":"Q_0","size_mb":4,"reuse_distance":1,"stride":1,"op":"relu","model_type":"Transformer"}]"#;

    #[test]
    fn arrays_and_lines_are_the_same_as_csv() {
        let trace = read(GOOD).unwrap();
        assert_eq!(trace.accesses(), [0, 1, 0]);
        assert_eq!(trace.tensors()[1].bytes, 8_500_000);
        let csv = prototype_csv::write(&trace, None).unwrap();
        assert_eq!(prototype_csv::read(&Input::new("t", &csv), &mut Unattended).unwrap(), trace);
        let array = String::from_utf8(write(&trace, None).unwrap()).unwrap();
        assert_eq!(read(&array).unwrap(), trace);
        let lines = array.trim().trim_matches(['[', ']']).replace("},\n", "}\r\n\n");
        for text in [
            GOOD,
            &array,
            lines.trim(),
            &format!("\u{feff}{}", lines.trim()),
            &format!("\u{feff}{GOOD}"),
            &GOOD.replace("Q_0", "Q{[]}\\\"_0"),
        ] {
            assert_eq!(detect(&Input::new("t", text.as_bytes())).unwrap(), Format::PrototypeJson, "{text}");
            assert_eq!(read(text).unwrap().accesses(), [0, 1, 0]);
        }
        assert_eq!(read(&lines).unwrap(), trace);
    }

    #[test]
    fn other_json_is_not_taken_for_records() {
        for other in [
            r#"{"schema":"1.1.1","nodes":[{"id":1}]}"#,
            r#"{"traceEvents":[{"tensor_id":1}]}"#,
            r#"{"model_type":"llama"}"#,
            r#"[1,2,{"tensor_id":1}]"#,
            r#"{"a":"\"tensor_id\":"}"#,
            "[",
            "",
        ] {
            assert!(!matches(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn broken_files_name_the_place_and_the_cure() {
        let record = |id: &str, size: &str| {
            format!(
                r#"{{"tensor_id":{id},"size_mb":{size},"reuse_distance":0,"stride":1,"op":"matmul","model_type":"T"}}"#
            )
        };
        let q = record("\"Q\"", "4");
        let deep = "[".repeat(1000);
        for (text, wanted) in [
            (String::new(), "the trace has no accesses"),
            ("[]".into(), "the trace has no accesses"),
            (format!("[{q},\n{}]", record("\"K\"", "-1")), "record 1: size_mb is -1"),
            (format!("[{q},\n{}]", record("\"K\"", "\"4\"")), "line 2, column"),
            (format!("[{q},\n{}]", record("7", "4")), "invalid type: integer `7`, expected a string"),
            (format!("[{q},"), "EOF while parsing"),
            (format!("[{q}"), "EOF while parsing"),
            (format!("[{q}] x"), "trailing characters"),
            (format!("[{q},{{\"tensor_id\":\"K\"}}]"), "missing field `size_mb`"),
            (format!("{q}\n{}", record("\"K\"", "1e400")), "line 2, column"),
            (format!("{q}\n\nnonsense"), "line 3, column"),
            (format!("{q}\n{}", record("\"\"", "4")), "line 2: tensor_id is empty"),
            (format!("{q}\n{}", q.replace("matmul", "gemm")), "line 2: op is \"gemm\""),
            (format!("[{}", q.replace("\"T\"", "[[]]")), "line 1, column"),
            (format!("[{{\"x\":{deep}"), "nests deeper than 128 levels"),
            (format!("[{{\"tensor_id\":\"{}", "x".repeat(2 << 20)), "a string in it is longer than 1048576 bytes"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            let text = &text[..text.len().min(300)];
            assert!(error.starts_with("t.json, ") && error.contains(wanted), "{text:?} gave {error}");
        }
    }
}
