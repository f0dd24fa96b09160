//! Where a bundle is read from.

use std::collections::BTreeMap;

/// A bundle's files. Whoever implements it makes sure that a name leads nowhere outside of the bundle.
pub trait Source {
    /// Names of all files, with `/` between folder and file; an error when there are more than `limit`.
    fn names(&mut self, limit: usize) -> Result<Vec<String>, SourceError>;

    /// Content of a file; an error when it is longer than `limit`.
    fn read(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, SourceError>;
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// It is longer than anything of its kind.
    #[error("it is longer than the {limit} bytes that are read")]
    TooLong {
        /// Bytes that are read.
        limit: u64,
    },
    /// There are more files than any bundle has.
    #[error("there are more than {limit} files")]
    TooMany {
        /// Files that are looked at.
        limit: usize,
    },
    /// Reading failed, or it is no plain file; why, for a person.
    #[error("{0}")]
    Failed(String),
}

impl Source for BTreeMap<String, Vec<u8>> {
    fn names(&mut self, limit: usize) -> Result<Vec<String>, SourceError> {
        if self.len() > limit {
            return Err(SourceError::TooMany { limit });
        }
        Ok(self.keys().cloned().collect())
    }

    fn read(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        let bytes = self.get(name).ok_or(SourceError::Missing)?;
        if bytes.len() as u64 > limit {
            return Err(SourceError::TooLong { limit });
        }
        Ok(bytes.clone())
    }
}
