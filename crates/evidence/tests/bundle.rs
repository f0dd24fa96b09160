//! Bundles of made-up chains: what is proven, what is not, and what is refused.

mod world;

use std::collections::BTreeMap;

use bftap_evidence::{
    Accusation, AnchorEntry, ChooseError, ClaimKind, CollectLimits, Collector, MANIFEST, Manifest, Outcome,
    SIGNATURE, SUMS, SignedBy, SigningKey, Verdict, What, choose, verify,
};
use bftap_ibft_decode::{Kind, View};
use bftap_model::Hash256;
use bftap_simnet::consensus::{Dialect, Forgery, SignedMessage};

use world::{World, build, build_signed, collect, mend};

fn check(files: &BTreeMap<String, Vec<u8>>) -> Verdict {
    verify(&mut files.clone(), None)
}

fn outcome(files: &BTreeMap<String, Vec<u8>>) -> Outcome {
    check(files).outcome()
}

fn text_of(verdict: &Verdict, what: What) -> &str {
    let finding = verdict.findings.iter().find(|finding| finding.what == what);
    &finding.unwrap_or_else(|| panic!("{verdict:?}")).text
}

fn accusation(what: ClaimKind, sequence: u64) -> Accusation {
    Accusation {
        what,
        sequence,
        round: Some(0),
        kind: None,
        accused: None,
        payloads: Vec::new(),
    }
}

/// Two proposals for one view, by node 1 of four, with the block before and its seals.
fn equivocation(dialect: Dialect) -> (World, Vec<SignedMessage>) {
    let world = World::new(dialect, 4, 1);
    let before = world.block(Hash256::ZERO, 11, 0);
    let mut messages = vec![world.propose(0, 0, &before)];
    messages.extend(world.commits(&before, 0, 0..4));
    for variant in 0..2 {
        let block = world.block_of(1, before.hash(), 12, variant);
        messages.push(world.propose(1, 0, &block));
    }
    (world, messages)
}

#[test]
fn two_proposals_for_one_view_are_proven_to_be_of_one_key() {
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        let (world, messages) = equivocation(dialect);
        let files = build(&messages, &accusation(ClaimKind::Equivocation, 12));
        let verdict = check(&files);
        assert_eq!(verdict.outcome(), Outcome::Proven, "{verdict:?}");
        let manifest = verdict.manifest.as_ref().unwrap();
        assert_eq!(manifest.claim.accused, Some(world.address(1)));
        assert_eq!(
            manifest.messages.iter().filter(|message| message.accused).count(),
            2
        );
        assert_eq!(manifest.anchors[0].sealed_by.len(), 4);
        assert_eq!(manifest.anchors[0].needed, 3);
        let readme = String::from_utf8(files["README.md"].clone()).unwrap();
        assert!(readme.contains("The claim is proven"), "{readme}");
        assert!(
            readme.contains(&manifest.anchors[0].block.to_string()),
            "{readme}"
        );
        assert_eq!(
            build(&messages, &accusation(ClaimKind::Equivocation, 12)),
            files,
            "the same input gives the same bytes"
        );
    }
}

#[test]
fn two_votes_for_one_view_are_proven_where_their_chain_is_known() {
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        for kind in [Kind::Prepare, Kind::Commit] {
            let (world, mut messages) = equivocation(dialect);
            let blocks: Vec<_> = messages[5..].iter().map(|message| message.digest).collect();
            let parent = messages[0].digest;
            for digest in &blocks {
                messages.push(world.vote(2, kind, 12, 0, *digest, parent));
            }
            let mut wanted = accusation(ClaimKind::Equivocation, 12);
            wanted.accused = Some(world.address(2));
            let files = build(&messages, &wanted);
            assert_eq!(outcome(&files), Outcome::Proven, "{dialect:?} {kind}");
            assert_eq!(
                files.keys().filter(|name| name.starts_with("headers/")).count(),
                3
            );

            // Without the proposals of the height, only Klaytn's votes say what they build on.
            messages.drain(5..7);
            let verdict = check(&build(&messages, &wanted));
            let expected = match dialect {
                Dialect::Klaytn => Outcome::Proven,
                Dialect::QuorumIbft => Outcome::NotProven,
            };
            assert_eq!(verdict.outcome(), expected, "{verdict:?}");
            if expected == Outcome::NotProven {
                assert!(
                    text_of(&verdict, What::OneParent).starts_with("not proven that they are of one chain"),
                    "{verdict:?}"
                );
            }
        }
    }
}

