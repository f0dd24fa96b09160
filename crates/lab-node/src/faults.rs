//! What a validator does wrong, and when: `KIND[=ARG][@FROM..UNTIL]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use bftap_simnet::FloodOf;

/// A way to misbehave, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// From when on, counted from the start of the node.
    pub from: Duration,
    /// Until when; `None`: for ever.
    pub until: Option<Duration>,
}

/// Ways to misbehave; the names are those of `bftap simulate` where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Sends no consensus messages, neither its own nor others'.
    Silent,
    /// Does not propose when it is its turn; votes like everyone.
    NoProposals,
    /// Proposes so much later than it could.
    SlowProposals(Duration),
    /// Takes this much longer for each consensus message.
    Slow(Duration),
    /// Proposes two blocks at once and votes for two, to one half of the nodes each.
    Equivocation,
    /// Its votes carry a signature that no key made.
    WrongSignatures,
    /// Its votes claim to be of another validator.
    WrongAddresses,
    /// With each commit sends one for another block, as if it had broken its lock: in the round before, or from round 0 in the
    /// one behind.
    ConflictingCommits,
    /// Sends so many messages a second to each peer besides what it has to.
    Flood(u32, FloodOf),
    /// Sends consensus messages only to so many peers, those behind it in the order of addresses.
    Partial(u32),
    /// With each vote sends one for the height before.
    StaleRounds,
    /// With each vote sends the same one signed by a key that has no vote.
    StrangeVotes,
    /// One peer, another each height, gets its votes with so many bytes behind them in the frame.
    Oversized(u32),
    /// So often dials a peer anew, says Hello, and ends the connection.
    Churn(Duration),
    /// Says on each new connection that it is another kind of node, and takes part in consensus all the same.
    Role(Role),
}

/// What a node calls itself in the first byte of a connection; a consensus node calls itself `cn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An endpoint node.
    En,
    /// A proxy node.
    Pn,
    /// A boot node.
    Bn,
}

impl Role {
    const ALL: [Self; 3] = [Self::En, Self::Pn, Self::Bn];

    /// The word used in options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Pn => "pn",
            Self::Bn => "bn",
        }
    }

    /// Klaytn's connection type (`common.ConnType`).
    pub(crate) const fn connection_type(self) -> u8 {
        match self {
            Self::En => 1,
            Self::Pn => 2,
            Self::Bn => 3,
        }
    }
}

impl Fault {
    /// Whether it is on, so long after the node's start.
    pub fn is_active(&self, age: Duration) -> bool {
        self.from <= age && self.until.is_none_or(|until| age < until)
    }
}

/// Text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault: write KIND@FROM..UNTIL, for example silent@10s..20s; {KINDS}")]
pub struct UnknownFault(String);

/// What there is, for help texts.
pub const KINDS: &str = "KIND is silent, no-proposals, slow-proposals=SPAN, slow=SPAN, partial=PEERS, equivocation, \
                         conflicting-commits, wrong-signatures, wrong-addresses, strange-votes, stale-rounds, \
                         flood=RATE[:same|future|stale|round-changes|undecodable], oversized=BYTES, churn=SPAN or \
                         role=en|pn|bn";

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        let (kind, time) = match text.split_once('@') {
            Some((kind, time)) => (kind, Some(time)),
            None => (text, None),
        };
        let kind = kind_of(kind).ok_or_else(unknown)?;
        let (from, until) = match time.map(|time| time.split_once("..").unwrap_or((time, ""))) {
            None => (Duration::ZERO, None),
            Some((from, "")) => (span(from).ok_or_else(unknown)?, None),
            Some((from, until)) => (
                span(from).ok_or_else(unknown)?,
                Some(span(until).ok_or_else(unknown)?),
            ),
        };
        if until.is_some_and(|until| until <= from) {
            return Err(unknown());
        }
        Ok(Self { kind, from, until })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match self.until {
            Some(until) => write!(f, "@{}..{}", millis(self.from), millis(until)),
            None if self.from.is_zero() => Ok(()),
            None => write!(f, "@{}", millis(self.from)),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Silent => f.write_str("silent"),
            Self::NoProposals => f.write_str("no-proposals"),
            Self::SlowProposals(by) => write!(f, "slow-proposals={}", millis(by)),
            Self::Slow(by) => write!(f, "slow={}", millis(by)),
            Self::Equivocation => f.write_str("equivocation"),
            Self::ConflictingCommits => f.write_str("conflicting-commits"),
            Self::WrongSignatures => f.write_str("wrong-signatures"),
            Self::WrongAddresses => f.write_str("wrong-addresses"),
            Self::StrangeVotes => f.write_str("strange-votes"),
            Self::Flood(rate, of) => write!(f, "flood={rate}:{}", of.as_str()),
            Self::Partial(peers) => write!(f, "partial={peers}"),
            Self::StaleRounds => f.write_str("stale-rounds"),
            Self::Oversized(bytes) => write!(f, "oversized={bytes}"),
            Self::Churn(every) => write!(f, "churn={}", millis(every)),
            Self::Role(role) => write!(f, "role={}", role.as_str()),
        }
    }
}

