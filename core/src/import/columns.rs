//! Requests as columns of numbers or texts, as a data frame holds them.

use super::cache_csv::{FromRequests, Request, Requests as _};
use super::oracle_general::{Reading, record};
use crate::error::{Error, Place};
use crate::trace::Trace;

/// Objects, one for each request.
#[derive(Debug, Clone, Copy)]
pub enum Ids<'a> {
    /// Whole numbers, zero or more.
    Unsigned(&'a [u64]),
    /// Whole numbers.
    Signed(&'a [i64]),
    /// Texts.
    Text(&'a [&'a str]),
}

impl Ids<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Unsigned(ids) => ids.len(),
            Self::Signed(ids) => ids.len(),
            Self::Text(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Requests that follow each other; columns of equal length.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The objects.
    pub ids: Ids<'a>,
    /// Their sizes in bytes; one byte each where there is no such column.
    pub sizes: Option<&'a [u64]>,
    /// When they come.
    pub times: Option<&'a [f64]>,
    /// How long the object may be hit after it came in, in the unit of the times; 0 for ever.
    pub ttls: Option<&'a [f64]>,
    /// The object that it continues; empty for none.
    pub parents: Option<&'a [&'a str]>,
}

/// Builds a trace from columns. All of them are looked at once ([`look`](Self::look)) before they are read
/// ([`push`](Self::push)): most are no more than the fast reader of records takes.
#[derive(Debug)]
pub struct FromColumns<'a> {
    input: &'a str,
    rows: u64,
    /// Whether records of oracleGeneral hold all that was looked at.
    fits: bool,
    last_time: f64,
    way: Option<Way<'a>>,
    sized: bool,
    bytes: Vec<u8>,
    warning: Option<String>,
}

#[derive(Debug)]
enum Way<'a> {
    Records(Box<Reading>),
    Requests(Box<FromRequests<'a>>),
}

/// Requests that become records at a time.
const PIECE: usize = 4096;

impl<'a> FromColumns<'a> {
    /// An empty trace; `input` is named in the errors.
    pub fn new(input: &'a str) -> Self {
        Self {
            input,
            rows: 0,
            fits: true,
            last_time: f64::NEG_INFINITY,
            way: None,
            sized: true,
            bytes: Vec::new(),
            warning: None,
        }
    }

    /// Records something the reader should know.
    pub fn warn(&mut self, warning: String) {
        self.warning = Some(warning);
    }

    /// Looks at requests that come.
    pub fn look(&mut self, batch: &Batch<'_>) {
        let whole = match batch.ids {
            Ids::Unsigned(_) => true,
            Ids::Signed(ids) => ids.iter().all(|id| *id >= 0),
            Ids::Text(_) => false,
        };
        let small = batch.sizes.is_none_or(|sizes| sizes.iter().all(|bytes| u32::try_from(*bytes).is_ok()));
        let mut last = self.last_time;
        let rises = batch.times.is_none_or(|times| {
            times.iter().all(|time| {
                let rises = *time >= last;
                last = *time;
                rises
            })
        });
        self.last_time = last;
        self.fits &= whole && small && rises && batch.ttls.is_none() && batch.parents.is_none();
    }

    /// Appends requests; all columns of `batch` must have the same length.
    pub fn push(&mut self, batch: &Batch<'_>) -> Result<(), Error> {
        self.sized = batch.sizes.is_some();
        let Self { input, fits, warning, .. } = self;
        let way = self.way.get_or_insert_with(|| match *fits {
            true => Way::Records(Box::default()),
            false => {
                let mut requests = FromRequests::new(input);
                warning.take().into_iter().for_each(|text| requests.warn(text));
                Way::Requests(Box::new(requests))
            }
        });
        match way {
            Way::Records(reading) => {
                let rows = batch.ids.len();
                for start in (0..rows).step_by(PIECE) {
                    self.bytes.clear();
                    records(batch, start, rows.min(start + PIECE), self.rows, &mut self.bytes);
                    reading.push(input, &self.bytes)?;
                }
            }
            Way::Requests(requests) => push(requests, batch, self.rows)?,
        }
        self.rows += batch.ids.len() as u64;
        Ok(())
    }

    /// The trace.
    pub fn finish(self) -> Result<Trace, Error> {
        match self.way {
            Some(Way::Requests(requests)) => requests.finish(),
            Some(Way::Records(reading)) => {
                let mut trace = reading.finish(self.input)?;
                self.warning.into_iter().for_each(|text| trace.warn(text));
                if !self.sized {
                    trace.warn(super::cache_csv::UNSIZED);
                }
                Ok(trace)
            }
            None => Reading::default().finish(self.input),
        }
    }
}

