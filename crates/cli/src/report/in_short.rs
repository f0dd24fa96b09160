//! The first lines: healthy or not, who is to blame, and how sure that is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bftap_analysis::facts::{Coverage, EventFact, Outcome, RoundCause, SessionState};

use super::advice::UNPROVEN_KEYS;
use super::loss::Share;
use super::page::{Page, count, counted};
use super::{MOST, Report, short, who};
use crate::term::Ink;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    let summary = report.summary;
    page.heading("IN SHORT", "");
    let mut healthy = true;
    let mut say = |ink, mark: &str, text: String| {
        healthy = false;
        page.paragraph(ink, mark, &text);
    };
    let suspicious: Vec<&EventFact> = who::suspicious(report).collect();
    if !suspicious.is_empty() {
        say(
            Ink::Bad,
            "✗ ",
            format!(
                "{} that no honest node shows: {}",
                counted(suspicious.len() as u64, "event", "events"),
                culprits(&suspicious)
            ),
        );
    }
    let notable: Vec<&EventFact> = who::notable(report).collect();
    if !notable.is_empty() {
        let mut rules: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for event in &notable {
            rules.entry(event.rule).or_default().insert(who::blamed(event));
        }
        let rules: Vec<_> = rules
            .iter()
            .map(|(rule, nodes)| {
                let named: Vec<&str> = nodes
                    .iter()
                    .map(String::as_str)
                    .filter(|node| *node != who::NOBODY)
                    .take(MOST)
                    .collect();
                if named.is_empty() {
                    (*rule).to_owned()
                } else {
                    format!("{rule} ({})", named.join(", "))
                }
            })
            .collect();
        let worst = notable.iter().any(|event| event.severity == "critical");
        say(
            if worst { Ink::Bad } else { Ink::Warning },
            "! ",
            format!(
                "{} of trouble that honest nodes may have, too: {}",
                counted(notable.len() as u64, "event", "events"),
                rules.join(", ")
            ),
        );
    }
    let missed: Vec<_> = report
        .facts
        .participation
        .iter()
        .filter(|v| v.missing > 0)
        .collect();
    if let Some(worst) = missed.iter().max_by_key(|validator| validator.missing) {
        let others = missed.len() as u64 - 1;
        let also = if others > 0 {
            format!(
                "; {} missed some, too",
                counted(others, "other validator", "other validators")
            )
        } else {
            String::new()
        };
        say(
            Ink::Warning,
            "! ",
            format!(
                "{} sent no valid commit in {} of {}{also}",
                short(&worst.validator),
                count(worst.missing),
                counted(worst.rounds, "round", "rounds")
            ),
        );
    }
    let changed = summary.rounds_with(Outcome::Changed);
    if changed > 0 {
        let causes: Vec<_> = CAUSES
            .into_iter()
            .map(|(cause, words)| (words, summary.rounds_left_by(cause)))
            .filter(|(_, rounds)| *rounds > 0)
            .map(|(words, rounds)| format!("{words} {}", count(rounds)))
            .collect();
        let causes = if causes.is_empty() {
            String::new()
        } else {
            format!(": {}", causes.join(", "))
        };
        say(
            Ink::Warning,
            "! ",
            format!(
                "{} of {} rounds {} left for a higher one{causes}",
                count(changed),
                count(summary.rounds()),
                was(changed)
            ),
        );
    }
    // The last height of a capture is open as a rule.
    let open = summary.rounds_with(Outcome::Open);
    if open > summary.chains().len() as u64 {
        say(
            Ink::Warning,
            "! ",
            format!(
                "{} neither decided nor left, and nothing is missing that could hide it",
                counted(open, "round was", "rounds were")
            ),
        );
    }
    if healthy && summary.rounds_with(Outcome::Decided) > 0 {
        page.paragraph(
            Ink::Good,
            "✓ ",
            &format!(
                "healthy: {} decided, none was left for a higher one, and nobody stands out as suspicious",
                counted(summary.rounds_with(Outcome::Decided), "round was", "rounds were")
            ),
        );
    }
    besides(report, page);
    how_sure(report, page);
}

/// Who is behind events, the worst first, with the rules: `cn5 (volume 2, repeated_payload 31), cn2 (equivocation)`.
fn culprits(events: &[&EventFact]) -> String {
    let mut nodes: BTreeMap<String, (usize, BTreeMap<&str, u64>)> = BTreeMap::new();
    for event in events {
        let (worst, rules) = nodes
            .entry(who::blamed(event))
            .or_insert_with(|| (usize::MAX, BTreeMap::new()));
        *worst = (*worst).min(who::rank(event.severity));
        *rules.entry(event.rule).or_default() += 1;
    }
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_key(|(_, (worst, rules))| (*worst, Reverse(rules.values().sum::<u64>())));
    let more = nodes.len().saturating_sub(MOST);
    let named = nodes.iter().take(MOST).map(|(node, (_, rules))| {
        let rules: Vec<_> = rules
            .iter()
            .map(|(rule, events)| match events {
                1 => (*rule).to_owned(),
                events => format!("{rule} {}", count(*events)),
            })
            .collect();
        let node = if node == who::NOBODY { "nobody named" } else { node };
        format!("{node} ({})", rules.join(", "))
    });
    let mut named: Vec<_> = named.collect();
    if more > 0 {
        named.push(counted(more as u64, "other node", "other nodes"));
    }
    named.join(", ")
}

