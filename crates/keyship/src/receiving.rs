//! The receiver's end of one connection. Pure: what is stored, and where, is the caller's affair.

use bftap_decrypt::keylog::KeyLogEntry;
use zeroize::Zeroizing;

use crate::line::parse_line;
use crate::wire::{Frame, ReceiverId, VERSION};

/// How far a connection got.
#[derive(Debug, Default)]
pub struct Receiving {
    greeted: bool,
    last: u64,
}

/// What a frame of the shipper asks for.
#[derive(Debug)]
pub enum Request {
    /// Answer with this.
    Answer(Reply),
    /// Store this line, then say so with [`Receiving::stored`].
    Store(Received),
}

/// A frame to send back; the only ones a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The welcome.
    Welcome,
    /// An answer to a ping.
    Pong,
}

/// A line that was sent.
pub struct Received {
    /// As it stands.
    pub text: Zeroizing<String>,
    /// What it says.
    pub entry: KeyLogEntry,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Received(…)")
    }
}

/// The shipper does not keep to the protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceivingError {
    /// It speaks another version.
    #[error(
        "the shipper speaks version {0} of the protocol and this bftap {VERSION}: use the same release on both ends"
    )]
    Version(u16),
    /// Lines out of their order.
    #[error("line {found} came where line {expected} belongs")]
    Number {
        /// The next one.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Not one line of a key log.
    #[error("line {0} is not one line of a key log")]
    NoSecret(u64),
    /// A frame that has no place here.
    #[error("a frame of type {0} where none belongs")]
    Unexpected(u8),
}

impl Receiving {
    /// Takes in a frame.
    ///
    /// # Errors
    /// It makes no sense: the connection is to be ended.
    pub fn receive(&mut self, frame: Frame) -> Result<Request, ReceivingError> {
        match frame {
            Frame::Hello { version } if !self.greeted => {
                if version != VERSION {
                    return Err(ReceivingError::Version(version));
                }
                self.greeted = true;
                Ok(Request::Answer(Reply::Welcome))
            }
            Frame::Line { number, text } if self.greeted => {
                let expected = self.last + 1;
                if number != expected {
                    return Err(ReceivingError::Number {
                        expected,
                        found: number,
                    });
                }
                let entry = parse_line(&text).ok_or(ReceivingError::NoSecret(number))?;
                self.last = number;
                Ok(Request::Store(Received { text, entry }))
            }
            Frame::Ping if self.greeted => Ok(Request::Answer(Reply::Pong)),
            frame => Err(ReceivingError::Unexpected(frame.code())),
        }
    }

    /// What to say when all lines so far are stored.
    pub fn stored(&self) -> Frame {
        Frame::Stored { number: self.last }
    }
}

impl Reply {
    /// As it goes out.
    pub fn into_frame(self, receiver: ReceiverId) -> Frame {
        match self {
            Self::Welcome => Frame::Welcome {
                version: VERSION,
                receiver,
            },
            Self::Pong => Frame::Pong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> Frame {
        Frame::Line {
            number,
            text: Zeroizing::new(format!("RLPX-AES {}", hex::encode([1; 32]))),
        }
    }

    #[test]
    fn lines_come_in_order_behind_a_greeting() {
        let mut receiving = Receiving::default();
        assert_eq!(
            receiving.receive(line(1)).unwrap_err(),
            ReceivingError::Unexpected(3)
        );
        assert_eq!(
            receiving.receive(Frame::Hello { version: 9 }).unwrap_err(),
            ReceivingError::Version(9)
        );
        receiving.receive(Frame::Hello { version: VERSION }).unwrap();
        assert!(matches!(receiving.receive(line(1)), Ok(Request::Store(_))));
        assert!(receiving.stored() == Frame::Stored { number: 1 });
        for number in [0, 1, 3] {
            assert_eq!(
                receiving.receive(line(number)).unwrap_err(),
                ReceivingError::Number {
                    expected: 2,
                    found: number
                }
            );
        }
        let other = Frame::Line {
            number: 2,
            text: Zeroizing::new("password".to_owned()),
        };
        let error = receiving.receive(other).unwrap_err();
        assert_eq!(error, ReceivingError::NoSecret(2));
        assert!(!error.to_string().contains("password"));
        assert_eq!(
            receiving.receive(Frame::Pong).unwrap_err(),
            ReceivingError::Unexpected(6)
        );
    }
}
