//! The figures of a moment as a screen: a function of the facts, the latest words, and the size of the terminal.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget as _};

use super::facts::{LiveFacts, STATES};
use super::line::{bit_rate, redundancy};
use crate::report::{binary, bytes, chain_name, count};
use crate::term::{Level, fit, safe, width_of};

/// Interfaces and chains that are shown by name.
const MOST_INTERFACES: usize = 12;
const MOST_CHAINS: usize = 4;

/// Lag that a person should know of.
const LONG_LAG: f64 = 1.0;

/// Draws everything; what does not fit is cut off at the bottom, but for the latest words.
pub(super) fn render(facts: &LiveFacts, told: &[(Level, String)], area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let mut lines = Vec::new();
    title(facts, &mut lines);
    interfaces(facts, &mut lines);
    health(facts, &mut lines);
    sessions(facts, &mut lines);
    consensus(facts, &mut lines);
    outputs(facts, &mut lines);
    let height = usize::from(area.height);
    let words: Vec<Line<'_>> = told
        .iter()
        .rev()
        .take(6)
        .rev()
        .map(|word| words(word, width))
        .collect();
    lines.truncate(height.saturating_sub(words.len()));
    lines.extend(words);
    Paragraph::new(lines).render(area, buffer);
}

fn title(facts: &LiveFacts, lines: &mut Vec<Line<'_>>) {
    let seconds = facts.running.as_secs();
    let text = format!(
        "run {}   {}:{:02}:{:02}",
        safe(&facts.run),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    lines.push(Line::from(vec![
        Span::styled("bftap live  ", BOLD),
        Span::raw(text),
        Span::styled("   q or Ctrl-C ends it", FAINT),
    ]));
}

fn heading(lines: &mut Vec<Line<'_>>, text: &str) {
    lines.push(Line::default());
    lines.push(Line::styled(text.to_owned(), BOLD));
}

fn interfaces(facts: &LiveFacts, lines: &mut Vec<Line<'_>>) {
    heading(
        lines,
        "INTERFACES        packets/s        bit/s       packets  lost: kernel  interface  times away",
    );
    for interface in facts.interfaces.iter().take(MOST_INTERFACES) {
        let stats = &interface.stats;
        let (kernel, card) = (
            stats.kernel_drops.unwrap_or(0),
            stats.interface_drops.unwrap_or(0),
        );
        let name = safe(&stats.name).into_owned();
        lines.push(Line::from(vec![
            Span::raw(format!("  {}", padded(&name, 14))),
            Span::raw(format!(
                "{:>11} {:>12} {:>13}",
                count(interface.packets_a_second as u64),
                bit_rate(interface.bits_a_second),
                count(stats.packets)
            )),
            Span::styled(format!(" {:>13}", count(kernel)), bad_if(kernel > 0)),
            Span::styled(format!(" {:>10}", count(card)), bad_if(card > 0)),
            Span::raw(format!(" {:>11}", count(stats.times_down.unwrap_or(0)))),
            match &stats.problem {
                Some(problem) => Span::styled(format!("  {}", safe(problem)), BAD),
                None => Span::default(),
            },
        ]));
    }
    if facts.interfaces.len() > MOST_INTERFACES {
        let more = facts.interfaces.len() - MOST_INTERFACES;
        lines.push(Line::styled(format!("  and {more} more"), FAINT));
    }
}

fn health(facts: &LiveFacts, lines: &mut Vec<Line<'_>>) {
    heading(lines, "HEALTH");
    let [workers, merging, store] = facts.queues;
    let lag = facts.lag.as_secs_f64();
    let mut spans = vec![
        Span::styled(format!("  lag {lag:.2} s"), bad_if(lag > LONG_LAG)),
        Span::raw(format!(
            "   waiting: {workers} for decryption, {merging} for analysis, {store} for the store   memory {}",
            binary(facts.memory)
        )),
    ];
    if facts.late > 0 {
        spans.push(Span::styled(
            format!("   {} out of order", count(facts.late)),
            WARNING,
        ));
    }
    if facts.searching {
        spans.push(Span::styled("   looking for sessions", WARNING));
    }
    lines.push(Line::from(spans));
}

fn sessions(facts: &LiveFacts, lines: &mut Vec<Line<'_>>) {
    heading(lines, "SESSIONS");
    let judged = &facts.judged;
    let mut spans = vec![Span::raw("  ")];
    for ((_, name), number) in STATES.iter().zip(judged.sessions) {
        let style = match *name {
            "decrypted" => GOOD,
            _ if number > 0 => WARNING,
            _ => FAINT,
        };
        spans.push(Span::styled(format!("{} {name}   ", count(number)), style));
    }
    spans.push(Span::raw(format!("secrets {}", count(facts.secrets as u64))));
    lines.push(Line::from(spans));
    lines.push(Line::from(vec![
        Span::styled(
            format!("  {} gaps, {} lost", count(judged.gaps), bytes(judged.lost_bytes)),
            bad_if(judged.gaps > 0),
        ),
        Span::styled(
            format!("   {} undecodable", count(judged.undecodable)),
            bad_if(judged.undecodable > 0),
        ),
        Span::styled(
            format!("   limits reached {}", count(judged.limits)),
            bad_if(judged.limits > 0),
        ),
    ]));
}

fn consensus(facts: &LiveFacts, lines: &mut Vec<Line<'_>>) {
    let judged = &facts.judged;
    heading(lines, "CONSENSUS");
    for (chain, (height, round)) in judged.chains.iter().take(MOST_CHAINS) {
        lines.push(Line::from(format!(
            "  chain {}   height {}   round {}",
            safe(&chain_name(chain)),
            count(*height),
            count(*round)
        )));
    }
    if judged.chains.len() > MOST_CHAINS {
        let more = judged.chains.len() - MOST_CHAINS;
        lines.push(Line::styled(format!("  and {more} more"), FAINT));
    }
    lines.push(Line::styled(
        format!(
            "  {:<12} {:>13} {:>13} {:>13} {:>13} {:>12}",
            "", "messages", "useful", "repeats", "echoes", "redundancy"
        ),
        FAINT,
    ));
    for (kind, sums) in &judged.kinds {
        lines.push(Line::from(format!(
            "  {:<12} {:>13} {:>13} {:>13} {:>13} {:>12}",
            kind.as_str(),
            count(sums.messages),
            count(sums.useful),
            count(sums.repeats),
            count(sums.echoes),
            redundancy(sums)
        )));
    }
}

fn outputs(facts: &LiveFacts, lines: &mut Vec<Line<'_>>) {
    if facts.store.is_none() && facts.written.is_none() {
        return;
    }
    heading(lines, "KEPT");
    if let Some(store) = &facts.store {
        let ago = store.committed_ago.map_or_else(
            || "nothing committed yet".to_owned(),
            |ago| {
                format!(
                    "{} commits, the last {:.1} s ago",
                    count(store.commits),
                    ago.as_secs_f64()
                )
            },
        );
        lines.push(Line::from(vec![
            Span::raw(format!("  {}   {ago}", safe(&store.url))),
            match store.away {
                true => Span::styled("   AWAY", BAD),
                false => Span::default(),
            },
            match store.spooled_batches {
                0 => Span::default(),
                batches => Span::styled(
                    format!(
                        "   spool: {} batches, {}",
                        count(batches),
                        bytes(store.spooled_bytes)
                    ),
                    WARNING,
                ),
            },
        ]));
    }
    if let Some(written) = &facts.written {
        lines.push(Line::from(vec![
            Span::raw(format!(
                "  raw packets: {}, {}",
                count(written.packets),
                bytes(written.bytes)
            )),
            match written.left_out {
                0 => Span::default(),
                left_out => Span::styled(format!("   {} left out", count(left_out)), BAD),
            },
        ]));
    }
}

fn words((level, text): &(Level, String), width: usize) -> Line<'static> {
    let style = match level {
        Level::Note => FAINT,
        Level::Warning => WARNING,
        Level::Error => BAD,
    };
    let first = text.lines().next().unwrap_or_default();
    Line::styled(fit(&safe(first), width).into_owned(), style)
}

