//! The hash of a file's content, taken while it is read for something else.

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use sha2::{Digest, Sha256};

use super::blocks::Blocks;

/// Hashes what is read through it: put it between a file and [`CaptureReader`](super::CaptureReader), and the content's hash,
/// as it stands in the file (packed, if it is), comes out of [`ContentHash::finish`].
pub struct HashingReader<R = Box<dyn Read + Send>> {
    reading: Reading<R>,
}

/// The other end of a [`HashingReader`].
pub struct ContentHash<R = Box<dyn Read + Send>> {
    read: Arc<AtomicU64>,
    hashing: Hashing<R>,
}

enum Reading<R> {
    Here(Arc<Mutex<Here<R>>>),
    Thread {
        blocks: Arc<Mutex<Option<Receiver<Piece>>>>,
        current: Option<Block>,
        at: usize,
    },
}

enum Hashing<R> {
    Here(Arc<Mutex<Here<R>>>),
    Thread {
        blocks: Arc<Mutex<Option<Receiver<Piece>>>>,
        thread: Option<JoinHandle<io::Result<[u8; 32]>>>,
        unwanted: Arc<AtomicBool>,
    },
}

/// A file that is hashed by the thread that reads it. Both ends use it in turn, so nobody waits for it.
struct Here<R> {
    read: R,
    hash: Sha256,
    count: Arc<AtomicU64>,
}

/// What the thread sends: a block of content and how much of it is filled.
type Piece = io::Result<Block>;
type Block = (Arc<Vec<u8>>, usize);

/// Bytes that the thread reads at once.
const BLOCK: usize = 1 << 20;
/// Blocks that it is ahead at most.
const AHEAD: usize = 4;

impl<R: Read> HashingReader<R> {
    /// Hashes on the thread that reads. With the SHA instructions of today's processors that is about 0.65 s for a GB.
    pub fn new(read: R) -> (Self, ContentHash<R>) {
        let count = Arc::new(AtomicU64::new(0));
        let here = Here {
            read,
            hash: Sha256::new(),
            count: Arc::clone(&count),
        };
        let here = Arc::new(Mutex::new(here));
        (
            Self {
                reading: Reading::Here(Arc::clone(&here)),
            },
            ContentHash {
                read: count,
                hashing: Hashing::Here(here),
            },
        )
    }

    /// Reads ahead and hashes on a thread of its own.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn on_thread(read: R) -> io::Result<(Self, ContentHash<R>)>
    where
        R: Send + 'static,
    {
        let count = Arc::new(AtomicU64::new(0));
        let unwanted = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = sync_channel(AHEAD);
        let blocks = Arc::new(Mutex::new(Some(receiver)));
        let thread = {
            let (count, unwanted) = (Arc::clone(&count), Arc::clone(&unwanted));
            thread::Builder::new()
                .name("hash".to_owned())
                .spawn(move || read_ahead(read, &sender, &count, &unwanted))?
        };
        let reading = Reading::Thread {
            blocks: Arc::clone(&blocks),
            current: None,
            at: 0,
        };
        let hashing = Hashing::Thread {
            blocks,
            thread: Some(thread),
            unwanted,
        };
        Ok((Self { reading }, ContentHash { read: count, hashing }))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match &mut self.reading {
            Reading::Here(here) => lock(here).read(space),
            Reading::Thread { blocks, current, at } => loop {
                if let Some((block, len)) = current {
                    let rest = &block[*at..*len];
                    let taken = rest.len().min(space.len());
                    space[..taken].copy_from_slice(&rest[..taken]);
                    *at += taken;
                    if *at == *len {
                        *current = None;
                    }
                    return Ok(taken);
                }
                let Some(blocks) = &*lock(blocks) else {
                    return Err(io::Error::other(
                        "the content's hash was asked for before its end was read",
                    ));
                };
                match blocks.recv() {
                    Ok(piece) => *current = Some(piece?),
                    // The thread ends at the end of the content.
                    Err(_) => return Ok(0),
                }
                *at = 0;
            },
        }
    }
}

impl<R> Drop for HashingReader<R> {
    /// Lets the thread go on alone.
    fn drop(&mut self) {
        if let Reading::Thread { blocks, .. } = &self.reading {
            lock(blocks).take();
        }
    }
}

