//! Lines of a key log whose label is not ours: another tool's, or a misspelt one.

use crate::nearest::nearest;
use crate::report::{count, counted};

/// What was found in one file.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// In words, with line numbers; the first few.
    told: Vec<String>,
    /// Lines with a label that no tool we know writes.
    unknown: u64,
    /// Lines with a label of TLS key logs, and the first of these labels.
    tls: (u64, &'static str),
}

impl Labels {
    /// Looks at lines of a key log, of which the first has this number.
    pub(super) fn scan(&mut self, text: &[u8], first_line: u64) {
        for (number, line) in (first_line..).zip(text.split(|&byte| byte == b'\n')) {
            let Some(label) = label_of(line) else { continue };
            if OURS.iter().any(|ours| ours.as_bytes() == label) {
                continue;
            }
            if let Some(tls) = TLS.iter().find(|tls| tls.as_bytes() == label) {
                self.tls = (self.tls.0 + 1, if self.tls.0 == 0 { tls } else { self.tls.1 });
                continue;
            }
            self.unknown += 1;
            if self.told.len() < SHOWN {
                self.told.push(format!("line {number}: {}", words(label)));
            }
        }
    }

    /// Lines that look like ours and are not: worth a warning each, up to a number.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.told.clone();
        let more = self.unknown - self.told.len() as u64;
        if more > 0 {
            warnings.push(format!(
                "{} with an unknown label",
                counted(more, "more line", "more lines")
            ));
        }
        warnings
    }

    /// What other tools put there, in one sentence.
    pub(super) fn note(&self) -> Option<String> {
        let (lines, first) = self.tls;
        (lines > 0).then(|| {
            format!(
                "{} for TLS ({first}), which RLPx sessions do not use; {} skipped",
                counted(lines, "line is", "lines are"),
                if lines == 1 { "it is" } else { "they are" }
            )
        })
    }

    /// All lines with a label that is not ours.
    #[cfg(test)]
    pub(super) fn lines(&self) -> u64 {
        self.unknown + self.tls.0
    }

    /// For a list of what is in a file.
    pub(super) fn describe(&self) -> Vec<String> {
        [(self.unknown, "with unknown labels"), (self.tls.0, "for TLS")]
            .into_iter()
            .filter(|(lines, _)| *lines > 0)
            .map(|(lines, what)| format!("{} {what}", count(lines)))
            .collect()
    }
}

/// Whether a line begins with something like one of our labels.
pub(super) fn is_nearly_ours(line: &[u8]) -> bool {
    label_of(line)
        .and_then(|label| std::str::from_utf8(label).ok())
        .is_some_and(|label| nearest(label, OURS).is_some())
}

/// The first word of a line that is neither empty nor a comment.
fn label_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let label = line
        .split(u8::is_ascii_whitespace)
        .find(|field| !field.is_empty())?;
    (!label.starts_with(b"#")).then_some(label)
}

fn words(label: &[u8]) -> String {
    // What stands where a label belongs may be a key: only what cannot be one is repeated.
    let shown = std::str::from_utf8(label).ok().filter(|label| {
        label.len() <= LONGEST_SHOWN
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && label
                .bytes()
                .any(|byte| byte.is_ascii_alphabetic() && !byte.is_ascii_hexdigit())
    });
    match shown {
        Some(label) => match nearest(label, OURS) {
            Some(meant) => format!("unknown label {label}: is {meant} meant? The line is skipped"),
            None => format!(
                "unknown label {label}: {} are read. The line is skipped",
                OURS.join(" and ")
            ),
        },
        None => format!(
            "it does not begin with a label: {} are read. The line is skipped",
            OURS.join(" and ")
        ),
    }
}

/// The labels of a key log of RLPx sessions (docs/exporting-secrets.md).
const OURS: &[&str] = &["RLPX", "RLPX-AES"];

/// Labels of TLS key logs: RFC 9850, and those that NSS and other libraries wrote before it.
const TLS: &[&str] = &[
    "CLIENT_RANDOM",
    "RSA",
    "PMS_CLIENT_RANDOM",
    "CLIENT_EARLY_TRAFFIC_SECRET",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EARLY_EXPORTER_SECRET",
    "EARLY_EXPORTER_MASTER_SECRET",
    "EXPORTER_SECRET",
    "ECH_SECRET",
    "ECH_CONFIG",
];

/// Lines told one by one.
const SHOWN: usize = 5;

/// Longest label that is repeated.
const LONGEST_SHOWN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> Labels {
        let mut labels = Labels::default();
        labels.scan(text.as_bytes(), 1);
        labels
    }

    #[test]
    fn misspelt_labels_are_told_with_line_and_suggestion() {
        let labels = scanned("# x\nRLXP 1\nRLPX 2\n\nrlpx-aes 3\nNEW 4\nRLPX-AES 5\n");
        assert_eq!(
            labels.warnings(),
            [
                "line 2: unknown label RLXP: is RLPX meant? The line is skipped",
                "line 5: unknown label rlpx-aes: is RLPX-AES meant? The line is skipped",
                "line 6: unknown label NEW: RLPX and RLPX-AES are read. The line is skipped",
            ]
        );
        assert_eq!((labels.lines(), labels.note()), (3, None));
    }

    #[test]
    fn lines_of_tls_are_one_note() {
        let labels = scanned("CLIENT_RANDOM a b\nSERVER_TRAFFIC_SECRET_0 a b\nRLPX 1\n");
        assert_eq!(labels.warnings(), [""; 0]);
        let note = labels.note().unwrap();
        assert!(note.starts_with("2 lines are for TLS (CLIENT_RANDOM)"), "{note}");
        assert_eq!(labels.describe(), ["2 for TLS"]);
    }

    #[test]
    fn many_unknown_labels_are_counted() {
        let text: String = (0..1000).map(|number| format!("OTHER{number} x\n")).collect();
        let warnings = scanned(&text).warnings();
        assert_eq!(warnings.len(), SHOWN + 1);
        assert_eq!(warnings[SHOWN], "995 more lines with an unknown label");
    }

    #[test]
    fn what_may_be_a_key_is_never_repeated() {
        let key = "75dc80aa51640d9f25d691e570b1de87a8fa89cb5e5065e2859f31c25be11f75";
        for line in [
            key.to_owned(),
            format!("0x{key} 1"),
            format!("key={key}"),
            "deadbeef 1".to_owned(),
        ] {
            let told = scanned(&line).warnings().join("\n");
            assert!(
                told.starts_with("line 1: it does not begin with a label"),
                "{told}"
            );
        }
        let told = scanned("a\x1b[2J b").warnings().join("\n");
        assert!(!told.contains('\x1b'), "{told}");
    }
}