/// What is neither trouble of the chain nor nothing.
fn besides(report: &Report<'_>, page: &mut Page) {
    let mut parts = Vec::new();
    let (unknown, known): (Vec<_>, Vec<_>) = report
        .summary
        .chains()
        .partition(|(chain, _)| &***chain == UNKNOWN_CHAIN);
    if known.len() > 1 {
        parts.push(format!(
            "{} chains are in the capture: another genesis, or one that was started anew",
            known.len()
        ));
    }
    if !unknown.is_empty() && !known.is_empty() {
        parts.push("of some sessions it is not known of which chain they are".to_owned());
    }
    let steps = report
        .facts
        .events
        .iter()
        .filter(|event| event.rule == CLOCK_STEP)
        .count() as u64;
    if steps > 0 {
        parts.push(format!(
            "by the capture's clock {} decided before the one that it builds on: the clock was set back, or clocks of captures \
             differ, and times around it are not what they seem",
            counted(steps, "height was", "heights were")
        ));
    }
    let refused = report
        .facts
        .totals
        .limits_reached
        .get(UNPROVEN_KEYS)
        .copied()
        .unwrap_or(0);
    if refused > 0 {
        parts.push(format!(
            "in {} the key that a Hello showed was not accepted by the other end, and names nobody",
            counted(refused, "case", "cases")
        ));
    }
    if !parts.is_empty() {
        page.paragraph(Ink::Faint, "· ", &format!("besides: {}", parts.join("; ")));
    }
}

/// What sessions are of whose chain nothing is known.
const UNKNOWN_CHAIN: &str = "unknown";

/// The rule that tells steps of the clock.
const CLOCK_STEP: &str = "clock_step";

/// What loss and missing coverage leave open.
fn how_sure(report: &Report<'_>, page: &mut Page) {
    let facts = report.facts;
    let share = Share::of(facts);
    let unread = facts
        .sessions
        .iter()
        .filter(|session| !matches!(session.state, SessionState::Decrypted | SessionState::NoHandshake))
        .count() as u64;
    let unknown_rounds = report.summary.rounds_with(Outcome::Unknown);
    let unknown_votes: u64 = facts
        .participation
        .iter()
        .map(|validator| validator.unknown)
        .sum();
    let nodes = facts.nodes.len() as u64;
    let full = facts
        .nodes
        .iter()
        .filter(|node| node.coverage == Coverage::Full)
        .count() as u64;
    let cut = facts
        .captures
        .iter()
        .filter(|capture| capture.problem.is_some())
        .count() as u64;
    let undecodable = facts.totals.undecodable;
    let whole = share.is_whole() && unread == 0 && cut == 0 && undecodable == 0;
    let mut parts = Vec::new();
    if whole {
        parts.push("everything that passed was read".to_owned());
    } else if !(share.is_whole() && unread == 0) {
        parts.push(format!("{} of the traffic was read", share.percent()));
    }
    if cut > 0 {
        parts.push(format!(
            "{} not read to the end",
            counted(cut, "capture was", "captures were")
        ));
    }
    if undecodable > 0 {
        parts.push(format!(
            "{} not decode",
            counted(undecodable, "message did", "messages did")
        ));
    }
    if !facts.nodes.is_empty() {
        parts.push(format!(
            "{} of {} nodes {} seen in full",
            count(full),
            count(nodes),
            was(full)
        ));
    }
    if unknown_rounds > 0 {
        parts.push(format!(
            "of {} it is not known what became",
            counted(unknown_rounds, "round", "rounds")
        ));
    }
    if unknown_votes > 0 {
        parts.push(format!(
            "{} not seen, and loss, missing coverage or the end of the capture may be why",
            counted(unknown_votes, "commit was", "commits were")
        ));
    }
    if report.asked.no_signatures {
        parts.push("signatures were not checked, so rules about them say nothing".to_owned());
    }
    let sure =
        !report.asked.no_signatures && whole && unknown_rounds == 0 && unknown_votes == 0 && full == nodes;
    let ink = if sure { Ink::Good } else { Ink::Warning };
    page.paragraph(
        ink,
        if sure { "✓ " } else { "? " },
        &format!("how sure: {}", parts.join("; ")),
    );
}

const fn was(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

const CAUSES: [(RoundCause, &str); 5] = [
    (RoundCause::NoPreprepare, "no preprepare"),
    (RoundCause::LatePreprepare, "preprepare late"),
    (RoundCause::VotesMissing, "votes missing"),
    (RoundCause::QuorumTooLate, "quorum too late"),
    (RoundCause::Unknown, "not known why"),
];
