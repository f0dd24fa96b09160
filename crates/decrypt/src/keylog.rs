//! The key log: one line a session, appended by a node at handshake time. Pure parsing of its text.
//!
//! ```text
//! # comment
//! RLPX <session> <aes-secret> <mac-secret> <initiator-nonce> <recipient-nonce> [key=value ...]
//! RLPX-AES <aes-secret> [session=<session>] [key=value ...]
//! ```
//!
//! All fields are 32 bytes in hex. `<session>` is Keccak-256 of the auth packet as it stands on the wire, size prefix
//! included. Unknown labels and pairs are ignored: they belong to later versions. No message repeats what a line
//! says, for a damaged line may still hold most of a key.

use bftap_model::{Hash256, ParseHexError};
use zeroize::{Zeroize, Zeroizing};

use crate::secrets::{AesSecret, MacSecret, MacSecrets, SessionSecrets};

/// What a text told.
#[derive(Debug, Default)]
pub struct KeyLog {
    /// Secrets, in the order of their lines.
    pub entries: Vec<KeyLogEntry>,
    /// Lines that should hold a secret and do not, at most [`MAX_PROBLEMS`] of them.
    pub problems: Vec<KeyLogProblem>,
    /// How many problems there were in all.
    pub problem_count: u64,
    /// Lines with a label that this version does not know.
    pub unknown_labels: u64,
    /// Bytes read: reading goes on here when the text has grown.
    pub consumed: usize,
    /// Lines read: the number of the line at `consumed` is one more than `first_line - 1` and this.
    pub lines: u64,
    /// Number of the last line, if it is not finished by a newline and was left for later.
    pub unfinished: Option<u64>,
}

/// One secret, and what its line says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLogEntry {
    /// Session it belongs to: Keccak-256 of the auth packet. `None` in `RLPX-AES` lines without `session=`.
    pub session: Option<Hash256>,
    /// The secrets.
    pub secrets: SessionSecrets,
    /// Which end wrote the line, where it says so.
    pub role: Option<Role>,
}

/// Which end of a session logged it (`role=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that dialled.
    Initiator,
    /// The end that listened; written `recipient`, or `responder` as in the nodes' sources.
    Recipient,
}

/// What to do with a last line that has no newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLine {
    /// The text is all there is: the line counts.
    Whole,
    /// The text may still be growing: the line waits, see [`KeyLog::unfinished`].
    MayGrow,
}

/// A line that should hold a secret and does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct KeyLogProblem {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: KeyLogReason,
}

/// What is wrong with a line. Never repeats its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyLogReason {
    /// Fewer fields than the label asks for.
    #[error("{found} of {expected} fields; the line may have been cut")]
    MissingFields {
        /// Fields that belong behind the label.
        expected: usize,
        /// Fields there are.
        found: usize,
    },
    /// A field that is not 32 bytes in hex.
    #[error("{field}: {source}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it is instead.
        source: ParseHexError,
    },
    /// Longer than any line with a meaning.
    #[error("{len} bytes long, more than the {MAX_LINE} that a line may have")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// Longest line that is looked at, in bytes.
pub const MAX_LINE: usize = 4096;

/// Most problems that are listed one by one.
pub const MAX_PROBLEMS: usize = 100;

/// Reads the text of a key log, or the part of it from line `first_line` on.
pub fn parse_key_log(text: &[u8], first_line: u64, last_line: LastLine) -> KeyLog {
    let mut log = KeyLog::default();
    let mut rest = text;
    while !rest.is_empty() {
        let number = first_line.saturating_add(log.lines);
        let (line, used) = match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) => (&rest[..end], end + 1),
            None if last_line == LastLine::MayGrow => {
                log.unfinished = Some(number);
                break;
            }
            None => (rest, rest.len()),
        };
        rest = &rest[used..];
        log.consumed += used;
        log.lines += 1;
        match parse_line(line) {
            Ok(Line::Entry(entry)) => log.entries.push(entry),
            Ok(Line::Blank) => {}
            Ok(Line::UnknownLabel) => log.unknown_labels += 1,
            Err(reason) => {
                log.problem_count += 1;
                if log.problems.len() < MAX_PROBLEMS {
                    log.problems.push(KeyLogProblem { line: number, reason });
                }
            }
        }
    }
    log
}

