//! What messages, headers and seals prove, one finding a question.

use std::collections::BTreeSet;

use bftap_ibft_decode::{Kind, Validity};
use bftap_model::{Address, Hash256};
use serde::{Deserialize, Serialize};

use crate::claim::ClaimKind;
use crate::material::{Anchor, Material, Message, parents_named};

/// A question that the bytes answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Every message is signed by the accused key.
    SignedByAccused,
    /// All messages are of the claimed kind, height and round.
    SameView,
    /// At least two of them are for different blocks.
    DifferentDigests,
    /// All messages are commits of the claimed height, rightly signed.
    Commits,
    /// Those for different blocks are of different rounds.
    DifferentRounds,
    /// The signature is of another key than the address in the message.
    SignerNotClaimed,
    /// The signature is not one of the address in the message.
    NotSignedAsClaimed,
    /// All messages build on one parent block.
    OneParent,
    /// A quorum of the validators listed in a block of that chain sealed it.
    SealedValidators,
    /// Every signer is in the list of validators of such a block.
    SignerIsValidator,
    /// No signer is in the list of validators of such a block.
    SignerNotListed,
    /// The claimed address is in the list of validators of such a block.
    ClaimedIsValidator,
}

/// The answer as it stands in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Which question.
    pub what: What,
    /// Whether the claim fails without it.
    pub needed: bool,
    /// The answer.
    pub proven: bool,
}

/// The answer with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which question.
    pub what: What,
    /// Whether the claim fails without it.
    pub needed: bool,
    /// The answer.
    pub proven: bool,
    /// In words.
    pub text: String,
}

impl Finding {
    pub(crate) const fn mark(&self) -> Mark {
        Mark {
            what: self.what,
            needed: self.needed,
            proven: self.proven,
        }
    }
}

/// Whether a claim is proven: something is found, and all that it needs.
pub(crate) fn is_proven(findings: &[Finding]) -> bool {
    !findings.is_empty() && findings.iter().all(|finding| finding.proven || !finding.needed)
}

/// Answers the questions of a claim.
pub(crate) fn of(material: &Material) -> Vec<Finding> {
    let view = View::of(material);
    let mut findings = Vec::new();
    let mut add = |needed: bool, (what, proven, text): Answer| {
        findings.push(Finding {
            what,
            needed,
            proven,
            text,
        });
    };
    match material.claim.what {
        ClaimKind::Equivocation => {
            add(true, view.signed_by_accused());
            add(true, view.same_view());
            add(true, view.different_digests());
            add(true, view.one_parent());
            add(true, view.sealed_validators());
            add(true, view.signer_is_validator());
        }
        ClaimKind::ConflictingLock => {
            add(true, view.commits());
            if material.claim.accused.is_some() {
                add(true, view.signed_by_accused());
            }
            add(true, view.different_digests());
            add(true, view.different_rounds());
            add(true, view.one_parent());
            add(true, view.sealed_validators());
            add(true, view.signer_is_validator());
        }
        ClaimKind::WrongSigner => {
            add(true, view.signer_not_claimed());
            if material.claim.accused.is_some() {
                add(true, view.signed_by_accused());
            }
            add(false, view.sealed_validators());
            add(false, view.signer_is_validator());
            add(false, view.claimed_is_validator());
        }
        ClaimKind::BadSignature => {
            add(true, view.not_signed_as_claimed());
            add(false, view.sealed_validators());
            add(false, view.claimed_is_validator());
        }
        ClaimKind::NotValidator => {
            add(true, view.signed_by_accused());
            add(true, view.one_parent());
            add(true, view.sealed_validators());
            add(true, view.signer_not_listed());
        }
        ClaimKind::Signed => {
            add(true, view.signed_by_accused());
            add(false, view.one_parent());
            add(false, view.sealed_validators());
            add(false, view.signer_is_validator());
        }
    }
    findings
}

type Answer = (What, bool, String);

/// What the answers have in common.
struct View<'m> {
    material: &'m Material,
    accused: Vec<&'m Message>,
    signers: BTreeSet<Address>,
    /// The one parent of all accused messages; why there is none, in words.
    parent: Result<Hash256, String>,
    /// That parent, if it is sealed.
    sealed: Vec<&'m Anchor>,
}

impl<'m> View<'m> {
    fn of(material: &'m Material) -> Self {
        let accused: Vec<_> = material
            .messages
            .iter()
            .filter(|message| message.accused)
            .collect();
        let parent = parent_of(material, &accused);
        let sealed = material.anchors.iter().filter(|anchor| {
            let Ok(parent) = parent else { return false };
            anchor.is_sealed() && is_of_chain(material, anchor, parent)
        });
        Self {
            signers: accused
                .iter()
                .filter_map(|message| message.message.signer)
                .collect(),
            sealed: sealed.collect(),
            material,
            accused,
            parent,
        }
    }

