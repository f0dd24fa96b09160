//! How far each followed file was acknowledged, in a small file: a shipper that was restarted goes on from there.
//!
//! It saves work and nothing else. Lines that are sent again because it is old or lost are known to the receiver.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::follow::{FileId, Position};
use crate::ledger::write_whole;
use crate::wire::ReceiverId;

/// The places, and whose they are.
#[derive(Debug)]
pub struct Positions {
    path: PathBuf,
    receiver: Option<ReceiverId>,
    places: HashMap<FileId, Position>,
    changed: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    receiver: String,
    places: Vec<(FileId, Position)>,
}

const VERSION: u32 = 1;

/// Largest file that is read: more than all places that are ever kept take.
const MAX_FILE: u64 = 32 << 20;

impl Positions {
    /// Reads a file of places; one that is not there, or is of no use, is no places. What was wrong with it comes along.
    pub fn open(path: &Path) -> (Self, Option<String>) {
        let mut positions = Self {
            path: path.to_owned(),
            receiver: None,
            places: HashMap::new(),
            changed: false,
        };
        let problem = match positions.load() {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(format!(
                "cannot read {}: {error}; everything is sent once more",
                path.display()
            )),
        };
        (positions, problem)
    }

    fn load(&mut self) -> io::Result<()> {
        if fs::metadata(&self.path)?.len() > MAX_FILE {
            return Err(io::Error::other("it is too large to be a file of places"));
        }
        let stored: Stored = serde_json::from_slice(&fs::read(&self.path)?)?;
        if stored.version != VERSION {
            return Err(io::Error::other("it is of another version of bftap"));
        }
        if !stored.receiver.is_empty() {
            let mut receiver = [0; 16];
            hex::decode_to_slice(&stored.receiver, &mut receiver).map_err(io::Error::other)?;
            self.receiver = Some(ReceiverId(receiver));
        }
        self.places = stored.places.into_iter().collect();
        Ok(())
    }

    /// Writes them as they are, to know at once whether that can be done; makes the folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn try_writing(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let receiver = self
            .receiver
            .map_or_else(String::new, |receiver| hex::encode(receiver.0));
        self.write(receiver)
    }

    /// The places, to go on from.
    pub fn places(&self) -> &HashMap<FileId, Position> {
        &self.places
    }

    /// A receiver is there. Whether it is another than the one that these places were acknowledged by, so that all has to be sent again.
    pub fn welcomed_by(&mut self, receiver: ReceiverId) -> bool {
        if self.receiver == Some(receiver) {
            return false;
        }
        let other = !self.places.is_empty();
        self.receiver = Some(receiver);
        self.places.clear();
        self.changed = true;
        other
    }

    /// Everything of a file up to this place is stored at the receiver.
    pub fn stored(&mut self, file: FileId, place: Position) {
        self.places.insert(file, place);
        self.changed = true;
    }

    /// Writes what changed; places of files that are not known any more are left out.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&mut self, known: impl Fn(&FileId) -> bool) -> io::Result<()> {
        let (Some(receiver), true) = (self.receiver, self.changed) else {
            return Ok(());
        };
        self.places.retain(|file, _| known(file));
        self.write(hex::encode(receiver.0))?;
        self.changed = false;
        Ok(())
    }

    fn write(&self, receiver: String) -> io::Result<()> {
        let mut places: Vec<_> = self.places.iter().map(|(id, place)| (*id, *place)).collect();
        places.sort_unstable_by_key(|(id, _)| *id);
        let stored = Stored {
            version: VERSION,
            receiver,
            places,
        };
        write_whole(&self.path, &serde_json::to_vec(&stored)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_for_the_same_receiver_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("places");
        let (mut positions, problem) = Positions::open(&path);
        assert!(problem.is_none() && !positions.welcomed_by(ReceiverId([1; 16])));
        let file = FileId { device: 1, inode: 2 };
        let gone = FileId { device: 1, inode: 3 };
        let place = Position {
            offset: 100,
            lines: 2,
            marked: 100,
            mark: [5; 16],
        };
        positions.stored(file, place);
        positions.stored(gone, place);
        positions.save(|id| *id != gone).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (mut again, _) = Positions::open(&path);
        assert_eq!(again.places().get(&file), Some(&place));
        assert_eq!(again.places().len(), 1);
        assert!(!again.welcomed_by(ReceiverId([1; 16])));
        assert!(again.welcomed_by(ReceiverId([2; 16])));
        assert!(again.places().is_empty());
        fs::write(&path, "{").unwrap();
        assert!(Positions::open(&path).1.unwrap().contains("sent once more"));
    }
}