#[test]
fn what_the_anchor_lacks_is_told() {
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        let (_, messages) = equivocation(dialect);
        let wanted = accusation(ClaimKind::Equivocation, 12);
        // No proposal of the block before.
        let verdict = check(&build(&messages[1..], &wanted));
        assert_eq!(verdict.outcome(), Outcome::NotProven);
        assert!(
            text_of(&verdict, What::SealedValidators).contains("no proposal of the block before"),
            "{verdict:?}"
        );
        // Two seals of four.
        let few: Vec<_> = [&messages[..3], &messages[5..]].concat();
        let verdict = check(&build(&few, &wanted));
        assert_eq!(verdict.outcome(), Outcome::NotProven);
        assert!(
            text_of(&verdict, What::SealedValidators).contains("2 sealed it, 3 are needed"),
            "{verdict:?}"
        );
        // Three will do.
        let enough: Vec<_> = [&messages[..4], &messages[5..]].concat();
        assert_eq!(outcome(&build(&enough, &wanted)), Outcome::Proven);
    }
}

#[test]
fn a_sealed_block_of_the_same_height_will_not_do() {
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        let (world, messages) = equivocation(dialect);
        let blocks: Vec<SignedMessage> = messages[5..].to_vec();
        let mut only = blocks.clone();
        only.extend(
            (0..4).map(|node| world.vote(node, Kind::Commit, 12, 0, blocks[0].digest, messages[0].digest)),
        );
        let mut wanted = accusation(ClaimKind::Equivocation, 12);
        wanted.kind = Some(Kind::Preprepare);
        let verdict = check(&build(&only, &wanted));
        assert_eq!(verdict.outcome(), Outcome::NotProven, "{verdict:?}");
        assert!(
            text_of(&verdict, What::SealedValidators).contains("no proposal of the block before"),
            "{verdict:?}"
        );
    }
}

