//! Running commands.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

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

    /// Runs tests with our own output; where some fail, ends with a list of them all.
    pub(crate) fn run_tests(mut self) -> anyhow::Result<()> {
        let mut child =
            self.0.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", self.name()))?;
        let mut failed = Vec::new();
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n') {
                let line = line?;
                let text = String::from_utf8_lossy(&line);
                println!("{text}");
                if let Some(name) = text.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
                    failed.push(name.to_owned());
                }
            }
        }
        let status = child.wait()?;
        if !failed.is_empty() {
            bail!("{} failed:\n  {}", count(failed.len(), "test"), failed.join("\n  "));
        }
        if !status.success() {
            bail!("{} ended with {status}", self.name());
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
