//! The tools that cargo does not bring: installed once, at pinned versions, into a folder of the project.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::exe;
use crate::shell::{Shell, find, step};

/// The page's target.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";
/// 0.22 needs a newer compiler.
const TRUNK: &str = "0.21.14";
/// Must equal the version of the crate, which is pinned in Cargo.toml and Trunk.toml.
const WASM_BINDGEN: &str = "0.2.130";
/// The npm package that carries wasm-opt.
const BINARYEN: &str = "binaryen@132.0.0";
/// The npm package that shortens the page's script.
const ESBUILD: &str = "esbuild@0.28.2";

/// What building the page needs.
pub(crate) struct Tools {
    /// The search path with our tools in front.
    pub(crate) path: OsString,
    /// The optimiser of WASM, where it can be had.
    pub(crate) wasm_opt: Option<PathBuf>,
    /// The shortener of scripts, where it can be had.
    pub(crate) esbuild: Option<PathBuf>,
}

impl Tools {
    /// Finds or installs everything.
    pub(crate) fn for_the_page(shell: &Shell) -> anyhow::Result<Self> {
        wasm_target(shell)?;
        let folder = folder(shell);
        install(shell, &folder, "trunk", "trunk", TRUNK)?;
        install(shell, &folder, "wasm-bindgen-cli", "wasm-bindgen", WASM_BINDGEN)?;
        let mut path = vec![folder.join("bin")];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let path = std::env::join_paths(path).context("the search path cannot be extended")?;
        let wasm_opt = from_npm(shell, &folder, "wasm-opt", BINARYEN);
        let esbuild = from_npm(shell, &folder, "esbuild", ESBUILD);
        Ok(Self { path, wasm_opt, esbuild })
    }
}

/// Where tools go: `.tools` in the project, or where ACCEL_TOOLS says.
fn folder(shell: &Shell) -> PathBuf {
    std::env::var_os("ACCEL_TOOLS").map_or_else(|| shell.root.join(".tools"), PathBuf::from)
}

/// Adds the compiler's WASM target where it is missing.
pub(crate) fn wasm_target(shell: &Shell) -> anyhow::Result<()> {
    let library = shell.command("rustc").args(["--print", "target-libdir", "--target", WASM]).output();
    if library.is_some_and(|dir| Path::new(&dir).is_dir()) {
        return Ok(());
    }
    step("adding the WASM target", || {
        let cure = "install rustup (https://rustup.rs), or your system's package of the Rust standard library for WASM";
        shell.command("rustup").args(["target", "add", WASM]).run().context(cure)
    })
}

/// Installs the cargo package `package` with its program `program` unless that version is there.
fn install(shell: &Shell, folder: &Path, package: &str, program: &str, version: &str) -> anyhow::Result<()> {
    let has_version = |file: &Path| {
        let printed = shell.command(file).arg("--version").output();
        printed.is_some_and(|text| text.split_whitespace().any(|word| word == version))
    };
    if has_version(&folder.join("bin").join(exe(program))) || find(&exe(program)).is_some_and(|f| has_version(&f)) {
        return Ok(());
    }
    step(&format!("installing {package} {version} into {} (a few minutes, once)", folder.display()), || {
        let mut cargo = shell
            .cargo(["install", package, "--version", version, "--force", "--root"])
            .arg(folder)
            // Built to be built quickly: the tools wait for cargo most of the time.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", if package == "trunk" { "0" } else { "1" })
            .env("CARGO_TARGET_DIR", folder.join("build"));
        if package == "trunk" {
            cargo = cargo.args(["--locked", "--no-default-features", "--features", "rustls"]);
        }
        cargo.run()?;
        // Only the programs are needed from here on.
        std::fs::remove_dir_all(folder.join("build")).context("cannot remove the build folder of the tools")
    })
}

/// Finds `program`, or installs the npm package that carries it; the page works without, and is larger.
fn from_npm(shell: &Shell, folder: &Path, program: &str, package: &str) -> Option<PathBuf> {
    // A package folder of its own: npm removes from a shared one what it did not install itself.
    let own = folder.join(program);
    let ours = own.join("node_modules").join(".bin").join(program);
    if ours.is_file() {
        return Some(ours);
    }
    if let Some(found) = find(&exe(program)) {
        return Some(found);
    }
    if find("npm").is_some() {
        let installed = step(&format!("installing {program} with npm"), || {
            std::fs::create_dir_all(&own)?;
            shell.command("npm").args(["install", "--no-save", "--prefix"]).arg(&own).arg(package).run()
        });
        match installed {
            Ok(()) => return Some(ours),
            Err(error) => println!("  {error:#}"),
        }
    }
    println!("  {program} is not to be had (npm would bring it): the page is built without, and somewhat larger.");
    None
}

/// A browser and its driver.
pub(crate) struct Browser {
    /// The browser's program.
    pub(crate) chrome: PathBuf,
    /// The driver's program.
    pub(crate) driver: PathBuf,
}

/// Finds Chromium and its driver, or installs them where the system's packages allow it.
pub(crate) fn browser(shell: &Shell) -> anyhow::Result<Browser> {
    if let Some(found) = find_browser() {
        return Ok(found);
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = release.lines().any(|line| line == "ID=debian");
    let root = shell.command("id").arg("-u").output().is_some_and(|id| id == "0");
    if debian && root {
        step("installing Chromium and its driver", || {
            shell.command("apt-get").args(["update", "--quiet"]).run()?;
            let install = ["install", "--yes", "--quiet", "--no-install-recommends", "chromium", "chromium-driver"];
            shell.command("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive").run()
        })?;
    }
    match find_browser() {
        Some(found) => Ok(found),
        None => bail!(
            "the browser tests need Chromium (or Chrome) and chromedriver of the same version.\n\
             Debian: apt-get install chromium chromium-driver\n\
             Fedora: dnf install chromium chromedriver\n\
             macOS:  brew install --cask chromium chromedriver\n\
             Elsewhere: set CHROME and CHROMEDRIVER to the two programs"
        ),
    }
}

fn find_browser() -> Option<Browser> {
    let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let first = |names: &[&str]| names.iter().find_map(|name| find(name));
    let chrome = named("CHROME").or_else(|| first(&["chromium", "chromium-browser", "google-chrome", "chrome"]))?;
    let driver = named("CHROMEDRIVER").or_else(|| first(&["chromedriver"]))?;
    Some(Browser { chrome, driver })
}
