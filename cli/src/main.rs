//! `accel`: what should stay in fast memory, from the command line.

use std::io::Write as _;
use std::process::ExitCode;

use accel_cli::Cli;
use clap::Parser as _;

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let result = accel_cli::run(Cli::parse(), &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough (`accel … | head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|e| e.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
