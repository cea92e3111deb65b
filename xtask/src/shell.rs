//! Running commands.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::test_log::TestLog;

/// The project's folder, where every command runs.
pub(crate) struct Shell {
    /// The root of the project.
    pub(crate) root: PathBuf,
}

impl Shell {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// `program` in the project's folder.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Run {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        Run(command)
    }

    /// The cargo that runs us.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        self.command(cargo).args(arguments)
    }

    /// Cargo's target folder.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), |dir| self.root.join(dir))
    }
}

/// A command being put together.
pub(crate) struct Run(Command);

impl Run {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it with our own output; fails unless it succeeds.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let status = self.0.status().with_context(|| format!("cannot start {}", self.name()))?;
        if !status.success() {
            bail!("{} ended with {status}", self.name());
        }
        Ok(())
    }

    /// Runs tests with our own output. Ends with the checks that were skipped, and where tests failed or test binaries
    /// ended early, with a list of them all. The tests note what they skip in the file that `ACCEL_SKIPPED` names.
    pub(crate) fn run_tests(mut self, skipped: &Path) -> anyhow::Result<()> {
        match fs::remove_file(skipped) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", skipped.display()));
            }
            _ => {}
        }
        let name = self.name();
        // One pipe for both, so that what cargo says of a test binary stands in its place; without colours, to be read.
        let (output, input) = io::pipe().context("cannot make a pipe")?;
        self.0.env("ACCEL_SKIPPED", skipped).env("CARGO_TERM_COLOR", "never");
        self.0.stdout(input.try_clone()?).stderr(input);
        let mut child = self.0.spawn().with_context(|| format!("cannot start {name}"))?;
        // It holds the other end of the pipe.
        drop(self);
        let mut log = TestLog::default();
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let text = String::from_utf8_lossy(&line);
            println!("{text}");
            log.line(&text);
        }
        let status = child.wait()?;
        if let Ok(skipped) = fs::read_to_string(skipped) {
            let mut skipped: Vec<&str> = skipped.lines().collect();
            skipped.sort_unstable();
            println!("{} skipped:\n  {}", count(skipped.len(), "check"), skipped.join("\n  "));
        }
        let failures = log.failures();
        if !failures.is_empty() {
            bail!("{}:\n  {}", count(failures.len(), "failure"), failures.join("\n  "));
        }
        if !status.success() {
            bail!("{name} ended with {status}");
        }
        Ok(())
    }

    /// What it prints, where it can be started and succeeds.
    pub(crate) fn output(mut self) -> Option<String> {
        let output = self.0.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn name(&self) -> String {
        self.0.get_program().to_string_lossy().into_owned()
    }
}

/// A number of things, in words.
fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Where `program` lies on the path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
