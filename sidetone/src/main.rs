//! `sidetone`: see `sidetone --help`.

use std::process::ExitCode;

use clap::Parser;
use sidetone::cli::{Cli, EX_USAGE, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            let _ = answer.print();
            return if answer.use_stderr() { EX_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let Failure { code, error } = failure;
            eprintln!("sidetone: {error:#}");
            ExitCode::from(code)
        }
    }
}
