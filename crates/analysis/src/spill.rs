//! Closed heights and minutes wait in an anonymous temporary file until the end of the run.
//!
//! The file has no name, mode 0600 and no secrets; the system removes it with the process. A record is what was known of a key when
//! it had to leave memory. A key that comes up again gets another record; all of them are merged when read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    offset: u64,
    len: u32,
}

/// An append-only scratch file.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    file: Option<File>,
    end: u64,
    /// The file's cursor is not at its end, because a record was read.
    moved: bool,
}

impl Spill {
    /// Writes a record and tells where it stands.
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<Place> {
        let len = u32::try_from(record.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a height takes more than 4 GiB"))?;
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile()?);
        }
        let file = self.file.as_mut().expect("made above");
        if self.moved {
            file.seek(SeekFrom::Start(self.end))?;
            self.moved = false;
        }
        file.write_all(record)?;
        let place = Place {
            offset: self.end,
            len,
        };
        self.end += u64::from(len);
        Ok(place)
    }

    /// Reads a record back into `record`.
    pub(crate) fn read(&mut self, place: Place, record: &mut Vec<u8>) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        self.moved = true;
        file.seek(SeekFrom::Start(place.offset))?;
        record.clear();
        record.resize(place.len as usize, 0);
        file.read_exact(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_any_order() {
        let mut spill = Spill::default();
        let first = spill.append(b"first").unwrap();
        let second = spill.append(b"the second").unwrap();
        let mut record = Vec::new();
        spill.read(second, &mut record).unwrap();
        assert_eq!(record, b"the second");
        let third = spill.append(b"").unwrap();
        for (place, expected) in [(first, &b"first"[..]), (third, b""), (second, b"the second")] {
            spill.read(place, &mut record).unwrap();
            assert_eq!(record, expected);
        }
    }
}