/// Requests `start..end` of `batch` as records of oracleGeneral; `before` were before the batch.
fn records(batch: &Batch<'_>, start: usize, end: usize, before: u64, bytes: &mut Vec<u8>) {
    let mut one = |row: usize, id: u64| {
        let at = before + row as u64;
        // What the time is does not count, whether it is more than a count does.
        let counts = batch.times.is_none_or(|times| times[row] == at as f64);
        let time = if counts { at as u32 } else { !(at as u32) };
        let size = batch.sizes.map_or(1, |sizes| sizes[row] as u32);
        bytes.extend_from_slice(&record(time, id, size));
    };
    match batch.ids {
        Ids::Unsigned(ids) => (start..end).zip(&ids[start..end]).for_each(|(row, id)| one(row, *id)),
        Ids::Signed(ids) => (start..end).zip(&ids[start..end]).for_each(|(row, id)| one(row, id.cast_unsigned())),
        // They do not fit.
        Ids::Text(_) => {}
    }
}

fn push(requests: &mut FromRequests<'_>, batch: &Batch<'_>, before: u64) -> Result<(), Error> {
    for row in 0..batch.ids.len() {
        let own;
        let id = match batch.ids {
            Ids::Text(ids) => ids[row],
            Ids::Unsigned(ids) => {
                own = ids[row].to_string();
                &own
            }
            Ids::Signed(ids) => {
                own = ids[row].to_string();
                &own
            }
        };
        let request = Request {
            id,
            bytes: batch.sizes.map(|sizes| sizes[row]),
            time: batch.times.map(|times| times[row]),
            ttl: batch.ttls.map(|ttls| ttls[row]),
            parent: batch.parents.map_or("", |parents| parents[row]),
        };
        requests.push(request, Place::Item(before + row as u64))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::cache_csv;
    use crate::import::input::Input;
    use crate::progress::Unattended;

    fn of(batches: &[Batch<'_>]) -> Trace {
        let mut columns = FromColumns::new("t");
        batches.iter().for_each(|batch| columns.look(batch));
        batches.iter().for_each(|batch| columns.push(batch).unwrap());
        columns.finish().unwrap()
    }

    fn csv(text: &str, columns: &str) -> Trace {
        let columns = columns.parse().unwrap();
        cache_csv::read(&Input::new("t", text.as_bytes()), Some(&columns), &mut Unattended).unwrap()
    }

    const NOTHING: Batch<'static> =
        Batch { ids: Ids::Unsigned(&[]), sizes: None, times: None, ttls: None, parents: None };

    /// Whatever the types, the trace is that of the same requests in a CSV.
    #[test]
    fn columns_are_read_as_the_same_csv_is() {
        let [ids, sizes] = [[7u64, 3, 7, 9, 3], [10u64, 20, 10, 5, 25]];
        let wanted = csv("7,10\n3,20\n7,10\n9,5\n3,25\n", "obj-id-col=1,obj-size-col=2,has-header=false");
        let signed: Vec<i64> = ids.iter().map(|id| *id as i64).collect();
        let texts: Vec<String> = ids.iter().map(u64::to_string).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for ids in [Ids::Unsigned(&ids), Ids::Signed(&signed), Ids::Text(&texts)] {
            assert_eq!(of(&[Batch { ids, sizes: Some(&sizes), ..NOTHING }]), wanted);
        }
        let [first, second] = [&ids[..2], &ids[2..]].map(Ids::Unsigned);
        let parts = [(first, &sizes[..2]), (second, &sizes[2..])];
        let parts = parts.map(|(ids, sizes)| Batch { ids, sizes: Some(sizes), ..NOTHING });
        assert_eq!(of(&parts), wanted);
        let negative = of(&[Batch { ids: Ids::Signed(&[-1, 3, -1]), ..NOTHING }]);
        assert_eq!(negative, csv("-1\n3\n-1\n", "obj-id-col=1,has-header=false"));
        assert_eq!(negative.tensors()[0].name, "-1");
    }

    #[test]
    fn what_records_do_not_hold_is_read_as_well() {
        let large = [5, u64::from(u32::MAX) + 1];
        let trace = of(&[Batch { ids: Ids::Unsigned(&[1, 2]), sizes: Some(&large), ..NOTHING }]);
        assert_eq!(trace.summary().requested_bytes, (1 << 32) + 5);
        let (times, ttls) = ([0.0, 5.0, 20.0], [10.0, 0.0, 0.0]);
        let batch = Batch { ids: Ids::Unsigned(&[1, 1, 1]), times: Some(&times), ttls: Some(&ttls), ..NOTHING };
        let wanted = csv("0,1,10\n5,1,0\n20,1,0\n", "time-col=1,obj-id-col=2,ttl-col=3,has-header=false");
        assert_eq!(of(&[batch]), wanted);
        let back = of(&[Batch { ids: Ids::Unsigned(&[1, 2]), times: Some(&[2.0, 1.0]), ..NOTHING }]);
        assert!(back.warnings().iter().any(|text| text.contains("earlier time")), "{:?}", back.warnings());
        let parents = ["", "1"];
        let tied = of(&[Batch { ids: Ids::Unsigned(&[1, 2]), parents: Some(&parents), ..NOTHING }]);
        assert_eq!(tied.parents(), [crate::trace::NO_PARENT, 0]);
    }

    #[test]
    fn nothing_is_refused() {
        let error = FromColumns::new("t").finish().unwrap_err().to_string();
        assert_eq!(error, "t, whole input: the trace has no accesses. Give at least one record");
    }
}
