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
pub const KINDS: &str = "KIND is silent, no-proposals, slow=SPAN, equivocation, wrong-signatures, wrong-addresses, \
                         conflicting-commits, flood=RATE[:same|future|stale|round-changes|undecodable], partial=PEERS or \
                         stale-rounds";

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
        let ms = |span: Duration| format!("{}ms", span.as_millis());
        match self.kind {
            FaultKind::Silent => f.write_str("silent"),
            FaultKind::NoProposals => f.write_str("no-proposals"),
            FaultKind::Slow(by) => write!(f, "slow={}", ms(by)),
            FaultKind::Equivocation => f.write_str("equivocation"),
            FaultKind::ConflictingCommits => f.write_str("conflicting-commits"),
            FaultKind::WrongSignatures => f.write_str("wrong-signatures"),
            FaultKind::WrongAddresses => f.write_str("wrong-addresses"),
            FaultKind::Flood(rate, of) => write!(f, "flood={rate}:{}", of.as_str()),
            FaultKind::Partial(peers) => write!(f, "partial={peers}"),
            FaultKind::StaleRounds => f.write_str("stale-rounds"),
        }?;
        match self.until {
            Some(until) => write!(f, "@{}..{}", ms(self.from), ms(until)),
            None if self.from.is_zero() => Ok(()),
            None => write!(f, "@{}", ms(self.from)),
        }
    }
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
        ("equivocation", None) => FaultKind::Equivocation,
        ("conflicting-commits", None) => FaultKind::ConflictingCommits,
        ("wrong-signatures", None) => FaultKind::WrongSignatures,
        ("wrong-addresses", None) => FaultKind::WrongAddresses,
        ("stale-rounds", None) => FaultKind::StaleRounds,
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
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().contains("stale-rounds"), "{text}");
        }
    }
}