/// Somebody makes blocks that build on the real one, lists keys of his own in them, seals them, and accuses whom he made up.
#[test]
fn forged_siblings_bind_nobody_to_the_chain() {
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        let (_, mut messages) = equivocation(dialect);
        messages.truncate(5);
        let parent = messages[0].digest;
        let forger = World::new(dialect, 4, 99);
        let blocks = [0, 1].map(|variant| forger.block_of(0, parent, 12, variant));
        for block in &blocks {
            messages.push(forger.propose(0, 0, block));
        }
        messages.extend(forger.commits(&blocks[0], 0, 0..4));
        messages.push(forger.vote(0, Kind::Commit, 12, 1, blocks[1].hash(), parent));
        let in_a_name = SignedMessage::vote(
            dialect,
            forger.key(0),
            Kind::Prepare,
            View {
                sequence: 12,
                round: 0,
            },
            blocks[0].hash(),
            parent,
            Some(Forgery::ClaimedAddress(forger.address(1))),
        );
        let by_nobody = SignedMessage::vote(
            dialect,
            forger.key(0),
            Kind::Prepare,
            View {
                sequence: 12,
                round: 0,
            },
            blocks[0].hash(),
            parent,
            Some(Forgery::RandomSignature([0xff; 65])),
        );
        messages.extend([in_a_name.clone(), by_nobody.clone()]);
        for what in [
            ClaimKind::Equivocation,
            ClaimKind::ConflictingLock,
            ClaimKind::WrongSigner,
            ClaimKind::BadSignature,
            ClaimKind::Signed,
        ] {
            let mut wanted = accusation(what, 12);
            match what {
                ClaimKind::Equivocation => wanted.kind = Some(Kind::Preprepare),
                ClaimKind::ConflictingLock => wanted.round = None,
                ClaimKind::WrongSigner => wanted.payloads = vec![in_a_name.payload_hash],
                ClaimKind::BadSignature => wanted.payloads = vec![by_nobody.payload_hash],
                _ => {
                    wanted.accused = Some(forger.address(0));
                    wanted.payloads = vec![messages[5].payload_hash];
                }
            }
            // With the real block before and its seals, and without.
            for kept in [&messages[..], &messages[5..]] {
                let files = build(kept, &wanted);
                let verdict = check(&files);
                assert_ne!(verdict.outcome(), Outcome::Broken, "{what:?} {verdict:?}");
                if what == ClaimKind::Signed {
                    // A rule about number or time is not proven by a signature, and nobody is to read that it is.
                    let readme = String::from_utf8(files["README.md"].clone()).unwrap();
                    assert!(
                        readme.contains("Who signed is proven") && !readme.contains("claim is proven"),
                        "{readme}"
                    );
                }
                let of_validators = |what| {
                    verdict
                        .findings
                        .iter()
                        .any(|finding| finding.what == what && finding.proven)
                };
                assert!(
                    !of_validators(What::SignerIsValidator) && !of_validators(What::ClaimedIsValidator),
                    "{what:?} {verdict:?}"
                );
                let needs = matches!(what, ClaimKind::Equivocation | ClaimKind::ConflictingLock);
                assert_eq!(
                    verdict.outcome() == Outcome::NotProven,
                    needs,
                    "{what:?} {verdict:?}"
                );
            }
        }

        // Nor does a bundle that says so by itself: the forged block and its seals, as a sealed block.
        let mut wanted = accusation(ClaimKind::ConflictingLock, 12);
        wanted.round = None;
        let files = build(&messages[5..], &wanted);
        let forge = |manifest: &mut Manifest| {
            let block = blocks[0].hash();
            let header = manifest
                .headers
                .iter()
                .find(|header| header.hash == block)
                .unwrap();
            let seals = manifest
                .messages
                .iter()
                .filter(|message| message.digest == Some(block));
            let mut sealed_by = header.validators.clone();
            sealed_by.sort();
            manifest.anchors.push(AnchorEntry {
                block,
                header: header.file.clone(),
                seals: seals.map(|message| message.file.clone()).collect(),
                validators: 4,
                needed: 3,
                sealed_by,
            });
        };
        let mut sealed = files.clone();
        mend(&mut sealed, forge);
        let verdict = check(&sealed);
        assert_eq!(verdict.outcome(), Outcome::NotProven, "{verdict:?}");
        assert!(
            text_of(&verdict, What::SealedValidators).contains("is not the block before"),
            "{verdict:?}"
        );
        let mut lying = files;
        mend(&mut lying, |manifest| {
            forge(manifest);
            for mark in &mut manifest.findings {
                mark.proven = true;
            }
        });
        assert_eq!(outcome(&lying), Outcome::Broken);
    }
}

/// Every bit of every file.
#[test]
fn any_flipped_bit_of_a_small_bundle_is_found() {
    let (world, messages) = equivocation(Dialect::Klaytn);
    let mut wanted = accusation(ClaimKind::Signed, 12);
    wanted.accused = Some(world.address(1));
    wanted.payloads = vec![messages[5].payload_hash];
    let all_bits = |files: &BTreeMap<String, Vec<u8>>, names: &[&str]| {
        assert_eq!(outcome(files), Outcome::Proven);
        for name in names {
            for at in 0..files[*name].len() {
                for bit in 0..8 {
                    let mut flipped = files.clone();
                    flipped.get_mut(*name).unwrap()[at] ^= 1 << bit;
                    assert_eq!(outcome(&flipped), Outcome::Broken, "{name} byte {at} bit {bit}");
                }
            }
        }
    };
    let files = build(&messages[5..6], &wanted);
    assert!(files.len() >= 4, "{:?}", files.keys());
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    all_bits(&files, &names);
    // Elliptic curves take longer: only what is of the signature.
    all_bits(&build_signed(&messages[5..6], &wanted), &[SIGNATURE]);
}

