//! The static page: four WASM modules, their scripts, the style sheet and `index.html`.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use accel_core::curve::{Curves, Grid};
use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::run::{Outcome, run};
use anyhow::{Context as _, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use wasm_bindgen_cli_support::Bindgen;

use crate::shell::Shell;
use crate::tools::{Optimisers, WASM};

/// A crate of the page, which becomes a WASM module.
struct Module {
    name: &'static str,
    /// The most bytes that module and script may take once gzipped.
    budget: usize,
    /// What is counted against the budget, in words.
    what: &'static str,
}

/// The first is the page, which starts its worker; the others are loaded when they are needed.
const MODULES: [Module; 4] = [
    Module { name: "accel-app", budget: 360_000, what: "page" },
    Module { name: "accel-worker", budget: 420_000, what: "worker" },
    Module { name: "accel-extra", budget: 500_000, what: "importers and statistics, loaded on demand" },
    Module { name: "accel-kernel-page", budget: 930_000, what: "Kernel page, loaded on demand" },
];

/// The crates that only a browser runs: the modules, and what they share.
pub(crate) fn crates() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|module| module.name).chain(["accel-ui"])
}

/// How the page is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// To be looked at soon: light optimisation.
    Quick,
    /// To be hosted: as small as it gets. Fails where a module is larger than its budget.
    Small,
}

impl Build {
    /// Cargo's profile.
    fn profile(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Small => "page",
        }
    }
}

/// Compiles the modules; returns their folder. In one go they share what they have in common, features of other crates
/// included; one by one each takes only what it needs.
pub(crate) fn compile(shell: &Shell, build: Build) -> anyhow::Result<PathBuf> {
    let at_once = match build {
        Build::Quick => MODULES.len(),
        Build::Small => 1,
    };
    for modules in MODULES.chunks(at_once) {
        let packages = modules.iter().flat_map(|module| ["--package", module.name]);
        let arguments = ["build", "--locked", "--target", WASM, "--profile", build.profile()];
        shell.cargo(arguments.into_iter().chain(packages)).run()?;
    }
    Ok(shell.target().join(WASM).join(build.profile()))
}

/// Makes scripts of the modules and puts all files of the page together; returns their folder.
pub(crate) fn assemble(shell: &Shell, compiled: &Path, build: Build) -> anyhow::Result<PathBuf> {
    let page = shell.target().join("www").join(build.profile());
    if page.is_dir() {
        fs::remove_dir_all(&page).with_context(|| format!("cannot empty {}", page.display()))?;
    }
    fs::create_dir_all(&page)?;
    for module in &MODULES {
        let file = compiled.join(format!("{}.wasm", module.name));
        let mut bindgen = Bindgen::new();
        bindgen.input_path(&file).typescript(false).web(true)?;
        bindgen.generate(&page).with_context(|| format!("wasm-bindgen cannot read {}", file.display()))?;
    }
    Ok(page)
}

/// Optimises the modules and shortens the scripts, in place.
pub(crate) fn optimise(shell: &Shell, optimisers: &Optimisers, page: &Path) -> anyhow::Result<()> {
    for module in &MODULES {
        optimise_module(shell, &optimisers.wasm_opt, &wasm(page, module))?;
        shorten(shell, &optimisers.esbuild, &script(page, module))?;
    }
    Ok(())
}

