//! What a file with secrets is, by its first bytes, and how paths are shown: the original tool puts keys into names.

use std::path::Path;

use bftap_decrypt::legacy::{LegacyError, legacy_label, parse_legacy};

/// How a file holds secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Lines of a key log; also a file in which nothing stands yet.
    KeyLog,
    /// One AES key in hex: the original tool's layout.
    Legacy,
}

/// What a file is, by its first bytes; `None`: nothing of ours.
pub fn recognise(head: &[u8]) -> Option<FileKind> {
    let mut lines = lines_of(head);
    let Some(first) = lines.next() else {
        // A log that no session was written to yet.
        return Some(FileKind::KeyLog);
    };
    if first.starts_with(b"#") || first.starts_with(b"RLPX") {
        return Some(FileKind::KeyLog);
    }
    match parse_legacy(first) {
        Ok(_) => Some(FileKind::Legacy),
        // A damaged key is worth a word, a short word of hex digits is not.
        Err(LegacyError::Length { digits }) if digits >= 32 => Some(FileKind::Legacy),
        Err(_) => lines
            .any(|line| line.starts_with(b"RLPX"))
            .then_some(FileKind::KeyLog),
    }
}

/// Lines of a text that are not blank, without white space around them.
pub fn lines_of(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(head)
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

/// A path as it may be shown: runs of hexadecimal digits that might be part of a key are left out. Not escaped.
pub fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while !rest.is_empty() {
        let run = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if run >= KEY_LIKE {
            out.push('…');
        } else {
            out.push_str(&rest[..run]);
        }
        rest = &rest[run..];
        let other = rest.find(|c: char| c.is_ascii_hexdigit()).unwrap_or(rest.len());
        out.push_str(&rest[..other]);
        rest = &rest[other..];
    }
    out
}

/// The path of a file in the original tool's layout, of whose name only the nodes may be shown.
pub fn shown_legacy(path: &Path) -> String {
    let label = legacy_label(&path.file_name().unwrap_or_default().to_string_lossy());
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => format!("{}/{label}", shown(directory)),
        _ => label,
    }
}

/// A run of so many hexadecimal digits in a path may be a key: 64 bits.
const KEY_LIKE: usize = 16;
