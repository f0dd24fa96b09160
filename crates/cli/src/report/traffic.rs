//! Messages by kind and by receiver, against the ideal and the bound; copies of payloads.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_analysis::facts::{Coverage, Outcome};
use bftap_ibft_decode::Kind;

use super::page::{Cell, Page, Table, bar, bytes, count, counted, factor, gauge};
use super::summary::{KindAtReceiver, Receiver, Tally, is_exact};
use super::{Report, ink_of, left_out, name_and_ip, short};
use crate::term::Ink;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    let receivers: Vec<_> = report
        .summary
        .receivers()
        .into_iter()
        .map(|(ip, receiver)| (ip, receiver, report.coverage_at(ip, &receiver.label)))
        .collect();
    let (in_part, in_full): (Vec<_>, Vec<_>) = receivers
        .into_iter()
        .partition(|(.., coverage)| *coverage == Coverage::Partial);
    // Few copies at a receiver that was seen in part make the whole look less redundant than it was.
    let seen = if in_part.is_empty() && in_full.iter().all(|(.., coverage)| *coverage == Coverage::Full) {
        Coverage::Full
    } else {
        Coverage::Partial
    };
    kinds(report, seen, page);
    per_round(&in_full, page);
    partly_covered(report, &in_part, page);
    copies(report, &in_full, &in_part, page);
}

type Seen<'a> = (IpAddr, &'a Receiver, Coverage);

fn kinds(report: &Report<'_>, seen: Coverage, page: &mut Page) {
    let total = report.summary.total();
    page.heading(
        "CONSENSUS MESSAGES",
        "useful: first copy of a payload at a receiver · repeat: a later copy · echo: the receiver's own payload coming \
         back · redundancy: messages / useful",
    );
    if total.messages == 0 {
        page.line("none");
        return;
    }
    let mut table = Table::new()
        .words("kind")
        .numbers("messages")
        .words("")
        .numbers("useful")
        .numbers("repeats")
        .numbers("echoes")
        .numbers("redundancy")
        .numbers("invalid")
        .numbers("bytes");
    let row = |name: &str, tally: &Tally, shown: String| -> [Cell; 9] {
        [
            name.into(),
            tally.messages.into(),
            Cell::from(shown).ink(Ink::Bar),
            tally.useful.into(),
            tally.repeats.into(),
            tally.echoes.into(),
            at_least(seen, factor(tally.redundancy())),
            Cell::from(tally.invalid).ink_if(tally.invalid > 0, Ink::Bad),
            bytes(tally.bytes).into(),
        ]
    };
    for kind in Kind::ALL {
        let tally = report.summary.kind(kind);
        table.row(row(
            kind.as_str(),
            tally,
            bar(tally.messages as f64, total.messages as f64, 12),
        ));
    }
    table.row(row("all", &total, String::new()));
    // A flood of payloads for heights that nobody is at makes gossip look cheap.
    let (claimed, rest) = report.summary.claimed_and_rest();
    if claimed.messages > 0 {
        table.row(row("only one names", &claimed, String::new()));
        table.row(row("the rest", &rest, String::new()));
    }
    page.table(&table);
    if claimed.messages > 0 {
        page.paragraph(
            Ink::Faint,
            "",
            "only one names: of rounds that one validator speaks of and nobody is in, as a flood does; diff leaves them out",
        );
    }
}

