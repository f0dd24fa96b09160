//! Which messages of a session are consensus messages, and what they say.

use std::sync::Arc;

use bftap_analysis::Payload;
use bftap_ibft_decode::{DecodeError, Dialect, Family, dialect_for};
use bftap_model::{Capability, Meaning, WireMessage};

use crate::inferred::{Inferred, guesses};
use crate::payload_cache::PayloadCache;

/// What a session's codes mean, as far as consensus goes.
#[derive(Debug, Default)]
pub(crate) struct Meanings {
    /// From the Hellos.
    pub(crate) family: Option<Family>,
    /// The dialect of the capability that was looked up last.
    dialect: Option<(Arc<Capability>, &'static dyn Dialect)>,
    /// How many Hellos were read: both ends' tell all codes.
    pub(crate) hellos: u8,
    pub(crate) inferred: Option<Inferred>,
}

/// A message of consensus: what it says, or why it says nothing, and where its payload begins.
pub(crate) type Decoded = (Result<Arc<Payload>, Arc<DecodeError>>, usize);

impl Meanings {
    /// Decodes a message if it is one of consensus.
    #[inline]
    pub(crate) fn decode(
        &mut self,
        message: &WireMessage<'_>,
        told: Option<&'static dyn Dialect>,
        cache: &PayloadCache,
    ) -> Option<Decoded> {
        let Meaning::Sub {
            capability, local, ..
        } = &message.meaning
        else {
            return self.decode_unknown(message, told, cache);
        };
        let dialect = match &self.dialect {
            Some((known, dialect)) if Arc::ptr_eq(known, capability) && dialect.is_consensus(*local) => {
                *dialect
            }
            _ => {
                let dialect = dialect_for(capability, self.family.unwrap_or(Family::Unknown), *local)?;
                self.dialect = Some((Arc::clone(capability), dialect));
                dialect
            }
        };
        Some(open(dialect, *local, message.payload, cache))
    }

    /// Forgets what was looked up: a Hello came.
    pub(crate) fn refresh(&mut self, family: Option<Family>) {
        self.family = family;
        self.dialect = None;
    }

    /// An earlier run read so many Hellos, and inferred this.
    pub(crate) fn remember(&mut self, hellos: u8, inferred: Option<Inferred>) {
        self.hellos = self.hellos.max(hellos);
        if self.inferred.is_none() {
            self.inferred = inferred;
        }
    }

    /// What a code means, if Hello does not tell.
    pub(crate) fn of_code(&self, code: u64) -> Meaning {
        match &self.inferred {
            Some(inferred) => inferred.meaning(code),
            None => Meaning::Unknown,
        }
    }

    /// A message whose code no Hello explains.
    fn decode_unknown(
        &mut self,
        message: &WireMessage<'_>,
        told: Option<&'static dyn Dialect>,
        cache: &PayloadCache,
    ) -> Option<Decoded> {
        if self.hellos > 1 || matches!(message.meaning, Meaning::Base { .. }) {
            return None;
        }
        if let Some(inferred) = &mut self.inferred {
            let Meaning::Sub {
                capability, local, ..
            } = inferred.meaning(message.code)
            else {
                return None;
            };
            let is_last = inferred
                .capabilities
                .last()
                .is_some_and(|last| Arc::ptr_eq(last, &capability));
            if !is_last || !inferred.dialect.is_consensus(local) {
                return None;
            }
            let decoded = open(inferred.dialect, local, message.payload, cache);
            inferred.count(decoded.0.is_ok());
            return Some(decoded);
        }
        let mut first = None;
        for guess in guesses(message.code, told) {
            let decoded = open(guess.dialect, guess.local, message.payload, cache);
            // Any key signs something: where that is checked, a guess has to hold up to it.
            let holds = decoded
                .0
                .as_ref()
                .is_ok_and(|payload| !payload.message.validity.is_invalid());
            if holds {
                let mut inferred = Inferred::of(&guess, told.is_some());
                inferred.count(true);
                self.inferred = Some(inferred);
                return Some(decoded);
            }
            first.get_or_insert(decoded);
        }
        // The user says what it is, so this is one that does not decode.
        first.filter(|_| told.is_some())
    }
}

fn open(dialect: &'static dyn Dialect, local: u64, message: &[u8], cache: &PayloadCache) -> Decoded {
    let opened = dialect.open(local, message);
    let offset = opened.as_ref().map_or(0, |envelope| envelope.offset);
    let decoded = match opened {
        Ok(envelope) => cache.decode(dialect, local, envelope.payload),
        Err(error) => Err(Arc::new(error)),
    };
    (decoded, offset)
}
