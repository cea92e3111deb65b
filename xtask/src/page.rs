//! The static page: four WASM modules, their scripts, the style sheet, the service worker and `index.html`.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use accel_core::curve::{Curves, Grid};
use accel_core::policy::Knows;
use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::run::{Outcome, run};
use accel_core::scenarios::SCENARIOS;
use anyhow::{Context as _, bail};
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use wasm_bindgen_cli_support::Bindgen;

use crate::shell::Shell;
use crate::tools::{Optimisers, WASM};

/// A crate of the page, which becomes a WASM module.
struct Module {
    name: &'static str,
    /// The most bytes that module and script may take once gzipped.
    budget: u64,
    /// What is counted against the budget, in words.
    what: &'static str,
}

impl Module {
    /// The file that wasm-bindgen makes of it.
    fn wasm(&self) -> String {
        format!("{}_bg.wasm", self.name)
    }

    /// The script that wasm-bindgen makes for it.
    fn script(&self) -> String {
        format!("{}.js", self.name)
    }
}

/// The first is the page, which starts its worker; the others are loaded when they are needed. The budgets are what they
/// took, and a little more; that of the page is for the first screen: form and tabs are parts of their own, loaded after it.
const MODULES: [Module; 4] = [
    Module { name: "accel-app", budget: 240_000, what: "page" },
    Module { name: WORKER, budget: 685_000, what: "worker" },
    Module { name: "accel-extra", budget: 665_000, what: "importers and statistics, loaded on demand" },
    Module { name: "accel-kernel-page", budget: 1_275_000, what: "Kernel page, loaded on demand" },
];

/// The module that runs what the page asks.
const WORKER: &str = "accel-worker";
/// The script that loads modules.
const START: &str = "start.js";
const STYLE: &str = "style.css";
/// The script that loads parts of the page.
const LINKS: &str = "parts.js";
/// How the names of parts begin: of what one name of `parts!` has for itself, and of what several share.
const PARTS: [&str; 2] = ["split_", "chunk_"];
/// The parts that each visit needs, once the first answer is shown.
const AT_ONCE: [&str; 3] = ["split_rest", "split_behind", "chunk_"];
/// The answer that a first visitor sees.
const FIRST: &str = "first.bin";
const INDEX: &str = "index.html";
/// Its name is the same in each version: browsers look there for the next one.
const SERVICE_WORKER: &str = "sw.js";
/// How names of packed files end.
const GZIP: &str = ".gz";
const BROTLI: &str = ".br";

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
        let parted = modules.iter().filter(|module| module.name == MODULES[0].name);
        let features = parted.flat_map(|_| ["--features", "accel-app/split"]);
        shell.cargo(arguments.into_iter().chain(packages).chain(features)).run()?;
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
        let mut file = compiled.join(format!("{}.wasm", module.name));
        if module.name == MODULES[0].name {
            file = part(&file, &page)?;
        }
        let mut bindgen = Bindgen::new();
        // Parts share the table of functions, which is removed otherwise.
        bindgen.input_path(&file).typescript(false).keep_lld_exports(true).web(true)?;
        bindgen.generate(&page).with_context(|| format!("wasm-bindgen cannot read {}", file.display()))?;
    }
    for name in [START, STYLE, SERVICE_WORKER] {
        let source = shell.root.join("app").join(name);
        fs::copy(&source, page.join(name)).with_context(|| format!("cannot copy {}", source.display()))?;
    }
    Ok(page)
}