    fn signed_by_accused(&self) -> Answer {
        let wanted = self.material.claim.accused;
        let proven = !self.accused.is_empty()
            && self.accused.iter().all(|message| match wanted {
                Some(address) => message.message.signer == Some(address),
                None => message.message.validity == Validity::Valid,
            });
        let number = counted(self.accused.len());
        let text = match (wanted, proven) {
            (Some(address), true) => format!("{number}: every signature is of the key of {address}"),
            (Some(address), false) => format!("{number}: not every signature is of the key of {address}"),
            (None, true) => format!("{number}: every signature is of the address in the message"),
            (None, false) => format!("{number}: not every signature is of the address in the message"),
        };
        (What::SignedByAccused, proven, text)
    }

    fn same_view(&self) -> Answer {
        let claim = &self.material.claim;
        let proven = !self.accused.is_empty()
            && claim.round.is_some()
            && claim.kind.is_some()
            && self.accused.iter().all(|message| {
                let message = &message.message;
                Some(message.kind.as_str()) == claim.kind.as_deref()
                    && message.view.sequence == claim.sequence
                    && Some(message.view.round) == claim.round
            });
        let place = format!(
            "{}s of height {}, round {}",
            escaped(claim.kind.as_deref().unwrap_or("message")),
            claim.sequence,
            claim
                .round
                .map_or_else(|| "any".to_owned(), |round| round.to_string())
        );
        let text = if proven {
            format!("all of them are {place}")
        } else {
            format!("they are not all {place}")
        };
        (What::SameView, proven, text)
    }

    fn different_digests(&self) -> Answer {
        let digests: BTreeSet<Hash256> = self
            .accused
            .iter()
            // A round change votes for no block.
            .filter(|message| message.message.kind != Kind::RoundChange)
            .filter_map(|message| message.message.digest)
            .collect();
        let shown: Vec<String> = digests.iter().take(SHOWN).map(ToString::to_string).collect();
        let text = match digests.len() {
            0 => "they are for no block".to_owned(),
            1 => format!("they are all for one block, {}", shown.join(", ")),
            number => format!("they are for {number} different blocks: {}", shown.join(", ")),
        };
        (What::DifferentDigests, digests.len() >= 2, text)
    }

    fn commits(&self) -> Answer {
        let sequence = self.material.claim.sequence;
        let proven = !self.accused.is_empty()
            && self.accused.iter().all(|message| {
                let message = &message.message;
                message.kind == Kind::Commit
                    && message.validity == Validity::Valid
                    && message.view.sequence == sequence
            });
        let text = if proven {
            format!(
                "{}: all are commits of height {sequence}, signed by the addresses in them",
                counted(self.accused.len())
            )
        } else {
            format!("not all are commits of height {sequence} that are signed by the addresses in them")
        };
        (What::Commits, proven, text)
    }

    fn different_rounds(&self) -> Answer {
        let rounds: BTreeSet<(u64, Option<Hash256>)> = self
            .accused
            .iter()
            .map(|message| (message.message.view.round, message.message.digest))
            .collect();
        // A later round's commit for another block than that of an earlier one.
        let proven = rounds.iter().any(|(round, digest)| {
            rounds
                .iter()
                .any(|(later, other)| later > round && other != digest)
        });
        let text = if proven {
            "a commit of a later round is for another block than one of an earlier round"
        } else {
            "no commit of a later round is for another block than one of an earlier round"
        };
        (What::DifferentRounds, proven, text.to_owned())
    }

    fn signer_not_claimed(&self) -> Answer {
        let proven = !self.accused.is_empty()
            && self
                .accused
                .iter()
                .all(|message| message.message.validity == Validity::NotClaimed);
        let text = match self.accused.first() {
            Some(first) if proven => format!(
                "the key of {} signed, the message names {} as its sender{}",
                shown(first.message.signer),
                shown(first.message.claimed),
                self.and_so_on()
            ),
            _ => "not every signature is of another key than that of the address in the message".to_owned(),
        };
        (What::SignerNotClaimed, proven, text)
    }

    fn not_signed_as_claimed(&self) -> Answer {
        let proven = !self.accused.is_empty()
            && self
                .accused
                .iter()
                .all(|message| message.message.validity.is_invalid());
        let text = match self.accused.first() {
            Some(first) if proven => {
                let leads = match first.message.signer {
                    Some(signer) => format!("leads to {signer}"),
                    None => "leads to no key".to_owned(),
                };
                format!(
                    "the signature {leads}, the message names {} as its sender{}",
                    shown(first.message.claimed),
                    self.and_so_on()
                )
            }
            _ => "the messages are signed as they claim".to_owned(),
        };
        (What::NotSignedAsClaimed, proven, text)
    }

    fn and_so_on(&self) -> String {
        match self.accused.len() {
            0 | 1 => String::new(),
            number => format!(" (and so on in {} more)", number - 1),
        }
    }

    fn one_parent(&self) -> Answer {
        let text = match &self.parent {
            Ok(parent) => format!("all of them build on block {parent}: they are of one chain"),
            Err(why) => format!("not proven that they are of one chain: {why}"),
        };
        (What::OneParent, self.parent.is_ok(), text)
    }

