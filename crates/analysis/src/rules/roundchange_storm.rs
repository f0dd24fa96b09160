//! `roundchange_storm`: one validator asks for ever new rounds of one height.
//!
//! **Condition**: rightly signed round changes of one validator for more than `roundchange_rounds` (16) rounds of one height. The timer
//! of round r runs 2^r seconds longer than that of round 0, and only F+1 others asking for a higher round make an honest node jump,
//! so it asks for 16 rounds of one height in eighteen hours.
//! **Blame**: the signer, whose key made them: honest nodes pass on what they take, and they take a round change for any round to come.
//! `sender` tells who handed them over: the signer's own node if it handed over any of them, else who handed over the most first.
//! **Severity**: critical, suspicious. One event a signer and height, at the first of them.

use std::collections::{BTreeMap, BTreeSet};

use bftap_ibft_decode::Kind;

use crate::facts::EventFact;

use super::view::{HeightView, number, show};

pub(super) const RULE: &str = "roundchange_storm";

pub(super) fn judge(view: &HeightView<'_>, events: &mut Vec<EventFact>) {
    let limit = view.options().roundchange_rounds;
    let changes = view
        .votes()
        .filter(|(_, entry, _)| entry.kind == Kind::RoundChange);
    let mut found: Vec<_> = changes
        .map(|(signer, entry, sight)| (signer, entry.round, sight.first, entry.hash, sight))
        .collect();
    if found.len() as u64 <= limit {
        return;
    }
    found.sort_unstable_by_key(|found| (found.0, found.1, found.2, found.3));
    for own in found.chunk_by(|a, b| a.0 == b.0) {
        let signer = own[0].0;
        let rounds: BTreeSet<u64> = own.iter().map(|found| found.1).collect();
        if rounds.len() as u64 <= limit {
            continue;
        }
        let mut senders: BTreeMap<_, (bool, u64, u32)> = BTreeMap::new();
        for found in own {
            let party = found.4.sender;
            let itself = view.party(party).address == Some(signer);
            let sender = senders
                .entry(view.chain.rank(party))
                .or_insert((itself, 0, party));
            sender.1 += 1;
        }
        // Of several as busy the one with the lowest IP address.
        let sender = senders.values().rev().max_by_key(|sender| (sender.0, sender.1));
        let Some(&(_, _, party)) = sender else { continue };
        let party = view.party(party);
        let time = own.iter().map(|found| found.2).min().unwrap_or(found[0].2);
        let last = own.iter().map(|found| found.2).max().unwrap_or(time);
        let (low, high) = (own[0].1, own[own.len() - 1].1);
        let detail = format!(
            "{} signed round changes for {} rounds of height {}, from {low} to {high}; {} handed them over",
            view.chain.who.names.label_of(signer),
            rounds.len(),
            view.sequence,
            party.label
        );
        let mut event = view.event(RULE, time, detail);
        event.severity = "critical";
        event.suspicious = true;
        event.round = Some(high);
        event.kind = Some(Kind::RoundChange);
        view.chain.places.blame_signer(&mut event, signer, view.chain.who);
        event.sender = Some(party.label.clone());
        if event.ip.is_none() {
            // A key that no node showed: the only way to it is the node that handed them over.
            event.ip = Some(party.ip);
        }
        event.numbers.insert("rounds", number(rounds.len() as u64));
        event.numbers.insert("messages", number(own.len() as u64));
        event.numbers.insert("span_ns", last.since(time).0);
        for found in own {
            show(&mut event, found.3);
        }
        events.push(event);
    }
}
