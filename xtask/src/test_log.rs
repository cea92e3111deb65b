//! What a run of `cargo test` printed, reduced to what went wrong.

/// Collects which tests failed and which test binaries ended early, line by line.
#[derive(Debug, Default)]
pub(crate) struct TestLog {
    /// The tests of the binary under way that failed.
    names: Vec<String>,
    /// Whether the binary under way came to its result.
    finished: bool,
    /// Whether the last entry waits for the reason why its binary ended.
    ended: bool,
    failures: Vec<String>,
}

impl TestLog {
    /// Takes the next line of the output, standard output and standard error in the order in which they were written.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.starts_with("Running ") || line.starts_with("Doc-tests ") {
            self.finished = false;
        } else if line.starts_with("test result: ") {
            self.finished = true;
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.names.push(name.to_owned());
        } else if let Some(flags) = failed_target(line) {
            let binary = binary(flags);
            let complete = self.finished && !self.names.is_empty();
            self.failures.extend(self.names.drain(..).map(|name| format!("{binary}: {name}")));
            if !complete {
                self.failures.push(format!("{binary}: the test binary ended before its tests did"));
            }
            self.ended = !complete;
        } else if let Some((_, reason)) =
            line.strip_prefix("process didn't exit successfully: `").and_then(|rest| rest.split_once("` "))
            && std::mem::take(&mut self.ended)
            && let Some(last) = self.failures.last_mut()
        {
            *last += " ";
            *last += reason;
        }
    }

    /// Each failure as `crate::binary: test`, or the binary that ended early and how.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }
}

/// The flags by which cargo would run a failed test binary again.
fn failed_target(line: &str) -> Option<&str> {
    let (_, flags) = line.strip_prefix("error: ")?.split_once(" failed, to rerun pass `")?;
    flags.strip_suffix('`')
}

/// `crate::binary` of flags such as `-p accel-core --test it`; a crate's own unit tests are `lib`, its examples in the
/// documentation `doc`.
fn binary(flags: &str) -> String {
    let mut words = flags.split_whitespace();
    let mut parts = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "-p" | "--package" | "--test" | "--bin" | "--example" | "--bench" => parts.extend(words.next()),
            flag => parts.push(flag.trim_start_matches('-')),
        }
    }
    parts.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cargo 1.95 printed for a crate one of whose tests fails in the library, one in its documentation, and one of
    /// whose test binaries aborts; without the traces of the stack.
    const OUTPUT: &str = "
     Running unittests src/lib.rs (t/debug/deps/some_crate-c3094dcd55df7476)

running 2 tests
test works ... ok
test adds ... FAILED

failures:

---- adds stdout ----

thread 'adds' (12394) panicked at a/src/lib.rs:4:21:
assertion `left == right` failed
  left: 1
 right: 2


failures:
    adds

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.16s

error: test failed, to rerun pass `-p some-crate --lib`
     Running tests/it.rs (t/debug/deps/it-79d67b4723ccb825)

running 2 tests
error: test failed, to rerun pass `-p some-crate --test it`

Caused by:
  process didn't exit successfully: `t/debug/deps/it-79d67b4723ccb825` (signal: 6, SIGABRT: process abort signal)
     Running tests/other.rs (t/debug/deps/other-2b7aa4c1f0c9d2ab)

running 1 test
test passes ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests some_crate

running 1 test
test a/src/lib.rs - (line 1) ... FAILED

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.15s

error: doctest failed, to rerun pass `-p some-crate --doc`
error: 3 targets failed:
    `-p some-crate --lib`
    `-p some-crate --test it`
    `-p some-crate --doc`
";

    #[test]
    fn failures_name_crate_and_binary() {
        let mut log = TestLog::default();
        OUTPUT.lines().for_each(|line| log.line(line));
        let wanted = [
            "some-crate::lib: adds",
            "some-crate::it: the test binary ended before its tests did (signal: 6, SIGABRT: process abort signal)",
            "some-crate::doc: a/src/lib.rs - (line 1)",
        ];
        assert_eq!(log.failures(), wanted);
    }

    #[test]
    fn what_failed_before_a_binary_ended_is_named_too() {
        let mut log = TestLog::default();
        let output =
            "Running tests/it.rs (t/it-1)\ntest first ... FAILED\nerror: test failed, to rerun pass `--test it`\n";
        output.lines().for_each(|line| log.line(line));
        assert_eq!(log.failures(), ["it: first", "it: the test binary ended before its tests did"]);
    }
}
