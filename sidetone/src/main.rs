//! `sidetone`: see `sidetone --help`.

use std::process::ExitCode;

use clap::Parser;
use sidetone::cli::{Cli, Failure};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let Failure { code, error } = failure;
            eprintln!("sidetone: {error:#}");
            ExitCode::from(code)
        }
    }
}
