//! The server and what prepares its models.

mod config_file;
mod options;
mod serve;
mod stop;

use std::process::ExitCode;

use accel_model::{fetch, quantize};
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use infer_server::logs::{self, LogFormat};

/// The page, the prototype's REST API, the recipes and a language model that scores evictions, served from one machine.
#[derive(Debug, Parser)]
#[command(name = "infer-server", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: options::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves; so does the program without a command.
    Serve(Box<options::Args>),
    /// Makes a 4-bit GGUF of a Hugging Face model.
    Quantize(quantize::Args),
    /// Downloads a model from the Hugging Face hub; the default one where none is named.
    Fetch(fetch::Args),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments = config_file::with_file(std::env::args_os().collect(), &Cli::command())?;
    let cli = Cli::parse_from(arguments);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the threads that serve")?;
    let outcome = runtime.block_on(dispatch(cli));
    // What still computes has nobody left to answer to, and must not hold the process up.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => serve::run(cli.serve).await,
        Some(Command::Serve(args)) => serve::run(*args).await,
        Some(Command::Quantize(options)) => {
            logs::start(LogFormat::Text);
            println!("{}", quantize::run(&options)?);
            Ok(())
        }
        Some(Command::Fetch(options)) => {
            logs::start(LogFormat::Text);
            let fetched = fetch::run(&options).await?;
            println!("{} ({} bytes, SHA-256 {})", fetched.path.display(), fetched.bytes, fetched.sha256);
            Ok(())
        }
    }
}
