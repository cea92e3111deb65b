//! The server and what prepares its models.

mod serve;

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
    /// Serve; also without the word.
    Serve(Box<serve::Args>),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(*args),
    }
}
