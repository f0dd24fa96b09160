//! Evidence of what validators signed: chosen from collected messages, put into a bundle, and checked without secrets.
//!
//! Pure: bytes in, bytes out. Whoever uses it reads captures and folders.
//!
//! 1. [`Collector`] takes every message of the heights in question, with the places where it was seen.
//! 2. [`choose`] finds those that show what a rule says, the headers they are about, and what binds the validator set to the chain.
//! 3. [`build`] makes the files of a bundle of them (`docs/evidence.md`), [`SigningKey`] signs it.
//! 4. [`verify`] knows nothing but a bundle, which may be made by anybody: it reads everything again from the bytes, and says what they
//!    prove and what not.

mod bundle;
mod check;
mod choose;
mod claim;
mod collect;
mod findings;
#[doc(hidden)]
pub mod fuzzing;
mod manifest;
mod material;
mod pcapng;
mod readme;
mod signing;
mod source;

pub use bundle::{BuildError, Bundle, Packets, build};
pub use check::{Outcome, SignedBy, Verdict, verify};
pub use choose::{Accusation, ChooseError, Chosen, choose};
pub use claim::ClaimKind;
pub use collect::{CollectLimits, Collector, Found, Sight};
pub use findings::{Finding, What};
pub use manifest::{
    AnchorEntry, CaptureEntry, Claim, EventEntry, FileEntry, HeaderEntry, MANIFEST, Manifest, ManifestError,
    MessageEntry, PACKETS, PacketEntry, PacketsEntry, PartyEntry, PlaceEntry, README, SIGNATURE, SUMS,
};
pub use signing::{InvalidKey, PublicKey, SignatureProblem, SigningKey};
pub use source::{Source, SourceError};
