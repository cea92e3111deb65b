//! `accel`: what should stay in fast memory, from the command line.

use std::io::Write as _;
use std::process::ExitCode;

use accel_cli::Cli;
use clap::Parser as _;

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let cli = Cli::parse();
    let failure = cli.failure();
    let result = accel_cli::run(cli, &mut out).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    match result {
        Ok(code) => code,
        // Whoever reads our output has had enough (`accel … | head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            failure
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    use std::io;
    // An error of serde_json does not show the error inside it.
    let kind = |e: &(dyn std::error::Error + 'static)| match e.downcast_ref::<serde_json::Error>() {
        Some(json) => json.io_error_kind(),
        None => e.downcast_ref::<io::Error>().map(io::Error::kind),
    };
    error.chain().find_map(kind) == Some(io::ErrorKind::BrokenPipe)
}
