//! A comparison for people.

use super::measured::Unit;
use super::{Compared, Comparison, FEWEST_HEIGHTS};
use crate::report::{Page, Table, bytes, count, counted, duration, short};
use crate::term::{Ink, Style};

/// The comparison as text.
pub(crate) fn text(comparison: &Comparison, style: Style) -> String {
    let mut page = Page::new(style);
    page.heading("RUNS", "");
    let mut runs = Table::new()
        .words("")
        .long_words("run")
        .numbers("heights")
        .numbers("validators")
        .numbers("receivers seen in full")
        .long_words("store");
    for (name, run) in ["A", "B"].into_iter().zip(&comparison.runs) {
        runs.row([
            name.into(),
            run.run.as_str().into(),
            (run.heights as u64).into(),
            run.validators
                .map_or_else(|| "?".to_owned(), |validators| validators.to_string())
                .into(),
            (run.receivers.len() as u64).into(),
            run.store.as_str().into(),
        ]);
    }
    page.table(&runs);
    for (name, run) in ["A", "B"].into_iter().zip(&comparison.runs) {
        let events: usize = run.suspicious_events.values().sum();
        if events > 0 {
            let rules: Vec<_> = run
                .suspicious_events
                .iter()
                .map(|(rule, events)| format!("{rule} {}", count(*events as u64)))
                .collect();
            page.paragraph(
                Ink::Warning,
                "! ",
                &format!(
                    "{name} has {} that no honest node shows ({}): what differs below may be their work, not the change's.",
                    counted(events as u64, "event", "events"),
                    rules.join(", ")
                ),
            );
        }
    }
    let fewest = comparison.runs.iter().map(|run| run.heights).min().unwrap_or(0);
    if !comparison.comparable {
        page.paragraph(
            Ink::Warning,
            "! ",
            "These runs differ in more than what may have been changed on purpose: no difference below is called one.",
        );
        for reason in &comparison.reasons {
            page.paragraph(Ink::Warning, "  · ", reason);
        }
    } else if fewest < FEWEST_HEIGHTS {
        page.paragraph(
            Ink::Warning,
            "! ",
            &format!(
                "{} are too few to tell a difference from chance: {FEWEST_HEIGHTS} or more it takes, of each run.",
                counted(fewest as u64, "height", "heights")
            ),
        );
    } else {
        let beyond = comparison
            .measures
            .iter()
            .filter(|row| row.beyond_chance == Some(true))
            .count() as u64;
        let text = match beyond {
            0 => "No measure differs beyond chance.".to_owned(),
            _ => format!(
                "{} beyond chance.",
                counted(beyond, "measure differs", "measures differ")
            ),
        };
        page.paragraph(Ink::Good, "", &text);
    }
    page.heading(
        "MEASURES",
        "the interval holds the true difference with 95 % confidence · differs: beyond chance, all measures taken together at 5 %",
    );
    let mut table = Table::new()
        .words("")
        .numbers("A")
        .numbers("B")
        .numbers("B − A")
        .numbers("95 % interval")
        .words("");
    for row in &comparison.measures {
        let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| shown(row.unit, value));
        let signed = |value: f64| {
            let text = shown(row.unit, value);
            if value > 0.0 { format!("+{text}") } else { text }
        };
        let interval = row.low.zip(row.high).map_or_else(String::new, |(low, high)| {
            format!("{} … {}", signed(low), signed(high))
        });
        let name = row.measure;
        table.row([
            name.into(),
            value(row.a).into(),
            value(row.b).into(),
            row.difference.map_or_else(|| "-".to_owned(), signed).into(),
            interval.into(),
            crate::report::Cell::from(verdict(row)).ink_if(row.beyond_chance == Some(true), Ink::Warning),
        ]);
    }
    page.table(&table);
    delays(comparison, &mut page);
    page.into_text()
}

fn delays(comparison: &Comparison, page: &mut Page) {
    if comparison.delays.is_empty() {
        return;
    }
    page.heading(
        "DELIVERY",
        "from the first sight of a validator's payload to its first arrival at a node, A → B; of whole runs, so without an interval",
    );
    let mut table = Table::new()
        .long_words("node")
        .numbers("payloads")
        .numbers("median")
        .numbers("95 %")
        .numbers("99 %");
    let times = |[a, b]: [i64; 2]| format!("{} → {}", duration(a), duration(b));
    for row in comparison.delays.iter().take(MOST_NODES) {
        let [a, b] = row.payloads.map(|payloads| count(payloads.unsigned_abs()));
        table.row([
            short(&row.node).into(),
            format!("{a} → {b}").into(),
            times(row.p50_ns).into(),
            times(row.p95_ns).into(),
            times(row.p99_ns).into(),
        ]);
    }
    page.table(&table);
    let more = comparison.delays.len().saturating_sub(MOST_NODES);
    if more > 0 {
        page.paragraph(Ink::Faint, "", &format!("and {more} more nodes; --json has all"));
    }
}

/// Nodes whose delays are shown.
const MOST_NODES: usize = 20;

fn verdict(row: &Compared) -> &'static str {
    match row.beyond_chance {
        Some(true) => "differs",
        Some(false) => "",
        None => "?",
    }
}

fn shown(unit: Unit, value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    match unit {
        // To the millisecond: differences of long times are short.
        Unit::Nanoseconds if (1e9..1e12).contains(&value.abs()) => format!("{:.3} s", value / 1e9),
        Unit::Nanoseconds => duration(value as i64),
        Unit::Bytes => format!("{sign}{}", bytes(value.abs() as u64)),
        Unit::Share => format!("{:.2} %", value * 100.0),
        Unit::Factor => format!("{value:.3}"),
        Unit::Messages if value.abs() >= 1000.0 => format!("{sign}{}", count(value.abs() as u64)),
        Unit::Messages => format!("{value:.2}"),
    }
}
