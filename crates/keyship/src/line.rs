//! A secret as one line of a key log: the form in which it is sent and stored, the same for all lines that say the same.

use std::fmt::Write as _;

use bftap_decrypt::keylog::{KeyLogEntry, LastLine, parse_key_log};
use zeroize::Zeroizing;

/// How much of a secret leaves the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What is needed to read a session.
    ReadOnly,
    /// Also what is needed to check MACs, with which frames could be forged.
    WithMac,
}

/// The line of a secret, without a newline.
pub fn line_of(entry: &KeyLogEntry, extent: Extent) -> Zeroizing<String> {
    // As long as the longest, so that growing leaves no copy behind.
    let mut line = Zeroizing::new(String::with_capacity(LONGEST));
    let aes = Hex(entry.secrets.aes.expose());
    // Writing to a string cannot fail.
    let _ = match (&entry.secrets.mac, entry.session, extent) {
        (Some(mac), Some(session), Extent::WithMac) => write!(
            line,
            "RLPX {} {aes} {} {} {}",
            Hex(&session.0),
            Hex(mac.secret.expose()),
            Hex(&mac.initiator_nonce),
            Hex(&mac.recipient_nonce)
        ),
        (_, Some(session), _) => write!(line, "RLPX-AES {aes} session={}", Hex(&session.0)),
        (_, None, _) => write!(line, "RLPX-AES {aes}"),
    };
    debug_assert!(line.len() <= LONGEST);
    line
}

/// Reads such a line; `None` unless it is exactly one secret.
pub fn parse_line(line: &str) -> Option<KeyLogEntry> {
    if line.len() > LONGEST || line.bytes().any(|byte| byte == b'\n') {
        return None;
    }
    let mut log = parse_key_log(line.as_bytes(), 1, LastLine::Whole);
    let entry = log.entries.pop()?;
    // Nothing may hide in a line: what is stored is what it says.
    let exact = [Extent::WithMac, Extent::ReadOnly]
        .into_iter()
        .any(|extent| line_of(&entry, extent).as_str() == line);
    exact.then_some(entry)
}

/// Length of the longest line: a label and five fields of 32 bytes.
pub const LONGEST: usize = 4 + 5 * 65;

struct Hex<'a>(&'a [u8; 32]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> KeyLogEntry {
        parse_key_log(text.as_bytes(), 1, LastLine::Whole)
            .entries
            .pop()
            .unwrap()
    }

    #[test]
    fn mac_keys_leave_only_when_told_to() {
        let field = |byte: u8| hex::encode([byte; 32]);
        let full = format!(
            "RLPX {} {} {} {} {}",
            field(1),
            field(2),
            field(3),
            field(4),
            field(5)
        );
        let read = entry(&format!("{full} role=initiator x=y"));
        assert_eq!(line_of(&read, Extent::WithMac).as_str(), full);
        let reduced = line_of(&read, Extent::ReadOnly);
        assert_eq!(
            reduced.as_str(),
            format!("RLPX-AES {} session={}", field(2), field(1))
        );
        assert_eq!(parse_line(&full).unwrap().secrets.mac, read.secrets.mac);
        assert!(parse_line(&reduced).unwrap().secrets.mac.is_none());
        let trial = format!("RLPX-AES {}", field(7));
        assert_eq!(line_of(&entry(&trial), Extent::WithMac).as_str(), trial);
        assert!(parse_line(&trial).unwrap().session.is_none());
    }

    #[test]
    fn only_the_one_form_is_taken() {
        let key = hex::encode([0xab; 32]);
        for line in [
            "",
            "# comment",
            "RLPX",
            "hello",
            &format!("RLPX-AES {key} "),
            &format!("RLPX-AES  {key}"),
            &format!("RLPX-AES {}", key.to_uppercase()),
            &format!("RLPX-AES {key} role=initiator"),
            &format!("RLPX-AES {key}\nRLPX-AES {key}"),
            &format!("RLPX-AES {key}\n"),
            &format!("RLPX-AES 0x{key}"),
        ] {
            assert!(parse_line(line).is_none(), "{line:?}");
        }
    }
}
