//! What can go wrong with a request.

use bftap_store::StoreError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A parameter is not what it must be.
    #[error("{0}")]
    Parameter(String),
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// The store does not answer in time, or too many ask.
    #[error("{0}")]
    Busy(String),
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Problem {
    /// The status that HTTP has for it.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Parameter(_) => 400,
            Self::Missing(_) => 404,
            Self::Store(
                StoreError::NoSuchRun { .. } | StoreError::NoRuns { .. } | StoreError::RunGone { .. },
            ) => 404,
            Self::Busy(_) | Self::Store(_) => 503,
        }
    }
}
