//! What a bundle claims, by the rule that raised the event.

use serde::{Deserialize, Serialize};

/// What the messages of a bundle are said to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// One key signed two digests for one view and kind.
    Equivocation,
    /// Commits of one height, of different rounds, are for different blocks.
    ConflictingLock,
    /// The signature is of another key than that of the address in the message.
    WrongSigner,
    /// The signature is not one of the address in the message, whoever made it.
    BadSignature,
    /// The signer is not in the list of validators of a sealed block of the chain.
    NotValidator,
    /// These messages are signed by this key: all that signatures can say about other rules (volume, time, order).
    Signed,
}

impl ClaimKind {
    /// What can be shown for an event of this rule.
    pub fn of_rule(rule: &str) -> Self {
        match rule {
            "equivocation" => Self::Equivocation,
            "conflicting_lock" => Self::ConflictingLock,
            "wrong_signer" => Self::WrongSigner,
            "bad_signature" => Self::BadSignature,
            "not_validator" => Self::NotValidator,
            _ => Self::Signed,
        }
    }

    /// The word in the manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equivocation => "equivocation",
            Self::ConflictingLock => "conflicting_lock",
            Self::WrongSigner => "wrong_signer",
            Self::BadSignature => "bad_signature",
            Self::NotValidator => "not_validator",
            Self::Signed => "signed",
        }
    }

    /// Whether messages can be chosen by the rule alone, without an event that names its payloads.
    pub const fn finds_messages(self) -> bool {
        !matches!(self, Self::Signed)
    }
}