/// Names the page's own files by the content of all modules, so that a browser never mixes two versions, and writes
/// `index.html`.
pub(crate) fn finish(shell: &Shell, page: &Path) -> anyhow::Result<()> {
    let [main, ..] = &MODULES;
    let files = MODULES.iter().flat_map(|module| [wasm(page, module), script(page, module)]);
    let digest = digest(&files.map(fs::read).collect::<Result<Vec<_>, _>>()?);
    let named = |ending: &str| format!("{}-{digest}{ending}", main.name);
    let (main_script, main_wasm) = (named(".js"), named("_bg.wasm"));
    fs::rename(script(page, main), page.join(&main_script))?;
    fs::rename(wasm(page, main), page.join(&main_wasm))?;
    let style = fs::read(shell.root.join("app/style.css")).context("cannot read app/style.css")?;
    let style_name = format!("style-{}.css", self::digest(std::slice::from_ref(&style)));
    fs::write(page.join(&style_name), style)?;
    let start = format!(
        "<script type=\"module\">\n\
         import init from './{main_script}';\n\
         await init({{ module_or_path: './{main_wasm}' }});\n\
         </script>"
    );
    let (first, headline) = first_answer()?;
    let first_name = format!("first-{}.bin", self::digest(std::slice::from_ref(&first)));
    fs::write(page.join(&first_name), first)?;
    let preload = format!(
        "<link rel=\"modulepreload\" href=\"./{main_script}\" crossorigin=\"anonymous\">\n  \
         <link rel=\"preload\" href=\"./{main_wasm}\" crossorigin=\"anonymous\" as=\"fetch\" type=\"application/wasm\">\n  \
         <link id=\"first\" rel=\"preload\" href=\"./{first_name}\" crossorigin=\"anonymous\" as=\"fetch\">"
    );
    let source = fs::read_to_string(shell.root.join("index.html")).context("cannot read index.html")?;
    let mut html = Vec::new();
    for line in source.lines() {
        // What trunk replaces, we replace in the same way.
        if line.contains("data-trunk-public-url") {
            html.push("  <base href=\"./\">".to_owned());
        } else if line.contains("data-trunk") && line.contains("rel=\"css\"") {
            html.push(format!("  <link rel=\"stylesheet\" href=\"./{style_name}\">"));
        } else if line.contains("data-trunk") && line.contains("data-type=\"worker\"") {
            // Loaded by the page when it is needed.
        } else if line.contains("data-trunk") && line.contains("rel=\"rust\"") {
            html.push(format!("  {start}\n  {preload}"));
        } else if line.contains("id=\"standing\"") {
            html.push(line.replace("><", &format!(">{headline}<")));
        } else if line.contains("data-trunk") {
            bail!("index.html: xtask does not know what trunk makes of: {}", line.trim());
        } else {
            html.push(line.to_owned());
        }
    }
    fs::write(page.join("index.html"), html.join("\n") + "\n")?;
    Ok(())
}

/// The answer that a first visitor sees, made here so that nothing need be computed before it is seen: the default recipe
/// and its outcome as the page reads them, and what it comes to.
fn first_answer() -> anyhow::Result<(Vec<u8>, String)> {
    let recipe = Recipe::default();
    let mut outcome = run(&Recipe { curve: Some(Grid::default()), ..recipe.clone() }, &mut Unattended)?;
    let curves = outcome.curve.take().context("there are no curves")?;
    let bytes = postcard::to_allocvec(&(recipe.to_json()?, &outcome, &curves))?;
    // The page and its worker speak postcard, in which no field may be left out.
    let read: (String, Outcome, Curves) = postcard::from_bytes(&bytes).context("the page could not read an outcome")?;
    let same = serde_json::to_string(&read.1)? == serde_json::to_string(&outcome)?;
    anyhow::ensure!(same, "the page would read another outcome than was written");
    Ok((bytes, outcome.headline))
}

/// Prints what each module takes once gzipped; fails where one is over its budget and `build` keeps to it.
pub(crate) fn weigh(page: &Path, build: Build) -> anyhow::Result<()> {
    let mut over = Vec::new();
    for module in &MODULES {
        let mut bytes = 0;
        for entry in fs::read_dir(page)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ours = name.ends_with(".wasm") || name.ends_with(".js");
            if ours && name.starts_with(module.name) {
                bytes += gzipped_bytes(&path)?;
            }
        }
        let line = format!(
            "{}: {:.1} KB gzipped (budget: {:.0})",
            module.what,
            bytes as f64 / 1000.0,
            module.budget as f64 / 1000.0
        );
        match build {
            Build::Small => println!("  {line}"),
            Build::Quick => {}
        }
        if bytes > module.budget {
            over.push(line);
        }
    }
    if build == Build::Small && !over.is_empty() {
        bail!(
            "over budget: {}. Make it smaller, or raise the budget in xtask/src/page.rs and say why",
            over.join("; ")
        );
    }
    Ok(())
}

fn wasm(page: &Path, module: &Module) -> PathBuf {
    page.join(format!("{}_bg.wasm", module.name))
}

fn script(page: &Path, module: &Module) -> PathBuf {
    page.join(format!("{}.js", module.name))
}

fn digest(parts: &[Vec<u8>]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

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
/// The features that rustc's WASM uses; older optimisers need each of them named.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// Optimises `module` in place. The result is kept under a name that its content gives.
fn optimise_module(shell: &Shell, wasm_opt: &Path, module: &Path) -> anyhow::Result<()> {
    let cache = shell.target().join("wasm-opt");
    fs::create_dir_all(&cache)?;
    let optimised = cache.join(format!("{}.wasm", digest(&[fs::read(module)?])));
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

fn gzipped_bytes(file: &Path) -> anyhow::Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut fs::File::open(file)?, &mut encoder)?;
    Ok(encoder.finish()?.len())
}
