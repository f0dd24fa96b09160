//! The RLPx handshake of both ends, without I/O: packets in, packets and secrets out.
//!
//! EIP-8 and the plain form before it (WIRE-FORMATS 2.1, 2.4; devp2p `rlpx.md`, "Initial Handshake"). Klaytn's
//! connection-type byte comes before all this and is not part of it.

use bftap_decrypt::mac::FrameMac;
use bftap_decrypt::secrets::{AesSecret, MacSecret};
use bftap_ibft_decode::encode::List;
use bftap_ibft_decode::rlp_view::Item;
use bftap_ibft_decode::{DecodeError, SIGNATURE_LEN};
use bftap_model::{Direction, Hash256, NodeId, keccak256};
use zeroize::Zeroizing;

use super::ecies::{self, EciesError};
use super::frame::FrameWriter;
use crate::key::{InvalidNodeId, NodeKey, recover_id};
use crate::prng::Prng;

/// How a client writes its handshake packets (table of WIRE-FORMATS 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketForm {
    /// Before EIP-8: fixed lengths, no size prefix.
    Plain,
    /// Size prefix and padding.
    Eip8 {
        /// Least padding, in bytes.
        min_padding: u16,
        /// Most padding, in bytes.
        max_padding: u16,
        /// Padding is random (Besu), else zeros.
        random_padding: bool,
    },
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The packet does not open.
    #[error(transparent)]
    Ecies(#[from] EciesError),
    /// It opens, but its content is not the message it should be.
    #[error("handshake message: {0}")]
    Content(#[from] DecodeError),
    /// A plain packet of the wrong length.
    #[error("plain handshake message of {found} bytes where {expected} belong")]
    Length {
        /// Bytes wanted.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// A size prefix that does not say how long the packet is.
    #[error("size prefix says {declared} bytes, {found} follow")]
    Size {
        /// What it says.
        declared: usize,
        /// Bytes behind it.
        found: usize,
    },
    /// The other end's key is not a point of the curve.
    #[error(transparent)]
    NodeId(#[from] InvalidNodeId),
    /// The signature in auth leads to no key.
    #[error("signature in auth leads to no ephemeral key")]
    Signature,
}

/// Length of the handshake packet that starts with `start`, or `None` while that cannot be told.
///
/// `from` tells which packet it is: auth from the initiator, ack from the recipient.
pub fn packet_len(start: &[u8], from: Direction) -> Option<usize> {
    match *start {
        [0x04, ..] if from == Direction::FromInitiator => Some(PLAIN_AUTH_LEN),
        [0x04, ..] => Some(PLAIN_ACK_LEN),
        [high, low, ..] => Some(PREFIX_LEN + usize::from(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}

/// The end that dials, between auth and ack.
#[derive(Debug)]
pub struct Initiator {
    pub(super) key: NodeKey,
    pub(super) ephemeral: NodeKey,
    pub(super) nonce: [u8; 32],
    pub(super) auth: Vec<u8>,
}

impl Initiator {
    /// Makes the auth packet for `remote`.
    pub fn new(
        key: &NodeKey,
        remote: &NodeId,
        form: PacketForm,
        prng: &mut Prng,
    ) -> Result<Self, InvalidNodeId> {
        let ephemeral = NodeKey::draw(prng);
        let nonce = prng.bytes();
        let mut token = key.agree(remote)?;
        token
            .iter_mut()
            .zip(nonce)
            .for_each(|(byte, other)| *byte ^= other);
        let signature = ephemeral.sign(&Hash256(*token));
        let auth = match form {
            PacketForm::Plain => {
                let mut message = signature.to_vec();
                message.extend_from_slice(&keccak256(&ephemeral.id().0).0);
                message.extend_from_slice(&key.id().0);
                message.extend_from_slice(&nonce);
                message.push(0);
                ecies::encrypt(remote, &message, &[], prng)?
            }
            PacketForm::Eip8 { .. } => {
                let fields = List::new()
                    .bytes(&signature)
                    .bytes(&key.id().0)
                    .bytes(&nonce)
                    .uint(VERSION);
                seal_eip8(remote, fields.finish(), form, prng)?
            }
        };
        Ok(Self {
            key: key.clone(),
            ephemeral,
            nonce,
            auth,
        })
    }

    /// The packet to send first.
    pub fn auth(&self) -> &[u8] {
        &self.auth
    }

    /// Takes the recipient's answer, as it stands on the wire.
    pub fn finish(self, ack: &[u8]) -> Result<SessionSecrets, HandshakeError> {
        let plaintext = open(&self.key, ack, Direction::FromRecipient)?;
        let (remote_ephemeral, recipient_nonce) = match plaintext {
            Opened::Plain(message) => {
                let (id, rest) = split::<{ NodeId::LEN }>(&message, PLAIN_ACK_LEN)?;
                let (nonce, _) = split::<32>(rest, PLAIN_ACK_LEN)?;
                (NodeId(id), nonce)
            }
            Opened::Eip8(message) => {
                let mut fields = Item::first(&message, 0, "ack")?.items("ack")?;
                let mut next = |field| next_field(&mut fields, &message, field);
                let id = next("ack.EphemeralKey")?.fixed("ack.EphemeralKey")?;
                (NodeId(id), next("ack.Nonce")?.fixed("ack.Nonce")?)
            }
        };
        let parts = Parts {
            auth: self.auth,
            ack: ack.to_vec(),
            initiator_nonce: self.nonce,
            recipient_nonce,
        };
        parts.derive(&self.ephemeral, &remote_ephemeral)
    }
}

/// What the end that listens answers to an auth packet.
#[derive(Debug)]
pub struct Response {
    /// The packet to send.
    pub ack: Vec<u8>,
    /// Who dials.
    pub initiator: NodeId,
    /// What the session is protected with.
    pub secrets: SessionSecrets,
}

/// Answers an auth packet, given as it stands on the wire. A plain auth gets a plain ack, whatever `form` says.
pub fn respond(
    key: &NodeKey,
    auth: &[u8],
    form: PacketForm,
    prng: &mut Prng,
) -> Result<Response, HandshakeError> {
    let opened = open(key, auth, Direction::FromInitiator)?;
    let (signature, initiator, initiator_nonce, plain) = match &opened {
        Opened::Plain(message) => {
            let (signature, rest) = split::<SIGNATURE_LEN>(message, PLAIN_AUTH_LEN)?;
            let (_, rest) = split::<32>(rest, PLAIN_AUTH_LEN)?;
            let (id, rest) = split::<{ NodeId::LEN }>(rest, PLAIN_AUTH_LEN)?;
            let (nonce, _) = split::<32>(rest, PLAIN_AUTH_LEN)?;
            (signature, NodeId(id), nonce, true)
        }
        Opened::Eip8(message) => {
            let mut fields = Item::first(message, 0, "auth")?.items("auth")?;
            let mut next = |field| next_field(&mut fields, message, field);
            let signature = next("auth.Signature")?.fixed("auth.Signature")?;
            let id = next("auth.StaticKey")?.fixed("auth.StaticKey")?;
            (
                signature,
                NodeId(id),
                next("auth.Nonce")?.fixed("auth.Nonce")?,
                false,
            )
        }
    };
    let mut token = key.agree(&initiator)?;
    token
        .iter_mut()
        .zip(initiator_nonce)
        .for_each(|(byte, other)| *byte ^= other);
    let remote_ephemeral = recover_id(&Hash256(*token), &signature).ok_or(HandshakeError::Signature)?;

    let ephemeral = NodeKey::draw(prng);
    let recipient_nonce: [u8; 32] = prng.bytes();
    let ack = if plain || form == PacketForm::Plain {
        let mut message = ephemeral.id().0.to_vec();
        message.extend_from_slice(&recipient_nonce);
        message.push(0);
        ecies::encrypt(&initiator, &message, &[], prng)?
    } else {
        let fields = List::new()
            .bytes(&ephemeral.id().0)
            .bytes(&recipient_nonce)
            .uint(VERSION);
        seal_eip8(&initiator, fields.finish(), form, prng)?
    };
    let parts = Parts {
        auth: auth.to_vec(),
        ack: ack.clone(),
        initiator_nonce,
        recipient_nonce,
    };
    Ok(Response {
        ack,
        initiator,
        secrets: parts.derive(&ephemeral, &remote_ephemeral)?,
    })
}

/// What both ends know after the handshake. Debug output shows no secret.
#[derive(Debug)]
pub struct SessionSecrets {
    session: Hash256,
    aes: AesSecret,
    mac: MacSecret,
    initiator_nonce: [u8; 32],
    recipient_nonce: [u8; 32],
    auth: Vec<u8>,
    ack: Vec<u8>,
}

impl SessionSecrets {
    /// Keccak-256 of the auth packet: the session's name in a key log.
    pub const fn session(&self) -> Hash256 {
        self.session
    }

    /// Key of the frame cipher.
    pub const fn aes(&self) -> &AesSecret {
        &self.aes
    }

    /// Key of the frame MACs.
    pub const fn mac(&self) -> &MacSecret {
        &self.mac
    }

    /// The sending half for one direction.
    pub fn writer(&self, direction: Direction) -> FrameWriter {
        FrameWriter::new(&self.aes, self.frame_mac(direction))
    }

    /// The MAC state at the start of one direction.
    pub fn frame_mac(&self, direction: Direction) -> FrameMac {
        match direction {
            Direction::FromInitiator => FrameMac::new(&self.mac, &self.recipient_nonce, &self.auth),
            Direction::FromRecipient => FrameMac::new(&self.mac, &self.initiator_nonce, &self.ack),
        }
    }

    /// The key log line of one end, with its newline. It holds the secrets: write it to nothing but a key log.
    ///
    /// `extra` are `key=value` pairs, parted by blanks, or nothing.
    pub fn key_log_line(&self, extra: &str) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(6 + 5 * 65 + extra.len()));
        line.push_str("RLPX");
        let nonces = [&self.initiator_nonce, &self.recipient_nonce];
        for field in [&self.session.0, self.aes.expose(), self.mac.expose()]
            .into_iter()
            .chain(nonces)
        {
            let mut digits = Zeroizing::new([0; 64]);
            for (pair, byte) in digits.chunks_exact_mut(2).zip(field) {
                pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
            }
            line.push(' ');
            line.extend(digits.iter().map(|&digit| char::from(digit)));
        }
        if !extra.is_empty() {
            line.push(' ');
            line.push_str(extra);
        }
        line.push('\n');
        line
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

/// Both packets and both nonces: with the ephemeral keys all that the secrets are made of.
pub(super) struct Parts {
    pub(super) auth: Vec<u8>,
    pub(super) ack: Vec<u8>,
    pub(super) initiator_nonce: [u8; 32],
    pub(super) recipient_nonce: [u8; 32],
}

impl Parts {
    pub(super) fn derive(
        self,
        ephemeral: &NodeKey,
        remote_ephemeral: &NodeId,
    ) -> Result<SessionSecrets, HandshakeError> {
        let agreed = ephemeral.agree(remote_ephemeral)?;
        let nonces = keccak256(&[self.recipient_nonce, self.initiator_nonce].concat());
        let joined = |right: &[u8; 32]| {
            let mut bytes = Zeroizing::new([0; 64]);
            bytes[..32].copy_from_slice(&*agreed);
            bytes[32..].copy_from_slice(right);
            keccak256(&*bytes).0
        };
        let shared = Zeroizing::new(joined(&nonces.0));
        let aes = Zeroizing::new(joined(&shared));
        let mac = Zeroizing::new(joined(&aes));
        Ok(SessionSecrets {
            session: keccak256(&self.auth),
            aes: AesSecret::new(*aes),
            mac: MacSecret::new(*mac),
            initiator_nonce: self.initiator_nonce,
            recipient_nonce: self.recipient_nonce,
            auth: self.auth,
            ack: self.ack,
        })
    }
}

enum Opened {
    Plain(Zeroizing<Vec<u8>>),
    Eip8(Zeroizing<Vec<u8>>),
}

fn open(key: &NodeKey, packet: &[u8], from: Direction) -> Result<Opened, HandshakeError> {
    let plain_len = match from {
        Direction::FromInitiator => PLAIN_AUTH_LEN,
        Direction::FromRecipient => PLAIN_ACK_LEN,
    };
    if packet.first() == Some(&0x04) && packet.len() == plain_len {
        return Ok(Opened::Plain(ecies::decrypt(key, packet, &[])?.into()));
    }
    let Some((prefix, sealed)) = packet.split_first_chunk::<PREFIX_LEN>() else {
        return Err(EciesError::TooShort { len: packet.len() }.into());
    };
    let declared = usize::from(u16::from_be_bytes(*prefix));
    if declared != sealed.len() {
        return Err(HandshakeError::Size {
            declared,
            found: sealed.len(),
        });
    }
    Ok(Opened::Eip8(ecies::decrypt(key, sealed, prefix)?.into()))
}

fn seal_eip8(
    remote: &NodeId,
    mut message: Vec<u8>,
    form: PacketForm,
    prng: &mut Prng,
) -> Result<Vec<u8>, InvalidNodeId> {
    if let PacketForm::Eip8 {
        min_padding,
        max_padding,
        random_padding,
    } = form
    {
        let start = message.len();
        message.resize(
            start + prng.between(min_padding.into(), max_padding.into()) as usize,
            0,
        );
        if random_padding {
            prng.fill(&mut message[start..]);
        }
    }
    let prefix = ((message.len() + ecies::OVERHEAD) as u16).to_be_bytes();
    let sealed = ecies::encrypt(remote, &message, &prefix, prng)?;
    Ok([&prefix[..], &sealed].concat())
}

/// The first `N` bytes of a plain message, and the rest.
fn split<const N: usize>(message: &[u8], expected: usize) -> Result<([u8; N], &[u8]), HandshakeError> {
    match message.split_first_chunk() {
        Some((field, rest)) => Ok((*field, rest)),
        None => Err(HandshakeError::Length {
            expected,
            found: message.len(),
        }),
    }
}

fn next_field<'a>(
    fields: &mut impl Iterator<Item = Result<Item<'a>, DecodeError>>,
    message: &'a [u8],
    field: &'static str,
) -> Result<Item<'a>, DecodeError> {
    // Reading past the end of the message gives the error with its place.
    fields
        .next()
        .unwrap_or_else(|| Item::first(&[], message.len(), field))
}

/// Version of the handshake that EIP-8 packets carry.
const VERSION: u64 = 4;
const PREFIX_LEN: usize = 2;
const PLAIN_AUTH_LEN: usize = 194 + ecies::OVERHEAD;
const PLAIN_ACK_LEN: usize = 97 + ecies::OVERHEAD;

#[cfg(test)]
mod tests {
    use super::*;

    const EIP8: PacketForm = PacketForm::Eip8 {
        min_padding: 100,
        max_padding: 299,
        random_padding: false,
    };

    #[test]
    fn both_ends_come_to_the_same_secrets() {
        let mut prng = Prng::new(8);
        let (ours, theirs) = (NodeKey::draw(&mut prng), NodeKey::draw(&mut prng));
        for form in [PacketForm::Plain, EIP8] {
            let initiator = Initiator::new(&ours, theirs.id(), form, &mut prng).unwrap();
            let auth = initiator.auth().to_vec();
            assert_eq!(packet_len(&auth, Direction::FromInitiator), Some(auth.len()));
            let response = respond(&theirs, &auth, EIP8, &mut prng).unwrap();
            assert_eq!(response.initiator, *ours.id());
            assert_eq!(
                packet_len(&response.ack, Direction::FromRecipient),
                Some(response.ack.len())
            );
            let secrets = initiator.finish(&response.ack).unwrap();
            assert_eq!(secrets.key_log_line(""), response.secrets.key_log_line(""));
            match form {
                PacketForm::Plain => assert_eq!((auth.len(), response.ack.len()), (307, 210)),
                PacketForm::Eip8 { .. } => {
                    assert!((384..=583).contains(&auth.len()) && auth[0] <= 2);
                    assert!((317..=516).contains(&response.ack.len()));
                }
            }
        }
    }

    #[test]
    fn damaged_packets_are_refused() {
        let mut prng = Prng::new(9);
        let (ours, theirs) = (NodeKey::draw(&mut prng), NodeKey::draw(&mut prng));
        let auth = Initiator::new(&ours, theirs.id(), EIP8, &mut prng)
            .unwrap()
            .auth()
            .to_vec();
        for len in 0..auth.len() {
            assert!(
                respond(&theirs, &auth[..len], EIP8, &mut prng).is_err(),
                "{len} bytes"
            );
        }
        assert!(respond(&ours, &auth, EIP8, &mut prng).is_err());
        let empty_list = seal_eip8(theirs.id(), vec![0xc0], EIP8, &mut prng).unwrap();
        let error = respond(&theirs, &empty_list, EIP8, &mut prng).unwrap_err();
        assert!(matches!(error, HandshakeError::Content(_)), "{error}");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut prng = Prng::new(10);
        let (ours, theirs) = (NodeKey::draw(&mut prng), NodeKey::draw(&mut prng));
        let auth = Initiator::new(&ours, theirs.id(), EIP8, &mut prng)
            .unwrap()
            .auth()
            .to_vec();
        let secrets = respond(&theirs, &auth, EIP8, &mut prng).unwrap().secrets;
        let line = secrets.key_log_line("role=recipient");
        let fields: Vec<&str> = line.trim_end().split(' ').collect();
        assert_eq!(fields.len(), 7);
        assert_eq!(fields[1], secrets.session().to_hex());
        let shown = format!("{secrets:?}");
        assert!(!shown.contains(fields[2]) && !shown.contains(fields[3]));
    }
}