/// Receivers whose traffic was seen in full: only here do messages a round say something about the network.
fn per_round(receivers: &[Seen<'_>], page: &mut Page) {
    if receivers.is_empty() {
        return;
    }
    page.heading(
        "MESSAGES PER ROUND, BY RECEIVER",
        "mean, median and most over the rounds in which any arrived · ideal (│): each other validator's payload once, \
         n-1, but one preprepare · bound, the end of the bar: every neighbour hands on everything, n(n-1), but n-1 \
         preprepares · factor: messages / useful · echoes: its own coming back",
    );
    let mut table = Table::new()
        .long_words("receiver")
        .words("kind")
        .numbers("rounds")
        .numbers("mean")
        .numbers("median")
        .numbers("most")
        .numbers("ideal")
        .numbers("bound")
        .words("")
        .numbers("factor")
        .numbers("echoes");
    for (ip, receiver, coverage) in receivers.iter().take(MOST_IN_FULL) {
        // Who it is stands in three short lines beside the kinds.
        let ip = ip.to_string();
        let mut who = vec![Cell::from(short(&receiver.label))];
        if *receiver.label != ip {
            who.push(Cell::from(ip).ink(Ink::Faint));
        }
        who.push(Cell::from(format!("{} coverage", coverage.as_str())).ink(ink_of(*coverage)));
        let mut who = who.into_iter();
        for kind in Kind::ALL {
            let seen = &receiver.kinds[kind.index()];
            if seen.tally.messages == 0 {
                continue;
            }
            table.row([
                who.next().unwrap_or_default(),
                kind.as_str().into(),
                seen.per_round.count().into(),
                at_least(
                    *coverage,
                    seen.per_round
                        .mean()
                        .map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}")),
                ),
                seen.per_round.percentile(50).map_or_else(Cell::default, median),
                seen.per_round.max().map_or_else(Cell::default, Cell::from),
                whole(seen.ideal()),
                if seen.bound().is_some() {
                    Cell::from(seen.largest_bound())
                } else {
                    Cell::from("?")
                },
                meter(seen),
                at_least(*coverage, factor(seen.tally.redundancy())),
                Cell::from(seen.tally.echoes).ink_if(seen.tally.echoes > 0, Ink::Warning),
            ]);
        }
        for line in who {
            table.row([line]);
        }
    }
    page.table(&table);
    left_out(page, receivers.len(), MOST_IN_FULL, "receivers");
}

fn median(messages: u64) -> Cell {
    if is_exact(messages) {
        messages.into()
    } else {
        format!("≈{}", count(messages)).into()
    }
}

/// Where something is missing the true number can only be larger.
fn at_least(coverage: Coverage, text: String) -> Cell {
    if coverage == Coverage::Full || text == "-" {
        text.into()
    } else {
        Cell::from(format!("≥{text}")).ink(Ink::Warning)
    }
}

/// The mean on a scale from nothing to the bound, with the ideal marked.
fn meter(seen: &KindAtReceiver) -> Cell {
    match (seen.per_round.mean(), seen.ideal(), seen.bound()) {
        (Some(mean), Some(ideal), Some(bound)) => Cell::from(gauge(mean, bound, ideal, 10)).ink(Ink::Bar),
        _ => Cell::default(),
    }
}

fn whole(value: Option<f64>) -> Cell {
    match value {
        Some(value) if value.fract() == 0.0 => format!("{value:.0}").into(),
        Some(value) => format!("{value:.1}").into(),
        None => "?".into(),
    }
}

/// Receivers of which only some sessions were seen: their few repeats say nothing about redundancy.
fn partly_covered(report: &Report<'_>, receivers: &[Seen<'_>], page: &mut Page) {
    let beyond = report.summary.beyond();
    if receivers.is_empty() && beyond.messages == 0 {
        return;
    }
    page.heading(
        "RECEIVERS SEEN IN PART",
        "only some sessions of these nodes were captured: the numbers are lower bounds, and how redundant their traffic \
         is cannot be told",
    );
    let mut table = Table::new()
        .long_words("receiver")
        .words("coverage")
        .numbers("messages")
        .numbers("preprepare")
        .numbers("prepare")
        .numbers("commit")
        .numbers("roundchange")
        .numbers("own, echoed");
    for (ip, receiver, coverage) in receivers.iter().take(MOST_IN_PART) {
        let total = receiver.total();
        let lower = |number: u64| Cell::from(format!("≥ {}", count(number)));
        let [preprepare, prepare, commit, round_change] =
            Kind::ALL.map(|kind| receiver.kinds[kind.index()].tally.messages);
        table.row([
            name_and_ip(&receiver.label, *ip).into(),
            Cell::from(coverage.as_str()).ink(ink_of(*coverage)),
            lower(total.messages),
            lower(preprepare),
            lower(prepare),
            lower(commit),
            lower(round_change),
            lower(total.echoes),
        ]);
    }
    page.table(&table);
    left_out(page, receivers.len(), MOST_IN_PART, "receivers");
    if beyond.messages > 0 {
        page.paragraph(
            Ink::Warning,
            "",
            &format!(
                "and {} at receivers beyond the number that this report keeps apart",
                counted(beyond.messages, "message", "messages")
            ),
        );
    }
}

