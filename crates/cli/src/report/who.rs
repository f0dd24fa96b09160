//! Who stands out: by what rules say, by what it took part in, by its score, and links that lose.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bftap_analysis::RULES;
use bftap_analysis::facts::{EventFact, ParticipationFact};

use super::capture::clock;
use super::page::{Cell, Page, Table, count, duration};
use super::{MOST, Report, short};
use crate::term::Ink;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    let mut lists = vec![
        of_events("suspicious", suspicious(report)),
        of_events("trouble", notable(report)),
        of_validators(report),
        of_scores(report),
        of_links(report),
    ];
    lists.retain(|(table, ..)| table.is_some());
    if lists.is_empty() {
        return;
    }
    page.heading("WHO STANDS OUT", "");
    for (table, left_out, legend) in lists {
        if let Some(table) = table {
            page.table(&table);
        }
        if !legend.is_empty() {
            page.paragraph(Ink::Faint, "", legend);
        }
        if left_out > 0 {
            page.paragraph(
                Ink::Faint,
                "",
                &format!("and {} more; --json has all", count(left_out as u64)),
            );
        }
    }
}

/// A list, if it has rows, how many of its rows are not shown, and what its columns mean where their names do not say so.
type Shown = (Option<Table>, usize, &'static str);

fn shown(table: Table, rows: usize) -> Shown {
    ((rows > 0).then_some(table), rows.saturating_sub(MOST), "")
}

pub(super) fn suspicious<'r>(report: &Report<'r>) -> impl Iterator<Item = &'r EventFact> {
    report.facts.events.iter().filter(|event| event.suspicious)
}

/// What rules found that is no misbehaviour: who was silent or late, a chain that stood still, who talks to whom against a policy. What only
/// says that something could not be read is told elsewhere.
fn is_notable(event: &EventFact) -> bool {
    !event.suspicious && (RULES.contains(&event.rule) || event.rule.starts_with("exposure_"))
}

pub(super) fn notable<'r>(report: &Report<'r>) -> impl Iterator<Item = &'r EventFact> {
    report.facts.events.iter().filter(|event| is_notable(event))
}

/// In the place of a node where an event names none.
pub(super) const NOBODY: &str = "-";

/// Who is to blame for an event, in text.
pub(super) fn blamed(event: &EventFact) -> String {
    let label = event.signer.as_deref().or(event.sender.as_deref()).map(short);
    let address = || event.address.map(|address| short(&address.to_string()));
    label
        .or_else(address)
        .or_else(|| event.ip.map(|ip| ip.to_string()))
        .unwrap_or_else(|| NOBODY.to_owned())
}

/// The worst severity first.
pub(super) fn rank(severity: &str) -> usize {
    match severity {
        "critical" => 0,
        "warning" => 1,
        _ => 2,
    }
}

/// Events by rule and node, the worst first.
fn of_events<'r>(what: &'static str, events: impl Iterator<Item = &'r EventFact>) -> Shown {
    let mut groups: BTreeMap<(&str, String), Vec<&EventFact>> = BTreeMap::new();
    for event in events {
        groups.entry((event.rule, blamed(event))).or_default().push(event);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, events)| {
        let worst = events.iter().map(|event| rank(event.severity)).min();
        (worst, Reverse(events.len()))
    });
    let mut table = Table::new()
        .long_words(what)
        .long_words("node")
        .words("severity")
        .numbers("events")
        .words("first")
        .numbers("at height");
    for ((rule, node), events) in groups.iter().take(MOST) {
        let worst = events.iter().min_by_key(|event| rank(event.severity));
        let Some(first) = events.iter().min_by_key(|event| event.time_ns) else {
            continue;
        };
        let severity = worst.map_or("", |event| event.severity);
        table.row([
            (*rule).into(),
            node.as_str().into(),
            Cell::from(severity).ink(if severity == "critical" {
                Ink::Bad
            } else {
                Ink::Warning
            }),
            (events.len() as u64).into(),
            clock(first.time_ns).into(),
            first.sequence.map_or_else(String::new, count).into(),
        ]);
    }
    shown(table, groups.len())
}

