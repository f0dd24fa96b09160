//! A progress bar on standard error, while captures are read: on a terminal only.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bftap_pipeline::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::{binary, count};

/// A bar that follows the reading until it is dropped.
pub(crate) struct Bar {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Shows a bar if standard error is a terminal. `read` are bytes of the files read so far, out of `length`.
    pub(crate) fn show(length: Option<u64>, read: Arc<AtomicU64>, progress: Arc<Progress>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if !io::stderr().is_terminal() {
            return Self { done, thread: None };
        }
        let watch = Arc::clone(&done);
        let follow = move || {
            let (bar, reading) = match length {
                Some(length) => (ProgressBar::new(length), BAR),
                None => (ProgressBar::new_spinner(), SPINNER),
            };
            bar.set_style(style(reading));
            bar.set_draw_target(ProgressDrawTarget::stderr());
            let mut was_searching = false;
            while !watch.load(Ordering::Acquire) {
                // While nothing is read, its speed says nothing.
                let searching = progress.searching.load(Ordering::Relaxed);
                if searching != was_searching {
                    bar.set_style(style(if searching { SEARCH } else { reading }));
                    was_searching = searching;
                }
                if searching {
                    bar.tick();
                }
                bar.set_position(read.load(Ordering::Relaxed));
                bar.set_message(message(&progress));
                std::thread::park_timeout(EVERY);
            }
            bar.finish_and_clear();
        };
        // Without a thread for it there is no bar; that is no reason not to analyse.
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(follow)
            .ok();
        Self { done, thread }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only draws; a panic there was printed, and must not become ours while we may be unwinding.
            let _ = thread.join();
        }
    }
}

/// What is being done: a long search would look like standing still.
fn message(progress: &Progress) -> String {
    let packets = count(progress.packets.load(Ordering::Relaxed));
    if !progress.searching.load(Ordering::Relaxed) {
        return format!("{packets} packets");
    }
    match progress.searched.load(Ordering::Relaxed) {
        0 => format!("{packets} packets; looking for sessions without a handshake"),
        searched => format!(
            "{packets} packets; looking for sessions without a handshake, {} of key stream so far",
            binary(searched)
        ),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const BAR: &str = "{bar:30} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {msg}  {eta} left";
const SPINNER: &str = "{spinner} {bytes}  {bytes_per_sec}  {msg}";

const SEARCH: &str = "{spinner} {msg}  {elapsed}";

const EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_shown() {
        let progress = Progress::default();
        progress.packets.store(1234, Ordering::Relaxed);
        assert_eq!(message(&progress), "1,234 packets");
        progress.searching.store(true, Ordering::Relaxed);
        progress.searched.store(3 << 30, Ordering::Relaxed);
        assert_eq!(
            message(&progress),
            "1,234 packets; looking for sessions without a handshake, 3.0 GiB of key stream so far"
        );
    }

    #[test]
    fn templates_are_valid() {
        for template in [BAR, SPINNER, SEARCH] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
