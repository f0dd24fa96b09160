//! `connection_churn`: connections from one node to another, one after the other.
//!
//! **Condition**: within a minute, `churn_per_minute` (20) connections or more that carried payload, from one node, or one IP address where
//! its key is not known, to one IP address and port, one after the other: clients wait 30 seconds and more before they dial the same peer again, and seconds when
//! a session broke. Refused connections are no sessions and do not count: honest nodes knock at a peer that is down. Those that the
//! other end sent away as already connected do count: an honest node whose host lost power knocks, too, but at its clients' pace.
//! **Blame**: who dialled. **Severity**: warning, suspicious. One event for a burst, at the first connection of its pace: the few
//! before it at an honest pace count, and do not date it. `connections`, `handshakes`, `span_ns`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_model::{Address, CaptureTime, Endpoint, Nanos};

use crate::facts::EventFact;

use super::run::RunView;
use super::view::number;

pub(super) const RULE: &str = "connection_churn";

const WINDOW: Nanos = Nanos::from_secs(60);

/// A connection: when it began, who dialled as a party, whether a handshake was complete, and its chain's slot.
type Dial = (CaptureTime, u32, bool, u32);

pub(super) fn judge(run: &RunView<'_>, events: &mut Vec<EventFact>) {
    // Several nodes may be behind one address. Where one is known there, it is the one that dials.
    let mut known: BTreeMap<IpAddr, BTreeSet<Address>> = BTreeMap::new();
    for (end, session) in run.sessions {
        if let Some(address) = run.party(session.parties[0]).address {
            known.entry(end.info.ends[0].ip).or_default().insert(address);
        }
    }
    let dialler = |ip: IpAddr, party: u32| {
        let alone = || known.get(&ip).filter(|all| all.len() == 1)?.first().copied();
        run.party(party).address.or_else(alone)
    };
    let mut pairs: BTreeMap<(IpAddr, Option<Address>, Endpoint), Vec<Dial>> = BTreeMap::new();
    for (end, session) in run.sessions {
        let [from, to] = end.info.ends;
        let shook = end.attached.is_some();
        // Those that were there before are no new ones.
        if end.attached == Some("midstream") || end.candidate {
            continue;
        }
        let who = dialler(from.ip, session.parties[0]);
        pairs.entry((from.ip, who, to)).or_default().push((
            end.span.0,
            session.parties[0],
            shook,
            session.slot,
        ));
    }
    let least = usize::try_from(run.options.churn_per_minute)
        .unwrap_or(usize::MAX)
        .max(2);
    for ((_, _, to), mut dials) in pairs {
        if dials.len() < least {
            continue;
        }
        dials.sort_unstable_by_key(|dial| (dial.0, dial.2));
        let mut at = 0;
        while at + least <= dials.len() {
            let whole = |last: usize| dials[last].0.since(dials[last + 1 - least].0) < WINDOW;
            if !whole(at + least - 1) {
                at += 1;
                continue;
            }
            let mut last = at + least - 1;
            while last + 1 < dials.len() && whole(last + 1) {
                last += 1;
            }
            events.push(burst(run, to.ip, &dials[at..=last]));
            at = last + 1;
        }
    }
}

/// Where a burst begins: the first few dials are an honest node's if a pause behind them is more than twice as long as is usual in the burst.
fn begin<T>(dials: &[T], time: impl Fn(&T) -> CaptureTime) -> usize {
    let pause = |pair: &[T]| time(&pair[1]).since(time(&pair[0])).0;
    let pauses: Vec<i64> = dials.windows(2).map(pause).collect();
    let mut sorted = pauses.clone();
    sorted.sort_unstable();
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(0).max(SHORTEST);
    let last = pauses[..HONEST.min(pauses.len())]
        .iter()
        .rposition(|pause| *pause > usual.saturating_mul(2));
    last.map_or(0, |at| at + 1)
}

/// So often an honest node dials another one within a minute.
const HONEST: usize = 4;
/// Pauses shorter than this are all alike.
const SHORTEST: i64 = 100_000_000;

fn burst(run: &RunView<'_>, to: IpAddr, dials: &[Dial]) -> EventFact {
    let (first, last) = (dials[0].0, dials[dials.len() - 1].0);
    // A dialler whose key is known from any of them.
    let known = dials
        .iter()
        .map(|dial| dial.1)
        .find(|party| run.party(*party).address.is_some());
    let party = run.party(known.unwrap_or(dials[0].1));
    let seconds = last.since(first).0 as f64 / 1e9;
    let detail = format!(
        "{} opened {} connections to {to} within {seconds:.1} s",
        party.label,
        dials.len()
    );
    let chain = run.knowledge.names[dials[0].3 as usize].clone();
    let begin = dials[begin(dials, |dial| dial.0)].0;
    let mut event = run.event(RULE, &chain, begin, detail);
    event.suspicious = true;
    run.places().blame_sender(&mut event, party);
    event.numbers.insert("connections", number(dials.len() as u64));
    let shook = dials.iter().filter(|dial| dial.2).count();
    event.numbers.insert("handshakes", number(shook as u64));
    event.numbers.insert("span_ns", last.since(first).0);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_dial_before_a_burst_is_no_part_of_it() {
        let at = |millis: i64| CaptureTime::from_nanos(millis * 1_000_000);
        // Two at once, and one more.
        let mut dials = vec![at(0), at(50), at(9_000)];
        dials.extend((0..20).map(|step| at(40_000 + 500 * step)));
        assert_eq!(begin(&dials, |dial| *dial), 3);
        assert_eq!(begin(&dials[3..], |dial| *dial), 0);
        // A burst that pauses began before its pause.
        let mut dials: Vec<_> = (0..10).map(|step| at(500 * step)).collect();
        dials.extend((0..20).map(|step| at(20_000 + 500 * step)));
        assert_eq!(begin(&dials, |dial| *dial), 0);
        let steady: Vec<_> = (0..60).map(|step| at(2_900 * step)).collect();
        assert_eq!(begin(&steady, |dial| *dial), 0);
    }
}