/// How wasm_split_cli_support makes a part of what the server sends, which has to send it as `application/wasm`.
const STREAMING: &str = "WebAssembly.instantiateStreaming(";
/// The same for servers that send it as something else, and with the cause where they do not send it.
const INSTANTIATE: &str = "
async function instantiate(source, imports) {
    const answer = await source;
    if (!answer.ok) throw new Error(`the server answers ${answer.status} for ${answer.url}`);
    return answer.headers.get(\"content-type\")?.startsWith(\"application/wasm\")
        ? WebAssembly.instantiateStreaming(answer, imports)
        : WebAssembly.instantiate(await answer.arrayBuffer(), imports);
}
";

/// Puts the parts of `module` that are loaded on demand into files of their own in `page`; returns what is left of it.
fn part(module: &Path, page: &Path) -> anyhow::Result<PathBuf> {
    let whole = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let rest = module.with_file_name("rest").join(module.file_name().unwrap_or_default());
    fs::create_dir_all(rest.parent().unwrap_or(page))?;
    let script = format!("./{}", MODULES[0].script());
    let links = format!("./{LINKS}");
    let mut options = wasm_split_cli_support::Options::new(&whole);
    options.output_dir = page;
    options.main_out_path = &rest;
    options.main_module = &script;
    options.link_name = &links;
    wasm_split_cli_support::transform(options)
        .map_err(|e| anyhow::anyhow!("cannot part {}: {e:?}", module.display()))?;
    let links = page.join(LINKS);
    let text = fs::read_to_string(&links)?;
    anyhow::ensure!(text.contains(STREAMING), "wasm_split_cli_support loads parts in another way: see INSTANTIATE");
    fs::write(links, text.replace(STREAMING, "instantiate(") + INSTANTIATE)?;
    Ok(rest)
}

/// Optimises the modules, and shortens scripts and styles, in place.
pub(crate) fn optimise(shell: &Shell, optimisers: &Optimisers, page: &Path) -> anyhow::Result<()> {
    for module in &MODULES {
        optimise_module(shell, &optimisers.wasm_opt, &page.join(module.wasm()))?;
        shorten(shell, &optimisers.esbuild, &page.join(module.script()))?;
    }
    for name in parts(page)? {
        optimise_module(shell, &optimisers.wasm_opt, &page.join(name))?;
    }
    for name in [START, LINKS, STYLE, SERVICE_WORKER] {
        shorten(shell, &optimisers.esbuild, &page.join(name))?;
    }
    Ok(())
}

/// Names all files by what they hold together, so that neither a browser nor a server ever mixes two versions, and writes
/// `index.html` and the service worker, which name the others.
pub(crate) fn finish(shell: &Shell, page: &Path) -> anyhow::Result<()> {
    let (first, headline) = first_answer()?;
    fs::write(page.join(FIRST), first)?;
    let source = fs::read_to_string(shell.root.join("index.html")).context("cannot read index.html")?;
    let [main, on_demand @ ..] = &MODULES;
    let parts_of_page = parts(page)?;
    let files = [START, LINKS, STYLE, FIRST].map(str::to_owned).into_iter();
    let modules = MODULES.iter().flat_map(|module| [module.script(), module.wasm()]);
    let files: Vec<_> = files.chain(modules).chain(parts_of_page.iter().cloned()).collect();
    let mut parts = vec![source.clone().into_bytes(), headline.clone().into_bytes()];
    for name in files.iter().map(String::as_str).chain([SERVICE_WORKER]) {
        parts.push(fs::read(page.join(name))?);
    }
    let version = digest(&parts);
    for name in &files {
        fs::rename(page.join(name), page.join(versioned(name, &version)))?;
    }
    let named = |name: &str| versioned(name, &version);
    // These two name files; all other scripts are told names by `start.js`. The module itself knows its imports by what
    // they were called before.
    for script in [LINKS, &main.script()] {
        let path = page.join(named(script));
        let mut text = fs::read_to_string(&path)?;
        for name in [LINKS, &main.script()].into_iter().chain(parts_of_page.iter().map(String::as_str)) {
            for before in ["from", "from ", "URL("] {
                text = text.replace(&format!("{before}\"./{name}\""), &format!("{before}\"./{}\"", named(name)));
            }
        }
        fs::write(path, text)?;
    }

    let mut html = Vec::new();
    let mut in_comment = false;
    for line in source.lines() {
        in_comment |= line.trim_start().starts_with("<!--");
        // What trunk replaces, we replace in the same way.
        if in_comment {
            in_comment = !line.contains("-->");
        } else if line.contains("data-trunk-public-url") {
            html.push("  <base href=\"./\">".to_owned());
        } else if line.contains("data-trunk") && line.contains("rel=\"css\"") {
            html.push(format!("  <link rel=\"stylesheet\" href=\"./{}\">", named(STYLE)));
        } else if line.contains("data-trunk") && line.contains("rel=\"copy-file\"") {
            // Copied when the page was assembled.
        } else if line.contains(START) {
            html.push(line.replace(START, &format!("./{}", named(START))));
            // Fetched at once, not when the script asks for them.
            html.push(format!(
                "  <link rel=\"modulepreload\" href=\"./{}\">\n  <link rel=\"modulepreload\" href=\"./{}\">\n  \
                 <link rel=\"preload\" href=\"./{}\" crossorigin as=\"fetch\" type=\"application/wasm\">\n  \
                 <link id=\"first\" rel=\"preload\" href=\"./{}\" crossorigin as=\"fetch\">",
                named(&main.script()),
                named(LINKS),
                named(&main.wasm()),
                named(FIRST)
            ));
        } else if line.contains("data-trunk") && line.contains("rel=\"rust\"") {
            // Loaded by the page's script, or when it is needed.
        } else if line.contains("id=\"standing\"") {
            html.push(line.replace("><", &format!(">{headline}<")));
        } else if line.contains("data-trunk") {
            bail!("index.html: xtask does not know what trunk makes of: {}", line.trim());
        } else {
            html.push(line.to_owned());
        }
    }
    fs::write(page.join(INDEX), html.join("\n") + "\n")?;

    // What each visit needs, and what is loaded on demand: the worker is, but runs everything.
    let rest: Vec<_> = on_demand.iter().filter(|module| module.name != WORKER).collect();
    let later = parts_of_page.into_iter().filter(|name| !AT_ONCE.iter().any(|start| name.starts_with(start)));
    let rest = rest.iter().flat_map(|module| [module.script(), module.wasm()]).chain(later);
    let rest: Vec<_> = rest.map(|name| named(&name)).collect();
    let first: Vec<_> = files.iter().map(|name| named(name)).filter(|name| !rest.contains(name)).collect();
    let service_worker = fs::read_to_string(page.join(SERVICE_WORKER))?;
    let constants = format!("const VERSION = {version:?}, FIRST = {first:?}, REST = {rest:?};\n");
    fs::write(page.join(SERVICE_WORKER), constants + &service_worker)?;
    Ok(())
}

/// The parts of the page that are loaded on demand, by the names of their files.
fn parts(page: &Path) -> anyhow::Result<Vec<String>> {
    let names = fs::read_dir(page)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<anyhow::Result<Vec<_>>>()?;
    let part = |name: &String| PARTS.iter().any(|start| name.starts_with(start)) && name.ends_with(".wasm");
    let mut parts: Vec<_> = names.into_iter().filter(part).collect();
    parts.sort_unstable();
    Ok(parts)
}

/// `name` with `version` at its end, before what follows the name of a module.
fn versioned(name: &str, version: &str) -> String {
    let (stem, ending) = name.split_at(name.find("_bg.").or_else(|| name.rfind('.')).unwrap_or(name.len()));
    format!("{stem}-{version}{ending}")
}

/// Packs every file with gzip and Brotli, as small as they get, into files beside it, so that no server need do it anew for
/// each request.
pub(crate) fn pack(page: &Path) -> anyhow::Result<()> {
    let names = fs::read_dir(page)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    for path in names {
        let bytes = fs::read(&path)?;
        let packed = |ending: &str| {
            let mut name = path.clone().into_os_string();
            name.push(ending);
            fs::File::create(name)
        };
        let mut gzip = GzEncoder::new(packed(GZIP)?, Compression::best());
        gzip.write_all(&bytes)?;
        gzip.finish()?;
        let best = BrotliEncoderParams { size_hint: bytes.len(), ..BrotliEncoderParams::default() };
        brotli::BrotliCompress(&mut bytes.as_slice(), &mut packed(BROTLI)?, &best)?;
    }
    Ok(())
}

/// The answer that a first visitor sees, made here so that nothing need be computed before it is seen: the default recipe
/// and its outcome as the page reads them, and what it comes to.
fn first_answer() -> anyhow::Result<(Vec<u8>, String)> {
    let recipe = Recipe::default();
    let mut outcome = run(&Recipe { curve: Some(Grid::default()), ..recipe.clone() }, &mut Unattended)?;
    let curves = outcome.curve.take().context("there are no curves")?;
    let sparks = SCENARIOS.iter().map(|scenario| spark(&scenario.recipe())).collect::<anyhow::Result<Sparks>>()?;
    let bytes = postcard::to_allocvec(&(recipe.to_json()?, &outcome, &curves, &sparks))?;
    // The page and its worker speak postcard, in which no field may be left out.
    let read: (String, Outcome, Curves, Sparks) =
        postcard::from_bytes(&bytes).context("the page could not read an outcome")?;
    let same = serde_json::to_string(&read.1)? == serde_json::to_string(&outcome)?;
    anyhow::ensure!(same, "the page would read another outcome than was written");
    Ok((bytes, outcome.headline))
}

/// What every scenario misses as memory grows: beside its question on the page.
type Sparks = Vec<Vec<u8>>;

/// Capacities of a [`spark`].
const SPARK_POINTS: u32 = 14;

/// Bytes missed in 255ths of the bytes requested, by the best policy of an experiment that does not know the future, as
/// memory grows.
fn spark(recipe: &Recipe) -> anyhow::Result<Vec<u8>> {
    let policies = recipe.policies.iter().filter(|policy| policy.info().knows != Knows::Future).cloned().collect();
    let curve = Some(Grid { points: SPARK_POINTS, capacities: Vec::new() });
    let asked = Recipe { policies, bounds: false, curve, ..recipe.clone() };
    let curves = run(&asked, &mut Unattended)?.curve.context("there are no curves")?;
    let points = curves.curves.first().map_or(0, |curve| curve.points.len());
    let least = |at: usize| curves.curves.iter().map(|curve| curve.points[at].byte_miss_ratio).fold(1.0, f64::min);
    Ok((0..points).map(|at| (255.0 * least(at)).round() as u8).collect())
}

/// Prints what each module, and the first visit, takes once packed; fails where a module is over its budget.
pub(crate) fn weigh(page: &Path) -> anyhow::Result<()> {
    let names = fs::read_dir(page)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<anyhow::Result<Vec<_>>>()?;
    // Bytes of the files that begin with one of `names`, packed as `ending` says.
    let bytes = |wanted: &[&str], ending: &str| -> anyhow::Result<u64> {
        let files = names.iter().filter(|name| name.ends_with(ending) && wanted.iter().any(|w| name.starts_with(w)));
        files.map(|name| Ok(fs::metadata(page.join(name))?.len())).sum()
    };
    let line = |what: &str, wanted: &[&str]| -> anyhow::Result<(u64, String)> {
        let (gzip, brotli) = (bytes(wanted, GZIP)?, bytes(wanted, BROTLI)?);
        let kilobytes = |bytes: u64| bytes as f64 / 1000.0;
        Ok((gzip, format!("{what}: {:.1} KB gzipped, {:.1} KB by Brotli", kilobytes(gzip), kilobytes(brotli))))
    };
    let mut over = Vec::new();
    for module in &MODULES {
        let (gzip, line) = line(module.what, &[module.name])?;
        let line = format!("{line} (budget: {:.0} gzipped)", module.budget as f64 / 1000.0);
        println!("  {line}");
        if gzip > module.budget {
            over.push(line);
        }
    }
    println!("  {}", line("parts of the page, loaded on demand", &PARTS)?.1);
    let [main, ..] = &MODULES;
    let visit = [INDEX, START, LINKS, STYLE, FIRST].map(|name| name.split('.').next().unwrap_or(name));
    println!("  {}", line("first visit in all", &[&visit[..], &[main.name]].concat())?.1);
    if !over.is_empty() {
        bail!(
            "over budget: {}. Make it smaller, or raise the budget in xtask/src/page.rs and say why",
            over.join("; ")
        );
    }
    Ok(())
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

/// Shortens `file`, a script or a style sheet, in place.
fn shorten(shell: &Shell, esbuild: &Path, file: &Path) -> anyhow::Result<()> {
    let options = ["--minify", "--format=esm", "--allow-overwrite", "--log-level=warning"];
    let out = format!("--outfile={}", file.display());
    shell.command(esbuild).arg(file).args(options).arg(out).run()
}