fn millis(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}

fn kind_of(text: &str) -> Option<FaultKind> {
    let (word, argument) = match text.split_once('=') {
        Some((word, argument)) => (word, Some(argument)),
        None => (text, None),
    };
    Some(match (word, argument) {
        ("silent", None) => FaultKind::Silent,
        ("no-proposals", None) => FaultKind::NoProposals,
        ("slow", Some(by)) => FaultKind::Slow(span(by).filter(|by| *by <= MOST_DELAY)?),
        ("slow-proposals", Some(by)) => FaultKind::SlowProposals(span(by).filter(|by| *by <= MOST_DELAY)?),
        ("equivocation", None) => FaultKind::Equivocation,
        ("conflicting-commits", None) => FaultKind::ConflictingCommits,
        ("wrong-signatures", None) => FaultKind::WrongSignatures,
        ("wrong-addresses", None) => FaultKind::WrongAddresses,
        ("stale-rounds", None) => FaultKind::StaleRounds,
        ("strange-votes", None) => FaultKind::StrangeVotes,
        ("oversized", Some(bytes)) => {
            let bytes = bytes.parse().ok();
            FaultKind::Oversized(bytes.filter(|bytes| (1..=MOST_PADDING).contains(bytes))?)
        }
        ("churn", Some(every)) => FaultKind::Churn(span(every).filter(|every| *every >= LEAST_PAUSE)?),
        ("role", Some(role)) => FaultKind::Role(Role::ALL.into_iter().find(|known| known.as_str() == role)?),
        ("partial", Some(peers)) => FaultKind::Partial(peers.parse().ok()?),
        ("flood", None) => FaultKind::Flood(DEFAULT_RATE, FloodOf::Same),
        ("flood", Some(argument)) => {
            let (rate, of) = argument.split_once(':').unwrap_or((argument, "same"));
            let of = FloodOf::ALL.into_iter().find(|known| known.as_str() == of)?;
            let rate = rate.parse().ok().filter(|rate| (1..=MOST_RATE).contains(rate))?;
            FaultKind::Flood(rate, of)
        }
        _ => return None,
    })
}

/// A span of time as it is written: `150us`, `20ms`, `10s`, `5min`, `1h`.
pub fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (value, unit) = text.split_at(digits);
    let unit = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(value.parse::<f64>().ok()? * unit).ok()
}

const MOST_DELAY: Duration = Duration::from_secs(60);
const DEFAULT_RATE: u32 = 200;
const MOST_RATE: u32 = 100_000;
/// A frame holds twelve times as many bytes.
const MOST_PADDING: u32 = 1 << 20;
const LEAST_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        for text in [
            "silent",
            "silent@10000ms..20000ms",
            "no-proposals@1500ms",
            "slow=20ms",
            "equivocation",
            "wrong-signatures",
            "wrong-addresses",
            "flood=300:future@0ms..1000ms",
            "flood=3:round-changes",
            "flood=3:undecodable",
            "conflicting-commits",
            "partial=2",
            "stale-rounds",
            "strange-votes@1000ms",
            "slow-proposals=1500ms",
            "oversized=9000",
            "churn=300ms@0ms..60000ms",
            "role=pn",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        let fault: Fault = "flood@1s..1.5s".parse().unwrap();
        assert_eq!(fault.kind, FaultKind::Flood(200, FloodOf::Same));
        let on = |ms| fault.is_active(Duration::from_millis(ms));
        assert!(!on(999) && on(1000) && on(1499) && !on(1500));
    }

    #[test]
    fn nonsense_is_refused_with_what_there_is() {
        for text in [
            "",
            "bored",
            "slow",
            "slow=2h",
            "flood=0",
            "flood=9:up",
            "partial=x",
            "silent@3",
            "silent@3s..2s",
            "silent=1",
            "oversized=0",
            "oversized=2000000",
            "churn=1ms",
            "role=cn",
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().contains("stale-rounds"), "{text}");
        }
    }
}
