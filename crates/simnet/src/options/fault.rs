//! What goes wrong in a simulated network.

use std::fmt;

use bftap_model::Nanos;

/// Something that goes wrong at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which node: validators first, observers behind them.
    pub node: usize,
    /// From when on.
    pub from: Nanos,
    /// Until when; a crash: when it starts again. `None`: for ever.
    pub until: Option<Nanos>,
    /// What.
    pub kind: FaultKind,
}

impl Fault {
    /// Whether it is on at this time of the simulation.
    pub fn is_active(&self, now: Nanos) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

/// Ways to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Sends no consensus messages, neither its own nor others'.
    Silent,
    /// Does not propose when it is its turn; votes like everyone.
    NoProposals,
    /// Proposes so much later than it could.
    SlowProposals(Nanos),
    /// Takes this much longer for each consensus message.
    Slow(Nanos),
    /// Stands still (SIGSTOP): its host takes packets, it does nothing with them until it goes on.
    Paused,
    /// Its process is killed (SIGKILL): connections end, sometimes in the middle of a frame.
    Killed,
    /// Its host loses power: not even connections end.
    PowerLoss,
    /// Its votes carry a signature that no key made.
    WrongSignatures,
    /// Its votes claim to be of another validator.
    WrongAddresses,
    /// Proposes two blocks at once and votes for two, to one half of the nodes each.
    Equivocation,
    /// With each commit sends one for another block, as if it had broken its lock: in the round before, or from round 0 in the
    /// one behind.
    ConflictingCommits,
    /// Sends so many messages a second to each peer besides what it has to.
    Flood(u32, FloodOf),
    /// Sends consensus messages only to so many peers, those behind it in the order of addresses.
    Partial(u32),
    /// With each vote sends one for the height before.
    StaleRounds,
    /// One peer, another each height, gets its votes with so many bytes behind them in the frame.
    Oversized(u32),
    /// So often dials a peer anew, says Hello, and ends the connection.
    Churn(Nanos),
    /// Of an observer: votes for each block that it gets, as if it were a validator.
    Votes,
    /// Of an observer: shows the key of this other node in Hello. Whoever reads that ends the session, since the handshake proved another.
    FalseKey(usize),
    /// No packet passes between it and this other node; what TCP repeats arrives when the link is there again.
    Cut(usize),
    /// So many packets in a million do not get into the capture at its tap. In the network nothing is lost.
    LossyTap(u32),
}

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodOf {
    /// One payload, again and again.
    Same,
    /// Votes for heights to come, each another.
    Future,
    /// Votes for heights that are over, each another.
    Stale,
    /// Round changes, each for a higher round.
    RoundChanges,
    /// Messages of the consensus code that are none.
    Undecodable,
}

impl FloodOf {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Same,
        Self::Future,
        Self::Stale,
        Self::RoundChanges,
        Self::Undecodable,
    ];

    /// The word used in options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Future => "future",
            Self::Stale => "stale",
            Self::RoundChanges => "round-changes",
            Self::Undecodable => "undecodable",
        }
    }
}

impl FaultKind {
    /// The word used in options, without its argument.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::NoProposals => "no-proposals",
            Self::SlowProposals(_) => "slow-proposals",
            Self::Slow(_) => "slow",
            Self::Paused => "paused",
            Self::Killed => "killed",
            Self::PowerLoss => "power-loss",
            Self::WrongSignatures => "wrong-signatures",
            Self::WrongAddresses => "wrong-addresses",
            Self::Equivocation => "equivocation",
            Self::ConflictingCommits => "conflicting-commits",
            Self::Flood(..) => "flood",
            Self::Partial(_) => "partial",
            Self::StaleRounds => "stale-rounds",
            Self::Oversized(_) => "oversized",
            Self::Churn(_) => "churn",
            Self::Votes => "votes",
            Self::FalseKey(_) => "false-key",
            Self::Cut(_) => "cut",
            Self::LossyTap(_) => "lossy-tap",
        }
    }

    /// Whether the node does it on purpose; the rest happens to it.
    pub const fn is_misbehaviour(self) -> bool {
        !matches!(
            self,
            Self::Slow(_) | Self::Paused | Self::Killed | Self::PowerLoss | Self::Cut(_) | Self::LossyTap(_)
        )
    }
}

impl fmt::Display for FaultKind {
    /// As options write it; a span of time in milliseconds, a node by its number from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::SlowProposals(span) | Self::Slow(span) | Self::Churn(span) => {
                write!(f, "={}ms", span.0 / 1_000_000)
            }
            Self::Flood(rate, of) => write!(f, "={rate}:{}", of.as_str()),
            Self::Partial(number) | Self::Oversized(number) | Self::LossyTap(number) => {
                write!(f, "={number}")
            }
            Self::Cut(node) | Self::FalseKey(node) => write!(f, "={}", node + 1),
            _ => Ok(()),
        }
    }
}

/// Whose connections a node that is no validator offers, and so what it may send on them.
///
/// Klaytn tells it in the first byte of a connection; in GoQuorum there is no such byte, and all nodes are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A consensus node that is no validator: it may send consensus messages, but nobody counts them.
    Consensus,
    /// An endpoint node.
    Endpoint,
    /// A proxy node.
    Proxy,
}

impl Role {
    /// The word used in options and names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consensus => "cn",
            Self::Endpoint => "en",
            Self::Proxy => "pn",
        }
    }

    /// Klaytn's connection type (`common.ConnType`).
    pub(crate) const fn connection_type(self) -> u8 {
        match self {
            Self::Consensus => 0,
            Self::Endpoint => 1,
            Self::Proxy => 2,
        }
    }
}
