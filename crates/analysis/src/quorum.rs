//! How many votes it takes: rules per client and version, as data (WIRE-FORMATS 7.4 of the design papers).
//!
//! F = ceil(n/3) - 1 is the number of faulty validators that n validators bear.
//!
//! | client | prepared | committed |
//! |---|---|---|
//! | Klaytn up to v1.11.1 | prepares or commits of 2F+1 | commits of 2F+1 |
//! | Klaytn from v1.12.0, Kaia | prepares or commits of ceil(2n/3), all below four | the same number of commits |
//! | GoQuorum IBFT | prepares or commits of 2F+1, or ceil(2n/3) where the genesis says so | the same number of commits |
//!
//! Sources: Klaytn v1.4.2 and v1.12.1 `consensus/istanbul/core/{core,commit,prepare}.go`, GoQuorum v24.4.0
//! `consensus/istanbul/validator/default.go`.

use serde::Deserialize;

/// How many distinct votes are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Threshold {
    /// 2F+1 with F = ceil(n/3) - 1.
    #[serde(rename = "2f+1")]
    TwoFPlusOne,
    /// ceil(2n/3).
    #[serde(rename = "ceil-2n/3")]
    CeilTwoThirds,
    /// ceil(2n/3), and all validators where there are fewer than four.
    #[serde(rename = "ceil-2n/3-all-below-4")]
    CeilTwoThirdsAllBelowFour,
}

impl Threshold {
    /// Votes needed among `validators`.
    pub const fn votes(self, validators: u32) -> u32 {
        let ceil_two_thirds = (2 * validators as u64).div_ceil(3) as u32;
        match self {
            Self::TwoFPlusOne => 2 * faulty(validators) + 1,
            Self::CeilTwoThirds => ceil_two_thirds,
            Self::CeilTwoThirdsAllBelowFour => {
                if validators < 4 {
                    validators
                } else {
                    ceil_two_thirds
                }
            }
        }
    }
}

/// F: how many faulty ones `validators` bear.
pub const fn faulty(validators: u32) -> u32 {
    validators.div_ceil(3).saturating_sub(1)
}

/// When a node counts as prepared and as committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumRule {
    /// Number of votes, for both.
    pub threshold: Threshold,
    /// Commits count towards prepared: a node that missed prepares may go on with commits.
    pub commits_prepare: bool,
}

impl QuorumRule {
    /// Klaytn up to v1.11.1; GoQuorum IBFT without `ceil2Nby3Block`.
    pub const ISTANBUL: Self = Self {
        threshold: Threshold::TwoFPlusOne,
        commits_prepare: true,
    };
    /// Klaytn from v1.12.0 and Kaia.
    pub const KAIA: Self = Self {
        threshold: Threshold::CeilTwoThirdsAllBelowFour,
        commits_prepare: true,
    };

    /// The rule that the client of this Hello name follows for messages of this dialect.
    ///
    /// Where the version cannot be read from the name, the rule of the dialect's older clients stands: it
    /// asks for at most as many votes.
    pub fn of_client(client: Option<&str>, dialect: &str) -> Self {
        if dialect != "klaytn" {
            return Self::ISTANBUL;
        }
        let Some(client) = client else {
            return Self::ISTANBUL;
        };
        let mut parts = client.split('/');
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        if name.starts_with("kaia") {
            return Self::KAIA;
        }
        let version = parts.find_map(parse_version);
        match version {
            Some(version) if version >= (1, 12) => Self::KAIA,
            _ => Self::ISTANBUL,
        }
    }
}

/// Major and minor of `v1.4.2` or `v1.12.0+abc`.
fn parse_version(part: &str) -> Option<(u32, u32)> {
    let mut numbers = part.strip_prefix('v')?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_agree_with_the_table_of_the_clients() {
        // n: 2F+1, ceil(2n/3)
        for (n, two_f, ceil) in [
            (1, 1, 1),
            (2, 1, 2),
            (3, 1, 2),
            (4, 3, 3),
            (5, 3, 4),
            (6, 3, 4),
            (7, 5, 5),
            (21, 13, 14),
            (22, 15, 15),
        ] {
            assert_eq!(Threshold::TwoFPlusOne.votes(n), two_f, "2F+1 of {n}");
            assert_eq!(Threshold::CeilTwoThirds.votes(n), ceil, "ceil(2n/3) of {n}");
            let all = if n < 4 { n } else { ceil };
            assert_eq!(
                Threshold::CeilTwoThirdsAllBelowFour.votes(n),
                all,
                "Kaia's rule of {n}"
            );
        }
        assert_eq!(Threshold::TwoFPlusOne.votes(0), 1, "an empty set decides nothing");
    }

    #[test]
    fn the_rule_follows_the_client_version() {
        let rule = |client| QuorumRule::of_client(Some(client), "klaytn");
        assert_eq!(rule("Klaytn/v1.4.2/linux-amd64/go1.19.8"), QuorumRule::ISTANBUL);
        assert_eq!(rule("Klaytn/v1.11.1/linux-amd64/go1.19.8"), QuorumRule::ISTANBUL);
        assert_eq!(rule("Klaytn/cn1/v1.12.0+abc/linux"), QuorumRule::KAIA);
        assert_eq!(rule("Kaia/v1.0.0/linux"), QuorumRule::KAIA);
        assert_eq!(rule("something else"), QuorumRule::ISTANBUL);
        assert_eq!(
            QuorumRule::of_client(Some("Kaia/v2.0.0"), "quorum-ibft"),
            QuorumRule::ISTANBUL
        );
    }
}
