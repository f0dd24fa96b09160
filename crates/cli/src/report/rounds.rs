//! Rounds: what became of them, how long they took, the busiest ones, and events.

use std::collections::BTreeMap;

use bftap_analysis::facts::{EventFact, Outcome};

use super::capture::{chain_name, clock};
use super::page::{Cell, Page, Table, bar, count, counted, duration};
use super::traffic::OUTCOMES;
use super::{Report, short, who};
use crate::term::Ink;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    let summary = report.summary;
    if summary.rounds() + summary.claimed_rounds() == 0 {
        return;
    }
    outcomes(report, page);
    phases(report, page);
    busiest(report, page);
    events(report, page);
}

fn outcomes(report: &Report<'_>, page: &mut Page) {
    let summary = report.summary;
    page.heading("ROUNDS", "");
    let mut table = Table::new()
        .words("outcome")
        .numbers("rounds")
        .words("")
        .words("");
    for outcome in OUTCOMES {
        let rounds = summary.rounds_with(outcome);
        if rounds > 0 {
            table.row([
                Cell::from(outcome.as_str()).ink(ink_of(outcome)),
                rounds.into(),
                Cell::from(bar(rounds as f64, summary.rounds() as f64, 20)).ink(Ink::Bar),
                Cell::from(meaning(outcome)).ink(Ink::Faint),
            ]);
        }
    }
    page.table(&table);
    let claimed = summary.claimed_rounds();
    if claimed > 0 {
        page.paragraph(
            Ink::Faint,
            "",
            &format!(
                "{} named by no more validators than may be faulty, and counted nowhere here (docs/rounds.md)",
                counted(claimed, "round is", "rounds are")
            ),
        );
    }
}

const fn meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Decided => "a node committed in it",
        Outcome::Changed => "left for a higher round",
        Outcome::Open => "neither, and nothing is missing that could hide it",
        Outcome::Unknown => "neither was seen, but loss or missing coverage may hide it",
    }
}

const fn ink_of(outcome: Outcome) -> Ink {
    match outcome {
        Outcome::Decided => Ink::Good,
        Outcome::Changed | Outcome::Open => Ink::Warning,
        Outcome::Unknown => Ink::Faint,
    }
}

/// Time from the preprepare until the median fully covered node was prepared and committed.
fn phases(report: &Report<'_>, page: &mut Page) {
    let mut table = Table::new()
        .words("preprepare to")
        .numbers("rounds")
        .numbers("median")
        .numbers("90 %")
        .numbers("99 %")
        .numbers("longest");
    for (name, spread) in report.summary.phases() {
        if spread.count() == 0 {
            continue;
        }
        let time = |nanos: Option<u64>| {
            Cell::from(nanos.map_or_else(String::new, |nanos| {
                duration(i64::try_from(nanos).unwrap_or(i64::MAX))
            }))
        };
        table.row([
            name.into(),
            spread.count().into(),
            time(spread.percentile(50)),
            time(spread.percentile(90)),
            time(spread.percentile(99)),
            time(spread.max()),
        ]);
    }
    if report
        .summary
        .phases()
        .iter()
        .all(|(_, spread)| spread.count() == 0)
        && report.summary.rounds_with(Outcome::Decided) > 0
    {
        page.line("how long they took is not known: that is told by nodes that were seen in full and without losses");
    }
    page.table(&table);
}

fn busiest(report: &Report<'_>, page: &mut Page) {
    let rounds = report.summary.busiest();
    if rounds.is_empty() {
        return;
    }
    page.heading("BUSIEST ROUNDS", "messages at all receivers");
    let several_chains = report.summary.chains().len() > 1;
    let mut table = Table::new()
        .numbers("sequence")
        .numbers("round")
        .numbers("messages")
        .words("")
        .words("outcome")
        .numbers("committed after")
        .long_words("proposer")
        .words(if several_chains { "chain" } else { "" });
    let most = rounds.first().map_or(0, |round| round.messages);
    for round in rounds {
        table.row([
            count(round.sequence).into(),
            round.round.into(),
            round.messages.into(),
            Cell::from(bar(round.messages as f64, most as f64, 16)).ink(Ink::Bar),
            Cell::from(round.outcome.as_str()).ink(ink_of(round.outcome)),
            round.took.map_or_else(|| "-".to_owned(), duration).into(),
            round
                .proposer
                .as_deref()
                .map_or_else(|| "-".to_owned(), short)
                .into(),
            if several_chains {
                chain_name(&round.chain).into()
            } else {
                Cell::default()
            },
        ]);
    }
    page.table(&table);
}

