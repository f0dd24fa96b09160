//! What codes mean in a session whose Hellos were not both captured.
//!
//! The number of a consensus message depends on the capabilities that the ends agreed on, but there are few such numbers for each
//! dialect (WIRE-FORMATS 4.2), and what decodes under one of them, signature and all, is no accident.

use std::sync::Arc;

use bftap_decrypt::capability::{BASE_LEN, message_name};
use bftap_decrypt::hello::Family as HelloFamily;
use bftap_ibft_decode::{Dialect, Family, dialect_named, dialects};
use bftap_model::{Capability, Meaning};

use crate::checkpoint::SavedInference;

/// What was inferred for a session.
#[derive(Clone, Debug)]
pub(crate) struct Inferred {
    pub(crate) dialect: &'static dyn Dialect,
    /// In the order of their codes; the dialect's is the last one.
    pub(crate) capabilities: Vec<Arc<Capability>>,
    /// The user said which dialect it is.
    told: bool,
    /// Messages of consensus codes that decode, and that do not.
    decoded: u64,
    undecodable: u64,
}

/// Where a consensus message of a code may belong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    pub(crate) dialect: &'static dyn Dialect,
    offset: u64,
    pub(crate) local: u64,
}

/// Places at which some message of this code would be one of consensus; only of `told`, if the user said so.
pub(crate) fn guesses(code: u64, told: Option<&'static dyn Dialect>) -> impl Iterator<Item = Guess> {
    let of_all = dialects().iter().copied();
    of_all
        .filter(move |dialect| told.is_none_or(|told| told.name() == dialect.name()))
        .flat_map(move |dialect| {
            dialect.offsets().iter().filter_map(move |&offset| {
                let local = code.checked_sub(offset)?;
                dialect.is_consensus(local).then_some(Guess {
                    dialect,
                    offset,
                    local,
                })
            })
        })
}

impl Inferred {
    /// The guess turned out to be right.
    pub(crate) fn of(guess: &Guess, told: bool) -> Self {
        let unknown_version = |name: &str, offset, len| {
            Arc::new(Capability {
                name: name.into(),
                version: Capability::UNKNOWN_VERSION,
                offset,
                len,
            })
        };
        let mut capabilities = Vec::new();
        if guess.offset > BASE_LEN {
            // `eth` is the only one that comes before `istanbul` in any client.
            capabilities.push(unknown_version("eth", BASE_LEN, Some(guess.offset - BASE_LEN)));
        }
        capabilities.push(unknown_version("istanbul", guess.offset, None));
        Self {
            dialect: guess.dialect,
            capabilities,
            told,
            decoded: 0,
            undecodable: 0,
        }
    }

    /// What an earlier run inferred; `None` if there is no such dialect, or it has no such place.
    pub(crate) fn remembered(saved: &SavedInference) -> Option<Self> {
        let dialect = dialect_named(&saved.dialect)?;
        let guess = Guess {
            dialect,
            offset: saved.offset,
            local: 0,
        };
        dialect
            .offsets()
            .contains(&saved.offset)
            .then(|| Self::of(&guess, saved.told))
    }

    /// First code of the dialect's capability.
    pub(crate) fn offset(&self) -> u64 {
        self.capabilities.last().map_or(0, |capability| capability.offset)
    }

    /// Whether the user said which dialect it is.
    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    /// Counts a message of a consensus code.
    pub(crate) fn count(&mut self, decodes: bool) {
        self.decoded += u64::from(decodes);
        self.undecodable += u64::from(!decodes);
    }

    /// What a code means; as sure as the capabilities are.
    pub(crate) fn meaning(&self, code: u64) -> Meaning {
        let Some(capability) = self
            .capabilities
            .iter()
            .rev()
            .find(|capability| capability.offset <= code)
        else {
            return Meaning::Unknown;
        };
        let local = code - capability.offset;
        let family = match self.dialect.family() {
            Family::Klaytn => Some(HelloFamily::Klaytn),
            Family::Ethereum => Some(HelloFamily::Ethereum),
            Family::Unknown => None,
        };
        Meaning::Sub {
            capability: Arc::clone(capability),
            local,
            name: message_name(&capability.name, capability.version, family, local),
        }
    }

    /// Which dialect, and how sure that is, in words.
    pub(crate) fn words(&self) -> String {
        let all = self.decoded + self.undecodable;
        let source = if self.told { "as told" } else { "inferred" };
        format!(
            "{}, {source}: {} of {all} consensus messages decode",
            self.dialect.name(),
            self.decoded
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_wire_formats_4_2_are_guessed() {
        let names = |code, told| -> Vec<(&str, u64)> {
            guesses(code, told)
                .map(|guess| (guess.dialect.name(), guess.local))
                .collect()
        };
        assert_eq!(names(0x21, None), [("klaytn", 0x11), ("quorum-ibft", 0x11)]);
        assert_eq!(names(0x32, None), [("quorum-ibft", 0x11)]);
        assert_eq!(names(0x10, None), []);
        let quorum = dialects()[1];
        assert_eq!(names(0x21, Some(quorum)), [("quorum-ibft", 0x11)]);
    }

    #[test]
    fn codes_beside_consensus_have_their_names() {
        let name = |inferred: &Inferred, code| match inferred.meaning(code) {
            Meaning::Sub { capability, name, .. } => format!("{capability} {name}"),
            Meaning::Base { .. } | Meaning::Unknown => "none".to_owned(),
        };
        let klaytn = Inferred::of(&guesses(0x21, None).next().unwrap(), false);
        assert_eq!(name(&klaytn, 0x16), "istanbul/? Transactions");
        assert_eq!(name(&klaytn, 0x21), "istanbul/? IstanbulMsg");
        let quorum = Inferred::of(&guesses(0x32, None).next().unwrap(), true);
        assert_eq!(name(&quorum, 0x12), "eth/? Transactions");
        assert_eq!(name(&quorum, 0x32), "istanbul/? IstanbulMsg");
        assert_eq!(
            quorum.words(),
            "quorum-ibft, as told: 0 of 0 consensus messages decode"
        );
    }
}
