//! Frames between shipper and receiver, inside TLS: two bytes of length (big-endian), a byte of type, content.
//!
//! | type | from | content |
//! |---|---|---|
//! | 1 `Hello` | shipper | version (2 bytes) |
//! | 2 `Welcome` | receiver | version (2 bytes), 16 bytes that name what it has stored so far |
//! | 3 `Line` | shipper | number within the connection (8 bytes, from 1), one line without newline |
//! | 4 `Stored` | receiver | number (8 bytes): all lines up to it are stored |
//! | 5 `Ping` | shipper | |
//! | 6 `Pong` | receiver | |
//! | 7 `Sorry` | receiver | why it ends the connection, in UTF-8 |

use zeroize::Zeroizing;

use crate::line;

/// Version of this protocol. Another major change takes another ALPN name too.
pub const VERSION: u16 = 1;

/// Name of the protocol in TLS (ALPN): a connection meant for something else ends in the handshake.
pub const ALPN: &[u8] = b"bftap-keys/1";

/// Names the memory of a receiver: a shipper starts over with one that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverId(pub [u8; 16]);

/// One frame. No `Debug`: it may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// The shipper is there.
    Hello {
        /// Its version.
        version: u16,
    },
    /// The receiver takes lines.
    Welcome {
        /// Its version.
        version: u16,
        /// Which memory the lines go to.
        receiver: ReceiverId,
    },
    /// A secret.
    Line {
        /// Its number within the connection, from 1.
        number: u64,
        /// See [`line::line_of`].
        text: Zeroizing<String>,
    },
    /// Lines up to this one are stored.
    Stored {
        /// The last of them.
        number: u64,
    },
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
    /// The receiver ends the connection.
    Sorry {
        /// Why, for a person.
        reason: String,
    },
}

/// What is wrong with bytes that should be a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame.
    #[error("a frame of {0} bytes, more than the {MAX_CONTENT} that one may have")]
    TooLong(usize),
    /// A type of another version, or content of another length or no UTF-8.
    #[error("a frame of type {0} that is damaged or of another version")]
    Content(u8),
}

/// Longest content of a frame, its type included.
pub const MAX_CONTENT: usize = 1 + 8 + line::LONGEST;

/// Most bytes of a reason.
const MAX_REASON: usize = 256;

impl Frame {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0, 0, self.code()]);
        match self {
            Self::Hello { version } => out.extend_from_slice(&version.to_be_bytes()),
            Self::Welcome { version, receiver } => {
                out.extend_from_slice(&version.to_be_bytes());
                out.extend_from_slice(&receiver.0);
            }
            Self::Line { number, text } => {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Self::Stored { number } => out.extend_from_slice(&number.to_be_bytes()),
            Self::Ping | Self::Pong => {}
            Self::Sorry { reason } => {
                let mut end = reason.len().min(MAX_REASON);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                out.extend_from_slice(&reason.as_bytes()[..end]);
            }
        }
        let len = (out.len() - start - 2) as u16;
        out[start..start + 2].copy_from_slice(&len.to_be_bytes());
    }

    /// The first frame of `bytes`, and how many bytes it takes; `None` while some of it is missing.
    ///
    /// # Errors
    /// What stands there is no frame; nothing behind it can be read either.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((len, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*len));
        if len > MAX_CONTENT {
            return Err(FrameError::TooLong(len));
        }
        let Some(content) = rest.get(..len) else {
            return Ok(None);
        };
        let Some((&code, content)) = content.split_first() else {
            return Err(FrameError::Content(0));
        };
        let frame = Self::from_content(code, content).ok_or(FrameError::Content(code))?;
        Ok(Some((frame, 2 + len)))
    }

    fn from_content(code: u8, content: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
        let version = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
        Some(match code {
            1 => Self::Hello {
                version: version(content)?,
            },
            2 => {
                let (first, receiver) = content.split_first_chunk::<2>()?;
                Self::Welcome {
                    version: u16::from_be_bytes(*first),
                    receiver: ReceiverId(receiver.try_into().ok()?),
                }
            }
            3 => {
                let (first, text) = content.split_first_chunk::<8>()?;
                Self::Line {
                    number: u64::from_be_bytes(*first),
                    text: Zeroizing::new(std::str::from_utf8(text).ok()?.to_owned()),
                }
            }
            4 => Self::Stored {
                number: number(content)?,
            },
            5 if content.is_empty() => Self::Ping,
            6 if content.is_empty() => Self::Pong,
            7 if content.len() <= MAX_REASON => Self::Sorry {
                reason: std::str::from_utf8(content).ok()?.to_owned(),
            },
            _ => return None,
        })
    }

    /// Its type.
    pub fn code(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Welcome { .. } => 2,
            Self::Line { .. } => 3,
            Self::Stored { .. } => 4,
            Self::Ping => 5,
            Self::Pong => 6,
            Self::Sorry { .. } => 7,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_however_they_are_cut() {
        let frames = [
            Frame::Hello { version: VERSION },
            Frame::Welcome {
                version: VERSION,
                receiver: ReceiverId([7; 16]),
            },
            Frame::Line {
                number: u64::MAX,
                text: Zeroizing::new("x".repeat(line::LONGEST)),
            },
            Frame::Stored { number: 3 },
            Frame::Ping,
            Frame::Pong,
            Frame::Sorry {
                reason: "케".repeat(85),
            },
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.encode(&mut bytes);
        }
        let mut at = 0;
        for frame in &frames {
            let (read, used) = Frame::decode(&bytes[at..]).unwrap().unwrap();
            assert!(read == *frame);
            for cut in 0..used {
                assert!(Frame::decode(&bytes[at..at + cut]).unwrap().is_none());
            }
            at += used;
        }
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn damage_is_told_before_it_is_stored() {
        assert!(matches!(
            Frame::decode(&[0xff, 0xff]),
            Err(FrameError::TooLong(65535))
        ));
        for bytes in [
            &[0, 0][..],
            &[0, 1, 9],
            &[0, 2, 5, 1],
            &[0, 2, 1, 1],
            &[0, 10, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0xff],
        ] {
            assert!(
                matches!(Frame::decode(bytes), Err(FrameError::Content(_))),
                "{bytes:?}"
            );
        }
    }
}