fn events(report: &Report<'_>, page: &mut Page) {
    // In the store they have the numbers of their places in the run.
    let mut events: Vec<_> = report.facts.events.iter().enumerate().collect();
    if events.is_empty() {
        return;
    }
    events.sort_by_key(|(_, event)| who::rank(event.severity));
    let numbered = report.asked.stored.is_some();
    page.heading(
        "EVENTS",
        if numbered {
            "worst first; # is the number for bftap evidence"
        } else {
            "worst first"
        },
    );
    let (shown, rest) = shown(&events);
    let widest = shown
        .iter()
        .map(|(number, _)| number.to_string().len())
        .max()
        .unwrap_or(0);
    for (number, event) in shown {
        let ink = match event.severity {
            "critical" => Ink::Bad,
            "warning" => Ink::Warning,
            _ => Ink::Faint,
        };
        let number = if numbered {
            format!("{:<width$}  ", format!("#{number}"), width = widest + 1)
        } else {
            String::new()
        };
        let mark = format!("{number}{}  {:<8}  ", clock(event.time_ns), event.severity);
        page.paragraph(
            ink,
            &mark,
            &format!("{}: {}", event.rule, shortened(&event.detail)),
        );
    }
    if !rest.is_empty() {
        let rules: Vec<_> = rest
            .iter()
            .map(|(rule, events)| format!("{rule} {}", count(*events)))
            .collect();
        page.paragraph(
            Ink::Faint,
            "",
            &format!(
                "and {} more events ({}); --json has all",
                count(rest.values().sum()),
                rules.join(", ")
            ),
        );
    }
}

/// Hashes and addresses in a text with their middles left out, as in tables.
fn shortened(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        let digits = rest[at + 2..].bytes().take_while(u8::is_ascii_hexdigit).count();
        let (before, hex) = rest.split_at(at);
        let known = digits == 40 || digits == 64;
        let (hex, after) = hex.split_at(if known { 2 + digits } else { 2 });
        out.push_str(before);
        if known {
            out.push_str(&hex[..8]);
            out.push('…');
            out.push_str(&hex[hex.len() - 4..]);
        } else {
            out.push_str(hex);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// An event and its number.
type Numbered<'e> = (usize, &'e EventFact);

/// The events that are shown, in their order, and how many more there are of each rule. A rule with many leaves room for the others.
fn shown<'e>(events: &[Numbered<'e>]) -> (Vec<Numbered<'e>>, BTreeMap<&'e str, u64>) {
    let mut of_rule: BTreeMap<&str, usize> = BTreeMap::new();
    let mut first: Vec<bool> = events
        .iter()
        .map(|(_, event)| {
            let of_rule = of_rule.entry(event.rule).or_default();
            *of_rule += 1;
            *of_rule <= MOST_OF_RULE
        })
        .collect();
    let mut room = MOST_EVENTS;
    for first in &mut first {
        *first &= room > 0;
        room -= usize::from(*first);
    }
    for first in first.iter_mut().filter(|first| !**first).take(room) {
        *first = true;
    }
    let mut rest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut shown = Vec::new();
    for (&(number, event), is_shown) in events.iter().zip(first) {
        if is_shown {
            shown.push((number, event));
        } else {
            *rest.entry(event.rule).or_default() += 1;
        }
    }
    (shown, rest)
}

/// Events of one rule that are shown before others of it take the room that the other rules leave.
const MOST_OF_RULE: usize = 4;

const MOST_EVENTS: usize = 15;

#[cfg(test)]
mod tests {
    use bftap_model::CaptureTime;

    use super::*;

    #[test]
    fn a_loud_rule_leaves_room_for_the_others() {
        let event = |rule| EventFact::new(rule, CaptureTime::from_nanos(0), String::new());
        let mut all = vec![event("undecodable"); 100];
        all.extend(["one", "two", "three"].map(event));
        let listed: Vec<Numbered<'_>> = all.iter().enumerate().collect();
        let rules = |events: &[Numbered<'_>]| events.iter().map(|(_, event)| event.rule).collect::<Vec<_>>();
        let (events, rest) = shown(&listed);
        assert_eq!(events.len(), MOST_EVENTS);
        assert_eq!(rules(&events[12..]), ["one", "two", "three"]);
        assert_eq!(rest, [("undecodable", 88)].into());
        let (events, rest) = shown(&listed[95..]);
        assert_eq!((events.len(), rest.len()), (8, 0), "all of few");
        assert_eq!(events[0].0, 95, "their numbers stay");
    }

    #[test]
    fn hashes_are_shown_as_in_tables() {
        let hash = format!("0x{}", "0123456789abcdef".repeat(4));
        let address = &hash[..42];
        assert_eq!(
            shortened(&format!("{hash} and {address}, é 0x12 0x{hash}")),
            "0x012345…cdef and 0x012345…4567, é 0x12 0x0x012345…cdef"
        );
        assert_eq!(shortened("0x"), "0x");
    }
}