enum Line {
    Entry(KeyLogEntry),
    Blank,
    UnknownLabel,
}

fn parse_line(line: &[u8]) -> Result<Line, KeyLogReason> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    if line.len() > MAX_LINE {
        return Err(KeyLogReason::TooLong { len: line.len() });
    }
    let mut fields = line
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    match fields.next() {
        None => Ok(Line::Blank),
        Some(label) if label.starts_with(b"#") => Ok(Line::Blank),
        Some(b"RLPX") => {
            const NAMES: [&str; 5] = [
                "session",
                "aes-secret",
                "mac-secret",
                "initiator-nonce",
                "recipient-nonce",
            ];
            let [session, aes, mac, initiator, recipient] = take_fields(&mut fields, NAMES)?;
            let pairs = Pairs::read(fields)?;
            Ok(Line::Entry(KeyLogEntry {
                session: Some(Hash256(*session)),
                secrets: SessionSecrets {
                    aes: AesSecret::new(*aes),
                    mac: Some(MacSecrets {
                        secret: MacSecret::new(*mac),
                        initiator_nonce: *initiator,
                        recipient_nonce: *recipient,
                    }),
                },
                role: pairs.role,
            }))
        }
        Some(b"RLPX-AES") => {
            let [aes] = take_fields(&mut fields, ["aes-secret"])?;
            let pairs = Pairs::read(fields)?;
            let secrets = SessionSecrets {
                aes: AesSecret::new(*aes),
                mac: None,
            };
            Ok(Line::Entry(KeyLogEntry {
                session: pairs.session,
                secrets,
                role: pairs.role,
            }))
        }
        Some(_) => Ok(Line::UnknownLabel),
    }
}

/// Reads as many hex fields as there are names. The copies are wiped when dropped.
fn take_fields<'a, const N: usize>(
    fields: &mut impl Iterator<Item = &'a [u8]>,
    names: [&'static str; N],
) -> Result<[Zeroizing<[u8; 32]>; N], KeyLogReason> {
    let mut values: [_; N] = std::array::from_fn(|_| Zeroizing::new([0; 32]));
    for (found, (value, name)) in values.iter_mut().zip(names).enumerate() {
        let field = fields
            .next()
            .ok_or(KeyLogReason::MissingFields { expected: N, found })?;
        decode_hex(field, value, name)?;
    }
    Ok(values)
}

/// The optional pairs that have a meaning here.
#[derive(Default)]
struct Pairs {
    session: Option<Hash256>,
    role: Option<Role>,
}

impl Pairs {
    fn read<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Result<Self, KeyLogReason> {
        let mut pairs = Self::default();
        for field in fields {
            if let Some(value) = field.strip_prefix(b"session=") {
                let mut session = [0; 32];
                decode_hex(value, &mut session, "session=")?;
                pairs.session = Some(Hash256(session));
            } else if let Some(value) = field.strip_prefix(b"role=") {
                pairs.role = match value {
                    b"initiator" => Some(Role::Initiator),
                    b"responder" | b"recipient" => Some(Role::Recipient),
                    _ => None,
                };
            }
        }
        Ok(pairs)
    }
}

