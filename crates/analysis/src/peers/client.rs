//! Software and version in the name that a client gives itself.
//!
//! There is no rule for it (WIRE-FORMATS 11). All clients known here write parts between slashes, the software first; Go clients
//! let the user put a name behind it: `Klaytn/v1.4.2/linux-amd64/go1.19.8`, `Geth/validator-3/v1.13.5-stable-916d6a44/linux-amd64/go1.21.4`,
//! `besu/v24.1.0/linux-x86_64/openjdk-java-17`. GoQuorum calls itself Geth, and stands in brackets behind the version of that.

/// What a name says; both are as harmless as the name itself, and short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// `Klaytn`.
    pub(super) software: Option<String>,
    /// `v1.4.2`.
    pub(super) version: Option<String>,
}

/// Longest software or version; what is longer was made up to be a nuisance.
const LONGEST: usize = 48;

impl Client {
    /// Reads an escaped name.
    pub(super) fn parse(name: &str) -> Self {
        let parts: Vec<&str> = name.split('/').map(str::trim).collect();
        let software = parts
            .first()
            .filter(|part| !part.is_empty() && part.len() <= LONGEST);
        // Version, system, language are the last three; a name that the user chose may look like a version, too.
        let usual = parts.len().checked_sub(3).filter(|at| *at > 0);
        let at = usual.filter(|&at| is_system(parts[at + 1]) && version(parts[at]).is_some());
        let part = match at {
            Some(at) => Some(parts[at]),
            None => parts.iter().skip(1).copied().find(|part| version(part).is_some()),
        };
        let quorum = part
            .and_then(|part| part.split_once("(quorum-"))
            .map(|(_, rest)| rest);
        match quorum {
            Some(rest) if software == Some(&"Geth") => Self {
                software: Some("GoQuorum".to_owned()),
                version: version(rest),
            },
            _ => Self {
                software: software.map(|software| (*software).to_owned()),
                version: part.and_then(version),
            },
        }
    }
}

/// `linux-amd64`, `darwin-arm64`.
fn is_system(part: &str) -> bool {
    [
        "linux", "darwin", "windows", "freebsd", "openbsd", "netbsd", "osx",
    ]
    .iter()
    .any(|system| part.starts_with(system))
}

/// The version that a part begins with: a number with dots, and a word that says that it is no release. Commits and the like are left out,
/// because nodes with the same version are to be counted together.
fn version(part: &str) -> Option<String> {
    let digits = part.strip_prefix('v').unwrap_or(part);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    let number = number.trim_end_matches('.');
    if !number.starts_with(|c: char| c.is_ascii_digit())
        || !number.contains('.')
        || number.len() > LONGEST / 2
    {
        return None;
    }
    let word = rest.strip_prefix('-').unwrap_or_default();
    let word = &word[..word.find(['-', '+', '(', ' ']).unwrap_or(word.len())];
    let early = ["rc", "alpha", "beta", "unstable", "dev", "develop", "snapshot"]
        .iter()
        .any(|early| word.to_ascii_lowercase().starts_with(early));
    let prefix = if digits.len() < part.len() { "v" } else { "" };
    Some(if early && word.len() <= LONGEST / 2 {
        format!("{prefix}{number}-{word}")
    } else {
        format!("{prefix}{number}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> (Option<String>, Option<String>) {
        let client = Client::parse(name);
        (client.software, client.version)
    }

    #[test]
    fn names_of_real_clients_are_understood() {
        for (name, software, version) in [
            ("Klaytn/v1.4.2/linux-amd64/go1.19.8", "Klaytn", "v1.4.2"),
            (
                "Klaytn/cn-1/v1.12.1+d6ae8b4a4e/linux-amd64/go1.20.6",
                "Klaytn",
                "v1.12.1",
            ),
            ("Kaia/v2.2.1/linux-amd64/go1.25.1", "Kaia", "v2.2.1"),
            (
                "Geth/v1.13.5-stable-916d6a44/linux-amd64/go1.21.4",
                "Geth",
                "v1.13.5",
            ),
            (
                "Geth/1.2.3.4/v1.14.0-unstable-0bbd88bd/linux-arm64/go1.22.1",
                "Geth",
                "v1.14.0-unstable",
            ),
            (
                "Geth/v1.9.7-stable-6005360c(quorum-v20.10.0)/linux-amd64/go1.13.15",
                "GoQuorum",
                "v20.10.0",
            ),
            ("besu/v24.1.0/linux-x86_64/openjdk-java-17", "besu", "v24.1.0"),
            (
                "besu/v24.2-develop-abc/linux-x86_64/openjdk-java-17",
                "besu",
                "v24.2-develop",
            ),
            (
                "Nethermind/v1.25.4+20b10b35/linux-x64/dotnet8.0.2",
                "Nethermind",
                "v1.25.4",
            ),
            (
                "erigon/v2.60.0-rc.1/linux-amd64/go1.21.6",
                "erigon",
                "v2.60.0-rc.1",
            ),
            ("kneth/v0.91/plan9", "kneth", "v0.91"),
        ] {
            assert_eq!(
                parsed(name),
                (Some(software.to_owned()), Some(version.to_owned())),
                "{name}"
            );
        }
    }

    #[test]
    fn hostile_names_give_little() {
        assert_eq!(parsed(""), (None, None));
        assert_eq!(parsed("/v1.2.3"), (None, Some("v1.2.3".to_owned())));
        assert_eq!(parsed("////"), (None, None));
        assert_eq!(parsed("x"), (Some("x".to_owned()), None));
        assert_eq!(parsed("x/v1/vv2.0/.../1"), (Some("x".to_owned()), None));
        assert_eq!(parsed("x/v1.…"), (Some("x".to_owned()), None));
        assert_eq!(
            parsed(&format!("{}/v1.2", "a".repeat(49))),
            (None, Some("v1.2".to_owned()))
        );
        assert_eq!(
            parsed(&format!("a/{}", "1.".repeat(99))),
            (Some("a".to_owned()), None)
        );
        assert_eq!(
            parsed(&format!("a/1.2-rc{}", "9".repeat(99))),
            (Some("a".to_owned()), Some("1.2".to_owned()))
        );
        assert_eq!(
            parsed("Klaytn/v1.0(quorum-v9.9)/linux/go1.2"),
            (Some("Klaytn".to_owned()), Some("v1.0".to_owned())),
            "only what calls itself Geth is GoQuorum"
        );
        assert_eq!(
            parsed("Geth/v1.0(quorum-)/linux/go1.2"),
            (Some("GoQuorum".to_owned()), None)
        );
    }
}