#[test]
fn an_accused_who_is_no_validator_is_not_proven_to_be_one() {
    let (world, mut messages) = equivocation(Dialect::Klaytn);
    let stranger = World::new(Dialect::Klaytn, 4, 99);
    let parent = messages[0].digest;
    messages.truncate(5);
    for variant in 0..2 {
        let block = stranger.block_of(0, parent, 12, variant);
        messages.push(stranger.propose(0, 0, &block));
    }
    let verdict = check(&build(&messages, &accusation(ClaimKind::Equivocation, 12)));
    assert_eq!(verdict.outcome(), Outcome::NotProven);
    assert!(
        text_of(&verdict, What::SignerIsValidator).contains("not shown"),
        "{verdict:?}"
    );

    let mut wanted = accusation(ClaimKind::NotValidator, 12);
    wanted.accused = Some(stranger.address(0));
    let verdict = check(&build(&messages, &wanted));
    assert_eq!(verdict.outcome(), Outcome::Proven, "{verdict:?}");
    // Of a validator the same is not so.
    let (_, messages) = equivocation(Dialect::Klaytn);
    wanted.accused = Some(world.address(1));
    assert_eq!(outcome(&build(&messages, &wanted)), Outcome::NotProven);
}

/// One bit of every byte of every file, another one in each byte.
#[test]
fn a_flipped_bit_anywhere_is_found() {
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        let (_, messages) = equivocation(dialect);
        let files = build_signed(&messages, &accusation(ClaimKind::Equivocation, 12));
        assert_eq!(outcome(&files), Outcome::Proven);
        for name in files.keys() {
            for at in 0..files[name].len() {
                let mut flipped = files.clone();
                flipped.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
                assert_eq!(outcome(&flipped), Outcome::Broken, "{name} byte {at}");
            }
        }
        for name in files.keys() {
            let mut fewer = files.clone();
            fewer.remove(name);
            let expected = if name == SIGNATURE {
                Outcome::Proven
            } else {
                Outcome::Broken
            };
            assert_eq!(outcome(&fewer), expected, "without {name}");
        }
        let mut more = files.clone();
        more.insert("messages/more.bin".to_owned(), Vec::new());
        assert_eq!(outcome(&more), Outcome::Broken);
    }
}

/// Whoever changes a message can mend the hashes, but not the signatures.
#[test]
fn a_flipped_bit_in_what_is_signed_is_found_behind_right_hashes() {
    let (_, messages) = equivocation(Dialect::QuorumIbft);
    let files = build(&messages, &accusation(ClaimKind::Equivocation, 12));
    let accused: Vec<_> = files.keys().filter(|name| name.contains("preprepare")).collect();
    assert_eq!(accused.len(), 2);
    for name in accused {
        // The string's own length stands in the first bytes.
        for at in 0..files[name].len() {
            let mut flipped = files.clone();
            flipped.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            mend(&mut flipped, |_| ());
            assert_ne!(outcome(&flipped), Outcome::Proven, "{name} byte {at}");
        }
    }
}