fn decode_hex(text: &[u8], value: &mut [u8; 32], field: &'static str) -> Result<(), KeyLogReason> {
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    hex::decode_to_slice(digits, value).map_err(|_| {
        value.zeroize();
        KeyLogReason::Field {
            field,
            source: ParseHexError {
                expected: 64,
                found: digits.len(),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_of(byte: u8) -> String {
        hex::encode([byte; 32])
    }

    fn full_line() -> String {
        format!(
            "RLPX {} {} {} {} {}",
            hex_of(1),
            hex_of(2),
            hex_of(3),
            hex_of(4),
            hex_of(5)
        )
    }

    #[test]
    fn both_kinds_of_line_are_read() {
        let text = format!(
            "# by a node\n\n{} role=responder time=12 \r\nRLPX-AES 0x{}\n\tRLPX-AES\t{} x=y session={} role=initiator\nRLPX2 zz\n",
            full_line(),
            hex_of(6),
            hex_of(7).to_uppercase(),
            hex_of(8)
        );
        let log = parse_key_log(text.as_bytes(), 1, LastLine::MayGrow);
        assert_eq!(log.problems, []);
        assert_eq!((log.unknown_labels, log.lines, log.unfinished), (1, 6, None));
        assert_eq!(log.consumed, text.len());
        let [whole, trial, named] = &log.entries[..] else {
            panic!("{:?}", log.entries.len())
        };
        assert_eq!(whole.session, Some(Hash256([1; 32])));
        assert_eq!(whole.role, Some(Role::Recipient));
        assert_eq!(whole.secrets.aes, AesSecret::new([2; 32]));
        let mac = whole.secrets.mac.as_ref().unwrap();
        assert_eq!(mac.secret, MacSecret::new([3; 32]));
        assert_eq!((mac.initiator_nonce, mac.recipient_nonce), ([4; 32], [5; 32]));
        assert_eq!((trial.session, trial.role), (None, None));
        assert_eq!(
            trial.secrets,
            SessionSecrets {
                aes: AesSecret::new([6; 32]),
                mac: None
            }
        );
        assert_eq!(
            (named.session, named.role),
            (Some(Hash256([8; 32])), Some(Role::Initiator))
        );
    }

    #[test]
    fn an_unfinished_last_line_waits_while_the_file_may_grow() {
        let text = format!("{}\n{}", full_line(), full_line());
        let growing = parse_key_log(text.as_bytes(), 1, LastLine::MayGrow);
        assert_eq!((growing.entries.len(), growing.unfinished), (1, Some(2)));
        let rest = format!("{}\n", &text[growing.consumed..]);
        let later = parse_key_log(rest.as_bytes(), 1 + growing.lines, LastLine::MayGrow);
        assert_eq!((later.entries.len(), later.unfinished), (1, None));
        let whole = parse_key_log(text.as_bytes(), 1, LastLine::Whole);
        assert_eq!(
            (whole.entries.len(), whole.unfinished, whole.consumed),
            (2, None, text.len())
        );
    }

    #[test]
    fn problems_name_line_and_field_and_never_the_content() {
        let cut = full_line();
        let cut = &cut[..cut.len() - 65];
        let text = format!(
            "RLPX-AES {}\n{cut}\nRLPX-AES {} session=abcdef\nRLPX-AES\nRLPX-AES {}\n#{}\n",
            "ab".repeat(31),
            hex_of(9),
            "zq".repeat(32),
            "c".repeat(MAX_LINE),
        );
        let log = parse_key_log(text.as_bytes(), 10, LastLine::Whole);
        assert!(log.entries.is_empty());
        let text: Vec<String> = log.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "line 10: aes-secret: 62 characters where 64 hex digits belong",
                "line 11: 4 of 5 fields; the line may have been cut",
                "line 12: session=: 6 characters where 64 hex digits belong",
                "line 13: 0 of 1 fields; the line may have been cut",
                "line 14: aes-secret: not hexadecimal",
                "line 15: 4097 bytes long, more than the 4096 that a line may have",
            ]
        );
    }

    #[test]
    fn the_list_of_problems_is_bounded() {
        let log = parse_key_log("RLPX\n".repeat(1000).as_bytes(), 1, LastLine::Whole);
        assert_eq!((log.problems.len(), log.problem_count), (MAX_PROBLEMS, 1000));
    }
}
