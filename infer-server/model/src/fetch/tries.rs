//! What is tried again, and how often.

use std::time::Duration;

use reqwest::Url;

use super::error::{FetchError, shown};

/// How often in a row a try may bring nothing new before the download is given up.
const TRIES: u32 = 5;
/// How often a download may break off in all: a model of 4 GB comes even over a line that breaks every 40 MB.
const TRIES_IN_ALL: u32 = 100;
/// The wait after the first failed try; each further one waits twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between tries, also where the hub asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How a try ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another try may do.
    Passing {
        problem: String,
        wait: Option<Duration>,
    },
    /// The place where the file lies refuses its address. Addresses expire, so a fresh one is asked for, once.
    Address(FetchError),
    Final(FetchError),
}

impl Failure {
    pub(super) fn passing(problem: impl Into<String>) -> Self {
        Self::Passing { problem: problem.into(), wait: None }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

/// The failed tries of one download.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Since anything new came.
    in_a_row: u32,
    in_all: u32,
    address_refused: bool,
}

impl Tries {
    /// Something new came.
    pub(super) fn progress(&mut self) {
        self.in_a_row = 0;
        self.address_refused = false;
    }

    /// How long to wait before another try, or why there is none.
    fn next(&mut self, url: &Url, failure: Failure) -> Result<(String, Duration), FetchError> {
        let (problem, asked) = match failure {
            Failure::Passing { problem, wait } => (problem, wait),
            Failure::Address(error) if !self.address_refused => {
                self.address_refused = true;
                (error.to_string(), None)
            }
            Failure::Address(error) | Failure::Final(error) => return Err(error),
        };
        self.in_a_row += 1;
        self.in_all += 1;
        let ended = [(self.in_a_row, TRIES), (self.in_all, TRIES_IN_ALL)].into_iter().find(|(is, most)| is >= most);
        if let Some((tries, _)) = ended {
            return Err(FetchError::Unreachable { url: shown(url), tries, problem });
        }
        let wait = asked.unwrap_or(FIRST_WAIT * 2u32.pow(self.in_a_row - 1)).min(LONGEST_WAIT);
        Ok((problem, wait))
    }

    /// Waits before another try, or says why there is none.
    pub(super) async fn again(&mut self, url: &Url, failure: Failure) -> Result<(), FetchError> {
        let (problem, wait) = self.next(url, failure)?;
        tracing::warn!(wait_ms = wait.as_millis(), "{problem}: trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_breaks_for_ever_is_given_up_though_each_try_brings_something() {
        let url: Url = "http://hub/file".parse().unwrap();
        let mut tries = Tries::default();
        let end = (1..).find_map(|_| {
            tries.progress();
            tries.next(&url, Failure::passing("cut")).err()
        });
        let message = end.unwrap().to_string();
        assert!(message.contains("gave up after 100 tries: cut"), "{message}");
    }

    #[test]
    fn waits_double_and_have_an_end() {
        let url: Url = "http://hub/file".parse().unwrap();
        let mut tries = Tries::default();
        let waits: Vec<u128> = std::iter::from_fn(|| tries.next(&url, Failure::passing("cut")).ok())
            .map(|(_, wait)| wait.as_millis())
            .collect();
        assert_eq!(waits, [250, 500, 1000, 2000]);
        let asked = Failure::Passing { problem: "busy".into(), wait: Some(Duration::from_secs(86_400)) };
        assert_eq!(Tries::default().next(&url, asked).unwrap().1, LONGEST_WAIT);
    }
}