#[test]
fn lies_of_the_manifest_are_found_behind_right_hashes() {
    let (world, messages) = equivocation(Dialect::Klaytn);
    let files = build(&messages, &accusation(ClaimKind::Equivocation, 12));
    type Lie<'a> = (&'static str, Box<dyn Fn(&mut Manifest) + 'a>);
    let lies: Vec<Lie<'_>> = vec![
        (
            "accused",
            Box::new(|manifest| manifest.claim.accused = Some(world.address(2))),
        ),
        ("sequence", Box::new(|manifest| manifest.claim.sequence = 13)),
        ("round", Box::new(|manifest| manifest.claim.round = Some(1))),
        (
            "what",
            Box::new(|manifest| manifest.claim.what = ClaimKind::Signed),
        ),
        (
            "signer",
            Box::new(|manifest| manifest.messages[0].signer = Some(world.address(2))),
        ),
        (
            "digest",
            Box::new(|manifest| manifest.messages[0].digest = Some(Hash256::ZERO)),
        ),
        (
            "payload",
            Box::new(|manifest| manifest.messages[0].payload = Hash256::ZERO),
        ),
        ("role", Box::new(|manifest| manifest.messages[0].accused = false)),
        (
            "dialect",
            Box::new(|manifest| manifest.messages[0].dialect = "quorum-ibft".into()),
        ),
        (
            "code",
            Box::new(|manifest| manifest.messages[0].local_code = 0x12),
        ),
        (
            "file",
            Box::new(|manifest| manifest.messages[0].file = manifest.messages[1].file.clone()),
        ),
        (
            "validators",
            Box::new(|manifest| manifest.headers[0].validators.truncate(3)),
        ),
        ("needed", Box::new(|manifest| manifest.anchors[0].needed = 1)),
        (
            "sealers",
            Box::new(|manifest| manifest.anchors[0].sealed_by.truncate(3)),
        ),
        ("no anchor", Box::new(|manifest| manifest.anchors.clear())),
        (
            "findings",
            Box::new(|manifest| manifest.findings[0].needed = false),
        ),
        ("no findings", Box::new(|manifest| manifest.findings.clear())),
        (
            "outside",
            Box::new(|manifest| manifest.messages[0].file = "../x".into()),
        ),
        (
            "rule",
            Box::new(|manifest| manifest.event.rule = "bad_signature".into()),
        ),
        ("version", Box::new(|manifest| manifest.version = 2)),
    ];
    for (name, lie) in lies {
        let mut told = files.clone();
        mend(&mut told, lie);
        assert_eq!(outcome(&told), Outcome::Broken, "{name}");
    }
    // Places are the word of whoever made it; the claim stands without them.
    let mut other = files.clone();
    mend(&mut other, |manifest| manifest.messages[0].places.clear());
    assert_eq!(outcome(&other), Outcome::Proven);
}

