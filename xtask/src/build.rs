//! Building the page and the programs.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::exe;
use crate::shell::{Shell, step};
use crate::tools::Tools;

/// How wasm-opt optimises: for size once packed. Functions inlined into their one caller pack worse, and a
/// second look at the control flow finds what the first left.
const WASM_OPT: [&str; 8] = [
    "--one-caller-inline-max-function-size=0",
    "-Oz",
    "--flatten",
    "--rereloop",
    "-Oz",
    "-Oz",
    "--strip-debug",
    "--strip-producers",
];
/// The features that rustc's WASM uses; older optimisers must be told.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// What the names of files begin with that the page loads when they are needed.
const ON_DEMAND: [&str; 2] = ["accel-extra", "accel-kernel-page"];

/// Builds the page and returns its folder.
pub(crate) fn build_page(shell: &Shell, tools: &Tools) -> anyhow::Result<PathBuf> {
    // As Trunk.toml says.
    let page = shell.root.join("target").join("www");
    step("building the page", || {
        shell.command("trunk").arg("build").env("PATH", &tools.path).env("NO_COLOR", "true").run()
    })?;
    let modules = files_ending(&page, ".wasm")?;
    if let Some(wasm_opt) = &tools.wasm_opt {
        step("optimising the page's WASM", || modules.iter().try_for_each(|file| optimise(shell, wasm_opt, file)))?;
    }
    let scripts = files_ending(&page, ".js")?;
    if let Some(esbuild) = &tools.esbuild {
        step("shortening the page's script", || scripts.iter().try_for_each(|file| shorten(shell, esbuild, file)))?;
    }
    let mut first = 0;
    let mut later = [0; ON_DEMAND.len()];
    for file in [modules, scripts].concat() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let module = ON_DEMAND.iter().position(|module| name.starts_with(module));
        *module.map_or(&mut first, |module| &mut later[module]) += gzipped_bytes(&file)?;
    }
    let kilobytes = |bytes: usize| bytes as f64 / 1000.0;
    println!("  page and worker: {:.1} KB gzipped (budget: 560)", kilobytes(first));
    for (module, bytes) in ON_DEMAND.iter().zip(later) {
        println!("  loaded on demand, {module}: {:.1} KB gzipped", kilobytes(bytes));
    }
    Ok(page)
}

/// Optimises `module` in place. The result is kept under a name that its content gives.
fn optimise(shell: &Shell, wasm_opt: &Path, module: &Path) -> anyhow::Result<()> {
    let mut hasher = DefaultHasher::new();
    fs::read(module)?.hash(&mut hasher);
    let cache = shell.root.join("target").join("wasm-opt");
    fs::create_dir_all(&cache)?;
    let optimised = cache.join(format!("{:016x}.wasm", hasher.finish()));
    if !optimised.is_file() {
        let unfinished = cache.join("unfinished.wasm");
        shell.command(wasm_opt).arg(module).args(WASM_OPT).args(WASM_FEATURES).arg("-o").arg(&unfinished).run()?;
        fs::rename(unfinished, &optimised)?;
    }
    fs::copy(optimised, module)?;
    Ok(())
}

/// Shortens `script`, an ES module, in place.
fn shorten(shell: &Shell, esbuild: &Path, script: &Path) -> anyhow::Result<()> {
    let options = ["--minify", "--format=esm", "--allow-overwrite", "--log-level=warning"];
    let out = format!("--outfile={}", script.display());
    shell.command(esbuild).arg(script).args(options).arg(out).run()
}

fn files_ending(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    Ok(found)
}

fn gzipped_bytes(file: &Path) -> anyhow::Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut fs::File::open(file)?, &mut encoder)?;
    Ok(encoder.finish()?.len())
}

/// Builds the programs and returns their folder.
pub(crate) fn build_binaries(shell: &Shell) -> anyhow::Result<PathBuf> {
    step("building the server and the command line", || {
        shell.cargo(["build", "--release", "--locked", "--package", "infer-server", "--package", "accel-cli"]).run()
    })?;
    Ok(shell.target().join("release"))
}

/// Puts the page and the programs into `dist/`.
pub(crate) fn dist(shell: &Shell, tools: &Tools) -> anyhow::Result<()> {
    let page = build_page(shell, tools)?;
    let binaries = build_binaries(shell)?;
    let dist = shell.root.join("dist");
    step("filling dist/", || {
        if dist.is_dir() {
            fs::remove_dir_all(&dist).context("cannot empty dist/")?;
        }
        fs::create_dir_all(dist.join("page"))?;
        fs::create_dir_all(dist.join("bin"))?;
        for entry in fs::read_dir(&page)? {
            let entry = entry?;
            fs::copy(entry.path(), dist.join("page").join(entry.file_name()))?;
        }
        for name in ["accel", "infer-server"] {
            fs::copy(binaries.join(exe(name)), dist.join("bin").join(exe(name)))?;
        }
        Ok(())
    })?;
    println!("  dist/page is the static page: any file server can host it, from any folder.");
    println!("  dist/bin/infer-server serves it together with the API; dist/bin/accel is the command line.");
    Ok(())
}
