//! Entry points of the fuzz targets, kept beside the code so that unit tests run them too.
//!
//! Each takes any bytes and panics when a promise of this crate does not hold.

use crate::dissect::{What, detect, dissect};
use crate::istanbul::LOCAL_CODE;
use crate::klaytn::Klaytn;
use crate::message::{SignatureCheck, Validity};
use crate::quorum_ibft::QuorumIbft;
use crate::{ConsensusMessage, DecodeError, Dialect, dialects};

/// Opens and decodes bytes as messages and as payloads of Klaytn.
pub fn fuzz_klaytn(data: &[u8]) {
    check_dialect(&Klaytn, data);
}

/// Opens and decodes bytes as messages and as payloads of GoQuorum IBFT.
pub fn fuzz_quorum_ibft(data: &[u8]) {
    check_dialect(&QuorumIbft, data);
}

/// Shows bytes field by field in every dialect, and guesses what they are.
pub fn fuzz_dissect(data: &[u8]) {
    for (dialect, likeness) in detect(data) {
        let decodes = match likeness.what {
            What::Message => dialect.open(likeness.local, data).and_then(|envelope| {
                dialect.decode(likeness.local, envelope.payload, SignatureCheck::Claimed)
            }),
            What::Payload => dialect.decode(likeness.local, data, SignatureCheck::Claimed),
        };
        assert_eq!(decodes.is_ok(), likeness.decodes);
    }
    for &dialect in dialects() {
        for what in [What::Message, What::Payload] {
            let fields = dissect(dialect, what, LOCAL_CODE, data);
            assert!(
                !fields.is_empty() && fields.len() <= MAX_LINES,
                "{} lines",
                fields.len()
            );
            for field in fields {
                assert!(field.place.start <= field.place.end && field.place.end <= data.len());
                assert!(
                    field.depth <= MAX_DEPTH && field.value.len() <= MAX_VALUE,
                    "{field:?}"
                );
                assert!(!field.value.contains(char::is_control), "{field:?}");
            }
        }
    }
}

fn check_dialect(dialect: &dyn Dialect, data: &[u8]) {
    check_payload(dialect, data);
    match dialect.open(LOCAL_CODE, data) {
        Ok(envelope) => {
            let end = envelope.offset + envelope.payload.len();
            assert_eq!(data.get(envelope.offset..end), Some(envelope.payload));
            assert_eq!(end + envelope.trailing, data.len());
            check_payload(dialect, envelope.payload);
        }
        Err(error) => check_error(&error, data),
    }
}

fn check_payload(dialect: &dyn Dialect, payload: &[u8]) {
    let claimed = dialect.decode(LOCAL_CODE, payload, SignatureCheck::Claimed);
    let recovered = dialect.decode(LOCAL_CODE, payload, SignatureCheck::Recover);
    match (claimed, recovered) {
        (Ok(claimed), Ok(recovered)) => {
            assert_eq!(
                (claimed.kind, claimed.view, claimed.digest, claimed.claimed),
                (
                    recovered.kind,
                    recovered.view,
                    recovered.digest,
                    recovered.claimed
                )
            );
            assert_eq!(
                (claimed.validity, claimed.signer),
                (Validity::NotChecked, claimed.claimed)
            );
            assert_eq!(
                recovered.validity == Validity::Unrecoverable,
                recovered.signer.is_none()
            );
            assert!(recovered.view.sequence <= i64::MAX as u64 && recovered.view.round <= i64::MAX as u64);
            check_header(dialect, payload, &recovered);
            if let Some(error) = recovered
                .proposal
                .as_ref()
                .and_then(|block| block.extra_error.as_ref())
            {
                check_error(error, payload);
            }
        }
        (Err(one), Err(other)) => {
            assert_eq!(one, other, "whether signatures are checked changes nothing else");
            check_error(&one, payload);
        }
        (one, other) => panic!("whether signatures are checked changes the outcome: {one:?}, {other:?}"),
    }
}

/// A header alone says what it says in its block.
fn check_header(dialect: &dyn Dialect, payload: &[u8], message: &ConsensusMessage) {
    let header = dialect.header_in(LOCAL_CODE, payload).expect("it decoded");
    assert_eq!(header.is_some(), message.proposal.is_some());
    let (Some(header), Some(proposal)) = (header, &message.proposal) else {
        return;
    };
    let read = dialect
        .read_header(header, SignatureCheck::Recover)
        .expect("it decoded");
    assert_eq!(
        (
            read.number,
            read.hash,
            read.parent,
            read.proposer,
            &read.validators
        ),
        (
            proposal.number,
            proposal.hash,
            proposal.parent,
            proposal.proposer,
            &proposal.validators
        )
    );
    assert_eq!(read.extra_error.is_some(), proposal.extra_error.is_some());
    assert!(read.committed_seals.len() <= proposal.committed_seals.min(read.validators.len()));
}

fn check_error(error: &DecodeError, data: &[u8]) {
    assert!(
        error.offset <= data.len(),
        "{error:?} is outside of {} bytes",
        data.len()
    );
}

/// The deepest layout, a seal in a block's extra data inside an envelope, has 9 levels; a problem may stand below.
const MAX_DEPTH: usize = 12;

/// Four lists of [many items](crate::dissect()), each with a problem beside it, and the fields around them.
const MAX_LINES: usize = 4096;

/// Hex of the longest shown value, or a vanity with each byte escaped.
const MAX_VALUE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The golden inputs.
    fn seeds() -> Vec<Vec<u8>> {
        let seeds: Vec<Vec<u8>> = ["klaytn", "quorum_ibft"]
            .iter()
            .flat_map(|dialect| {
                let folder = format!("{}/tests/data/{dialect}", env!("CARGO_MANIFEST_DIR"));
                std::fs::read_dir(folder)
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
            })
            .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
            .map(|path| hex::decode(std::fs::read_to_string(path).unwrap().trim()).unwrap())
            .collect();
        assert!(
            seeds.len() >= 60,
            "the golden inputs are the seeds, {} found",
            seeds.len()
        );
        seeds
    }

    fn check(data: &[u8]) {
        fuzz_klaytn(data);
        fuzz_quorum_ibft(data);
        fuzz_dissect(data);
    }

    #[test]
    fn seeds_hold_every_promise() {
        seeds().iter().for_each(|seed| check(seed));
        for seed in [
            &[][..],
            &[0xc0],
            &[0x80],
            &[0xff; 9],
            &[0xbf; 64],
            &[0xf9, 0xff, 0xff],
        ] {
            check(seed);
        }
        check(&[0xf8, 0x80].repeat(100_000)); // lists in lists, none of them complete
        check(&crate::encode::List::new().raw(&[0xc0; 1_000_000]).finish()); // many empty lists
        let nested = (0..2000).fold(vec![0xc0], |inner, _| {
            crate::encode::List::new().raw(&inner).finish()
        });
        check(&nested);
    }

    #[test]
    fn seeds_cut_at_every_byte_hold_every_promise() {
        for seed in seeds() {
            for end in 0..seed.len() {
                check(&seed[..end]);
            }
        }
    }

    #[test]
    fn seeds_with_every_byte_flipped_hold_every_promise() {
        for mut seed in seeds() {
            for place in 0..seed.len() {
                // 0x80 turns strings to bytes, 0x40 strings to lists, 0x01 changes lengths and values by one
                let bit = [0x80, 0x40, 0x01][place % 3];
                seed[place] ^= bit;
                check(&seed);
                seed[place] ^= bit;
            }
        }
    }
}