    fn sealed_validators(&self) -> Answer {
        if let Some(anchor) = self.sealed.first() {
            let header = &self.material.headers[anchor.header].header;
            let text = format!(
                "block {} ({}) lists {} validators, and {} of them sealed it ({} are needed)",
                header.number,
                header.hash,
                anchor.validators.len(),
                anchor.sealed_by.len(),
                anchor.needed()
            );
            return (What::SealedValidators, true, text);
        }
        let why = match self.material.anchors.first() {
            _ if self.parent.is_err() => "it is not known which chain that would be".to_owned(),
            None => "no proposal of the block before was found".to_owned(),
            Some(anchor)
                if self
                    .parent
                    .as_ref()
                    .is_ok_and(|parent| !is_of_chain(self.material, anchor, *parent)) =>
            {
                "the sealed block that is here is not the block before, and anybody can make such a block"
                    .to_owned()
            }
            Some(anchor) => format!(
                "of the {} validators that block {} lists, {} sealed it, {} are needed",
                anchor.validators.len(),
                self.material.headers[anchor.header].header.number,
                anchor.sealed_by.len(),
                anchor.needed()
            ),
        };
        let text = format!("the validator set is not bound to sealed blocks of that chain: {why}");
        (What::SealedValidators, false, text)
    }

    fn listed(&self, address: &Address) -> bool {
        self.sealed
            .iter()
            .any(|anchor| anchor.validators.contains(address))
    }

    fn signer_is_validator(&self) -> Answer {
        let proven = !self.signers.is_empty() && self.signers.iter().all(|signer| self.listed(signer));
        let who = list(&self.signers);
        let text = if proven {
            format!("{who}: in the list of validators of a sealed block of that chain")
        } else {
            format!("{who}: not shown to be in the list of validators of a sealed block of that chain")
        };
        (What::SignerIsValidator, proven, text)
    }

    fn signer_not_listed(&self) -> Answer {
        let proven = !self.signers.is_empty()
            && !self.sealed.is_empty()
            && !self.signers.iter().any(|signer| self.listed(signer));
        let who = list(&self.signers);
        let text = if proven {
            format!("{who}: not in the list of validators of that block")
        } else {
            format!("{who}: not shown to be missing in a list of validators")
        };
        (What::SignerNotListed, proven, text)
    }

    fn claimed_is_validator(&self) -> Answer {
        let claimed: BTreeSet<Address> = self
            .accused
            .iter()
            .filter_map(|message| message.message.claimed)
            .collect();
        let proven = !claimed.is_empty() && claimed.iter().all(|address| self.listed(address));
        let who = list(&claimed);
        let text = if proven {
            format!(
                "{who}, in whose name the message is: in the list of validators of a sealed block of that chain"
            )
        } else {
            format!("{who}, in whose name the message is: not shown to be in a list of validators")
        };
        (What::ClaimedIsValidator, proven, text)
    }
}

/// The one parent that all accused messages build on.
fn parent_of(material: &Material, accused: &[&Message]) -> Result<Hash256, String> {
    let mut all = BTreeSet::new();
    for message in accused {
        let mut own = parents_named(&message.message);
        if own.is_empty() {
            // GoQuorum's votes name none: the block that they are for does.
            let voted = material.headers.iter().find(|header| {
                Some(header.header.hash) == message.message.digest
                    && header.header.number == message.message.view.sequence
                    && header.dialect.name() == message.dialect.name()
            });
            own.extend(voted.map(|header| header.header.parent));
        }
        if own.is_empty() {
            return Err(format!(
                "{} votes for block {}, whose header is not here",
                escaped(&message.file),
                shown(message.message.digest)
            ));
        }
        all.append(&mut own);
    }
    let mut parents = all.into_iter();
    match (parents.next(), parents.next()) {
        (Some(parent), None) => Ok(parent),
        (Some(one), Some(other)) => Err(format!("they name different parent blocks, {one} and {other}")),
        (None, _) => Err("there is no message".to_owned()),
    }
}

/// Whether a block is `parent`, the block before the claimed height.
///
/// Nothing else binds a list of validators to that chain: anybody can make a block that builds on it, list whom he likes in it, and seal it with
/// keys of his own.
pub(crate) fn is_of_chain(material: &Material, anchor: &Anchor, parent: Hash256) -> bool {
    let header = &material.headers[anchor.header].header;
    header.hash == parent && header.number.checked_add(1) == Some(material.claim.sequence)
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "nobody".to_owned(), |value| value.to_string())
}

fn list(addresses: &BTreeSet<Address>) -> String {
    let shown: Vec<String> = addresses.iter().take(SHOWN).map(ToString::to_string).collect();
    match addresses.len() {
        0 => "no signer".to_owned(),
        number if number > SHOWN => format!("{} and {} more", shown.join(", "), number - SHOWN),
        _ => shown.join(", "),
    }
}

fn counted(messages: usize) -> String {
    match messages {
        1 => "1 message".to_owned(),
        number => format!("{number} messages"),
    }
}

fn escaped(text: &str) -> String {
    bftap_model::escape_peer_text(text.as_bytes())
}

/// Hashes and addresses that a text shows.
const SHOWN: usize = 4;
