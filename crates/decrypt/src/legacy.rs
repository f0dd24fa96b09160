//! The original tool's key files: one file a session, its first line the AES key as hexadecimal digits.
//!
//! That tool passed keys through an integer, so leading zeros are lost (WIRE-FORMATS 10, trap 11). The files' *names*
//! contain the key as well (`cn1_cn2_<key>.txt`), so they must be shown by [`legacy_label`] only.

use bftap_model::escape_peer_text;
use zeroize::Zeroizing;

use crate::secrets::AesSecret;

/// Reads the content of such a file.
pub fn parse_legacy(content: &[u8]) -> Result<AesSecret, LegacyError> {
    let line = content
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let digits = line
        .strip_prefix(b"0x")
        .or(line.strip_prefix(b"0X"))
        .unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(LegacyError::NotHex);
    }
    if !(MIN_DIGITS..=DIGITS).contains(&digits.len()) {
        return Err(LegacyError::Length { digits: digits.len() });
    }
    let mut padded = Zeroizing::new([b'0'; DIGITS]);
    padded[DIGITS - digits.len()..].copy_from_slice(digits);
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(&padded[..], &mut key[..]).map_err(|_| LegacyError::NotHex)?;
    Ok(AesSecret::new(*key))
}

/// What of a file's name may be shown: `cn1_cn2_…`.
///
/// That is all up to the last underscore, unless it contains a run of hexadecimal digits that might be a key itself.
pub fn legacy_label(file_name: &str) -> String {
    let shown = file_name.rfind('_').map_or("", |end| &file_name[..=end]);
    let suspicious = shown
        .split(|c: char| !c.is_ascii_hexdigit())
        .any(|run| run.len() >= 16);
    let mut label = if suspicious {
        String::new()
    } else {
        escape_peer_text(shown.as_bytes())
    };
    label.push('…');
    label
}

/// Why a file is no key file of the original tool. Never repeats its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// The first line has other characters.
    #[error("the first line is not one key in hexadecimal digits")]
    NotHex,
    /// The first line is hexadecimal, but no 256-bit key.
    #[error(
        "the first line has {digits} hexadecimal digits where {DIGITS} belong (a few less if they start with zeros)"
    )]
    Length {
        /// How many digits there are.
        digits: usize,
    },
}

/// Digits of a key.
const DIGITS: usize = 64;

/// Fewest digits taken for a key: one key in 2^64 starts with more zeros.
const MIN_DIGITS: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_leading_zeros_come_back() {
        let mut key = [0xab; 32];
        key[0] = 0x00;
        key[1] = 0x0c;
        let full = hex::encode(key);
        let short = full.trim_start_matches('0');
        assert_eq!(short.len(), 61);
        for content in [
            full.clone(),
            short.to_owned(),
            format!("0x{short}\r\nmore\n"),
            format!(" {full} \n"),
        ] {
            assert_eq!(parse_legacy(content.as_bytes()), Ok(AesSecret::new(key)));
        }
    }

    #[test]
    fn other_files_are_told_apart_without_repeating_them() {
        assert_eq!(parse_legacy(b""), Err(LegacyError::NotHex));
        assert_eq!(parse_legacy(b"RLPX-AES 00"), Err(LegacyError::NotHex));
        assert_eq!(parse_legacy(b"cafe"), Err(LegacyError::Length { digits: 4 }));
        assert_eq!(parse_legacy(&[b'a'; 65]), Err(LegacyError::Length { digits: 65 }));
        assert!(
            !parse_legacy(b"cafecafe")
                .unwrap_err()
                .to_string()
                .contains("cafe")
        );
    }

    #[test]
    fn file_names_are_shown_without_their_key() {
        let key = hex::encode([0xd1; 32]);
        assert_eq!(legacy_label(&format!("cn1_cn2_{key}.txt")), "cn1_cn2_…");
        assert_eq!(legacy_label(&format!("{key}.txt")), "…");
        assert_eq!(legacy_label(&format!("{key}_cn1.txt")), "…");
        assert_eq!(legacy_label("a\x1b[1m_x"), "a\\u{1b}[1m_…");
    }
}
