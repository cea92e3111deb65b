//! The contract of the REST API, tested by programs that know nothing of the server but its OpenAPI document.

use crate::exe;
use crate::python::{environment, interpreter, program};
use crate::shell::Shell;

/// The folder of the tests, and what they need, pinned.
const TESTS: &str = "infer-server/tests/contract";
const REQUIREMENTS: &str = "infer-server/tests/contract/requirements.txt";
/// The other script of the server's tests.
const ENGINES: &str = "infer-server/tests/engines.py";

/// Builds the server that is tested.
pub(crate) fn build(shell: &Shell) -> anyhow::Result<()> {
    shell.cargo(["build", "--locked", "--package", "infer-server", "--bin", "infer-server"]).run()
}

/// Tests the server that was built last; `arguments` go to pytest. Where there is no Python or nothing can be installed, this
/// is said, and nothing fails.
pub(crate) fn test(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let skipped = |why: &str| println!("SKIPPED: every test of the REST contract, because {why}");
    let Some(python) = interpreter(shell) else {
        skipped("there is no Python 3.11 or later; install one, or name it in PYTHON");
        return Ok(());
    };
    let environment = match environment(shell, &python, "contract", REQUIREMENTS) {
        Ok(environment) => environment,
        Err(error) => {
            skipped(&format!("{REQUIREMENTS} cannot be installed: {error:#}"));
            return Ok(());
        }
    };
    let server = shell.target().join("debug").join(exe("infer-server"));
    let ruff = shell.command(program(&environment, "ruff"));
    // The package's own rules, for other files than its own.
    let rules = ["--config", "python/pyproject.toml", "--config", "include = [\"*.py\"]"];
    ruff.args(["check", "--quiet"]).args(rules).args([TESTS, ENGINES]).run()?;
    let pytest = ["-m", "pytest", "-ra", "-p", "no:cacheprovider", "--rootdir", TESTS, TESTS];
    let tests = shell.command(program(&environment, "python")).args(pytest).args(arguments);
    tests.env("ACCEL_SERVER", server).env("PYTHONDONTWRITEBYTECODE", "1").run()
}