impl<R: Read> ContentHash<R> {
    /// Bytes of the file read so far, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// SHA-256 of the whole content. What the capture reader left, since it could not go on, is read for it; to be called
    /// when no more is to be read through the other end.
    ///
    /// # Errors
    /// If reading fails; then there is no hash of the content.
    pub fn finish(mut self) -> io::Result<[u8; 32]> {
        match &mut self.hashing {
            Hashing::Here(here) => {
                let mut here = lock(here);
                let mut space = vec![0; 64 << 10];
                loop {
                    match here.read(&mut space) {
                        Ok(0) => break Ok(here.hash.clone().finalize().into()),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => break Err(error),
                    }
                }
            }
            Hashing::Thread { blocks, thread, .. } => {
                lock(blocks).take();
                let joined = thread.take().map(JoinHandle::join);
                joined
                    .and_then(Result::ok)
                    .unwrap_or_else(|| Err(io::Error::other("the hashing thread failed")))
            }
        }
    }
}

impl<R> Drop for ContentHash<R> {
    /// Tells the thread that it need not go on for the hash alone.
    fn drop(&mut self) {
        if let Hashing::Thread { unwanted, .. } = &self.hashing {
            unwanted.store(true, Ordering::Relaxed);
        }
    }
}

impl<R: Read> Read for Here<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let len = self.read.read(space)?;
        self.hash.update(&space[..len]);
        self.count.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// The thread: hands blocks over while there is a reader, and hashes each.
fn read_ahead(
    mut read: impl Read,
    reader: &SyncSender<Piece>,
    count: &AtomicU64,
    unwanted: &AtomicBool,
) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut blocks = Blocks::new(BLOCK);
    loop {
        let mut block = blocks.take(BLOCK);
        let Some(space) = Arc::get_mut(&mut block) else {
            unreachable!("a block that is taken is not shared");
        };
        match read.read(space) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(len) => {
                let alone = reader.send(Ok((Arc::clone(&block), len))).is_err();
                if alone && unwanted.load(Ordering::Relaxed) {
                    return Err(io::Error::other("nobody asks for the hash"));
                }
                count.fetch_add(len as u64, Ordering::Relaxed);
                hash.update(&block[..len]);
                blocks.remember(&block);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let again = io::Error::new(error.kind(), error.to_string());
                // Without a reader, the one who asks for the hash is told.
                let _ = reader.send(Err(error));
                return Err(again);
            }
        }
    }
}

/// What a panic elsewhere left is no worse for reading.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R> fmt::Debug for HashingReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashingReader").finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for ContentHash<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentHash")
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Both = [(HashingReader<&'static [u8]>, ContentHash<&'static [u8]>); 2];

    fn both(content: &'static [u8]) -> Both {
        [
            HashingReader::new(content),
            HashingReader::on_thread(content).unwrap(),
        ]
    }

    #[test]
    fn content_passes_through_and_is_hashed() {
        for (mut reader, hash) in both(b"abc") {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            assert_eq!((&content[..], hash.bytes_read()), (&b"abc"[..], 3));
            // FIPS 180-2, appendix B.1
            assert_eq!(
                hex::encode(hash.finish().unwrap()),
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
            );
        }
    }

    #[test]
    fn the_hash_covers_what_the_reader_left() {
        static LONG: [u8; 9 << 20] = [7; 9 << 20];
        let want: [u8; 32] = Sha256::digest(&LONG[..]).into();
        for (mut reader, hash) in both(&LONG) {
            reader.read_exact(&mut [0; 100]).unwrap();
            // The reader is still there, and reads no more: the thread must not wait for it.
            assert_eq!(hash.finish().unwrap(), want);
            drop(reader);
        }
        for (reader, hash) in both(&LONG) {
            drop(reader);
            assert_eq!(hash.finish().unwrap(), want);
        }
    }

    #[test]
    fn a_failed_read_is_told_to_both_ends() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, "no"))
            }
        }
        for (mut reader, hash) in [
            HashingReader::new(Box::new(Broken)),
            HashingReader::on_thread(Box::new(Broken)).unwrap(),
        ] {
            assert_eq!(
                reader.read(&mut [0; 9]).unwrap_err().kind(),
                io::ErrorKind::PermissionDenied
            );
            assert_eq!(hash.finish().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
