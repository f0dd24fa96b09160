//! Who showed up in which round of a height, and when: what rules about absence go by.

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Nanos};

use super::view::HeightView;

/// One round of a height.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) round: u64,
    /// Validators of which a message was seen; sorted.
    pub(super) seen: Vec<Seen>,
    /// The first sight of all.
    pub(super) begin: CaptureTime,
    /// When as many had shown up as decide, or at least one honest one more than may fail; `None` if fewer ever did. Who comes much
    /// later was not there.
    pub(super) enough: Option<CaptureTime>,
}

/// First sights of the messages of one validator in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) validator: Address,
    pub(super) first: CaptureTime,
    /// The last one that came in time; the first one if none did.
    pub(super) last: CaptureTime,
    /// The first one that came too late.
    pub(super) late: Option<CaptureTime>,
}

impl Presence {
    /// Who comes after this was not there; `None` if not enough were for anybody to be missed.
    pub(super) fn until(&self, grace: Nanos) -> Option<CaptureTime> {
        Some(self.enough?.saturating_add(grace))
    }
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
            let own = group.chunk_by(|a, b| a.1 == b.1);
            let mut firsts: Vec<CaptureTime> = own.clone().map(|own| own[0].2).collect();
            firsts.sort_unstable();
            let quorum = view.quorum().unwrap_or(usize::MAX).max(1);
            let nth = if firsts.len() >= quorum { quorum } else { least };
            let mut presence = Presence {
                round: group[0].0,
                begin: firsts[0],
                enough: firsts.get(nth - 1).copied(),
                seen: Vec::with_capacity(firsts.len()),
            };
            let until = presence.until(view.options().silent).unwrap_or(CaptureTime::MAX);
            presence.seen.extend(own.map(|own| {
                let timely = own.partition_point(|sight| sight.2 <= until);
                Seen {
                    validator: own[0].1,
                    first: own[0].2,
                    last: own[timely.saturating_sub(1)].2,
                    late: own.get(timely).map(|sight| sight.2),
                }
            }));
            presence
        })
        .collect()
}

/// Rounds below this one were left: more validators than may fail asked for it or a higher one.
pub(super) fn left_below(view: &HeightView<'_>) -> u64 {
    let mut asked: Vec<(Address, u64)> = view
        .votes()
        .filter(|(_, entry, _)| entry.kind == Kind::RoundChange)
        .map(|(signer, entry, _)| (signer, entry.round))
        .collect();
    asked.sort_unstable_by_key(|&(signer, round)| (signer, std::cmp::Reverse(round)));
    asked.dedup_by_key(|asked| asked.0);
    let mut highest: Vec<u64> = asked.into_iter().map(|asked| asked.1).collect();
    highest.sort_unstable_by_key(|&round| std::cmp::Reverse(round));
    highest.get(view.faulty()).copied().unwrap_or(0)
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
