//! Which capabilities two ends agree on, and where the codes of each begin.
//!
//! The number of codes of a capability is not on the wire; the table here is WIRE-FORMATS 4.

use std::sync::Arc;

use bftap_model::{Capability, Meaning, escape_peer_text};

use crate::hello::{Family, Hello, Offer};

mod names;

pub use names::{base_name, message_name};

/// The capabilities of a session, in the order of their codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    capabilities: Vec<Arc<Capability>>,
    /// How many of them, from the front, have a known place.
    placed: usize,
    family: Option<Family>,
}

/// The offset of a capability whose place is unknown, because the length of one sorted before it is.
pub const UNKNOWN_OFFSET: u64 = u64::MAX;

/// First code that belongs to a capability; those before are the base protocol's.
pub const BASE_LEN: u64 = 0x10;

impl Agreed {
    /// What both ends share: of every name the highest common version, sorted by name.
    ///
    /// The rule is the same in all clients (`matchProtocols` in Go, `calculateAgreedCapabilities` in Besu).
    pub fn between(one: &Hello, other: &Hello) -> Self {
        let mut shared: Vec<&Offer> = one
            .capabilities
            .iter()
            .filter(|offer| other.capabilities.contains(offer))
            .collect();
        // Names ascending as bytes, versions descending: the first of a name is the one that counts.
        shared.sort_by(|a, b| a.name.cmp(&b.name).then(b.version.cmp(&a.version)));
        shared.dedup_by(|a, b| a.name == b.name);

        let mut capabilities = Vec::with_capacity(shared.len());
        let mut placed = 0;
        let mut next = Some(BASE_LEN);
        for offer in shared {
            let len = code_count(offer, [one, other]);
            placed += usize::from(next.is_some());
            capabilities.push(Arc::new(Capability {
                name: escape_peer_text(&offer.name),
                version: offer.version,
                offset: next.unwrap_or(UNKNOWN_OFFSET),
                len,
            }));
            next = next.zip(len).map(|(offset, len)| offset + len);
        }
        let family = (one.family() == other.family()).then(|| one.family());
        Self {
            capabilities,
            placed,
            family,
        }
    }

    /// All of them; those behind one of unknown length have [`UNKNOWN_OFFSET`].
    pub fn capabilities(&self) -> &[Arc<Capability>] {
        &self.capabilities
    }

    /// What a wire code means.
    #[inline]
    pub fn meaning(&self, code: u64) -> Meaning {
        if code < BASE_LEN {
            return Meaning::Base {
                name: base_name(code),
            };
        }
        let placed = &self.capabilities[..self.placed];
        let Some((index, capability)) = placed
            .iter()
            .enumerate()
            .rev()
            .find(|(_, capability)| capability.offset <= code)
        else {
            return Meaning::Unknown;
        };
        let local = code - capability.offset;
        let covered = match capability.len {
            Some(len) => local < len,
            // Only where nothing follows can all further codes be its own.
            None => index + 1 == self.capabilities.len(),
        };
        if !covered {
            return Meaning::Unknown;
        }
        let name = message_name(&capability.name, capability.version, self.family, local);
        Meaning::Sub {
            capability: Arc::clone(capability),
            local,
            name,
        }
    }
}

