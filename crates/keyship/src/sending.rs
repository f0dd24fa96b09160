//! The shipper's end of connections: what waits, what is on its way, what is acknowledged. Pure.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use crate::wire::{Frame, ReceiverId, VERSION};

/// Lines to be sent, each with whatever its sender remembers of it (`P`), until they are acknowledged.
#[derive(Debug)]
pub struct Sending<P> {
    waiting: VecDeque<Waiting<P>>,
    /// How many of them went out over this connection.
    sent: usize,
    /// Number of the first of `waiting` within this connection.
    first: u64,
    phase: Phase,
}

struct Waiting<P> {
    line: Zeroizing<String>,
    place: P,
}

impl<P> std::fmt::Debug for Waiting<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Apart,
    Greeted,
    Welcome,
}

/// What a frame of the receiver means.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<P> {
    /// It takes lines; whether it has those that were acknowledged before is told by its name.
    Welcome(ReceiverId),
    /// These are stored.
    Stored(Vec<P>),
    /// It is there.
    Alive,
    /// It ends the connection.
    Sorry(String),
}

/// The receiver does not keep to the protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendingError {
    /// It speaks another version.
    #[error(
        "the receiver speaks version {0} of the protocol and this bftap {VERSION}: use the same release on both ends"
    )]
    Version(u16),
    /// It acknowledges what was not sent.
    #[error("the receiver acknowledged line {number} of {sent} that were sent")]
    NotSent {
        /// Which.
        number: u64,
        /// Lines sent over this connection.
        sent: u64,
    },
    /// A frame that has no place here.
    #[error("the receiver sent a frame of type {0} where none belongs")]
    Unexpected(u8),
}

/// Lines on their way at a time.
const WINDOW: usize = 512;

impl<P> Default for Sending<P> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            sent: 0,
            first: 1,
            phase: Phase::Apart,
        }
    }
}

impl<P> Sending<P> {
    /// Lines that are not acknowledged yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a line.
    pub fn push(&mut self, line: Zeroizing<String>, place: P) {
        self.waiting.push_back(Waiting { line, place });
    }

    /// Forgets all lines, none of which went out over this connection yet: they will be read again.
    pub fn clear(&mut self) {
        debug_assert_eq!(self.sent, 0, "only at a welcome");
        self.waiting.clear();
    }

    /// A new connection: what is not acknowledged goes out once more.
    pub fn connected(&mut self) -> Frame {
        self.sent = 0;
        self.first = 1;
        self.phase = Phase::Greeted;
        Frame::Hello { version: VERSION }
    }

    /// The next line to send, if the receiver may be sent one.
    pub fn next(&mut self) -> Option<Frame> {
        if self.phase != Phase::Welcome || self.sent >= WINDOW {
            return None;
        }
        let next = self.waiting.get(self.sent)?;
        let number = self.first + self.sent as u64;
        self.sent += 1;
        Some(Frame::Line {
            number,
            text: next.line.clone(),
        })
    }

    /// Takes in what the receiver says.
    ///
    /// # Errors
    /// It makes no sense: the connection is of no use any more.
    pub fn receive(&mut self, frame: Frame) -> Result<Answer<P>, SendingError> {
        match (self.phase, frame) {
            (Phase::Greeted, Frame::Welcome { version, receiver }) => {
                if version != VERSION {
                    return Err(SendingError::Version(version));
                }
                self.phase = Phase::Welcome;
                Ok(Answer::Welcome(receiver))
            }
            (Phase::Welcome, Frame::Stored { number }) => {
                let sent = self.first + self.sent as u64 - 1;
                if number < self.first || number > sent {
                    return Err(SendingError::NotSent { number, sent });
                }
                let stored = (number - self.first) as usize + 1;
                self.first += stored as u64;
                self.sent -= stored;
                Ok(Answer::Stored(
                    self.waiting.drain(..stored).map(|line| line.place).collect(),
                ))
            }
            (Phase::Welcome, Frame::Pong) => Ok(Answer::Alive),
            (Phase::Greeted | Phase::Welcome, Frame::Sorry { reason }) => Ok(Answer::Sorry(reason)),
            (_, frame) => Err(SendingError::Unexpected(frame.code())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    fn welcome() -> Frame {
        Frame::Welcome {
            version: VERSION,
            receiver: ReceiverId([1; 16]),
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again() {
        let mut sending = Sending::default();
        for number in 0..5 {
            sending.push(line(&number.to_string()), number);
        }
        assert!(sending.next().is_none(), "nothing goes out before the welcome");
        sending.connected();
        sending.receive(welcome()).unwrap();
        for _ in 0..3 {
            sending.next().unwrap();
        }
        assert_eq!(
            sending.receive(Frame::Stored { number: 2 }).unwrap(),
            Answer::Stored(vec![0, 1])
        );
        sending.connected();
        sending.receive(welcome()).unwrap();
        let again: Vec<_> = std::iter::from_fn(|| sending.next())
            .map(|frame| match frame {
                Frame::Line { number, text } => (number, text.to_string()),
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(
            again,
            [(1, "2".to_owned()), (2, "3".to_owned()), (3, "4".to_owned())]
        );
    }

    #[test]
    fn the_window_bounds_what_is_on_its_way() {
        let mut sending = Sending::default();
        for number in 0..2 * WINDOW {
            sending.push(line("x"), number);
        }
        sending.connected();
        sending.receive(welcome()).unwrap();
        assert_eq!(std::iter::from_fn(|| sending.next()).count(), WINDOW);
        sending.receive(Frame::Stored { number: 10 }).unwrap();
        assert_eq!(std::iter::from_fn(|| sending.next()).count(), 10);
    }

    #[test]
    fn acknowledgements_of_nothing_are_refused() {
        let mut sending = Sending::default();
        sending.push(line("x"), ());
        sending.connected();
        assert_eq!(
            sending.receive(Frame::Stored { number: 1 }),
            Err(SendingError::Unexpected(4))
        );
        sending.receive(welcome()).unwrap();
        for number in [0, 1, u64::MAX] {
            assert_eq!(
                sending.receive(Frame::Stored { number }),
                Err(SendingError::NotSent { number, sent: 0 })
            );
        }
    }
}
