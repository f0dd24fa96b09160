//! Which of the collected messages show what a rule says, and what binds the validator set to their chain.

use std::collections::{BTreeMap, BTreeSet};

use bftap_ibft_decode::{CommitSeal, Dialect, Kind, Validity};
use bftap_model::{Address, Hash256};

use crate::claim::ClaimKind;
use crate::collect::{Collector, Found, Sight};
use crate::manifest::Claim;
use crate::material::{MAX_HEADER, parents_named};

/// What an event says, as far as messages can show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accusation {
    /// What is claimed.
    pub what: ClaimKind,
    /// Height.
    pub sequence: u64,
    /// Round, if the event tells.
    pub round: Option<u64>,
    /// Kind, if the event tells.
    pub kind: Option<Kind>,
    /// Whose key signed, if the event tells.
    pub accused: Option<Address>,
    /// Payloads that show it, if the event tells.
    pub payloads: Vec<Hash256>,
}

/// What goes into a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The claim, with what was found out on the way.
    pub claim: Claim,
    /// Messages that it is about, in the order of the bundle.
    pub accused: Vec<Hash256>,
    /// Blocks whose seals bind the validator set to the chain.
    pub anchors: Vec<ChosenAnchor>,
    /// Headers, by block hash, with the name of their dialect.
    pub headers: BTreeMap<Hash256, (&'static str, Vec<u8>)>,
    /// Payloads that the event names and that were not found.
    pub missing: Vec<Hash256>,
    /// Messages of the same that there is no room for.
    pub left_out: u64,
}

/// A block and the commits that seal it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenAnchor {
    /// Block hash.
    pub block: Hash256,
    /// Payloads of commits, one of each validator, in the order of addresses.
    pub seals: Vec<Hash256>,
}

impl Chosen {
    /// The sights of chosen messages that are listed in the bundle: all of the accused, the first of each commit that seals. With the
    /// payload and the number of the sight.
    pub fn sights<'c>(&self, collector: &'c Collector) -> Vec<(Hash256, usize, &'c Sight)> {
        let found = collector.found();
        let mut sights = Vec::new();
        for hash in self.messages() {
            let kept = if self.accused.contains(&hash) {
                usize::MAX
            } else {
                1
            };
            let of = found.get(&hash).into_iter().flat_map(|found| &found.sights);
            sights.extend(
                of.enumerate()
                    .take(kept)
                    .map(|(index, sight)| (hash, index, sight)),
            );
        }
        sights
    }

    /// Payloads in the order of the bundle: the accused, then the commits that seal.
    pub(crate) fn messages(&self) -> Vec<Hash256> {
        let mut messages = self.accused.clone();
        let mut known: BTreeSet<Hash256> = messages.iter().copied().collect();
        for hash in self.anchors.iter().flat_map(|anchor| &anchor.seals) {
            if known.insert(*hash) {
                messages.push(*hash);
            }
        }
        messages
    }
}

/// Why no bundle can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// None of the messages is there.
    #[error(
        "the captures hold none of the messages that the event is about (are the secrets of its sessions there?)"
    )]
    NotFound,
    /// One block only.
    #[error(
        "the captures hold only messages for one block: the other one that the event is about is missing"
    )]
    NoConflict,
    /// Several signers would do.
    #[error("the event does not say whose messages are meant, and {signers} signers' would do")]
    SeveralSigners {
        /// How many.
        signers: usize,
    },
}

/// Chooses; see the module's documentation. The same messages give the same choice.
///
/// # Errors
/// See [`ChooseError`].
pub fn choose(collector: &Collector, accusation: &Accusation) -> Result<Chosen, ChooseError> {
    let mut accusation = accusation.clone();
    let found = collector.found();
    let (mut accused, missing) = if accusation.payloads.is_empty() {
        (by_rule(found, &mut accusation)?, Vec::new())
    } else {
        let named: BTreeSet<Hash256> = accusation.payloads.iter().copied().collect();
        let (there, missing) = named.into_iter().partition(|hash| found.contains_key(hash));
        (there, missing)
    };
    if accused.is_empty() {
        return Err(ChooseError::NotFound);
    }
    sort(&mut accused, found);
    let left_out = accused.len().saturating_sub(MAX_ACCUSED) as u64;
    accused.truncate(MAX_ACCUSED);
    let claim = claim_of(&accusation, found, &accused);

    let headers = headers(found);
    let mut chosen = Chosen {
        claim,
        accused,
        anchors: Vec::new(),
        headers: BTreeMap::new(),
        missing,
        left_out,
    };
    let mut wanted: BTreeSet<Hash256> = BTreeSet::new();
    let mut parents = BTreeSet::new();
    for hash in &chosen.accused {
        let message = &found[hash].message;
        let mut own = parents_named(message);
        if let Some(digest) = message.digest
            && message.kind != Kind::Preprepare
            && let Some(header) = headers.get(&digest)
        {
            wanted.insert(digest);
            if own.is_empty() {
                own.insert(header.parent);
            }
        }
        parents.append(&mut own);
    }
    if let [parent] = Vec::from_iter(&parents)[..] {
        chosen.anchors = Vec::from_iter(anchor(found, &headers, &chosen.claim, *parent));
        wanted.extend(chosen.anchors.iter().map(|anchor| anchor.block));
    }
    for hash in wanted {
        if let Some(header) = headers.get(&hash) {
            chosen
                .headers
                .insert(hash, (header.dialect.name(), header.bytes.to_vec()));
        }
    }
    Ok(chosen)
}

