//! What was in the capture.

use bftap_analysis::facts::Coverage;
use bftap_model::CaptureTime;

use super::page::{Cell, Page, Table, bytes, count, counted, duration};
use super::{Report, ink_of, left_out, short};
use crate::inputs::NOT_OPENED;
use crate::term::Ink;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    let facts = report.facts;
    let totals = &facts.totals;
    page.heading("CAPTURE", "");
    // Interfaces have no content to take a hash of, and files seldom say what was lost.
    let live = facts.captures.iter().any(|capture| capture.times_down.is_some());
    let mut table = Table::new()
        .long_words(if live { "interface" } else { "file" })
        .numbers("packets")
        .numbers("bytes")
        .words(if live { "lost" } else { "sha-256" })
        .words("");
    for capture in facts.captures.iter().take(MOST_FILES) {
        table.row([
            capture.path.as_str().into(),
            capture.packets.into(),
            bytes(capture.bytes).into(),
            if live {
                let lost = capture.kernel_drops.unwrap_or(0) + capture.interface_drops.unwrap_or(0);
                Cell::from(count(lost)).ink(if lost > 0 { Ink::Bad } else { Ink::Good })
            } else {
                // Not taken where nothing that is kept names the capture by it.
                capture.sha256.get(..12).unwrap_or("-").into()
            },
            match &capture.problem {
                Some(problem) if problem.starts_with(NOT_OPENED) => Cell::from("not opened").ink(Ink::Bad),
                Some(_) if live => Cell::from("away at the end").ink(Ink::Bad),
                Some(_) => Cell::from("not read to the end").ink(Ink::Bad),
                None => match capture.times_down {
                    Some(times) if times > 0 => {
                        Cell::from(format!("away {}", counted(times, "time", "times"))).ink(Ink::Warning)
                    }
                    _ => Cell::default(),
                },
            },
        ]);
    }
    page.table(&table);
    left_out(
        page,
        facts.captures.len(),
        MOST_FILES,
        if live { "interfaces" } else { "files" },
    );
    if let Some((first, last)) = span(report) {
        page.line(&format!(
            "sessions from {} to {} UTC ({})",
            clock(first),
            clock(last),
            duration(last.since(first).0)
        ));
    }
    page.line(&format!(
        "{} packets, {}; {} of them TCP",
        count(totals.packets),
        bytes(totals.bytes),
        count(totals.tcp_packets)
    ));
    page.line(&format!(
        "{}, {} refused or without payload, {} of other protocols",
        counted(totals.sessions, "RLPx session", "RLPx sessions"),
        counted(totals.refused, "connection", "connections"),
        count(totals.other_flows)
    ));
    for (chain, heights) in report.summary.chains().take(MOST_CHAINS) {
        page.line(&format!(
            "chain {}: heights {} to {} ({} seen)",
            chain_name(chain),
            count(heights.first),
            count(heights.last),
            count(heights.heights)
        ));
    }
    left_out(page, report.summary.chains().len(), MOST_CHAINS, "chains");
    if let Some(selection) = &report.asked.selection {
        page.paragraph(Ink::Warning, "", &format!("counted is only a part: {selection}"));
    }
    nodes(report, page);
    codes(report, page);
}

fn nodes(report: &Report<'_>, page: &mut Page) {
    let nodes = &report.facts.nodes;
    if nodes.is_empty() {
        return;
    }
    let full = nodes
        .iter()
        .filter(|node| node.coverage == Coverage::Full)
        .count();
    let lossy = nodes
        .iter()
        .filter(|node| node.coverage == Coverage::Lossy)
        .count();
    let lossy = if lossy > 0 {
        format!(", {lossy} more but for losses")
    } else {
        String::new()
    };
    let validators = nodes.iter().filter(|node| node.validator).count();
    page.heading(
        "NODES",
        &format!(
            "{}, {} of them seen as validators, {full} with full coverage (its own port was captured, or every session of \
             it){lossy}",
            counted(nodes.len() as u64, "node", "nodes"),
            count(validators as u64)
        ),
    );
    let mut table = Table::new()
        .long_words("node")
        .words("IP")
        .words("address")
        .words("role")
        .words("coverage")
        .long_words("client");
    // Those that the capture tells most about come first, the others keep their order.
    let mut listed: Vec<_> = nodes.iter().collect();
    listed.sort_by_key(|node| match node.coverage {
        Coverage::Full => 0,
        Coverage::Lossy => 1,
        Coverage::Partial => 2,
    });
    for node in listed.iter().take(MOST_NODES) {
        let mut ips = node
            .ips
            .first()
            .map_or_else(|| "-".to_owned(), ToString::to_string);
        if node.ips.len() > 1 {
            ips.push_str(&format!(" +{}", node.ips.len() - 1));
        }
        table.row([
            short(&node.label).into(),
            ips.into(),
            node.address
                .map_or_else(|| "-".to_owned(), |address| short(&address.to_string()))
                .into(),
            node.role.unwrap_or("-").into(),
            Cell::from(node.coverage.as_str()).ink(ink_of(node.coverage)),
            node.client.as_deref().unwrap_or("-").into(),
        ]);
    }
    page.table(&table);
    left_out(page, nodes.len(), MOST_NODES, "nodes");
}

fn codes(report: &Report<'_>, page: &mut Page) {
    let mut codes: Vec<_> = report.facts.codes.iter().collect();
    if codes.is_empty() {
        return;
    }
    page.heading(
        "FRAMES BY MESSAGE",
        &format!(
            "{} in all",
            counted(report.facts.totals.frames, "whole frame", "whole frames")
        ),
    );
    codes.sort_by_key(|code| std::cmp::Reverse(code.frames));
    let mut table = Table::new()
        .words("capability")
        .long_words("message")
        .numbers("code")
        .numbers("frames")
        .numbers("bytes");
    for code in codes.iter().take(MOST_CODES) {
        table.row([
            code.capability.as_str().into(),
            code.name.as_str().into(),
            format!("{:#04x}", code.wire_code).into(),
            code.frames.into(),
            bytes(code.bytes).into(),
        ]);
    }
    page.table(&table);
    left_out(page, codes.len(), MOST_CODES, "kinds of frames");
}

/// Earliest and latest packet of any session.
fn span(report: &Report<'_>) -> Option<(CaptureTime, CaptureTime)> {
    let sessions = &report.facts.sessions;
    let first = sessions.iter().map(|session| session.first_seen_ns).min()?;
    Some((first, sessions.iter().map(|session| session.last_seen_ns).max()?))
}

/// `2026-11-21 10:00:00.123`.
pub(super) fn clock(time: CaptureTime) -> String {
    let text = time.to_string();
    text.get(..23).unwrap_or(&text).replacen('T', " ", 1)
}

/// `1000/0x1234…cdef`.
pub(crate) fn chain_name(chain: &str) -> String {
    match chain.split_once("/0x") {
        Some((network, genesis)) if genesis.len() == 64 && genesis.is_ascii() => {
            format!("{network}/0x{}…{}", &genesis[..8], &genesis[60..])
        }
        _ => chain.to_owned(),
    }
}

const MOST_FILES: usize = 20;
const MOST_CHAINS: usize = 10;
const MOST_NODES: usize = 20;
const MOST_CODES: usize = 15;
