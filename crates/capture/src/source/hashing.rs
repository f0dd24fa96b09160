//! The hash of a file's content, taken while it is read for something else.

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Hashes what is read through it: put it between a file and [`CaptureReader`](super::CaptureReader), and the content's hash,
/// as it stands in the file (packed, if it is), comes out of [`ContentHash::finish`].
pub struct HashingReader<R> {
    shared: Arc<Shared<R>>,
}

/// The other end of a [`HashingReader`].
pub struct ContentHash<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    /// Both ends use it in turn, so nobody waits for it.
    inner: Mutex<Inner<R>>,
    read: AtomicU64,
}

struct Inner<R> {
    read: R,
    hash: Sha256,
}

impl<R: Read> HashingReader<R> {
    /// Hashes what will be read from `read`.
    pub fn new(read: R) -> (Self, ContentHash<R>) {
        let inner = Mutex::new(Inner {
            read,
            hash: Sha256::new(),
        });
        let shared = Arc::new(Shared {
            inner,
            read: AtomicU64::new(0),
        });
        (
            Self {
                shared: Arc::clone(&shared),
            },
            ContentHash { shared },
        )
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.shared.read(space)
    }
}

impl<R: Read> ContentHash<R> {
    /// Bytes of the file read so far, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.shared.read.load(Ordering::Relaxed)
    }

    /// SHA-256 of the whole content. What the capture reader left, since it could not go on, is read for it.
    ///
    /// # Errors
    /// If reading the rest fails; then there is no hash of the content.
    pub fn finish(self) -> io::Result<[u8; 32]> {
        let mut space = vec![0; 64 << 10];
        loop {
            match self.shared.read(&mut space) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let inner = self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(inner.hash.clone().finalize().into())
    }
}

impl<R: Read> Shared<R> {
    fn read(&self, space: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let len = inner.read.read(space)?;
        inner.hash.update(&space[..len]);
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

impl<R> fmt::Debug for HashingReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashingReader").finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for ContentHash<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentHash").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_what_the_reader_left() {
        let (mut reader, hash) = HashingReader::new(&b"abc"[..]);
        let mut first = [0; 1];
        reader.read_exact(&mut first).unwrap();
        assert_eq!((first, hash.bytes_read()), (*b"a", 1));
        drop(reader);
        // FIPS 180-2, appendix B.1
        assert_eq!(
            hex::encode(hash.finish().unwrap()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
