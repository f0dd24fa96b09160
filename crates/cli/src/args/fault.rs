//! `--fault` of `bftap simulate`: `NODE:KIND@FROM..UNTIL`.

use std::str::FromStr;

use bftap_simnet::{Fault, FaultKind, FloodOf};

use super::parse;

/// `3:paused@30s..45s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct FaultWord(pub(super) Fault);

impl FromStr for FaultWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || "write NODE:KIND@FROM..UNTIL, for example 3:paused@30s..45s".to_owned();
        let (node, rest) = text.split_once(':').ok_or_else(shape)?;
        let (kind, time) = rest.split_once('@').ok_or_else(shape)?;
        let (from, until) = match time.split_once("..") {
            Some((from, "")) => (from, None),
            Some((from, until)) => (from, Some(parse::span(until)?)),
            None => (time, None),
        };
        Ok(Self(Fault {
            node: node_number(node)?,
            from: parse::span(from)?,
            until,
            kind: fault_kind(kind)?,
        }))
    }
}

/// Counted from 0; a 0 becomes a node that there never is.
fn node_number(text: &str) -> Result<usize, String> {
    let number: usize = text
        .parse()
        .map_err(|_| format!("`{text}` is not the number of a node"))?;
    Ok(number.wrapping_sub(1))
}

fn fault_kind(text: &str) -> Result<FaultKind, String> {
    let unknown = || format!("no such fault: `{text}`; --help lists them");
    let number = |argument: &str, what: &str| {
        argument
            .parse()
            .map_err(|_| format!("`{argument}` in `{text}` is not a number of {what}"))
    };
    let (word, argument) = match text.split_once('=') {
        Some((word, argument)) => (word, Some(argument)),
        None => (text, None),
    };
    Ok(match (word, argument) {
        ("silent", None) => FaultKind::Silent,
        ("no-proposals", None) => FaultKind::NoProposals,
        ("paused", None) => FaultKind::Paused,
        ("killed", None) => FaultKind::Killed,
        ("power-loss", None) => FaultKind::PowerLoss,
        ("wrong-signatures", None) => FaultKind::WrongSignatures,
        ("wrong-addresses", None) => FaultKind::WrongAddresses,
        ("equivocation", None) => FaultKind::Equivocation,
        ("conflicting-commits", None) => FaultKind::ConflictingCommits,
        ("stale-rounds", None) => FaultKind::StaleRounds,
        ("votes", None) => FaultKind::Votes,
        ("slow", Some(span)) => FaultKind::Slow(parse::span(span)?),
        ("slow-proposals", Some(span)) => FaultKind::SlowProposals(parse::span(span)?),
        ("churn", Some(span)) => FaultKind::Churn(parse::span(span)?),
        ("partial", Some(peers)) => FaultKind::Partial(number(peers, "peers")?),
        ("oversized", Some(bytes)) => FaultKind::Oversized(number(bytes, "bytes")?),
        ("lossy-tap", Some(share)) => FaultKind::LossyTap(number(share, "packets")?),
        ("false-key", Some(node)) => FaultKind::FalseKey(node_number(node)?),
        ("cut", Some(node)) => FaultKind::Cut(node_number(node)?),
        ("flood", Some(argument)) => {
            let (rate, of) = argument
                .split_once(':')
                .unwrap_or((argument, FloodOf::Same.as_str()));
            let of = FloodOf::ALL.into_iter().find(|known| known.as_str() == of);
            FaultKind::Flood(number(rate, "messages a second")?, of.ok_or_else(unknown)?)
        }
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use bftap_model::Nanos;

    use super::*;

    #[test]
    fn faults_are_read_as_the_truth_writes_them() {
        for kind in [
            "silent",
            "no-proposals",
            "slow-proposals=1500ms",
            "slow=20ms",
            "paused",
            "killed",
            "power-loss",
            "wrong-signatures",
            "wrong-addresses",
            "equivocation",
            "conflicting-commits",
            "flood=200:same",
            "flood=3:future",
            "flood=3:stale",
            "flood=3:round-changes",
            "flood=3:undecodable",
            "partial=2",
            "stale-rounds",
            "oversized=5000",
            "false-key=3",
            "churn=100ms",
            "votes",
            "cut=4",
            "lossy-tap=2000",
        ] {
            let FaultWord(fault) = format!("2:{kind}@1s..3s").parse().unwrap();
            assert_eq!(fault.kind.to_string(), kind);
            assert_eq!((fault.node, fault.from), (1, Nanos::from_secs(1)));
        }
        let FaultWord(fault) = "1:flood=9@0s".parse().unwrap();
        assert_eq!(fault.kind, FaultKind::Flood(9, FloodOf::Same));
    }

    #[test]
    fn nonsense_is_told() {
        for (text, says) in [
            ("1:bored@1s", "no such fault"),
            ("1:flood=9:up@1s", "no such fault"),
            ("1:flood=x@1s", "not a number of messages"),
            ("1:partial=@1s", "not a number of peers"),
            ("1:cut=b@1s", "not the number of a node"),
            ("1:silent=3@1s", "no such fault"),
            ("1:silent", "NODE:KIND@FROM"),
        ] {
            let error = text.parse::<FaultWord>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
