//! What the details come to: healthy or not and how sure that is, where the time went, what the gossip costs, who stands out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bftap_analysis::RULES;
use bftap_analysis::facts::{
    ChainName, Coverage, DelayFact, EventFact, Outcome, ParticipationFact, RoundCause, SessionState,
    WasteCause, WhatIfFact,
};

use super::capture::{chain_name, clock};
use super::loss::Share;
use super::page::{Cell, Page, Table, bar, bytes, count, counted, duration};
use super::{Report, left_out, short};
use crate::term::Ink;

/// Lines of a list of those who stand out.
const MOST: usize = 8;

/// Chains of which times and costs are shown.
const MOST_CHAINS: usize = 4;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    // Of a capture in which nothing was read there is no story; the warnings say what to do.
    if report.summary.rounds() == 0 && report.facts.events.iter().all(|event| !event.suspicious) {
        return;
    }
    in_short(report, page);
    times(report, page);
    costs(report, page);
    who(report, page);
}

fn in_short(report: &Report<'_>, page: &mut Page) {
    let summary = report.summary;
    page.heading("IN SHORT", "");
    let mut healthy = true;
    let mut say = |ink, mark: &str, text: String| {
        healthy = false;
        page.paragraph(ink, mark, &text);
    };
    let suspicious: Vec<&EventFact> = suspicious(report).collect();
    if !suspicious.is_empty() {
        let mut rules: BTreeMap<&str, u64> = BTreeMap::new();
        for event in &suspicious {
            *rules.entry(event.rule).or_default() += 1;
        }
        let rules: Vec<_> = rules
            .iter()
            .map(|(rule, events)| format!("{rule} {}", count(*events)))
            .collect();
        say(
            Ink::Bad,
            "✗ ",
            format!(
                "{} that no honest node shows: {}",
                counted(suspicious.len() as u64, "event", "events"),
                rules.join(", ")
            ),
        );
    }
    let notable: Vec<&EventFact> = notable(report).collect();
    if !notable.is_empty() {
        let mut rules: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for event in &notable {
            rules.entry(event.rule).or_default().insert(blamed(event));
        }
        let rules: Vec<_> = rules
            .iter()
            .map(|(rule, nodes)| {
                let named: Vec<&str> = nodes
                    .iter()
                    .map(String::as_str)
                    .filter(|node| *node != "-")
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
                "{} sent no commit in {} of {}{also}",
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
    how_sure(report, page);
}

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

fn times(report: &Report<'_>, page: &mut Page) {
    let phases = &report.facts.phases;
    if phases.is_empty() {
        return;
    }
    page.heading("WHERE THE TIME WENT", "at the median node that was seen in full");
    let longest = phases.iter().map(|phase| phase.p50_ns).max().unwrap_or(0);
    let columns = bar_columns(page);
    by_chain(
        page,
        phases,
        |phase| &phase.chain,
        |page, phases| {
            let mut table = Table::new()
                .words("phase")
                .numbers("rounds")
                .numbers("median")
                .words("")
                .numbers("95 %")
                .numbers("99 %")
                .numbers("longest");
            for phase in phases {
                table.row([
                    phase.phase.replace('_', " ").into(),
                    phase.rounds.into(),
                    duration(phase.p50_ns).into(),
                    Cell::from(bar(phase.p50_ns as f64, longest as f64, columns)).ink(Ink::Bar),
                    duration(phase.p95_ns).into(),
                    duration(phase.p99_ns).into(),
                    duration(phase.max_ns).into(),
                ]);
            }
            page.table(&table);
        },
    );
    deliveries(report, page);
}

/// How long payloads took to reach each node; those that had them latest first.
fn deliveries(report: &Report<'_>, page: &mut Page) {
    let mut found: Vec<&DelayFact> = report
        .facts
        .delays
        .iter()
        .filter(|delay| delay.exact > 0)
        .collect();
    if found.is_empty() {
        return;
    }
    found.sort_by_key(|delay| (&*delay.chain, Reverse((delay.p50_ns, delay.p95_ns))));
    page.paragraph(
        Ink::Faint,
        "",
        "from the first sight of a validator's payload to its first arrival at a node, where both ends were seen whole:",
    );
    let longest = found.iter().filter_map(|delay| delay.p50_ns).max().unwrap_or(0);
    let columns = bar_columns(page);
    by_chain(
        page,
        &found,
        |delay| &delay.chain,
        |page, delays| {
            let mut table = Table::new()
                .long_words("delivery to")
                .numbers("payloads")
                .numbers("median")
                .words("")
                .numbers("95 %")
                .numbers("99 %")
                .numbers("longest");
            for delay in delays.iter().take(MOST) {
                let time = |time: Option<i64>| Cell::from(time.map_or_else(|| "-".to_owned(), duration));
                table.row([
                    short(&delay.node).into(),
                    delay.exact.into(),
                    time(delay.p50_ns),
                    Cell::from(bar(delay.p50_ns.unwrap_or(0) as f64, longest as f64, columns)).ink(Ink::Bar),
                    time(delay.p95_ns),
                    time(delay.p99_ns),
                    time(delay.max_ns),
                ]);
            }
            page.table(&table);
            left_out(page, delays.len(), MOST, "nodes");
        },
    );
}

/// Columns of the bars in tables of times: names come first, and are not cut for them.
fn bar_columns(page: &Page) -> usize {
    page.style().width.saturating_sub(74).clamp(4, 16)
}

/// Rows that are sorted by chain, each chain's below its name where there are several.
fn by_chain<T>(
    page: &mut Page,
    rows: &[T],
    chain: impl Fn(&T) -> &ChainName,
    write: impl Fn(&mut Page, &[T]),
) {
    let of_chain = || rows.chunk_by(|a, b| chain(a) == chain(b));
    let chains = of_chain().count();
    for rows in of_chain().take(MOST_CHAINS) {
        if chains > 1 {
            page.line(&format!("chain {}:", chain_name(chain(&rows[0]))));
        }
        write(page, rows);
    }
    left_out(page, chains, MOST_CHAINS, "chains");
}

fn costs(report: &Report<'_>, page: &mut Page) {
    let total = report.summary.total();
    let waste = total.repeats.saturating_add(total.echoes);
    if waste == 0 {
        return;
    }
    page.heading("WHAT THE GOSSIP COSTS", "");
    let percent = |part: u64| format!("{:.0} %", part as f64 * 100.0 / total.messages.max(1) as f64);
    page.paragraph(
        Ink::Faint,
        "",
        &format!(
            "{} of {} ({}) brought their receiver nothing new",
            count(waste),
            counted(total.messages, "message", "messages"),
            percent(waste)
        ),
    );
    let mut of_cause: BTreeMap<WasteCause, u64> = BTreeMap::new();
    for waste in &report.facts.waste {
        let sum = of_cause.entry(waste.cause).or_default();
        *sum = sum.saturating_add(waste.bytes);
    }
    let mut table = Table::new()
        .words("cause")
        .numbers("copies")
        .words("")
        .numbers("")
        .numbers("bytes")
        .long_words("");
    for (cause, copies, meaning) in [
        (WasteCause::EchoSigner, total.echoes, "to the node that signed it"),
        (
            WasteCause::Resent,
            total.resent,
            "by a sender that had handed it over before",
        ),
        (
            WasteCause::EchoSource,
            total.echo_source,
            "to the node that the sender had it from",
        ),
        (
            WasteCause::Crossing,
            total.crossing,
            "on its way when the receiver's own copy passed",
        ),
        (
            WasteCause::Regossip,
            total.regossip,
            "the receiver had it from somebody else",
        ),
    ] {
        if copies > 0 {
            table.row([
                cause.as_str().replace('_', " ").into(),
                copies.into(),
                Cell::from(bar(copies as f64, waste as f64, 16)).ink(Ink::Bar),
                percent(copies).into(),
                of_cause
                    .get(&cause)
                    .map_or_else(String::new, |sum| bytes(*sum))
                    .into(),
                Cell::from(meaning).ink(Ink::Faint),
            ]);
        }
    }
    page.table(&table);
    what_if(report, page);
}

/// Other forwarding policies, set against what was seen.
fn what_if(report: &Report<'_>, page: &mut Page) {
    let policies = &report.facts.what_if;
    if policies.is_empty() {
        return;
    }
    page.paragraph(
        Ink::Faint,
        "",
        "other forwarding policies, replayed with the delays that were measured. An estimate: as if the same votes were \
         signed, all nodes were connected to each other, and each held a payload as long as it was seen to \
         (docs/redundancy.md says what else is assumed)",
    );
    by_chain(
        page,
        policies,
        |policy| &policy.chain,
        |page, policies| {
            let mut table = Table::new()
                .words("what if")
                .numbers("messages")
                .numbers("")
                .numbers("undelivered")
                .numbers("delay, median")
                .numbers("95 %");
            let seen = policies.iter().find(|policy| &*policy.policy == "as_seen");
            let mut same = Vec::new();
            for policy in policies {
                if is_flooding(policy, policies) {
                    same.push(policy.policy.replace('_', " "));
                    continue;
                }
                let change = match seen {
                    Some(seen) if seen.messages > 0 && seen.policy != policy.policy => {
                        change(policy.messages, seen.messages)
                    }
                    _ => String::new(),
                };
                let time = |time: Option<i64>| Cell::from(time.map_or_else(|| "-".to_owned(), duration));
                table.row([
                    policy.policy.replace('_', " ").into(),
                    policy.messages.into(),
                    change.into(),
                    Cell::from(policy.not_delivered).ink_if(policy.not_delivered > 0, Ink::Warning),
                    time(policy.delay_p50_ns),
                    time(policy.delay_p95_ns),
                ]);
            }
            page.table(&table);
            if !same.is_empty() {
                page.paragraph(
                    Ink::Faint,
                    "",
                    &format!(
                        "{}: no other than \"not to signer and source\", for nobody has more peers than that",
                        same.join(", ")
                    ),
                );
            }
        },
    );
}

/// A fixed degree that leaves out nobody.
fn is_flooding(policy: &WhatIfFact, policies: &[WhatIfFact]) -> bool {
    let costs = |policy: &WhatIfFact| {
        (
            policy.messages,
            policy.bytes,
            policy.not_delivered,
            policy.delay_p50_ns,
        )
    };
    policy.policy.starts_with("degree_")
        && policies
            .iter()
            .any(|other| &*other.policy == "not_to_signer_and_source" && costs(other) == costs(policy))
}

/// What changes, in percent; what is less than half a percent has no sign.
fn change(now: u64, before: u64) -> String {
    let percent = ((now as f64 / before as f64 - 1.0) * 100.0).round();
    if percent == 0.0 {
        "0 %".to_owned()
    } else {
        format!("{percent:+.0} %")
    }
}

fn who(report: &Report<'_>, page: &mut Page) {
    let mut lists = vec![
        of_events("suspicious", suspicious(report)),
        of_events("trouble", notable(report)),
        of_validators(report),
        of_scores(report),
        of_links(report),
    ];
    lists.retain(|(table, _)| table.is_some());
    if lists.is_empty() {
        return;
    }
    page.heading("WHO STANDS OUT", "");
    for (table, left_out) in lists {
        if let Some(table) = table {
            page.table(&table);
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

/// A list, if it has rows, and how many of its rows are not shown.
type Shown = (Option<Table>, usize);

fn shown(table: Table, rows: usize) -> Shown {
    ((rows > 0).then_some(table), rows.saturating_sub(MOST))
}

fn suspicious<'r>(report: &Report<'r>) -> impl Iterator<Item = &'r EventFact> {
    report.facts.events.iter().filter(|event| event.suspicious)
}

/// What rules found that is no misbehaviour: who was silent or late, a chain that stood still, who talks to whom against a policy. What only
/// says that something could not be read is told elsewhere.
fn is_notable(event: &EventFact) -> bool {
    !event.suspicious && (RULES.contains(&event.rule) || event.rule.starts_with("exposure_"))
}

fn notable<'r>(report: &Report<'r>) -> impl Iterator<Item = &'r EventFact> {
    report.facts.events.iter().filter(|event| is_notable(event))
}

/// Who is to blame for an event, in text.
fn blamed(event: &EventFact) -> String {
    let label = event.signer.as_deref().or(event.sender.as_deref()).map(short);
    let address = || event.address.map(|address| short(&address.to_string()));
    label
        .or_else(address)
        .or_else(|| event.ip.map(|ip| ip.to_string()))
        .unwrap_or_else(|| "-".to_owned())
}

/// Events by rule and node, the worst first.
fn of_events<'r>(what: &'static str, events: impl Iterator<Item = &'r EventFact>) -> Shown {
    let mut groups: BTreeMap<(&str, String), Vec<&EventFact>> = BTreeMap::new();
    for event in events {
        groups.entry((event.rule, blamed(event))).or_default().push(event);
    }
    let rank = |severity: &str| match severity {
        "critical" => 0,
        "warning" => 1,
        _ => 2,
    };
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
    let mut late: Vec<u64> = all.iter().map(|validator| validator.late).collect();
    late.sort_unstable();
    // Messages in its name that are not signed by it are no sign against a validator: rules say who sent them.
    // Whoever votes beyond the quorum is late as a rule: only who is so more often than the others stands out.
    let usual = late.get(late.len() / 2).copied().unwrap_or(0);
    let stands_out = |validator: &&ParticipationFact| {
        validator.missing + validator.partial > 0
            || validator.proposals < validator.proposals_due
            || (validator.late > 2 * usual && validator.late * 10 > validator.rounds)
    };
    let mut found: Vec<&ParticipationFact> = all.iter().filter(stands_out).collect();
    found.sort_by_key(|validator| {
        let gone = validator.proposals_due.saturating_sub(validator.proposals);
        Reverse((validator.missing + validator.partial, gone, validator.late))
    });
    let mut table = Table::new()
        .long_words("validator")
        .numbers("proposed")
        .numbers("commits")
        .numbers("missing")
        .numbers("partial")
        .numbers("late")
        .numbers("delay");
    // The delay is that of its commit behind the first one of the round, the median of all rounds.
    let of = |part: u64, all: u64| format!("{} of {}", count(part), count(all));
    // Without a known policy nobody can say whose turn it was.
    let proposed = |validator: &ParticipationFact| match validator.proposals_due {
        0 if validator.proposals > 0 => format!("{} of ?", count(validator.proposals)),
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
            bad(validator.partial),
            validator.late.into(),
            validator
                .commit_delay_p50_ns
                .map_or_else(|| "-".to_owned(), duration)
                .into(),
        ]);
    }
    shown(table, found.len())
}

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

const CAUSES: [(RoundCause, &str); 5] = [
    (RoundCause::NoPreprepare, "no preprepare"),
    (RoundCause::LatePreprepare, "preprepare late"),
    (RoundCause::VotesMissing, "votes missing"),
    (RoundCause::QuorumTooLate, "quorum too late"),
    (RoundCause::Unknown, "not known why"),
];
