//! What `bftap live` shows while it goes on: a screen on a terminal, else a line now and then on standard error.

mod facts;
mod line;
mod screen;

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bftap_analysis::Update;
use bftap_pipeline::Moment;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal;

use crate::interrupt;
use crate::term::{self, Level, tell};

pub(crate) use facts::Sources;
use facts::{Gatherer, Judged};

/// Shows until it is dropped.
pub(crate) struct View {
    done: Arc<AtomicBool>,
    judged: Arc<Mutex<Judged>>,
    thread: Option<JoinHandle<()>>,
}

/// Between two pictures on the screen.
const FRAME: Duration = Duration::from_millis(250);

/// How soon the end is noticed where lines are written.
const LINE_STEP: Duration = Duration::from_millis(100);

impl View {
    /// Begins to show; `every` seconds a line, where there is no terminal.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn start(sources: Sources, every: u32) -> io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let judged = Arc::new(Mutex::new(Judged::default()));
        let mut gatherer = Gatherer::new(sources, Arc::clone(&judged));
        let on_screen = io::stdout().is_terminal()
            && io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let watch = Arc::clone(&done);
        let thread = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                if on_screen {
                    // A terminal that cannot be drawn on gets lines.
                    if let Err(error) = draw(&mut gatherer, &watch) {
                        let text = format!("cannot draw on this terminal: {error}");
                        tell(Level::Warning, &text);
                        write_lines(gatherer, every, &watch);
                    }
                } else {
                    write_lines(gatherer, every, &watch);
                }
            })?;
        Ok(Self {
            done,
            judged,
            thread: Some(thread),
        })
    }

    /// For whoever learns what changed.
    pub(crate) fn taker(&self) -> impl FnMut(&Update, Moment, Duration) + Send + 'static {
        let judged = Arc::clone(&self.judged);
        move |update, at, age| {
            judged
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(update, at, age);
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only shows; a panic there was printed.
            let _ = thread.join();
        }
    }
}

fn write_lines(mut gatherer: Gatherer, every: u32, done: &AtomicBool) {
    let mut waited = Duration::ZERO;
    let every = Duration::from_secs(every.into());
    while !done.load(Ordering::Acquire) {
        std::thread::park_timeout(LINE_STEP);
        waited += LINE_STEP;
        if !every.is_zero() && waited >= every {
            waited = Duration::ZERO;
            tell(Level::Note, &line::of(&gatherer.gather()));
        }
    }
}

/// The terminal as it was, whatever happens; what was said meanwhile is said once more where it stays.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
        for (level, text) in term::stop_keeping() {
            tell(level, &text);
        }
    }
}

fn draw(gatherer: &mut Gatherer, done: &AtomicBool) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    term::keep_told();
    let _restored = Restored;
    // A second signal ends the program where it is.
    let _ = interrupt::then(ratatui::restore);
    while !done.load(Ordering::Acquire) {
        let facts = gatherer.gather();
        let told = term::kept();
        let drawn = terminal.draw(|frame| {
            let area = frame.area();
            screen::render(&facts, &told, area, frame.buffer_mut());
        });
        if drawn.is_err() {
            // The terminal is gone, and with it whoever looks.
            return Ok(());
        }
        listen(done);
    }
    Ok(())
}

/// Waits for the next picture, or a key. In raw mode Ctrl-C is a key like others.
fn listen(done: &AtomicBool) {
    let mut left = FRAME;
    const STEP: Duration = Duration::from_millis(50);
    while !left.is_zero() && !done.load(Ordering::Acquire) {
        if let Ok(true) = event::poll(STEP)
            && let Ok(Event::Key(key)) = event::read()
            && key.kind == KeyEventKind::Press
        {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') => interrupt_self(),
                KeyCode::Char('c') if control => interrupt_self(),
                KeyCode::Char('l') if control => drop(terminal::size()),
                _ => {}
            }
        }
        left = left.saturating_sub(STEP);
    }
}

/// As Ctrl-C does on a terminal in its usual mode.
fn interrupt_self() {
    // It is there: it is this process.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT);
}
