//! The `bftap` command: arguments, configuration, and one file a subcommand around the crates that do the work.

#[cfg(target_os = "linux")]
mod admin;
mod args;
mod clock;
mod cmd;
mod config;
mod diff;
mod events_out;
mod exit;
mod export;
#[cfg(test)]
mod golden;
#[cfg(target_os = "linux")]
mod guarding;
mod inputs;
mod interrupt;
mod json;
mod json_out;
mod key_sources;
mod live_keys;
#[cfg(target_os = "linux")]
mod live_view;
mod metrics;
mod nearest;
mod nodes;
mod page;
mod policy;
#[cfg(target_os = "linux")]
mod privileges;
mod progress;
#[cfg(target_os = "linux")]
mod raw_out;
mod report;
mod results;
mod run_name;
mod selection;
mod settings;
mod store_url;
mod store_watch;
mod term;
mod until_told;
mod whole_file;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command, KeysCommand};
use exit::Status;
use term::{Level, is_closed_pipe, tell};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    match run(cli) {
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
        Command::Evidence(args) => cmd::evidence::run(&args),
        Command::Keys(KeysCommand::Init(args)) => cmd::keys_init::run(&args),
        Command::Keys(KeysCommand::Check(args)) => cmd::keys::check(&args),
        #[cfg(target_os = "linux")]
        Command::Guard(command) => cmd::guard::run(&command),
        #[cfg(target_os = "linux")]
        Command::Lab(command) => cmd::lab::run(&command),
        #[cfg(target_os = "linux")]
        Command::LabNode(args) => cmd::lab_node::run(&args),
        #[cfg(target_os = "linux")]
        Command::Live(args) => cmd::live::run(&args),
        Command::Keys(KeysCommand::Ship(args)) => cmd::keys_ship::run(&args),
        Command::Keys(KeysCommand::Receive(args)) => cmd::keys_receive::run(&args),
        Command::Simulate(args) => cmd::simulate::run(&args),
        Command::Store(command) => cmd::store::run(&command),
        Command::Report(args) => cmd::report::run(&args),
        Command::Export(args) => cmd::export::run(&args),
        Command::Diff(args) => cmd::diff::run(&args),
        Command::Web(args) => cmd::web::run(&args),
    }
}

/// Help and version go where they belong; what cannot be parsed is told like every other problem.
fn not_understood(error: &clap::Error) -> ExitCode {
    match error.render().to_string().strip_prefix("error: ") {
        Some(text) => tell(Level::Error, text.trim_end()),
        // A closed standard output is nobody's problem here.
        None => drop(error.print()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
