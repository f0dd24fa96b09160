//! The name of a run that the user did not name: it follows from what is read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bftap_capture::source::HashingReader;
use bftap_model::CaptureTime;

use crate::selection::Part;

/// Names the run of these captures: by the hashes of their content, so that the same captures have the same name
/// wherever they lie and in whatever order they are named. A part of them has a name of its own, that begins alike.
///
/// What cannot be read stands in it by its path: the run without it is not the run with it. Standard input and pipes can be
/// read only once, and their runs are named by the time of the start.
///
/// # Errors
/// What a path is cannot be found out.
pub(crate) fn of_captures(paths: &[PathBuf], part: Option<&Part>) -> io::Result<String> {
    let mut name = of_whole(paths)?;
    if let Some(part) = part {
        let hash = content_hash(part.canonical().as_bytes())?;
        name.push_str("-part-");
        name.push_str(&hex::encode(&hash[..PART_BYTES]));
    }
    Ok(name)
}

/// Names a run over interfaces.
#[cfg(target_os = "linux")]
pub(crate) fn of_interfaces() -> String {
    by_time("live")
}

fn of_whole(paths: &[PathBuf]) -> io::Result<String> {
    let mut hashes = Vec::with_capacity(paths.len());
    for path in paths {
        if path == Path::new("-") {
            return Ok(by_time("stdin"));
        }
        let file = File::open(path)
            .and_then(|file| Ok((file.metadata()?.file_type(), file)))
            .ok()
            .filter(|(kind, _)| !kind.is_dir());
        // That it cannot be read is told when it is to be analysed.
        let hash = match file {
            Some((kind, _)) if !kind.is_file() => return Ok(by_time("stdin")),
            Some((_, file)) => content_hash(file).ok(),
            None => None,
        };
        hashes.push(match hash {
            Some(hash) => hash,
            None => content_hash(&*[UNREADABLE, path.as_os_str().as_encoded_bytes()].concat())?,
        });
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
    reason = "the contract names runs over standard input and interfaces by the time of the start"
)]
fn by_time(what: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = CaptureTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    format!("{what}-{now}")
}

/// 64 bits tell runs of one store apart.
const NAME_BYTES: usize = 8;

/// Tells parts of one run apart.
const PART_BYTES: usize = 4;

/// Before the path of what cannot be read; no capture begins so.
const UNREADABLE: &[u8] = b"unreadable:";

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
            of_captures(&paths.iter().map(|&path| path.clone()).collect::<Vec<_>>(), None).unwrap()
        };
        // SHA-256 of "1".
        assert_eq!(name(&[&a]), "6b86b273ff34fce1");
        assert_eq!(name(&[&a]), name(&[&copy]));
        assert_eq!(name(&[&a, &b]), name(&[&b, &a]));
        assert_ne!(name(&[&a, &b]), name(&[&a]));
        assert_ne!(name(&[&a, &copy]), name(&[&a]));
        let missing = folder.path().join("missing");
        assert_ne!(name(&[&a, &missing]), name(&[&a]));
        assert_eq!(name(&[&a, &missing]), name(&[&missing, &a]));
        assert_ne!(name(&[&a, &missing]), name(&[&a, &folder.path().join("other")]));
        assert_ne!(name(&[&a, &folder.path().to_owned()]), name(&[&a]));
        assert!(name(&[&PathBuf::from("-")]).starts_with("stdin-20"));
    }
}
