//! The terminal as a sink: what may be printed, how wide it is, and whether it shows colours.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use bftap_model::{CaptureTime, is_harmless};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Width of the report where standard output is not a terminal, in columns.
pub(crate) const DEFAULT_WIDTH: usize = 100;

/// Narrowest width that is laid out for; below it lines wrap.
const MIN_WIDTH: usize = 60;

/// Widest width that is laid out for: longer lines are hard to follow.
const MAX_WIDTH: usize = 160;

/// The one door for text that somebody else chose (names from files, paths, text from a store) to a terminal.
///
/// Control characters, terminal escapes, invisible and bidirectional formatting become `\u{..}`. Text that is
/// harmless comes back as it is, so text that was escaped where it was parsed is not escaped twice.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    Cow::Owned(out)
}

/// [`safe`] for anything that prints, a path's `display()` for example.
pub(crate) fn safe_display(value: impl fmt::Display) -> String {
    safe(&value.to_string()).into_owned()
}

/// Columns that a text takes on a terminal.
pub(crate) fn width_of(text: &str) -> usize {
    text.width()
}

/// At most `columns` columns of `text`; a cut is marked with `…`.
pub(crate) fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if width_of(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    Cow::Owned(out)
}

/// How a page is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Columns to fill.
    pub(crate) width: usize,
    /// Whether ANSI colours are used.
    pub(crate) colour: bool,
}

impl Style {
    /// The style of standard output: the terminal's width, and colour on a terminal unless `NO_COLOR` is set.
    pub(crate) fn of_stdout() -> Self {
        let width = terminal_size::terminal_size_of(io::stdout()).map_or(DEFAULT_WIDTH, |(width, _)| {
            usize::from(width.0).clamp(MIN_WIDTH, MAX_WIDTH)
        });
        // https://no-color.org: present and not empty means no colour, whatever its value.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            width,
            colour: io::stdout().is_terminal() && !no_colour && !dumb,
        }
    }

    /// `text` in `ink`, if colours are on.
    pub(crate) fn paint(self, ink: Ink, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", ink.code())
        } else {
            text.to_owned()
        }
    }
}

/// What a colour means in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// A section's name.
    Heading,
    /// Said in passing.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// A bar.
    Bar,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Heading => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Bar => "36",
        }
    }
}

/// What was said while the terminal shows a screen; `None` when it does not.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// Words that wait until they can be printed.
#[derive(Debug, Default)]
struct Kept {
    words: VecDeque<(Level, String)>,
    /// Older ones that were given up.
    given_up: u64,
}

/// Words that are kept at most.
const MOST_KEPT: usize = 500;

/// From now on what is told is kept, because a screen stands where it would be printed.
#[cfg(target_os = "linux")]
pub(crate) fn keep_told() {
    KEPT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_default();
}

/// What was told since, oldest first.
#[cfg(target_os = "linux")]
pub(crate) fn kept() -> Vec<(Level, String)> {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.iter().flat_map(|kept| kept.words.iter().cloned()).collect()
}

/// From now on it is printed again. What was kept comes back, for whoever prints it.
#[cfg(target_os = "linux")]
pub(crate) fn stop_keeping() -> Vec<(Level, String)> {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(kept) = kept else { return Vec::new() };
    let given_up = (kept.given_up > 0).then(|| {
        let text = format!(
            "{} earlier notes and warnings were shown on the screen only",
            kept.given_up
        );
        (Level::Note, text)
    });
    given_up.into_iter().chain(kept.words).collect()
}

/// Prints a problem to standard error: `bftap: warning: ...`. A closed standard error is nobody's problem.
pub(crate) fn tell(level: Level, text: &str) {
    tell_behind("bftap: ", level, text);
}

/// The same with the time, to the millisecond, for commands that run for long.
pub(crate) fn tell_at(time: CaptureTime, level: Level, text: &str) {
    let time = time.to_string();
    let millis = time.get(..23).unwrap_or(&time);
    tell_behind(&format!("{millis}Z bftap: "), level, text);
}

fn tell_behind(before: &str, level: Level, text: &str) {
    if let Some(kept) = &mut *KEPT.lock().unwrap_or_else(PoisonError::into_inner) {
        if kept.words.len() == MOST_KEPT {
            kept.words.pop_front();
            kept.given_up += 1;
        }
        kept.words.push_back((level, text.to_owned()));
        return;
    }
    let mut stderr = io::stderr().lock();
    for (number, line) in text.lines().enumerate() {
        let line = safe(line);
        let written = if number == 0 {
            writeln!(stderr, "{before}{}{line}", level.prefix())
        } else if line.is_empty() {
            writeln!(stderr)
        } else {
            writeln!(stderr, "       {line}")
        };
        if written.is_err() {
            return;
        }
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Said in passing.
    Note,
    /// The answer may not be what the user expects.
    Warning,
    /// Something could not be done.
    Error,
}

impl Level {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Note => "note: ",
            Self::Warning => "warning: ",
            Self::Error => "error: ",
        }
    }
}

/// Whether an error, or what caused it, is a reader that closed its end of our standard output (`| head`).
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|error| error.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_shown_not_obeyed() {
        assert_eq!(
            safe("cn1\x1b]0;owned\x07\r\n"),
            "cn1\\u{1b}]0;owned\\u{7}\\u{d}\\u{a}"
        );
        assert_eq!(safe("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
    }

    #[test]
    fn escaped_text_is_not_escaped_twice() {
        let parsed = bftap_model::escape_peer_text(b"Klaytn\x1b[31m\\");
        assert_eq!(safe(&parsed), parsed);
        assert!(matches!(safe("케이노드/v1"), Cow::Borrowed(_)));
    }

    #[test]
    fn wide_characters_count_as_two_columns() {
        assert_eq!(width_of("케이"), 4);
        assert_eq!(fit("케이노드", 5), "케이…");
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("abcd", 0), "");
    }

    #[test]
    fn a_closed_pipe_is_found_behind_context() {
        use anyhow::Context as _;
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        let error = Err::<(), _>(closed)
            .context("cannot write the report")
            .unwrap_err();
        assert!(is_closed_pipe(&error));
        assert!(!is_closed_pipe(&anyhow::anyhow!("broken pipe")));
    }
}
