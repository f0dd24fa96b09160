//! Text that a peer chose is hostile until it is escaped.

/// Longest peer text that is kept, in bytes; Hello itself is limited to 2048.
pub const MAX_PEER_TEXT: usize = 256;

/// Makes text from a peer harmless for terminals, logs and tables, once, at the door.
///
/// Printable characters stay. Control characters (terminal escapes), invalid UTF-8, line and paragraph
/// separators, invisible and bidirectional formatting characters become `\u{..}` or `\x..`, a backslash
/// is doubled so that the escape is unambiguous, and what is longer than [`MAX_PEER_TEXT`] is cut and marked with `…`.
/// HTML and CSV have their own quoting at their sinks.
pub fn escape_peer_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().min(MAX_PEER_TEXT));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                text.push_str("\\\\");
            } else if is_harmless(c) {
                text.push(c);
            } else {
                text.extend(c.escape_unicode());
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
        if text.len() > MAX_PEER_TEXT {
            break;
        }
    }
    if text.len() > MAX_PEER_TEXT {
        let cut = (0..=MAX_PEER_TEXT)
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// Whether a character can be shown on a terminal without moving, hiding or reordering anything.
///
/// False for control characters, line and paragraph separators, invisible and bidirectional formatting characters.
pub fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_client_names_stay() {
        let name = "Klaytn/v1.4.2/linux-amd64/go1.19.8";
        assert_eq!(escape_peer_text(name.as_bytes()), name);
        assert_eq!(escape_peer_text("케이노드/v1".as_bytes()), "케이노드/v1");
    }

    #[test]
    fn escapes_and_invisible_characters_are_shown() {
        assert_eq!(escape_peer_text(b"a\x1b[31mb\r\n"), "a\\u{1b}[31mb\\u{d}\\u{a}");
        assert_eq!(escape_peer_text("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(escape_peer_text(b"\xff\\"), "\\xff\\\\");
    }

    #[test]
    fn long_names_are_cut() {
        let text = escape_peer_text(&[b'a'; 4096]);
        assert_eq!(text.chars().count(), MAX_PEER_TEXT + 1);
        assert!(text.ends_with('…'));
    }
}
