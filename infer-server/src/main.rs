//! The server and what prepares its models.

mod serve;

use std::process::ExitCode;

use accel_model::{fetch, quantize};
use clap::{Parser, Subcommand};

/// The page, the prototype's REST API, the recipes and a language model that scores evictions, served from one machine.
#[derive(Debug, Parser)]
#[command(name = "infer-server", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves; so does the program without a command.
    Serve(Box<serve::Args>),
    /// Makes a 4-bit GGUF of a Hugging Face model.
    Quantize(quantize::Args),
    /// Downloads a model from the Hugging Face hub; the default one where none is named.
    Fetch(fetch::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => serve::run(cli.serve).await,
        Some(Command::Serve(args)) => serve::run(*args).await,
        Some(Command::Quantize(options)) => {
            serve::start_logs(serve::LogFormat::Text);
            println!("{}", quantize::run(&options)?);
            Ok(())
        }
        Some(Command::Fetch(options)) => {
            serve::start_logs(serve::LogFormat::Text);
            let fetched = fetch::run(&options).await?;
            println!("{} ({} bytes, SHA-256 {})", fetched.path.display(), fetched.bytes, fetched.sha256);
            Ok(())
        }
    }
}
