//! Having a model score a trace: what to post to a server's `/v1/score`, and what its answers mean. Whoever calls carries
//! the texts; core knows no network.

use serde::{Deserialize, Serialize};

use super::prompt::{self, LABELS, Questions};
use super::{Scorer, Scores};
use crate::error::{Error, Place};
use crate::trace::Trace;

/// Questions in one request: a 7B model on two cores answers as many within a minute or two.
const ITEMS: usize = 64;

/// The questions of one trace, and the answers so far.
#[derive(Debug)]
pub struct Asking {
    questions: Questions,
    scores: Vec<f64>,
    scorer: Option<Scorer>,
}

#[derive(Serialize)]
struct Body<'a> {
    query: String,
    items: &'a [String],
    labels: [&'static str; 10],
}

#[derive(Deserialize)]
struct Answer {
    scorer: Scorer,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    probabilities: [f64; 10],
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Asking {
    /// Everything there is to ask about `trace`.
    pub fn of(trace: &Trace) -> Self {
        Self { questions: Questions::of(trace), scores: Vec::new(), scorer: None }
    }

    /// Questions answered, and all of them.
    pub fn progress(&self) -> (u64, u64) {
        (self.scores.len() as u64, self.questions.items.len() as u64)
    }

    fn open(&self) -> &[String] {
        let rest = &self.questions.items[self.scores.len()..];
        &rest[..rest.len().min(ITEMS)]
    }

    /// The next request; none where everything is answered.
    pub fn body(&self) -> Result<Option<String>, Error> {
        let items = self.open();
        if items.is_empty() {
            return Ok(None);
        }
        let body = Body { query: prompt::prefix(), items, labels: LABELS };
        serde_json::to_string(&body).map(Some).map_err(|e| Error::Internal(e.to_string()))
    }

    /// Takes the answer of `server` to the last request.
    pub fn take(&mut self, server: &str, body: &[u8]) -> Result<(), Error> {
        let cure = "Name the address of an infer-server, such as http://127.0.0.1:8000";
        let refuse = |problem: String| Error::input(server, Place::Whole, problem, cure);
        let answer: Answer =
            serde_json::from_slice(body).map_err(|e| refuse(format!("it did not answer with scores: {e}")))?;
        let (given, asked) = (answer.items.len(), self.open().len());
        if given != asked {
            return Err(refuse(format!("it gave {given} answers to {asked} questions")));
        }
        if self.scorer.is_some_and(|before| before != answer.scorer) {
            return Err(refuse("it changed its scorer in between".into()));
        }
        for item in &answer.items {
            let sum: f64 = item.probabilities.iter().sum();
            if !(0.99..=1.01).contains(&sum) || item.probabilities.iter().any(|p| *p < 0.0) {
                return Err(refuse(format!("its probabilities sum to {sum}")));
            }
        }
        self.scorer = Some(answer.scorer);
        self.scores.extend(answer.items.iter().map(|item| prompt::score(&item.probabilities)));
        Ok(())
    }

    /// A score for every access, once everything is answered.
    pub fn finish(self) -> Result<Scores, Error> {
        let values = self.questions.of_accesses(&self.scores)?;
        Ok(Scores { values: values.into(), scorer: self.scorer.unwrap_or(Scorer::Heuristic) })
    }
}

/// Why `server` refused a request, in its own words where it gave some.
pub fn refusal(server: &str, status: u16, body: &[u8]) -> Error {
    let said = serde_json::from_slice(body).map_or_else(|_| "no reason given".to_owned(), |r: Refusal| r.error);
    let cure = "See to the server, or let the heuristic score";
    Error::input(server, Place::Whole, format!("it refused to score (HTTP {status}): {said}"), cure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::trace;

    fn answer(count: usize, scorer: &str, digit: usize) -> Vec<u8> {
        let probabilities: Vec<f64> = (0..10).map(|d| f64::from(u8::from(d == digit))).collect();
        let items = vec![serde_json::json!({"probabilities": probabilities, "label_mass": 0.9, "entropy": 0.0}); count];
        serde_json::json!({"scorer": scorer, "model": "m", "labels": LABELS, "items": items}).to_string().into_bytes()
    }

    /// Sizes that make 100 different questions: two requests.
    fn many() -> Trace {
        let sizes: Vec<u64> = (0..50).map(|i| 1 << i).collect();
        trace(&sizes, &(0..50).chain(0..50).collect::<Vec<_>>())
    }

    #[test]
    fn every_access_gets_the_answer_to_its_question() {
        let trace = many();
        let mut asking = Asking::of(&trace);
        assert_eq!(asking.progress(), (0, 100));
        for (count, digit) in [(64, 3), (36, 9)] {
            let body: serde_json::Value = serde_json::from_str(&asking.body().unwrap().unwrap()).unwrap();
            assert_eq!((body["items"].as_array().unwrap().len(), &body["labels"][9]), (count, &"9".into()));
            asking.take("s", &answer(count, "local", digit)).unwrap();
        }
        assert_eq!(asking.body().unwrap(), None);
        let scores = asking.finish().unwrap();
        assert_eq!(scores.scorer, Scorer::Local);
        assert_eq!((scores.values[0], scores.values[64], scores.values.len()), (3.0 / 9.0, 1.0, 100));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let mut asking = Asking::of(&many());
        for (body, wanted) in [
            (b"<html>".to_vec(), "s, whole input: it did not answer with scores"),
            (answer(3, "local", 0), "3 answers to 64 questions"),
            (answer(64, "dice", 0), "no such scorer"),
            (answer(64, "local", 10), "its probabilities sum to 0"),
        ] {
            let error = asking.take("s", &body).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        asking.take("s", &answer(64, "local", 0)).unwrap();
        assert!(asking.take("s", &answer(36, "remote", 0)).unwrap_err().to_string().contains("changed its scorer"));
        assert!(asking.finish().is_err());
        let refused = refusal("s", 501, br#"{"error":"no model is loaded","detail":[]}"#).to_string();
        assert!(refused.contains("(HTTP 501): no model is loaded"), "{refused}");
    }
}
