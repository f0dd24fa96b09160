//! What the details come to: where the time went, and what the gossip costs; between [what it is in short](super::in_short) and
//! [who stands out](super::who).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bftap_analysis::facts::{ChainName, DelayFact, WasteCause, WhatIfFact};

use super::capture::chain_name;
use super::page::{Cell, Page, Table, bar, bytes, count, counted, duration};
use super::{MOST, Report, left_out, short};
use crate::term::Ink;

/// Chains of which times and costs are shown.
const MOST_CHAINS: usize = 4;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    times(report, page);
    costs(report, page);
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
    if let Some(slowest) = report.summary.slowest() {
        page.paragraph(Ink::Faint, "", &format!("longest to a block: {slowest}"));
    }
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