/// Right hashes, right form, and messages that do not show it.
#[test]
fn forged_pairs_are_not_proven() {
    let wanted = accusation(ClaimKind::Equivocation, 12);
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        let (world, messages) = equivocation(dialect);
        let (parent, one, two) = (messages[0].digest, messages[5].digest, messages[6].digest);
        let base = &messages[..5];
        let vote = |round, digest, parent| world.vote(2, Kind::Prepare, 12, round, digest, parent);
        let named = |pair: &[SignedMessage]| {
            // An event that names the payloads gets them, whatever they are.
            let mut wanted = wanted.clone();
            wanted.accused = Some(world.address(2));
            wanted.payloads = pair.iter().map(|message| message.payload_hash).collect();
            build(&[base, &messages[5..], pair].concat(), &wanted)
        };
        let what_fails = |pair: &[SignedMessage]| {
            let verdict = check(&named(pair));
            assert_eq!(verdict.outcome(), Outcome::NotProven, "{verdict:?}");
            let failed = verdict.findings.iter().find(|finding| !finding.proven);
            failed.unwrap().what
        };

        let honest = vote(0, one, parent);
        let forged = SignedMessage::vote(
            dialect,
            world.key(3),
            Kind::Prepare,
            View {
                sequence: 12,
                round: 0,
            },
            two,
            parent,
            Some(Forgery::ClaimedAddress(world.address(2))),
        );
        assert_eq!(what_fails(&[honest.clone(), forged]), What::SignedByAccused);
        let random = SignedMessage::vote(
            dialect,
            world.key(3),
            Kind::Prepare,
            View {
                sequence: 12,
                round: 0,
            },
            two,
            parent,
            Some(Forgery::RandomSignature([0xff; 65])),
        );
        assert_eq!(what_fails(&[honest.clone(), random]), What::SignedByAccused);
        // Two honest messages.
        assert_eq!(
            what_fails(&[honest.clone(), vote(1, two, parent)]),
            What::SameView
        );
        let commit = world.vote(2, Kind::Commit, 12, 0, two, parent);
        assert_eq!(what_fails(&[honest.clone(), commit]), What::SameView);
        assert_eq!(what_fails(std::slice::from_ref(&honest)), What::DifferentDigests);
        // One vote for each of two chains.
        let elsewhere = World::new(dialect, 4, 1);
        let other = elsewhere.block_of(1, Hash256([7; 32]), 12, 5);
        let foreign = elsewhere.propose(1, 0, &other);
        let pair = [honest, vote(0, other.hash(), Hash256([7; 32])), foreign];
        let mut two_chains = wanted.clone();
        two_chains.accused = Some(world.address(2));
        two_chains.payloads = pair[..2].iter().map(|message| message.payload_hash).collect();
        let verdict = check(&build(&[base, &messages[5..], &pair].concat(), &two_chains));
        assert_eq!(verdict.outcome(), Outcome::NotProven);
        assert!(
            text_of(&verdict, What::OneParent).contains("different parent blocks"),
            "{verdict:?}"
        );
    }
}

#[test]
fn locks_on_different_blocks_are_shown_with_and_without_blame() {
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        let (world, messages) = equivocation(dialect);
        let (parent, one, two) = (messages[0].digest, messages[5].digest, messages[6].digest);
        let with = |votes: &[SignedMessage], accused| {
            let mut wanted = accusation(ClaimKind::ConflictingLock, 12);
            wanted.accused = accused;
            let collector = collect(&[&messages[..], votes].concat());
            choose(&collector, &wanted).map(|_| check(&build(&[&messages[..], votes].concat(), &wanted)))
        };
        let commit = |node, round, digest| world.vote(node, Kind::Commit, 12, round, digest, parent);
        // Two honest nodes (GoQuorum's issue 305).
        let verdict = with(&[commit(0, 0, one), commit(2, 1, two)], None).unwrap();
        assert_eq!(verdict.outcome(), Outcome::Proven, "{verdict:?}");
        assert_eq!(verdict.manifest.unwrap().claim.accused, None);
        // One that leaves its lock.
        let own = [commit(0, 0, one), commit(0, 1, two), commit(3, 1, two)];
        let verdict = with(&own, Some(world.address(0))).unwrap();
        assert_eq!(verdict.outcome(), Outcome::Proven, "{verdict:?}");
        let claim = verdict.manifest.unwrap().claim;
        assert_eq!(claim.accused, Some(world.address(0)));
        // In one round it is another rule's.
        let verdict = with(&[commit(0, 0, one), commit(2, 0, two)], None).unwrap();
        assert_eq!(verdict.outcome(), Outcome::NotProven);
        assert_eq!(
            with(&[commit(0, 0, one), commit(2, 1, one)], None).unwrap_err(),
            ChooseError::NoConflict
        );
    }
}

