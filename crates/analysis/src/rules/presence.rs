//! Who showed up in which round of a height, and when: what rules about absence go by.

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime};

use super::view::HeightView;

/// One round of a height.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) round: u64,
    /// Validators of which a message was seen, with the first sights of their earliest and latest one; sorted.
    pub(super) seen: Vec<(Address, CaptureTime, CaptureTime)>,
    /// The first sight of all.
    pub(super) begin: CaptureTime,
    /// When as many had shown up as decide, or at least one honest one more than may fail; `None` if fewer ever did. Who comes much
    /// later was not there.
    pub(super) enough: Option<CaptureTime>,
}

/// The rounds in which anybody was seen, sorted. A round change counts in the round that it asks for.
pub(super) fn presence(view: &HeightView<'_>) -> Vec<Presence> {
    let mut seen: Vec<(u64, Address, CaptureTime)> = view
        .payloads()
        .filter_map(|(entry, sight)| {
            // Who lies is there: by its signature, or because it hands over itself what claims to be its own.
            let claims = entry
                .claimed
                .filter(|claimed| entry.invalid && view.party(sight.sender).address == Some(*claimed));
            let mut signs = [entry.signer, claims].into_iter().flatten();
            let own = signs.find(|address| view.is_validator(*address))?;
            Some((entry.round, own, sight.first))
        })
        .collect();
    seen.sort_unstable();
    let least = view.faulty() + 1;
    seen.chunk_by(|a, b| a.0 == b.0)
        .map(|group| {
            let seen: Vec<_> = group
                .chunk_by(|a, b| a.1 == b.1)
                .map(|own| (own[0].1, own[0].2, own[own.len() - 1].2))
                .collect();
            let mut firsts: Vec<CaptureTime> = seen.iter().map(|seen| seen.1).collect();
            firsts.sort_unstable();
            let quorum = view.quorum().unwrap_or(usize::MAX);
            let nth = if firsts.len() >= quorum { quorum } else { least };
            Presence {
                round: group[0].0,
                begin: firsts[0],
                enough: firsts.get(nth - 1).copied(),
                seen,
            }
        })
        .collect()
}

/// Who asks for rounds above this one, by first sight; each validator once.
pub(super) fn leavers(view: &HeightView<'_>, round: u64) -> Vec<(CaptureTime, Address)> {
    let mut asked: Vec<(Address, CaptureTime)> = view
        .votes()
        .filter(|(_, entry, _)| entry.kind == Kind::RoundChange && entry.round > round)
        .map(|(signer, _, sight)| (signer, sight.first))
        .collect();
    asked.sort_unstable();
    asked.dedup_by_key(|asked| asked.0);
    let mut leavers: Vec<_> = asked.into_iter().map(|(signer, time)| (time, signer)).collect();
    leavers.sort_unstable();
    leavers
}
