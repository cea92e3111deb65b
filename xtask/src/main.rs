//! `cargo xtask`: sets up what is missing, builds, serves, tests. Every command may be repeated, and is
//! quick when there is nothing to do.

mod build;
mod shell;
mod tools;

use std::path::Path;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::build::{build_binaries, build_page, dist};
use crate::shell::{Run, Shell, step};
use crate::tools::Tools;

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
    /// Measure the engine, then the page in a browser; or `serve`: the server under a minute of load; or `model`: the
    /// local model against llama.cpp.
    Bench {
        /// `serve`, `model`, or arguments for the engine's benchmark, such as a name to filter by.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        divan: Vec<String>,
    },
    /// Fuzz the engine and every importer. Needs a nightly compiler and `cargo install cargo-fuzz`.
    Fuzz {
        /// For how long each, in seconds.
        #[arg(default_value_t = 60)]
        seconds: u32,
        /// Only this target.
        target: Option<String>,
    },
    /// Check formatting, lints and documentation.
    Lint,
    /// Put the static page and the release binaries into dist/.
    Dist,
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
        Command::Bench { divan } => bench(&shell, &divan),
        Command::Fuzz { seconds, target } => fuzz(&shell, seconds, target.as_deref()),
        Command::Lint => lint(&shell),
        Command::Dist => dist(&shell, &Tools::for_the_page(&shell)?),
    }
}

fn serve(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let page = build_page(shell, &Tools::for_the_page(shell)?)?;
    let server = build_binaries(shell)?.join(exe("infer-server"));
    println!("→ serving at http://127.0.0.1:8000 unless told otherwise (Ctrl-C stops)");
    shell.command(&server).arg("--page").arg(&page).args(arguments).run()
}

/// What runs in a browser: `cargo` with the page built and the browser found.
fn in_a_browser(shell: &Shell, cargo: &[&str]) -> anyhow::Result<Run> {
    let tools = Tools::for_the_page(shell)?;
    let browser = tools::browser(shell)?;
    let page = build_page(shell, &tools)?;
    let run = shell.cargo(cargo.iter().copied()).env("ACCEL_PAGE", &page);
    Ok(run.env("CHROME", &browser.chrome).env("CHROMEDRIVER", &browser.driver))
}

fn test(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let cargo = [
        "test",
        "--workspace",
        "--exclude",
        "accel-app",
        "--exclude",
        "accel-extra",
        "--exclude",
        "accel-kernel-page",
        "--exclude",
        "accel-ui",
        "--features",
        "accel-tests/browser",
    ];
    let run = in_a_browser(shell, &cargo)?;
    step("testing", || run.args(arguments).run())
}

fn bench(shell: &Shell, divan: &[String]) -> anyhow::Result<()> {
    if divan == ["serve"] {
        let load = [
            "test",
            "--package",
            "infer-server",
            "--test",
            "load",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ];
        return step("loading the server", || shell.cargo(load).run());
    }
    if divan == ["model"] {
        let model = ["bench", "--package", "accel-model", "--bench", "model"];
        return step("measuring the local model", || shell.cargo(model).run());
    }
    for (package, bench) in
        [("accel-core", "policies"), ("accel-core", "engine"), ("accel-core", "import"), ("accel-kernel", "kernel")]
    {
        let core = ["bench", "--package", package, "--bench", bench, "--"];
        step("measuring the engine", || shell.cargo(core).args(divan).run())?;
    }
    let run = in_a_browser(shell, &["bench", "--package", "accel-tests", "--features", "browser", "--bench", "page"])?;
    step("measuring the page", || run.run())
}

/// What is fuzzed: the engine, and every reader of what others wrote.
const FUZZ_TARGETS: [&str; 16] = [
    "engine",
    "prototype_csv",
    "prototype_json",
    "csv",
    "oracle_general",
    "moe_routing",
    "safetensors",
    "gguf",
    "pytorch_et",
    "kineto",
    "chakra",
    "onnx",
    "scale_sim",
    "kernel_c",
    "config",
    "kernel_python",
];

fn fuzz(shell: &Shell, seconds: u32, only: Option<&str>) -> anyhow::Result<()> {
    let time = format!("-max_total_time={seconds}");
    for target in FUZZ_TARGETS.into_iter().filter(|target| only.is_none_or(|only| only == *target)) {
        // The pinned toolchain of the project must not win over nightly.
        let run = shell.command("rustup").args(["run", "nightly", "cargo", "fuzz", "run", target, "--", &time]);
        step(&format!("fuzzing {target}"), || run.run())
            .context("if the tool is missing: rustup toolchain install nightly, and cargo install cargo-fuzz")?;
    }
    Ok(())
}

fn lint(shell: &Shell) -> anyhow::Result<()> {
    tools::wasm_target(shell)?;
    step("checking the format", || shell.cargo(["fmt", "--all", "--check"]).run())?;
    step("checking the native crates", || {
        let native = [
            "clippy",
            "--workspace",
            "--exclude",
            "accel-app",
            "--exclude",
            "accel-extra",
            "--exclude",
            "accel-kernel-page",
            "--exclude",
            "accel-ui",
            "--all-targets",
            "--features",
            "accel-tests/browser",
        ];
        shell.cargo(native).args(["--", "--deny", "warnings"]).run()
    })?;
    step("checking the page", || {
        let page = ["accel-ui", "accel-app", "accel-extra", "accel-kernel-page"]
            .into_iter()
            .flat_map(|name| ["--package", name]);
        shell
            .cargo(["clippy"].into_iter().chain(page))
            .args(["--target", tools::WASM])
            .args(["--", "--deny", "warnings"])
            .run()
    })?;
    step("checking the documentation", || {
        let doc = [
            "doc",
            "--workspace",
            "--exclude",
            "accel-app",
            "--exclude",
            "accel-extra",
            "--exclude",
            "accel-kernel-page",
            "--exclude",
            "accel-ui",
            "--no-deps",
            "--document-private-items",
        ];
        shell.cargo(doc).env("RUSTDOCFLAGS", "--deny warnings").run()
    })
}

/// The file name of a program on this system.
fn exe(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}
