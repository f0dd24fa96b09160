//! `bftap decode`: one consensus message taken apart.

use std::io::{self, Read, Write};

use anyhow::{Context as _, bail};
use bftap_ibft_decode::{Dialect, Field, FieldSource, Resemblance, What, detect, dialect_named};
use bftap_model::keccak256;

use crate::args::DecodeArgs;
use crate::exit::{Status, Usage};
use crate::report::counted;
use crate::term::{Ink, Style, safe, width_of};

/// Runs the command.
///
/// [`Status::Incomplete`] when the bytes do not decode in any dialect; what can be made out is shown all the same.
pub(crate) fn run(args: &DecodeArgs) -> anyhow::Result<Status> {
    let text = if args.hex == "-" {
        from_stdin()?
    } else {
        args.hex.clone()
    };
    let bytes = from_hex(&text).map_err(Usage)?;
    let mut out = io::stdout().lock();
    let status = show(&bytes, args.dialect, Style::of_stdout(), &mut out)?;
    out.flush()?;
    Ok(status)
}

fn from_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(MAX_TEXT + 1)
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    if text.len() as u64 > MAX_TEXT {
        bail!("more than {MAX_TEXT} characters on standard input: no message is so long");
    }
    Ok(text)
}

/// Bytes of hex digits, with `0x` and white space where people put them.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim();
    let text = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    let mut digits = Vec::with_capacity(text.len());
    for (place, c) in text.chars().enumerate() {
        match c.to_digit(16) {
            Some(digit) => digits.push(digit as u8),
            None if c.is_whitespace() => {}
            None => {
                let c = c.to_string();
                return Err(format!(
                    "`{}` at character {} is not a hexadecimal digit",
                    safe(&c),
                    place + 1
                ));
            }
        }
    }
    if digits.is_empty() {
        return Err("there is no hexadecimal digit to decode".to_owned());
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!(
            "{} hexadecimal digits are not whole bytes: one is missing or too many",
            digits.len()
        ));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn show(bytes: &[u8], dialect: Option<&str>, style: Style, out: &mut impl Write) -> anyhow::Result<Status> {
    let (dialect, likeness, note) = match dialect.and_then(dialect_named) {
        Some(dialect) => match dialect.resemblance(bytes) {
            Some(likeness) => (dialect, likeness, ""),
            None => (
                dialect,
                unlike(dialect),
                "It does not look like one; shown is how far it goes.",
            ),
        },
        None => match detect(bytes).first() {
            Some(&(dialect, likeness)) => (dialect, likeness, ""),
            None => {
                writeln!(
                    out,
                    "{}: no consensus message of a known dialect. With --dialect it is taken apart as one all the same.",
                    counted(bytes.len() as u64, "byte", "bytes")
                )?;
                writeln!(out, "keccak-256  {}", keccak256(bytes))?;
                return Ok(Status::Incomplete);
            }
        },
    };
    let what = match likeness.what {
        What::Message => "message, as behind its code in a frame",
        What::Payload => "payload, as gossiped inside a message",
    };
    let title = format!(
        "{} {what}, {}{}",
        dialect.name(),
        counted(bytes.len() as u64, "byte", "bytes"),
        if likeness.decodes {
            ""
        } else {
            ", which does not decode"
        }
    );
    writeln!(out, "{}", style.paint(Ink::Heading, &title))?;
    if !note.is_empty() {
        writeln!(out, "{note}")?;
    }
    let fields = dialect.dissect(likeness.what, likeness.local, bytes);
    write_fields(&fields, style, out)?;
    Ok(if likeness.decodes {
        Status::Complete
    } else {
        Status::Incomplete
    })
}

/// How to take bytes that look like nothing: as a message of the dialect's first consensus code.
fn unlike(dialect: &dyn Dialect) -> Resemblance {
    let local = (0..=MAX_LOCAL_CODE)
        .find(|&local| dialect.is_consensus(local))
        .unwrap_or_default();
    Resemblance {
        what: What::Message,
        local,
        decodes: false,
    }
}

fn write_fields(fields: &[Field], style: Style, out: &mut impl Write) -> io::Result<()> {
    let names = fields
        .iter()
        .map(|field| 2 * field.depth + width_of(&field.name))
        .max()
        .unwrap_or(0)
        .min(MAX_NAME);
    let places = fields.iter().map(|field| place(field).len()).max().unwrap_or(0);
    for field in fields {
        let name = format!("{:indent$}{}", "", safe(&field.name), indent = 2 * field.depth);
        let padding = " ".repeat(names.saturating_sub(width_of(&name)));
        let value = safe(&field.value);
        let (name, value) = match field.source {
            FieldSource::Bytes => (name, value.into_owned()),
            FieldSource::Derived => (style.paint(Ink::Good, &name), value.into_owned()),
            FieldSource::Problem => (style.paint(Ink::Bad, &name), style.paint(Ink::Bad, &value)),
        };
        let place = style.paint(Ink::Faint, &format!("{:>places$}", place(field)));
        writeln!(out, "{place}  {name}{padding}  {value}")?;
    }
    Ok(())
}

/// Bytes that a field stands in: `12-43`.
fn place(field: &Field) -> String {
    if field.place.is_empty() {
        String::new()
    } else {
        format!("{}-{}", field.place.start, field.place.end - 1)
    }
}

/// Hex of the largest frame there is, twice over for white space.
const MAX_TEXT: u64 = 64 << 20;

/// Codes of a capability are far below.
const MAX_LOCAL_CODE: u64 = 0xff;

/// Columns for names; deeper ones push their values to the right.
const MAX_NAME: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_may_be_written_as_people_do() {
        for text in ["0x00ff10", "00FF10", " 00 ff\n10 ", "0X00\tff1 0"] {
            assert_eq!(from_hex(text), Ok(vec![0, 255, 16]), "{text:?}");
        }
        assert_eq!(
            from_hex("00f").unwrap_err(),
            "3 hexadecimal digits are not whole bytes: one is missing or too many"
        );
        assert_eq!(
            from_hex("0x0g").unwrap_err(),
            "`g` at character 2 is not a hexadecimal digit"
        );
        assert!(from_hex("0x").is_err() && from_hex("").is_err());
        assert_eq!(
            from_hex("0\x1b").unwrap_err(),
            "`\\u{1b}` at character 2 is not a hexadecimal digit"
        );
    }

    const PLAIN: Style = Style {
        width: 100,
        colour: false,
    };

    fn shown(bytes: &[u8], dialect: Option<&str>) -> (Status, String) {
        let mut out = Vec::new();
        let status = show(bytes, dialect, PLAIN, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_nothing_is_said_to_be_nothing() {
        let (status, text) = shown(&[1, 2, 3], None);
        assert_eq!(status, Status::Incomplete);
        assert!(text.starts_with("3 bytes: no consensus message"), "{text}");
    }

    #[test]
    fn a_dialect_may_be_forced() {
        let (status, text) = shown(&[0xc0], Some("klaytn"));
        assert_eq!(status, Status::Incomplete);
        assert!(text.contains("does not decode"), "{text}");
    }
}
