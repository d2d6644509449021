//! `offhook completions SHELL`: what the shell needs to complete our commands.

use clap::CommandFactory;

use super::CommandLine;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// bash, zsh, fish, elvish or powershell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "offhook", &mut script);
    super::output::print(&String::from_utf8_lossy(&script));
}