/// The claim of these messages: what the event did not say, they do if they agree.
fn claim_of(accusation: &Accusation, found: &BTreeMap<Hash256, Found>, accused: &[Hash256]) -> Claim {
    let agreed = |of: &dyn Fn(&Found) -> u64| {
        let values: BTreeSet<u64> = accused.iter().map(|hash| of(&found[hash])).collect();
        values.first().copied().filter(|_| values.len() == 1)
    };
    let kinds: BTreeSet<Kind> = accused.iter().map(|hash| found[hash].message.kind).collect();
    let kind = kinds.first().copied().filter(|_| kinds.len() == 1);
    let signers: BTreeSet<Option<Address>> = accused.iter().map(|hash| found[hash].signer()).collect();
    let signer = signers.first().copied().flatten().filter(|_| signers.len() == 1);
    Claim {
        what: accusation.what,
        accused: match accusation.what {
            // Whoever is blamed for it, no signature accuses him.
            ClaimKind::BadSignature => None,
            // Two signers may be in it, and then nobody is accused.
            ClaimKind::ConflictingLock => signer,
            // Whose name it is may be what the event tells.
            ClaimKind::WrongSigner => signer.or(accusation.accused),
            _ => accusation.accused.or(signer),
        },
        sequence: accusation.sequence,
        round: agreed(&|found| found.message.view.round),
        kind: kind.map(|kind| kind.as_str().to_owned()),
    }
}

/// Messages of this height that show what the rule says.
fn by_rule(
    found: &BTreeMap<Hash256, Found>,
    accusation: &mut Accusation,
) -> Result<Vec<Hash256>, ChooseError> {
    let what = accusation.what;
    let any_round = what == ClaimKind::ConflictingLock;
    let candidates: Group<'_> = found
        .iter()
        .filter(|(_, found)| {
            let message = &found.message;
            message.view.sequence == accusation.sequence
                && (any_round || accusation.round.is_none_or(|round| round == message.view.round))
                && accusation.kind.is_none_or(|kind| kind == message.kind)
        })
        .map(|(hash, found)| (*hash, found))
        .collect();
    let is_accused = |found: &Found| {
        accusation
            .accused
            .is_none_or(|accused| found.signer() == Some(accused))
    };
    let hashes = |test: &dyn Fn(&Found) -> bool| -> Vec<Hash256> {
        let kept = candidates.iter().filter(|(_, found)| test(found));
        kept.map(|(hash, _)| *hash).collect()
    };
    match what {
        ClaimKind::Equivocation => {
            let mut groups: BTreeMap<(Kind, u64, Address), Group<'_>> = BTreeMap::new();
            for &(hash, found) in &candidates {
                if let Some(signer) = found.signer()
                    && is_accused(found)
                    && found.message.kind != Kind::RoundChange
                {
                    let key = (found.message.kind, found.message.view.round, signer);
                    groups.entry(key).or_default().push((hash, found));
                }
            }
            if groups.is_empty() {
                return Err(ChooseError::NotFound);
            }
            groups.retain(|_, group| digests(group) >= 2);
            let signers: BTreeSet<Address> = groups.keys().map(|key| key.2).collect();
            if signers.len() > 1 {
                return Err(ChooseError::SeveralSigners {
                    signers: signers.len(),
                });
            }
            let (key, group) = groups.pop_first().ok_or(ChooseError::NoConflict)?;
            accusation.accused = Some(key.2);
            Ok(group.into_iter().map(|(hash, _)| hash).collect())
        }
        ClaimKind::ConflictingLock => {
            let mut commits: Vec<_> = candidates
                .iter()
                .copied()
                .filter(|(_, found)| {
                    found.message.kind == Kind::Commit && found.message.validity == Validity::Valid
                })
                .collect();
            // Those of the accused alone, if he contradicts himself.
            let own: Vec<_> = commits
                .iter()
                .copied()
                .filter(|(_, found)| accusation.accused.is_some() && is_accused(found))
                .collect();
            if digests(&own) >= 2 {
                commits = own;
            }
            match digests(&commits) {
                0 => Err(ChooseError::NotFound),
                1 => Err(ChooseError::NoConflict),
                _ => Ok(commits.into_iter().map(|(hash, _)| hash).collect()),
            }
        }
        ClaimKind::WrongSigner => Ok(hashes(&|found| {
            found.message.validity == Validity::NotClaimed && is_accused(found)
        })),
        ClaimKind::BadSignature => {
            // The event may blame whose name it is, or who handed it over: prefer the name.
            let invalid = |found: &Found| found.message.validity.is_invalid();
            let named = hashes(&|found| invalid(found) && found.message.claimed == accusation.accused);
            if named.is_empty() {
                return Ok(hashes(&invalid));
            }
            Ok(named)
        }
        ClaimKind::NotValidator if accusation.accused.is_some() => Ok(hashes(&is_accused)),
        // Every message would do.
        ClaimKind::NotValidator | ClaimKind::Signed => Ok(Vec::new()),
    }
}

