//! The name of a run that the user did not name: it follows from what is read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bftap_capture::source::HashingReader;
use bftap_model::CaptureTime;

/// Names the run of these captures: by the hashes of their content, so that the same captures have the same name
/// wherever they lie and in whatever order they are named.
///
/// Standard input and pipes can be read only once, and their runs are named by the time of the start.
///
/// # Errors
/// A file cannot be read to its end; the message names it.
pub(crate) fn of_captures(paths: &[PathBuf]) -> io::Result<String> {
    let mut hashes = Vec::with_capacity(paths.len());
    for path in paths {
        if path == Path::new("-") {
            return Ok(by_time());
        }
        // What cannot be opened is told when it is to be analysed; the others still make a name.
        let Ok(file) = File::open(path) else { continue };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            continue;
        }
        if !metadata.is_file() {
            return Ok(by_time());
        }
        // Nor does what cannot be read to its end keep the others from being named; reading tells it.
        if let Ok(hash) = content_hash(file) {
            hashes.push(hash);
        }
    }
    hashes.sort_unstable();
    let whole = match hashes.as_slice() {
        [only] => *only,
        several => content_hash(&*several.concat())?,
    };
    Ok(hex::encode(&whole[..NAME_BYTES]))
}

fn content_hash<R: io::Read>(read: R) -> io::Result<[u8; 32]> {
    let (_, hash) = HashingReader::new(read);
    hash.finish()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the contract names runs over standard input by the time of the start"
)]
fn by_time() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = CaptureTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    format!("stdin-{now}")
}

/// 64 bits tell runs of one store apart.
const NAME_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (a, b, copy) = (write("a", b"1"), write("b", b"2"), write("c", b"1"));
        let name = |paths: &[&PathBuf]| {
            of_captures(&paths.iter().map(|&path| path.clone()).collect::<Vec<_>>()).unwrap()
        };
        // SHA-256 of "1".
        assert_eq!(name(&[&a]), "6b86b273ff34fce1");
        assert_eq!(name(&[&a]), name(&[&copy]));
        assert_eq!(name(&[&a, &b]), name(&[&b, &a]));
        assert_ne!(name(&[&a, &b]), name(&[&a]));
        assert_ne!(name(&[&a, &copy]), name(&[&a]));
        let missing = folder.path().join("missing");
        assert_eq!(name(&[&a, &missing]), name(&[&a]));
        assert!(name(&[&PathBuf::from("-")]).starts_with("stdin-20"));
    }
}
