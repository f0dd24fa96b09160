//! How a command ends: exit statuses, and the errors that stand for them.

use std::process::ExitCode;

/// How far a command got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything was read.
    Complete,
    /// Something could not be read; the rest was reported.
    Incomplete,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        match status {
            Status::Complete => Self::SUCCESS,
            Status::Incomplete => Self::from(1),
        }
    }
}

/// What the user asked for makes no sense, found only after the arguments were parsed. Exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The exit status of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(if error.downcast_ref::<Usage>().is_some() {
        2
    } else {
        1
    })
}
