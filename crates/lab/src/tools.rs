//! Other programs: run to their end, with their own words when they fail.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error(
        "there is no `{program}` on this machine: scripts/setup --lab installs what a lab needs (on Debian: {package})"
    )]
    Missing {
        /// The program.
        program: String,
        /// Where it comes from.
        package: &'static str,
    },
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error("{command}: {said}")]
    Failed {
        /// Program and arguments.
        command: String,
        /// What it said.
        said: String,
    },
}

/// Runs a program to its end; gives what it wrote.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, ToolError> {
    output(command(program)?.args(arguments))
}

/// A program, if it is installed. `sbin` counts, whoever's PATH this is.
pub(crate) fn command(program: &str) -> Result<Command, ToolError> {
    let path = find(program).ok_or_else(|| ToolError::Missing {
        program: program.to_owned(),
        package: package(program),
    })?;
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    Ok(command)
}

/// Runs a prepared command to its end.
pub(crate) fn output(command: &mut Command) -> Result<String, ToolError> {
    let shown = |command: &Command| {
        let program = PathBuf::from(command.get_program());
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let words = command.get_args().map(OsStr::to_string_lossy);
        std::iter::once(name.into())
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let output = command.output().map_err(|source| ToolError::Start {
        program: shown(command),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ToolError::Failed {
        command: shown(command),
        said: if said.is_empty() {
            output.status.to_string()
        } else {
            said
        },
    })
}

/// Says which of these programs is missing.
pub(crate) fn require(programs: &[&str]) -> Result<(), ToolError> {
    programs.iter().try_for_each(|program| command(program).map(drop))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn package(program: &str) -> &'static str {
    match program {
        "ovs-testcontroller" => "openvswitch-testcontroller",
        "ethtool" => "ethtool",
        "ip" => "iproute2",
        _ => "openvswitch-switch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_was_said() {
        let error = run("ls", &["/nowhere/at/all"]).unwrap_err().to_string();
        assert!(error.starts_with("ls /nowhere/at/all: "), "{error}");
        let error = run("no-such-program", &[]).unwrap_err().to_string();
        assert!(error.contains("scripts/setup --lab"), "{error}");
    }
}
