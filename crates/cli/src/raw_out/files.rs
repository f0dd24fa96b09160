//! Files of raw packets: their names, when one ends and the next begins, and which ones go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use bftap_capture::packet::CapturedPacket;
use bftap_capture::source::{InputStats, PcapngWriter};
use bftap_model::{CaptureTime, Nanos};

/// When a file ends and the next begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Names have numbers also if there is one file only.
    pub(crate) numbered: bool,
    /// At about so many bytes.
    pub(crate) size: Option<u64>,
    /// When its packets span so much time.
    pub(crate) every: Option<Nanos>,
    /// So many files are kept.
    pub(crate) keep: Option<usize>,
}

impl Rotation {
    fn rotates(&self) -> bool {
        self.numbered || self.size.is_some() || self.every.is_some()
    }
}

/// See the module's documentation.
pub(super) struct Files {
    place: Place,
    rotation: Rotation,
    names: Vec<String>,
    snap_length: u32,
    open: Option<Open>,
    number: u64,
    /// Bytes in files that are finished.
    finished: u64,
}

/// A file that is being written.
struct Open {
    writer: PcapngWriter<BufWriter<File>>,
    /// What was known of the interfaces when it began.
    before: Vec<InputStats>,
    first: Option<CaptureTime>,
}

/// `folder/stem-00001.pcapng`, or the path itself where files do not rotate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    folder: PathBuf,
    stem: String,
    ending: String,
}

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Some(Self {
            path: path.to_owned(),
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            stem: path.file_stem()?.to_str()?.to_owned(),
            ending: path
                .extension()
                .map_or(Some("pcapng"), |ending| ending.to_str())?
                .to_owned(),
        })
    }

    fn numbered(&self, number: u64) -> PathBuf {
        self.folder
            .join(format!("{}-{number:05}.{}", self.stem, self.ending))
    }

    /// Numbers of the files that are there, rising; those of earlier runs, too.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| {
                let digits = name
                    .strip_prefix(&self.stem)?
                    .strip_prefix('-')?
                    .strip_suffix(&self.ending)?
                    .strip_suffix('.')?;
                let plain = digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
                digits.parse::<u64>().ok().filter(|_| plain)
            });
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

impl Files {
    /// Makes the first file.
    pub(super) fn begin(
        path: &Path,
        rotation: Rotation,
        names: Vec<String>,
        snap_length: u32,
        now: &[InputStats],
    ) -> io::Result<Self> {
        let place = Place::of(path).ok_or_else(|| io::Error::other("that is no name for a file"))?;
        let number = if rotation.rotates() {
            place.numbers()?.last().copied().unwrap_or(0)
        } else {
            0
        };
        let mut files = Self {
            place,
            rotation,
            names,
            snap_length,
            open: None,
            number,
            finished: 0,
        };
        files.next(now)?;
        Ok(files)
    }

    /// Whether a new file is to be begun for this packet.
    pub(super) fn is_due(&self, packet: &CapturedPacket<'_>) -> bool {
        let Some(open) = &self.open else { return true };
        let Some(first) = open.first else { return false };
        let size = self.rotation.size;
        size.is_some_and(|size| open.writer.bytes() + packet.bytes.len() as u64 > size)
            || self
                .rotation
                .every
                .is_some_and(|every| packet.seen.since(first) >= every)
    }

    pub(super) fn packet(&mut self, packet: &CapturedPacket<'_>) -> io::Result<()> {
        let open = self.opened()?;
        open.first.get_or_insert(packet.seen);
        open.writer.packet(packet)
    }

    pub(super) fn secrets(&mut self, lines: &[u8]) -> io::Result<()> {
        self.opened()?.writer.secrets(lines)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.opened()?.writer.flush()
    }

    /// Bytes in all files.
    pub(super) fn bytes(&self) -> u64 {
        self.finished + self.open.as_ref().map_or(0, |open| open.writer.bytes())
    }