/// Number of codes of a capability; `None` where this is not known.
///
/// Both Hellos are asked where one name means several protocols: Klaytn's and GoQuorum's `istanbul`, and `snap` in Besu.
fn code_count(offer: &Offer, hellos: [&Hello; 2]) -> Option<u64> {
    let klaytn = hellos.iter().all(|hello| hello.family() == Family::Klaytn);
    let ethereum = hellos.iter().all(|hello| hello.family() == Family::Ethereum);
    let besu = hellos.map(|hello| {
        hello
            .client
            .get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case("besu/"))
    });
    match (offer.name.as_slice(), offer.version) {
        (b"eth", 62) => Some(8),
        (b"eth", 63..=68) => Some(17),
        (b"eth", 69 | 70) => Some(18),
        (b"eth", 71) => Some(20),
        (b"eth", 72) => Some(22),
        (b"istanbul", 64) if klaytn => Some(21),
        (b"istanbul", 65) if klaytn => Some(23),
        (b"istanbul", 66) if klaytn => Some(24),
        (b"istanbul", 67) if klaytn => Some(26),
        (b"istanbul", 64 | 99) if ethereum => Some(18),
        (b"istanbul", 100) if ethereum => {
            // GoQuorum v21.4.0 to v21.4.2 had no QBFT yet.
            let before_qbft = |hello: &&Hello| hello.client.contains("quorum-v21.4.");
            Some(if hellos.iter().any(before_qbft) { 18 } else { 22 })
        }
        (b"klay" | b"kaia", 62) => Some(8),
        (b"klay" | b"kaia", 63) => Some(17),
        (b"klay" | b"kaia", 64) => Some(19),
        (b"klay" | b"kaia", 65) => Some(21),
        (b"kaia", 66) => Some(22),
        (b"kaia", 67) => Some(24),
        (b"servicechain", 1) => Some(9),
        (b"servicechain", 2) => Some(10),
        // Between Besu and another client the two ends count differently.
        (b"snap", 1) => match besu {
            [true, true] => Some(17),
            [false, false] => Some(8),
            _ => None,
        },
        (b"snap", 2) => Some(10),
        (b"IBF", 1) => Some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::tests::encode;

    fn hello(family: Family, client: &str, offers: &[(&str, u32)]) -> Hello {
        Hello::parse(&encode(family, client.as_bytes(), offers, 0)).unwrap()
    }

    fn agreed(family: Family, one: (&str, &[(&str, u32)]), other: (&str, &[(&str, u32)])) -> Agreed {
        let one = hello(family, one.0, one.1);
        let other = hello(family, other.0, other.1);
        let agreed = Agreed::between(&one, &other);
        assert_eq!(agreed, Agreed::between(&other, &one), "agreement is symmetric");
        agreed
    }

    fn places(agreed: &Agreed) -> Vec<(String, u64, Option<u64>)> {
        agreed
            .capabilities()
            .iter()
            .map(|c| (c.to_string(), c.offset, c.len))
            .collect()
    }

    fn name_of(agreed: &Agreed, code: u64) -> (String, u64, &'static str) {
        match agreed.meaning(code) {
            Meaning::Sub {
                capability,
                local,
                name,
            } => (capability.to_string(), local, name),
            Meaning::Base { name } => ("p2p".into(), code, name),
            Meaning::Unknown => ("unknown".into(), code, ""),
        }
    }

    /// WIRE-FORMATS 4.2, row by row.
    #[test]
    fn wire_codes_of_consensus_messages() {
        let klaytn = Family::Klaytn;
        let ethereum = Family::Ethereum;
        type Side<'a> = (&'a str, &'a [(&'a str, u32)]);
        let cases: &[(Family, Side<'_>, Side<'_>, u64, &str, u64)] = &[
            (
                klaytn,
                ("Klaytn/v1.4.2", &[("istanbul", 64)]),
                ("Klaytn/v1.12", &[("istanbul", 64), ("istanbul", 65)]),
                0x21,
                "istanbul/64",
                0x11,
            ),
            (
                klaytn,
                ("Kaia/v2.2", &[("istanbul", 67), ("istanbul", 66), ("snap", 1)]),
                ("Kaia/v2.2", &[("istanbul", 67), ("istanbul", 66), ("snap", 1)]),
                0x21,
                "istanbul/67",
                0x11,
            ),
            (
                ethereum,
                ("Geth(quorum-v20.10.0)", &[("istanbul", 64), ("istanbul", 99)]),
                ("Geth(quorum-v21.1.0)", &[("istanbul", 99)]),
                0x21,
                "istanbul/99",
                0x11,
            ),
            (
                ethereum,
                (
                    "Geth(quorum-v24.4.0)",
                    &[
                        ("eth", 66),
                        ("eth", 65),
                        ("istanbul", 100),
                        ("istanbul", 99),
                        ("snap", 1),
                    ],
                ),
                (
                    "Geth(quorum-v24.4.0)",
                    &[("eth", 66), ("istanbul", 100), ("istanbul", 99), ("snap", 1)],
                ),
                0x32,
                "istanbul/100",
                0x11,
            ),
            (
                ethereum,
                ("besu/v24", &[("eth", 68), ("istanbul", 100)]),
                ("besu/v24", &[("eth", 68), ("istanbul", 100)]),
                0x33,
                "istanbul/100",
                0x12,
            ),
            (
                ethereum,
                ("besu/v26", &[("eth", 69), ("istanbul", 100)]),
                ("besu/v26", &[("eth", 69), ("istanbul", 100)]),
                0x34,
                "istanbul/100",
                0x12,
            ),
            (
                ethereum,
                ("besu/v26", &[("eth", 68), ("IBF", 1)]),
                ("besu/v26", &[("eth", 68), ("IBF", 1)]),
                0x10,
                "IBF/1",
                0,
            ),
            (
                ethereum,
                ("besu/v26", &[("eth", 68), ("IBF", 1)]),
                ("besu/v26", &[("eth", 68), ("IBF", 1)]),
                0x14,
                "eth/68",
                0,
            ),
        ];
        for (family, one, other, code, capability, local) in cases {
            let agreed = agreed(*family, *one, *other);
            let (found, found_local, _) = name_of(&agreed, *code);
            assert_eq!(
                (found.as_str(), found_local),
                (*capability, *local),
                "{one:?} {code:#x}"
            );
        }
    }

    #[test]
    fn one_name_means_several_protocols() {
        let offers: &[_] = &[("istanbul", 64), ("snap", 1)];
        let klaytn = agreed(
            Family::Klaytn,
            ("Klaytn/v1.4.2", offers),
            ("Klaytn/v1.4.2", offers),
        );
        assert_eq!(places(&klaytn)[1], ("snap/1".into(), 0x10 + 21, Some(8)));
        let quorum = agreed(
            Family::Ethereum,
            ("Geth(quorum-v20.10.0)", offers),
            ("Geth", offers),
        );
        assert_eq!(places(&quorum)[1], ("snap/1".into(), 0x10 + 18, Some(8)));

        let offers: &[_] = &[("istanbul", 100), ("snap", 1)];
        let early = agreed(
            Family::Ethereum,
            ("Geth(quorum-v21.4.1)", offers),
            ("Geth(quorum-v21.4.1)", offers),
        );
        assert_eq!(places(&early)[0].2, Some(18));
        let later = agreed(
            Family::Ethereum,
            ("Geth(quorum-v21.7.1)", offers),
            ("Geth(quorum-v21.10.0)", offers),
        );
        assert_eq!(places(&later)[0].2, Some(22));
        let besu = agreed(Family::Ethereum, ("besu/v24.1", offers), ("Besu/v24.1", offers));
        assert_eq!(places(&besu)[1].2, Some(17));
    }

    #[test]
    fn behind_an_unknown_length_nothing_is_guessed() {
        let offers: &[_] = &[("abc", 1), ("eth", 66), ("eth", 67)];
        let agreed = agreed(Family::Ethereum, ("a", offers), ("b", offers));
        assert_eq!(
            places(&agreed),
            [
                ("abc/1".into(), 0x10, None),
                ("eth/67".into(), UNKNOWN_OFFSET, Some(17))
            ]
        );
        assert_eq!(agreed.meaning(0x10), Meaning::Unknown);
        assert_eq!(agreed.meaning(0x02), Meaning::Base { name: "Ping" });

        let last: &[_] = &[("eth", 66), ("zzz", 1)];
        let agreed = self::agreed(Family::Ethereum, ("a", last), ("b", last));
        assert_eq!(name_of(&agreed, 0x21 + 77), ("zzz/1".into(), 77, "unknown"));
        assert_eq!(agreed.meaning(0x05), Meaning::Base { name: "reserved" });
    }

    #[test]
    fn a_code_behind_the_last_capability_is_unknown() {
        let offers: &[_] = &[("istanbul", 64)];
        let agreed = agreed(Family::Klaytn, ("Klaytn", offers), ("Klaytn", offers));
        assert_eq!(name_of(&agreed, 0x10 + 20).0, "istanbul/64");
        assert_eq!(agreed.meaning(0x10 + 21), Meaning::Unknown);
        assert_eq!(Agreed::default().meaning(0x21), Meaning::Unknown);
    }
}
