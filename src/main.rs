//! Parses the command line, runs the command, turns its failure into words and an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    offhook::cli::main()
}