/// In so many columns.
fn padded(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    format!("{text}{}", " ".repeat(columns.saturating_sub(width_of(&text))))
}

const fn bad_if(bad: bool) -> Style {
    if bad { BAD } else { Style::new() }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const GOOD: Style = Style::new().fg(Color::Green);
const WARNING: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::facts::tests::sample;
    use super::*;
    use crate::golden;

    fn drawn(facts: &LiveFacts, told: &[(Level, String)], width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| {
                let area = frame.area();
                render(facts, told, area, frame.buffer_mut());
            })
            .unwrap();
        let buffer = terminal.backend().buffer();
        let line = |row: u16| {
            let cells = (0..width).map(|column| buffer[(column, row)].symbol());
            format!("{}\n", cells.collect::<String>().trim_end())
        };
        (0..height).map(line).collect()
    }

    fn told() -> Vec<(Level, String)> {
        vec![
            (Level::Note, "reading mon0".to_owned()),
            (
                Level::Warning,
                "the interface tap3 is away (it is \u{1b}]0;not there)".to_owned(),
            ),
        ]
    }

    #[test]
    fn a_usual_screen() {
        golden::check("live/screen.txt", &drawn(&sample(), &told(), 110, 36));
    }

    #[test]
    fn a_small_screen_still_shows_what_was_said_last() {
        let text = drawn(&sample(), &told(), 50, 8);
        assert!(text.contains("bftap live") && text.contains("mon0"), "{text}");
        assert!(text.contains("the interface tap3 is away"), "{text}");
        // Sizes that nothing fits into.
        drawn(&sample(), &told(), 1, 1);
        drawn(&LiveFacts::default(), &[], 200, 60);
    }

    #[test]
    fn hostile_text_is_shown_not_obeyed() {
        let text = drawn(&sample(), &told(), 160, 40);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("\\u{1b}"), "{text}");
    }
}