fn copies(report: &Report<'_>, in_full: &[Seen<'_>], in_part: &[Seen<'_>], page: &mut Page) {
    let mut histograms: BTreeMap<IpAddr, BTreeMap<u64, u64>> = BTreeMap::new();
    for fact in &report.facts.copies {
        *histograms
            .entry(fact.receiver_ip)
            .or_default()
            .entry(fact.copies)
            .or_default() += fact.payloads;
    }
    if histograms.is_empty() {
        return;
    }
    page.heading(
        "COPIES",
        "how many distinct payloads reached a receiver in exactly so many copies, its own included",
    );
    let shown: Vec<_> = in_full
        .iter()
        .filter(|(ip, ..)| histograms.contains_key(ip))
        .take(MOST_HISTOGRAMS)
        .collect();
    for (ip, receiver, _) in &shown {
        let histogram = &histograms[ip];
        page.line(&name_and_ip(&receiver.label, *ip));
        let payloads: u64 = histogram.values().sum();
        let rows = grouped(histogram);
        let most = rows.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let columns = page.style().width.saturating_sub(40).clamp(10, 60);
        let mut table = Table::new()
            .numbers("copies")
            .numbers("payloads")
            .numbers("")
            .words("");
        for (range, number) in rows {
            table.row([
                range.into(),
                number.into(),
                format!("{:.0} %", number as f64 * 100.0 / payloads.max(1) as f64).into(),
                Cell::from(bar(number as f64, most as f64, columns)).ink(Ink::Bar),
            ]);
        }
        page.table(&table);
    }
    left_out(page, in_full.len(), shown.len(), "receivers with full coverage");
    let part: Vec<_> = in_part
        .iter()
        .filter_map(|(ip, receiver, _)| Some((ip, receiver, histograms.get(ip)?)))
        .collect();
    for (ip, receiver, histogram) in part.iter().take(MOST_IN_PART_COPIES) {
        let numbers: Vec<_> = grouped(histogram)
            .iter()
            .map(|(range, number)| format!("{range}: {}", count(*number)))
            .collect();
        page.line(&format!(
            "{} (seen in part)  copies {}",
            name_and_ip(&receiver.label, **ip),
            numbers.join(" · ")
        ));
    }
    left_out(page, part.len(), MOST_IN_PART_COPIES, "receivers seen in part");
}

/// A histogram with at most [`MOST_BARS`] rows: beyond that, ranges of equal width.
fn grouped(histogram: &BTreeMap<u64, u64>) -> Vec<(String, u64)> {
    let (Some((&first, _)), Some((&last, _))) = (histogram.first_key_value(), histogram.last_key_value())
    else {
        return Vec::new();
    };
    let width = (last - first) / MOST_BARS + 1;
    let mut rows: Vec<(String, u64)> = Vec::new();
    let mut start = first;
    loop {
        let end = start.saturating_add(width - 1).min(last);
        let number = histogram.range(start..=end).map(|(_, payloads)| payloads).sum();
        let range = if start == end {
            start.to_string()
        } else {
            format!("{start}-{end}")
        };
        rows.push((range, number));
        if end == last {
            return rows;
        }
        start = end + 1;
    }
}

/// The words of outcomes, in the order of a report.
pub(super) const OUTCOMES: [Outcome; 4] = [
    Outcome::Decided,
    Outcome::Changed,
    Outcome::Open,
    Outcome::Unknown,
];

const MOST_IN_FULL: usize = 10;
const MOST_IN_PART: usize = 20;
const MOST_HISTOGRAMS: usize = 4;
const MOST_IN_PART_COPIES: usize = 8;
const MOST_BARS: u64 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_histograms_are_grouped_without_loss() {
        let histogram: BTreeMap<u64, u64> = (1..=99).map(|copies| (copies, copies)).collect();
        let rows = grouped(&histogram);
        assert!(rows.len() as u64 <= MOST_BARS);
        assert_eq!(rows[0].0, "1-9");
        assert_eq!(
            rows.iter().map(|(_, number)| number).sum::<u64>(),
            (1..=99u64).sum::<u64>()
        );
        let few: BTreeMap<u64, u64> = [(1, 5), (3, 1)].into();
        assert_eq!(
            grouped(&few),
            [("1".to_owned(), 5), ("2".to_owned(), 0), ("3".to_owned(), 1)]
        );
        let odd: BTreeMap<u64, u64> = [(1, 1), (u64::MAX, 1)].into();
        assert!(grouped(&odd).len() as u64 <= MOST_BARS);
        assert!(grouped(&BTreeMap::new()).is_empty());
    }
}
