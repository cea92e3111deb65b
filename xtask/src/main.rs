//! `cargo xtask`: sets up what is missing, builds, serves, tests. Every command may be repeated, and is
//! quick when there is nothing to do.

mod contract;
mod page;
mod python;
mod shell;
mod steps;
mod test_log;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use crate::page::Build;
use crate::shell::{Run, Shell};
use crate::steps::{Step, Steps};
use crate::tools::{Browser, Optimisers};

#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the page and the server, and serve both at http://127.0.0.1:8000.
    Serve {
        /// Arguments for the server, such as --port 9000.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        server: Vec<String>,
    },
    /// Run every test, those in a browser included.
    Test {
        /// Arguments for `cargo test`, such as the name of a test.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        cargo: Vec<String>,
    },
    /// Build the wheel of the Python package and run its tests.
    Python {
        /// Arguments for pytest, such as -k dask.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        pytest: Vec<String>,
    },
    /// Test the contract of the REST API: its OpenAPI document, a client made of it, and requests made of it.
    Contract {
        /// Arguments for pytest, such as -k client.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        pytest: Vec<String>,
    },
    /// Measure the engine, then the page in a browser; or `simulate`: the command line as a whole process against
    /// libCacheSim; or `serve`: the server under a minute of load; or `model`: the local model against llama.cpp.
    Bench {
        /// `simulate`, `serve`, `model`, `throughput`, or arguments for the engine's benchmark, such as a name to filter by.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        divan: Vec<String>,
    },
    /// Measure what every policy and every scorer is worth: writes docs/evaluation.md, its plots and its table. What was
    /// measured before and has not changed is taken from the build outputs.
    Eval {
        /// Arguments such as --only decode; --help lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        trainer: Vec<String>,
    },
    /// Fuzz the engine and every importer. Needs a nightly compiler and `cargo install cargo-fuzz`.
    Fuzz {
        /// For how long each, in seconds.
        #[arg(default_value_t = 60)]
        seconds: u32,
        /// Only this target (engine, import, kernel_c, kernel_python), or only this format of files, such as onnx.
        target: Option<String>,
    },
    /// Check formatting, lints and documentation.
    Lint,
    /// Put the static page and the release binaries into dist/.
    Dist {
        /// Only the page.
        #[arg(long)]
        page: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // xtask lies one folder below the root of the project.
    // Asked when it runs, not when it is compiled: checkouts may share their build outputs.
    let here = std::env::var("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
    let root = Path::new(&here).parent().context("xtask has no parent folder")?;
    let shell = Shell::new(root);
    match cli.command {
        Command::Serve { server } => serve(&shell, &server),
        Command::Test { cargo } => test(&shell, &cargo),
        Command::Python { pytest } => python::test(&shell, &pytest),
        Command::Contract { pytest } => {
            contract::build(&shell)?;
            contract::test(&shell, &pytest)
        }
        Command::Bench { divan } => bench(&shell, &divan),
        Command::Eval { trainer } => shell
            .cargo(["run", "--release", "--package", "accel-trainer", "--no-default-features", "--", "eval"])
            .args(&trainer)
            .run(),
        Command::Fuzz { seconds, target } => fuzz(&shell, seconds, target.as_deref()),
        Command::Lint => lint(&shell),
        Command::Dist { page } => dist(&shell, page),
    }
}

/// The steps that build the page to be looked at soon.
const QUICK_PAGE: [Step; 2] = [Step("compiling the page", 105.0), Step("assembling the page", 2.0)];
/// The steps that build the page to be hosted.
const SMALL_PAGE: [Step; 4] = [
    Step("compiling the page, as small as it gets", 600.0),
    Step("assembling the page", 5.0),
    Step("optimising the page", 180.0),
    Step("packing the page", 20.0),
];

/// Builds the page and returns its folder.
fn build_page(shell: &Shell, steps: &mut Steps, build: Build) -> anyhow::Result<PathBuf> {
    let compiled = steps.next(|| {
        tools::wasm_target(shell)?;
        page::compile(shell, build)
    })?;
    let page = steps.next(|| page::assemble(shell, &compiled, build))?;
    if build == Build::Small {
        steps.next(|| page::optimise(shell, &Optimisers::find(shell)?, &page))?;
    }
    page::finish(shell, &page)?;
    if build == Build::Small {
        steps.next(|| page::pack(&page))?;
        page::weigh(&page)?;
    }
    Ok(page)
}

fn serve(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let mut steps = Steps::new([&QUICK_PAGE[..], &[Step("compiling the server", 130.0)]].concat());
    let page = build_page(shell, &mut steps, Build::Quick)?;
    // The local model takes longer to compile than all the rest, and must be fast: only those wait for it who ask for it.
    let model = wants_a_model(arguments);
    let how: &[&str] = if model { &["--release"] } else { &["--profile", "quick", "--no-default-features"] };
    steps.next(|| shell.cargo(["build", "--locked", "--package", "infer-server"]).args(how).run())?;
    println!("serving at http://127.0.0.1:8000 unless --host or --port says otherwise (Ctrl-C stops)");
    let server = shell.target().join(if model { "release" } else { "quick" }).join(exe("infer-server"));
    shell.command(&server).arg("--page").arg(&page).args(arguments).run()
}

/// Whether the server is asked for the local model.
fn wants_a_model(arguments: &[String]) -> bool {
    let flag = |argument: &String| argument == "--model" || argument.starts_with("--model=");
    std::env::var_os("ACCEL_MODEL").is_some() || arguments.iter().any(flag)
}

/// `cargo` with the page in `page` and a browser to look at it.
fn in_a_browser(shell: &Shell, page: &Path, browser: &Browser, cargo: &[&str]) -> Run {
    let run = shell.cargo(cargo.iter().copied()).env("ACCEL_PAGE", page);
    let run = run.env("CHROME", &browser.chrome).env("CHROMEDRIVER", &browser.driver);
    let run = match &browser.firefox {
        Some([firefox, driver]) => run.env("FIREFOX", firefox).env("GECKODRIVER", driver),
        None => run,
    };
    match &browser.axe {
        Some(axe) => run.env("ACCEL_AXE", axe),
        None => run,
    }
}

/// The crates that only a browser runs, left out of what is native.
fn native(command: &'static str) -> Vec<&'static str> {
    let page = page::crates().flat_map(|name| ["--exclude", name]);
    // What a test of it would link to is an interpreter: `python` runs its tests.
    let python = (command == "test").then_some(["--exclude", "accel-python"]);
    [command, "--workspace"].into_iter().chain(page).chain(python.into_iter().flatten()).collect()
}

fn test(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let [compile, assemble] = QUICK_PAGE;
    let mut steps = Steps::new([
        Step("looking for a browser", 30.0),
        compile,
        assemble,
        Step("compiling the tests", 300.0),
        Step("testing", 240.0),
        Step("testing the REST contract", 150.0),
        Step("testing the Python package", 360.0),
    ]);
    let browser = steps.next(|| tools::browser(shell))?;
    let page = build_page(shell, &mut steps, Build::Quick)?;
    let mut cargo = native("test");
    // Every test runs, and those that failed are listed at the end.
    cargo.extend(["--locked", "--no-fail-fast", "--features", "accel-tests/browser"]);
    let no_run = [&cargo[..], &["--no-run"]].concat();
    let (before, _) = arguments.split_at(arguments.iter().position(|a| a == "--").unwrap_or(arguments.len()));
    steps.next(|| {
        // Examples in the documentation cannot be compiled without being run.
        if before.iter().any(|argument| argument == "--doc") {
            return Ok(());
        }
        in_a_browser(shell, &page, &browser, &no_run).args(before).run()
    })?;
    steps.next(|| {
        let run = in_a_browser(shell, &page, &browser, &cargo);
        // Whoever names other tests does without; whoever names these asks the largest model, too.
        let named = arguments.iter().any(|argument| argument.contains("engines"));
        let wanted = named || arguments.is_empty();
        let run = match wanted.then(|| python::engines(shell)).flatten() {
            Some(python) if named => run.env("ACCEL_ENGINES", python).env("ACCEL_ENGINES_ALL", "1"),
            Some(python) => run.env("ACCEL_ENGINES", python),
            None => run,
        };
        run.args(arguments).run_tests(&shell.target().join("skipped.txt"))
    })?;
    // Whoever names tests means those of the crates.
    if !arguments.is_empty() {
        return Ok(());
    }
    // The tests above built the server, as one of them starts it.
    steps.next(|| contract::test(shell, &[]))?;
    steps.next(|| python::test(shell, &[]))
}

fn bench(shell: &Shell, divan: &[String]) -> anyhow::Result<()> {
    if divan == ["serve"] {
        let load = [
            "test",
            "--release",
            "--package",
            "infer-server",
            "--test",
            "it",
            "--",
            "load::",
            "kill::",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ];
        return shell.cargo(load).run();
    }
    if let ["simulate", rest @ ..] = &divan.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let bench = ["bench", "--package", "accel-cli", "--bench", "simulate", "--"];
        return shell.cargo(bench).args(rest.iter().copied()).run();
    }
    if divan == ["model"] {
        return shell.cargo(["bench", "--package", "accel-model", "--bench", "model"]).run();
    }
    if divan == ["throughput"] {
        return shell.cargo(["bench", "--package", "infer-server", "--bench", "throughput"]).run();
    }
    let browser = tools::browser(shell)?;
    for (package, bench) in
        [("accel-core", "policies"), ("accel-core", "engine"), ("accel-core", "import"), ("accel-kernel", "kernel")]
    {
        shell.cargo(["bench", "--package", package, "--bench", bench, "--"]).args(divan).run()?;
    }
    let page = build_page(shell, &mut Steps::new(SMALL_PAGE), Build::Small)?;
    let cargo = ["bench", "--package", "accel-tests", "--features", "browser", "--bench", "page"];
    in_a_browser(shell, &page, &browser, &cargo).run()
}

/// What is fuzzed: the engine, every importer, and both readers of source code.
const FUZZ_TARGETS: [&str; 5] = ["engine", "import", "kernel_c", "kernel_python", "tiling"];

fn fuzz(shell: &Shell, seconds: u32, only: Option<&str>) -> anyhow::Result<()> {
    let time = format!("-max_total_time={seconds}");
    let targets = FUZZ_TARGETS.into_iter().filter(|target| only.is_none_or(|only| only == *target)).collect::<Vec<_>>();
    // Any other name is that of a format, which the importers' target checks.
    let (targets, format) = if targets.is_empty() { (vec!["import"], only) } else { (targets, None) };
    for target in targets {
        println!("fuzzing {}", format.unwrap_or(target));
        // The pinned toolchain of the project must not win over nightly.
        let mut run = shell.command("rustup").args(["run", "nightly", "cargo", "fuzz", "run", target, "--", &time]);
        if let Some(format) = format {
            run = run.env("ACCEL_FUZZ_FORMAT", format);
        }
        run.run().context("if the tool is missing: rustup toolchain install nightly, and cargo install cargo-fuzz")?;
    }
    Ok(())
}

fn lint(shell: &Shell) -> anyhow::Result<()> {
    let mut steps = Steps::new([
        Step("checking the format", 90.0),
        Step("checking the native crates", 150.0),
        Step("checking the page", 90.0),
        Step("checking the documentation", 60.0),
    ]);
    steps.next(|| {
        shell.cargo(["fmt", "--all", "--check"]).run()?;
        shell.command(tools::leptosfmt(shell)?).args(["--check", "--quiet", "app"]).run()
    })?;
    steps.next(|| {
        let mut clippy = native("clippy");
        clippy.extend(["--locked", "--all-targets", "--features", "accel-tests/browser"]);
        shell.cargo(clippy).args(["--", "--deny", "warnings"]).run()
    })?;
    steps.next(|| {
        tools::wasm_target(shell)?;
        let page = page::crates().flat_map(|name| ["--package", name]);
        let clippy = ["clippy", "--locked", "--target", tools::WASM].into_iter().chain(page);
        shell.cargo(clippy).args(["--", "--deny", "warnings"]).run()
    })?;
    steps.next(|| {
        let mut doc = native("doc");
        doc.extend(["--locked", "--no-deps", "--document-private-items"]);
        shell.cargo(doc).env("RUSTDOCFLAGS", "--deny warnings").run()
    })
}

/// Puts the page and the programs into `dist/`.
fn dist(shell: &Shell, only_the_page: bool) -> anyhow::Result<()> {
    let programs = Step("compiling the server and the command line", 900.0);
    let steps = SMALL_PAGE.into_iter().chain((!only_the_page).then_some(programs));
    let mut steps = Steps::new(steps);
    let page = build_page(shell, &mut steps, Build::Small)?;
    let dist = shell.root.join("dist");
    if dist.is_dir() {
        fs::remove_dir_all(&dist).context("cannot empty dist/")?;
    }
    copy_all(&page, &dist.join("page"))?;
    println!("      dist/page is the static page: any file server can host it, from any folder.");
    if only_the_page {
        return Ok(());
    }
    steps.next(|| {
        shell.cargo(["build", "--release", "--locked", "--package", "infer-server", "--package", "accel-cli"]).run()
    })?;
    let bin = dist.join("bin");
    fs::create_dir_all(&bin)?;
    for name in ["accel", "infer-server"] {
        let built = shell.target().join("release").join(exe(name));
        if !built.is_file() {
            bail!("{} was not built", built.display());
        }
        fs::copy(built, bin.join(exe(name)))?;
    }
    println!("      dist/bin/infer-server serves it together with the API; dist/bin/accel is the command line.");
    Ok(())
}

/// Copies the files of a folder.
fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The file name of a program on this system.
fn exe(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}