fn of_validators(report: &Report<'_>) -> Shown {
    let all = &report.facts.participation;
    // Messages in its name that are not signed by it are no sign against a validator: rules say who sent them.
    // Whoever votes beyond the quorum is late as a rule: only who is so more often than the others stands out.
    let usual = median(all.iter().map(|validator| validator.late));
    let usually_unknown = median(all.iter().map(|validator| validator.unknown));
    // One that keeps its commits back is decided without as a slow one is, only more often.
    let usually_without = median(all.iter().map(decided_without));
    let stands_out = |validator: &&ParticipationFact| {
        validator.missing + validator.partial > 0
            || validator.proposals < validator.proposals_due
            || (validator.late > 2 * usual && validator.late * 10 > validator.rounds)
            || (validator.unknown > 2 * usually_unknown && validator.unknown * 10 > validator.rounds)
            || (decided_without(validator) > 2 * usually_without
                && decided_without(validator) * 10 > validator.rounds)
    };
    let mut found: Vec<&ParticipationFact> = all.iter().filter(stands_out).collect();
    found.sort_by_key(|validator| {
        let gone = validator.proposals_due.saturating_sub(validator.proposals);
        Reverse((
            validator.missing + validator.partial,
            gone,
            decided_without(validator),
            validator.late,
            validator.unknown,
        ))
    });
    let mut table = Table::new()
        .long_words("validator")
        .numbers("proposed")
        .numbers("commits")
        .numbers("missing")
        .numbers("not known")
        .numbers("partial")
        .numbers("late")
        .numbers("delay");
    let of = |part: u64, all: u64| format!("{} of {}", count(part), count(all));
    // Without a known policy nobody can say whose turn it was.
    let proposed = |validator: &ParticipationFact| match validator.proposals_due {
        0 if validator.proposals > 0 => format!("{} of ?", count(validator.proposals)),
        // At the first heights of a capture nobody can say yet whose turn it is.
        due if validator.proposals > due => format!("{} ({} due)", count(validator.proposals), count(due)),
        due => of(validator.proposals, due),
    };
    let bad = |number: u64| Cell::from(number).ink_if(number > 0, Ink::Warning);
    for validator in found.iter().take(MOST) {
        let gone = validator.proposals < validator.proposals_due;
        table.row([
            short(&validator.validator).into(),
            Cell::from(proposed(validator)).ink_if(gone, Ink::Warning),
            of(validator.commits, validator.rounds).into(),
            bad(validator.missing),
            validator.unknown.into(),
            bad(validator.partial),
            validator.late.into(),
            validator
                .commit_delay_p50_ns
                .map_or_else(|| "-".to_owned(), duration)
                .into(),
        ]);
    }
    let (table, left_out, _) = shown(table, found.len());
    (table, left_out, OF_VALIDATORS)
}

fn median(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}

/// Rounds that were decided without its commit before that was due, as far as can be seen.
fn decided_without(validator: &ParticipationFact) -> u64 {
    let told = [validator.commits, validator.missing, validator.unknown];
    told.into_iter().fold(validator.rounds, u64::saturating_sub)
}

/// What the columns of [`of_validators`] mean.
const OF_VALIDATORS: &str = "of decided rounds, commits: seen; missing: nowhere, and no loss can hide it; not known: loss or missing coverage \
                             may hide it; the rest: decided without it before it was due, as happens to slow nodes, or always to one that \
                             keeps its commits back. Of all its messages, partial: to some nodes only, as where two are not connected; late: when \
                             all had their quorum. Delay: of its commit behind the first one, the median";

fn of_scores(report: &Report<'_>) -> Shown {
    let mut found: Vec<_> = report
        .facts
        .scores
        .iter()
        .filter(|score| score.score_milli < 0)
        .collect();
    found.sort_by_key(|score| score.score_milli);
    let mut table = Table::new()
        .long_words("node")
        .numbers("score")
        .words("mostly for");
    for score in found.iter().take(MOST) {
        let parts = [
            ("delivering too little", score.delivery_deficit_milli),
            ("invalid messages", score.invalid_milli),
            ("sharing an IP address", score.colocation_milli),
            ("what rules blamed on it", score.behaviour_milli),
        ];
        let worst = parts.iter().min_by_key(|(_, part)| *part);
        table.row([
            short(&score.node).into(),
            Cell::from(format!("{:.1}", score.score_milli as f64 / 1000.0)).ink(Ink::Warning),
            worst.map_or("", |(words, _)| *words).into(),
        ]);
    }
    shown(table, found.len())
}

fn of_links(report: &Report<'_>) -> Shown {
    let links = &report.facts.links;
    let mut found: Vec<_> = links
        .iter()
        // One of a hundred segments again, and not by one bad moment.
        .filter(|link| link.retransmissions >= 10 && link.retransmissions.saturating_mul(100) > link.segments)
        .collect();
    found.sort_by_key(|link| Reverse(link.retransmissions.saturating_mul(1000) / link.segments.max(1)));
    let mut table = Table::new()
        .long_words("link")
        .numbers("segments")
        .numbers("sent again")
        .numbers("round trip, mean")
        .numbers("longest");
    for link in found.iter().take(MOST) {
        let share = link.retransmissions as f64 * 100.0 / link.segments.max(1) as f64;
        let time = |time: Option<i64>| Cell::from(time.map_or_else(|| "-".to_owned(), duration));
        table.row([
            format!("{} → {}", short(&link.sender), short(&link.receiver)).into(),
            link.segments.into(),
            Cell::from(format!("{share:.1} %")).ink(Ink::Warning),
            time(link.rtt_mean_ns),
            time(link.rtt_max_ns),
        ]);
    }
    shown(table, found.len())
}
