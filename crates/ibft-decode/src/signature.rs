//! Recoverable secp256k1 signatures, as consensus messages and headers carry them.
//!
//! 65 bytes `r ‖ s ‖ v` with v = 0 or 1 (WIRE-FORMATS 5, trap 22). A v of 27 or 28, which wallets write, is malformed
//! here: nodes refuse it (`crypto/secp256k1` `checkSignature`). A high s is accepted, as Klaytn and GoQuorum do when
//! they recover (`crypto.SigToPub`): whoever forwards a message can turn one form into the other without the key, and
//! gets a second payload with the same signer. The few r beyond the group order (v = 2 or 3) that libsecp256k1 would take
//! cannot be found in practice, so they count as malformed too.

use bftap_model::{Address, Hash256, NodeId};
use secp256k1::Message;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};

/// Bytes of a recoverable signature.
pub const SIGNATURE_LEN: usize = 65;

/// The address whose key signed `hash`; `None` when the signature is malformed or no key fits it.
///
/// Takes about 40 microseconds; the verification context is shared by all calls of a thread.
pub fn recover(hash: &Hash256, signature: &[u8]) -> Option<Address> {
    let &[ref compact @ .., v] = <&[u8; SIGNATURE_LEN]>::try_from(signature).ok()?;
    let id = match v {
        0 => RecoveryId::Zero,
        1 => RecoveryId::One,
        _ => return None,
    };
    let signature = RecoverableSignature::from_compact(compact, id).ok()?;
    let key = signature.recover_ecdsa(Message::from_digest(hash.0)).ok()?;
    let uncompressed = key.serialize_uncompressed();
    NodeId::from_slice(&uncompressed[1..]).map(|id| id.address())
}