#[test]
fn messages_in_a_wrong_name_show_who_signed_them() {
    for dialect in [Dialect::Klaytn, Dialect::QuorumIbft] {
        let (world, mut messages) = equivocation(dialect);
        messages.truncate(5);
        let parent = messages[0].digest;
        let vote = |forgery| {
            SignedMessage::vote(
                dialect,
                world.key(3),
                Kind::Prepare,
                View {
                    sequence: 12,
                    round: 0,
                },
                Hash256([9; 32]),
                parent,
                forgery,
            )
        };
        messages.push(vote(None));
        assert_eq!(
            choose(&collect(&messages), &accusation(ClaimKind::WrongSigner, 12)),
            Err(ChooseError::NotFound),
            "an honest vote is no evidence"
        );
        messages.push(vote(Some(Forgery::ClaimedAddress(world.address(2)))));
        let verdict = check(&build(&messages, &accusation(ClaimKind::WrongSigner, 12)));
        assert_eq!(verdict.outcome(), Outcome::Proven, "{verdict:?}");
        let text = text_of(&verdict, What::SignerNotClaimed);
        assert!(text.contains(&world.address(3).to_string()) && text.contains(&world.address(2).to_string()));

        messages.pop();
        messages.push(vote(Some(Forgery::RandomSignature([0xff; 65]))));
        let verdict = check(&build(&messages, &accusation(ClaimKind::BadSignature, 12)));
        assert_eq!(verdict.outcome(), Outcome::Proven, "{verdict:?}");
        assert!(text_of(&verdict, What::NotSignedAsClaimed).contains("no key"));
        assert_eq!(verdict.manifest.unwrap().claim.accused, None, "no key is accused");
    }
}

#[test]
fn other_rules_get_what_signatures_say() {
    let (world, messages) = equivocation(Dialect::Klaytn);
    let mut wanted = accusation(ClaimKind::Signed, 12);
    wanted.accused = Some(world.address(1));
    assert_eq!(
        choose(&collect(&messages), &wanted),
        Err(ChooseError::NotFound),
        "only an event can say which messages it means"
    );
    wanted.payloads = vec![messages[5].payload_hash, Hash256([1; 32])];
    let verdict = check(&build(&messages, &wanted));
    assert_eq!(verdict.outcome(), Outcome::Proven, "{verdict:?}");
    assert_eq!(verdict.manifest.unwrap().missing_payloads, [Hash256([1; 32])]);
    wanted.accused = Some(world.address(2));
    assert_eq!(outcome(&build(&messages, &wanted)), Outcome::NotProven);
}

#[test]
fn an_event_that_names_nobody_is_only_taken_where_it_is_clear_who_is_meant() {
    let (world, mut messages) = equivocation(Dialect::Klaytn);
    let wanted = accusation(ClaimKind::Equivocation, 12);
    assert_eq!(
        choose(&collect(&messages[..6]), &wanted),
        Err(ChooseError::NoConflict)
    );
    let (parent, one, two) = (messages[0].digest, messages[5].digest, messages[6].digest);
    for digest in [one, two] {
        messages.push(world.vote(3, Kind::Prepare, 12, 0, digest, parent));
    }
    assert_eq!(
        choose(&collect(&messages), &wanted),
        Err(ChooseError::SeveralSigners { signers: 2 })
    );
    let kind = Accusation {
        kind: Some(Kind::Prepare),
        ..wanted.clone()
    };
    assert_eq!(outcome(&build(&messages, &kind)), Outcome::Proven);
    let elsewhere = accusation(ClaimKind::Equivocation, 14);
    assert_eq!(
        choose(&collect(&messages), &elsewhere),
        Err(ChooseError::NotFound)
    );
}