/// Payloads with their hashes.
type Group<'f> = Vec<(Hash256, &'f Found)>;

fn digests(group: &[(Hash256, &Found)]) -> usize {
    let digests: BTreeSet<_> = group.iter().map(|(_, found)| found.message.digest).collect();
    digests.len()
}

/// By round, kind, signer and block, and of each of these first one message, so that what is cut off is only more of the same.
fn sort(hashes: &mut [Hash256], found: &BTreeMap<Hash256, Found>) {
    let about = |hash: &Hash256| {
        let message = &found[hash].message;
        (message.view.round, message.kind, message.signer, message.digest)
    };
    hashes.sort_by_key(|hash| (about(hash), *hash));
    let mut turns = BTreeMap::new();
    let turn_of: BTreeMap<Hash256, usize> = hashes
        .iter()
        .map(|hash| {
            let turns: &mut usize = turns.entry(about(hash)).or_default();
            *turns += 1;
            (*hash, *turns)
        })
        .collect();
    // Stable: what was sorted stays so within a turn.
    hashes.sort_by_key(|hash| turn_of[hash]);
}

struct HeaderSeen<'f> {
    dialect: &'static dyn Dialect,
    bytes: &'f [u8],
    parent: Hash256,
    number: u64,
    validators: BTreeSet<Address>,
}

/// Headers in all proposals that were found.
fn headers(found: &BTreeMap<Hash256, Found>) -> BTreeMap<Hash256, HeaderSeen<'_>> {
    let mut headers = BTreeMap::new();
    for found in found.values() {
        let Some(proposal) = &found.message.proposal else {
            continue;
        };
        let header = found
            .dialect
            .open(found.local, &found.bytes)
            .and_then(|envelope| found.dialect.header_in(found.local, envelope.payload));
        if let Ok(Some(bytes)) = header
            && bytes.len() <= MAX_HEADER
        {
            headers.entry(proposal.hash).or_insert_with(|| HeaderSeen {
                dialect: found.dialect,
                bytes,
                parent: proposal.parent,
                number: proposal.number,
                validators: proposal.validators.iter().copied().collect(),
            });
        }
    }
    headers
}

/// The parent block with its seals, if it was found: nothing else binds a list of validators to its chain.
fn anchor(
    found: &BTreeMap<Hash256, Found>,
    headers: &BTreeMap<Hash256, HeaderSeen<'_>>,
    claim: &Claim,
    parent: Hash256,
) -> Option<ChosenAnchor> {
    let header = headers
        .get(&parent)
        .filter(|header| header.number.checked_add(1) == Some(claim.sequence))?;
    let mut seals: BTreeMap<Address, Hash256> = BTreeMap::new();
    for (hash, found) in found {
        let message = &found.message;
        if message.kind == Kind::Commit
            && message.digest == Some(parent)
            && found.dialect.name() == header.dialect.name()
            && let Some(signer) = message.commit_seal.as_ref().and_then(CommitSeal::signer)
            && header.validators.contains(&signer)
        {
            seals.entry(signer).or_insert(*hash);
        }
    }
    Some(ChosenAnchor {
        block: parent,
        seals: seals.into_values().take(MAX_SEALS).collect(),
    })
}

/// Messages that a bundle accuses.
const MAX_ACCUSED: usize = 64;
/// Validators that a seal is kept of.
const MAX_SEALS: usize = 1000;