    /// Ends a file and begins the next; the oldest go that are too many.
    pub(super) fn next(&mut self, now: &[InputStats]) -> io::Result<()> {
        self.finish(now)?;
        let path = if self.rotation.rotates() {
            self.number += 1;
            self.place.numbered(self.number)
        } else {
            self.place.path.clone()
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            // What is captured is nobody else's, least of all with secrets in it.
            options.mode(0o600);
        }
        let file = options.open(&path)?;
        let out = BufWriter::with_capacity(BUFFER, file);
        self.open = Some(Open {
            writer: PcapngWriter::begin(out, self.names.clone(), self.snap_length)?,
            before: now.to_vec(),
            first: None,
        });
        if let Some(keep) = self.rotation.keep {
            let numbers = self.place.numbers()?;
            for number in &numbers[..numbers.len().saturating_sub(keep.max(1))] {
                fs::remove_file(self.place.numbered(*number))?;
            }
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(&mut self, now: &[InputStats]) -> io::Result<()> {
        if let Some(open) = self.open.take() {
            self.finished += open.writer.bytes();
            open.writer.finish(now, &open.before)?;
        }
        Ok(())
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        self.open
            .as_mut()
            .ok_or_else(|| io::Error::other("no file is open"))
    }
}

const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use bftap_capture::link::LinkType;
    use bftap_model::TapId;

    use super::*;

    fn packet(second: i64, bytes: &[u8]) -> CapturedPacket<'_> {
        CapturedPacket {
            seen: CaptureTime::from_nanos(second * 1_000_000_000),
            tap: TapId(0),
            link: LinkType::ETHERNET,
            bytes,
            orig_len: bytes.len() as u32,
        }
    }

    fn begin(folder: &Path, rotation: Rotation) -> io::Result<Files> {
        Files::begin(
            &folder.join("raw.pcapng"),
            rotation,
            vec!["t".into()],
            65_535,
            &[],
        )
    }

    fn write(files: &mut Files, packets: &[CapturedPacket<'_>]) {
        for packet in packets {
            if files.is_due(packet) {
                files.next(&[]).unwrap();
            }
            files.packet(packet).unwrap();
        }
        files.finish(&[]).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_rotate_by_size_and_time_and_the_oldest_go() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        // Of others: neither counted nor removed.
        for other in [
            "raw-1.pcapng",
            "raw-00002.pcap",
            "raw-0000x.pcapng",
            "raws-00007.pcapng",
        ] {
            fs::write(folder.path().join(other), b"").unwrap();
        }
        let mut files = begin(
            folder.path(),
            Rotation {
                numbered: false,
                size: Some(3000),
                ..Rotation::default()
            },
        )
        .unwrap();
        let bytes = [0; 1000];
        write(&mut files, &[packet(0, &bytes); 5]);
        let own = |folder: &Path| {
            let mut names = names(folder);
            names.retain(|name| {
                name.starts_with("raw-0000") && name.ends_with("pcapng") && !name.contains('x')
            });
            names
        };
        assert_eq!(
            own(folder.path()),
            ["raw-00001.pcapng", "raw-00002.pcapng", "raw-00003.pcapng"]
        );
        let mode = fs::metadata(folder.path().join("raw-00001.pcapng"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // Another run goes on behind them.
        let rotation = Rotation {
            numbered: false,
            every: Some(Nanos::from_secs(10)),
            keep: Some(2),
            ..Rotation::default()
        };
        let mut files = begin(folder.path(), rotation).unwrap();
        assert_eq!(own(folder.path()), ["raw-00003.pcapng", "raw-00004.pcapng"]);
        write(
            &mut files,
            &[
                packet(5, b"1"),
                packet(14, b"2"),
                packet(15, b"3"),
                packet(24, b"4"),
            ],
        );
        assert_eq!(own(folder.path()), ["raw-00004.pcapng", "raw-00005.pcapng"]);
        assert_eq!(names(folder.path()).len(), 6);
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("raw.pcapng"), b"mine").unwrap();
        let error = begin(folder.path(), Rotation::default()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(folder.path().join("raw.pcapng")).unwrap(), b"mine");
    }
}