#[test]
fn the_operators_signature_is_asked_for() {
    let (_, messages) = equivocation(Dialect::Klaytn);
    let wanted = accusation(ClaimKind::Equivocation, 12);
    let key = SigningKey::from_bytes([0x11; 32]).unwrap().public_key();
    let other = SigningKey::from_bytes([0x12; 32]).unwrap().public_key();
    let signed = build_signed(&messages, &wanted);
    let checked = |files: &BTreeMap<String, Vec<u8>>, key| {
        let verdict = verify(&mut files.clone(), key);
        (verdict.outcome(), verdict.signed)
    };
    assert_eq!(
        checked(&signed, Some(&key)),
        (Outcome::Proven, SignedBy::TheKey(key))
    );
    assert_eq!(checked(&signed, None), (Outcome::Proven, SignedBy::Someone(key)));
    assert_eq!(
        checked(&signed, Some(&other)),
        (Outcome::Broken, SignedBy::Someone(key))
    );
    let unsigned = build(&messages, &wanted);
    assert_eq!(
        checked(&unsigned, Some(&key)),
        (Outcome::Broken, SignedBy::Nobody)
    );
    // The signature of one bundle does not do for another.
    let mut moved = unsigned;
    mend(&mut moved, |manifest| manifest.event.number = 2);
    moved.insert(SIGNATURE.to_owned(), signed[SIGNATURE].clone());
    assert_eq!(checked(&moved, None).0, Outcome::Broken);
}

#[test]
fn memory_is_bounded_and_what_is_left_out_is_counted() {
    let (_, messages) = equivocation(Dialect::Klaytn);
    let mut collector = Collector::new(CollectLimits {
        payloads: 3,
        bytes: 1 << 20,
        sights: 2,
    });
    for _ in 0..5 {
        world::collect_into(&mut collector, &messages);
    }
    assert_eq!(collector.found().len(), 3);
    assert_eq!(collector.left_out(), 5 * (messages.len() as u64 - 3));
    for found in collector.found().values() {
        assert_eq!((found.sights.len(), found.sights_left_out), (2, 3));
    }
    let mut collector = Collector::new(CollectLimits {
        bytes: 10,
        ..CollectLimits::default()
    });
    world::collect_into(&mut collector, &messages);
    assert!(collector.found().is_empty());
}

#[test]
fn nonsense_is_refused() {
    let (_, messages) = equivocation(Dialect::Klaytn);
    let files = build(&messages, &accusation(ClaimKind::Equivocation, 12));
    for text in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"{\"format\":\"bftap-evidence\",\"version\":9}",
    ] {
        let mut other = files.clone();
        other.insert(MANIFEST.to_owned(), text.to_vec());
        assert_eq!(outcome(&other), Outcome::Broken);
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let mut other = files.clone();
    other.insert(MANIFEST.to_owned(), deep);
    assert_eq!(outcome(&other), Outcome::Broken);
    // The same JSON in other words.
    let mut other = files.clone();
    let text = String::from_utf8(files[MANIFEST].clone())
        .unwrap()
        .replace("  ", " ");
    other.insert(MANIFEST.to_owned(), text.into_bytes());
    let problems = check(&other).problems;
    assert!(problems[0].contains("not written as bftap"), "{problems:?}");
    let mut other = files.clone();
    other.insert(SUMS.to_owned(), Vec::new());
    assert_eq!(outcome(&other), Outcome::Broken);
    assert_eq!(outcome(&BTreeMap::new()), Outcome::Broken);
}

/// The fuzz target's own entry, with the bundle as a seed and damaged.
#[test]
fn the_fuzz_target_holds() {
    let (_, messages) = equivocation(Dialect::QuorumIbft);
    let files = build_signed(&messages, &accusation(ClaimKind::Equivocation, 12));
    let mut seed = bftap_evidence::fuzzing::pack(&files);
    if std::env::var_os("BFTAP_BLESS").is_some() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/evidence");
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(format!("{folder}/equivocation"), &seed).unwrap();
    }
    for mended in [0, 1] {
        seed[0] = mended;
        bftap_evidence::fuzzing::fuzz_bundle(&seed);
        for at in (1..seed.len()).step_by(23) {
            let mut damaged = seed.clone();
            damaged[at] ^= 1 << (at % 8);
            bftap_evidence::fuzzing::fuzz_bundle(&damaged);
            bftap_evidence::fuzzing::fuzz_bundle(&seed[..at]);
        }
    }
}
