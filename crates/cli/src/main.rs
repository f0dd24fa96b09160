//! The `bftap` command: arguments, configuration, and one file a subcommand around the crates that do the work.

mod args;
mod cmd;
mod config;
mod exit;
#[cfg(test)]
mod golden;
mod inputs;
mod json;
mod key_sources;
mod nearest;
mod nodes;
mod progress;
mod report;
mod run_name;
mod settings;
mod term;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command, KeysCommand};
use exit::Status;
use term::{Level, is_closed_pipe, tell};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(status) => status.into(),
        // Whoever read our output has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell(Level::Error, &format!("{error:#}"));
            exit::code_of(&error)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Status> {
    match cli.command {
        Command::Analyze(args) => cmd::analyze::run(&args),
        Command::Messages(args) => cmd::messages::run(&args),
        Command::Decode(args) => cmd::decode::run(&args),
        Command::Keys(KeysCommand::Check(args)) => cmd::keys::check(&args),
        Command::Simulate(args) => cmd::simulate::run(&args),
    }
}
