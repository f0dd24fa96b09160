//! Ctrl-C: files that are not whole yet do not stay behind, nor do runs that look as if they went on.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::NamedTempFile;

/// Files to remove when the program is interrupted.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What is to be done when the program is interrupted.
static LAST_WORDS: Mutex<Vec<Box<dyn FnOnce() + Send>>> = Mutex::new(Vec::new());

/// What a first signal does instead of ending the program; a second one ends it.
static GENTLE: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// The program ends because it was told to.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Does something when the program is interrupted. It must not take long: somebody waits.
///
/// # Errors
/// Signals cannot be watched.
pub(crate) fn then(last: impl FnOnce() + Send + 'static) -> io::Result<()> {
    watch()?;
    LAST_WORDS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Box::new(last));
    Ok(())
}

/// From now on the first signal only does this, so that the program can come to its end by itself.
///
/// # Errors
/// Signals cannot be watched.
#[cfg(target_os = "linux")]
pub(crate) fn gently(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    *GENTLE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
    watch()
}

/// Whether the program ends because it was told to: what fails from now on is no news.
pub(crate) fn has_come() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// A file that is removed when the program is interrupted while this lives.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// Makes a file; an interrupt waits until it is known.
    ///
    /// # Errors
    /// It cannot be made, or signals cannot be watched.
    pub(crate) fn make(
        make: impl FnOnce() -> io::Result<NamedTempFile>,
    ) -> io::Result<(NamedTempFile, Self)> {
        watch()?;
        let mut unfinished = lock();
        let file = make()?;
        let path = file.path().to_owned();
        unfinished.push(path.clone());
        Ok((file, Self(path)))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        lock().retain(|path| *path != self.0);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that waits for signals, once. It ends the program with 128 and the signal's number, as shells count.
#[cfg(unix)]
fn watch() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    static WATCHING: Mutex<bool> = Mutex::new(false);
    let mut watching = WATCHING.lock().unwrap_or_else(PoisonError::into_inner);
    if *watching {
        return Ok(());
    }
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let gentle = GENTLE.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(stop) = gentle {
                    stop();
                    continue;
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
                let last = std::mem::take(&mut *LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner));
                for last in last {
                    last();
                }
                for path in lock().iter() {
                    // Nothing more can be done about a file that cannot be removed.
                    let _ = std::fs::remove_file(path);
                }
                std::process::exit(128 + signal);
            }
        })?;
    *watching = true;
    Ok(())
}

#[cfg(not(unix))]
fn watch() -> io::Result<()> {
    Ok(())
}
