//! The report that a person reads.
//!
//! A function of the facts alone ([`RunFacts`] and a [`Summary`] of the streamed heights) and of how the page is laid
//! out, so that the same run gives the same page. Long lists are cut with a word on how much is left out; the JSON
//! report and the store have everything.

mod advice;
mod capture;
mod in_short;
mod loss;
mod page;
mod rounds;
#[cfg(test)]
pub(crate) mod sample;
mod sessions;
mod slowest;
mod story;
mod summary;
#[cfg(test)]
mod tests;
mod traffic;
mod who;

use std::net::IpAddr;

use bftap_analysis::facts::{Coverage, NodeFact, RunFacts};

use crate::term::{Ink, Style};

pub(crate) use advice::{ATTACH_BUDGET, unread_sessions};
pub(crate) use capture::chain_name;
pub(crate) use loss::binary;
pub(crate) use page::{Cell, Page, Table, bytes, count, counted, duration, factor};
pub(crate) use sessions::began_unseen;
pub(crate) use summary::Summary;

/// What was asked for, as far as it changes what the facts mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Session secrets that were there to try, those in the captures included.
    pub(crate) secrets: usize,
    /// Key sources were given, with or without a secret in them.
    pub(crate) key_sources: bool,
    /// Only a part was to be counted (`--from`, `--to`, `--sequence`), in words.
    pub(crate) selection: Option<String>,
    /// That part is of times or heights, so what came before it is not known.
    pub(crate) cuts_heights: bool,
    /// Heights and times of the consensus messages that were left out of the part, in words; `None` if there were none.
    pub(crate) beside: Option<String>,
    /// Whose own ports were captured, as the user said.
    pub(crate) tapped: Vec<IpAddr>,
    /// TCP ports were given.
    pub(crate) ports: bool,
    /// How far, and how long, sessions joined in the middle were looked for: GiB, and seconds (`--attach-search`,
    /// `--attach-budget`).
    pub(crate) attach: (u32, u32),
    /// MACs were not to be checked.
    pub(crate) no_mac: bool,
    /// Signatures were not to be checked.
    pub(crate) no_signatures: bool,
    /// Where rows were stored, in words without a password.
    pub(crate) stored: Option<String>,
}

/// Everything a report is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) facts: &'a RunFacts,
    pub(crate) summary: &'a Summary,
    pub(crate) asked: &'a Asked,
}

impl Report<'_> {
    /// The page as text.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut page = Page::new(style);
        // Of a capture in which nothing was read there is no story; the warnings say what to do.
        if self.summary.rounds() > 0 || self.facts.events.iter().any(|event| event.suspicious) {
            in_short::write(self, &mut page);
            story::write(self, &mut page);
            who::write(self, &mut page);
        }
        capture::write(self, &mut page);
        sessions::write(self, &mut page);
        traffic::write(self, &mut page);
        rounds::write(self, &mut page);
        advice::write(self, &mut page);
        page.into_text()
    }

    /// The node at an IP address; of several the one that is shown by this label.
    fn node_at(&self, ip: IpAddr, label: &str) -> Option<&NodeFact> {
        let at = || self.facts.nodes.iter().filter(move |node| node.ips.contains(&ip));
        at().find(|node| &*node.label == label).or_else(|| at().next())
    }

    fn coverage_at(&self, ip: IpAddr, label: &str) -> Coverage {
        self.node_at(ip, label)
            .map_or(Coverage::Partial, |node| node.coverage)
    }
}

/// Lines of a list that is cut.
const MOST: usize = 8;

/// The colour of a coverage.
const fn ink_of(coverage: Coverage) -> Ink {
    match coverage {
        Coverage::Full => Ink::Good,
        Coverage::Lossy => Ink::Warning,
        Coverage::Partial => Ink::Faint,
    }
}

/// `cn1 10.0.0.1`, or the IP address alone where it is the label.
fn name_and_ip(label: &str, ip: IpAddr) -> String {
    let ip = ip.to_string();
    if label == ip {
        ip
    } else {
        format!("{} {ip}", short(label))
    }
}

/// Names in full, addresses with their middle left out.
pub(crate) fn short(label: &str) -> String {
    let is_address =
        label.len() == 42 && label.starts_with("0x") && label[2..].bytes().all(|b| b.is_ascii_hexdigit());
    if is_address {
        format!("{}…{}", &label[..8], &label[38..])
    } else {
        label.to_owned()
    }
}

/// `and 400 more`, with where to find them.
fn left_out(page: &mut Page, all: usize, shown: usize, what: &str) {
    if all > shown {
        page.paragraph(
            Ink::Faint,
            "",
            &format!("and {} more {what}; --json has all", count((all - shown) as u64)),
        );
    }
}
