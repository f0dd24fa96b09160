//! Values of options: times, spans, nodes, dialects, names.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::str::FromStr;

use bftap_ibft_decode::dialects;
use bftap_model::{Address, CaptureTime, Nanos};
use bftap_pipeline::Pace;

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Span {
    pub(crate) const fn contains(self, number: u64) -> bool {
        self.first <= number && number <= self.last
    }

    pub(crate) const fn range(self) -> RangeInclusive<u64> {
        self.first..=self.last
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, u64::MAX) => write!(f, "{first}.."),
            (first, last) => write!(f, "{first}..{last}"),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str, open: u64| match digits {
            "" => Ok(open),
            digits => digits
                .parse()
                .map_err(|_| format!("`{digits}` is not a whole number")),
        };
        let (first, last) = match text.split_once("..") {
            Some(("", "")) => return Err("no number in it: use A..B, A.., ..B or A".to_owned()),
            Some((first, last)) => (
                number(first, 0)?,
                number(last.strip_prefix('=').unwrap_or(last), u64::MAX)?,
            ),
            None => {
                let only = text
                    .parse()
                    .map_err(|_| format!("`{text}` is neither A..B nor a whole number"))?;
                (only, only)
            }
        };
        if first > last {
            return Err(format!("{first} is above {last}"));
        }
        Ok(Self { first, last })
    }
}

/// A node as the user names it in a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeFilter {
    /// By where it is.
    Ip(IpAddr),
    /// By its validator address.
    Address(Address),
    /// By its name in the nodes file.
    Name(String),
}

impl FromStr for NodeFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => digits
                .parse()
                .map(Self::Address)
                .map_err(|error: bftap_model::ParseHexError| format!("not an address: {error}")),
            None if text.is_empty() => Err("a name, an address or an IP address belongs here".to_owned()),
            None => Ok(Self::Name(text.to_owned())),
        }
    }
}

/// A multiple of the capture's own speed.
pub(super) fn pace(text: &str) -> Result<Pace, String> {
    let pace = text.parse().ok().and_then(Pace::new);
    pace.ok_or_else(|| "a number from 0.001 to 1000000 belongs here; 1 is the capture's own speed".to_owned())
}

/// A number of worker threads.
pub(crate) fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse() {
        Ok(number) => NonZeroUsize::new(number).ok_or_else(|| {
            "at least one worker is needed; without --jobs there is one a processor".to_owned()
        }),
        Err(_) => Err("a whole number of workers belongs here".to_owned()),
    }
}

/// The name of a dialect, as its module spells it.
pub(crate) fn dialect(text: &str) -> Result<&'static str, String> {
    let names = || dialects().iter().map(|dialect| dialect.name());
    names().find(|name| *name == text).ok_or_else(|| {
        format!(
            "no such dialect; there are {}",
            names().collect::<Vec<_>>().join(", ")
        )
    })
}

/// The name of a run: shown in reports and used in commands, so it is short and printable.
pub(crate) fn run_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > MAX_RUN_NAME {
        return Err(format!("a name has 1 to {MAX_RUN_NAME} characters"));
    }
    if !text.chars().all(bftap_model::is_harmless) {
        return Err("a name has printable characters only".to_owned());
    }
    Ok(text.to_owned())
}

const MAX_RUN_NAME: usize = 128;

/// A span of time with its unit: `150us`, `20ms`, `1.5s`, `5min`, `1h`, `7d`.
pub(crate) fn span(text: &str) -> Result<Nanos, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (value, unit) = text.split_at(digits);
    let unit = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS,
        "min" => 60 * NANOS,
        "h" => 3600 * NANOS,
        "d" => 24 * 3600 * NANOS,
        _ => return Err("a number and a unit belong here: 150us, 20ms, 10s, 5min, 1h, 7d".to_owned()),
    };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    number(whole)
        .zip(nanos_of(fraction))
        .and_then(|(whole, fraction)| i64::try_from(whole * unit + fraction * unit / NANOS).ok())
        .map(Nanos)
        .ok_or_else(|| format!("`{value}` is not a number, or too large"))
}

/// A point in time: RFC 3339, the same without zone (then UTC) or without time of day, or seconds since 1970.
pub(crate) fn time(text: &str) -> Result<CaptureTime, String> {
    let nanos = if text.contains(':') || text.matches('-').count() >= 2 {
        date_time(text)
    } else {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        number(seconds)
            .zip(nanos_of(fraction))
            .map(|(seconds, nanos)| sign * (seconds * NANOS + nanos))
    };
    nanos
        .and_then(|nanos| i64::try_from(nanos).ok())
        .map(CaptureTime::from_nanos)
        .ok_or_else(|| {
            "not a time: write 2026-11-21T10:00:00Z (or with an offset, +09:00), or seconds since 1970"
                .to_owned()
        })
}

const NANOS: i128 = 1_000_000_000;

fn date_time(text: &str) -> Option<i128> {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "00:00"),
    };
    let [year, month, day] = numbers(date, '-')?;
    let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], zone(&time[at..])?),
        None => (time, 0),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers(clock, ':').or_else(|| {
        let [hour, minute] = numbers(clock, ':')?;
        Some([hour, minute, 0])
    })?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * NANOS + nanos_of(fraction)?)
}

/// Seconds east of Greenwich.
fn zone(text: &str) -> Option<i128> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = numbers(text.get(1..)?, ':')?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Exactly `N` unsigned numbers between separators.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i128; N]> {
    let numbers = text.split(separator).map(number).collect::<Option<Vec<_>>>()?;
    numbers.try_into().ok()
}

/// Digits only, and not so many that sums overflow.
fn number(digits: &str) -> Option<i128> {
    let fits = (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| digits.parse().ok())?
}

/// Nanoseconds of the digits behind a decimal point.
fn nanos_of(fraction: &str) -> Option<i128> {
    match fraction {
        "" => Some(0),
        digits if digits.len() <= 9 => Some(number(digits)? * 10i128.pow(9 - digits.len() as u32)),
        _ => None,
    }
}

fn days_of_month(year: i128, month: i128) -> i128 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, years counted from 1 March.
fn days_from_civil(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_include_both_ends() {
        let span = |text: &str| text.parse::<Span>().unwrap();
        assert_eq!(span("10..20"), Span { first: 10, last: 20 });
        assert_eq!(span("10..=20"), Span { first: 10, last: 20 });
        assert_eq!(
            span("10.."),
            Span {
                first: 10,
                last: u64::MAX
            }
        );
        assert_eq!(span("..20"), Span { first: 0, last: 20 });
        assert_eq!(span("7"), Span { first: 7, last: 7 });
        assert!(span("10..20").contains(10) && span("10..20").contains(20) && !span("10..20").contains(21));
        for text in [
            "",
            "..",
            "a..b",
            "1..x",
            "2..1",
            "-1",
            "1...2",
            "18446744073709551616",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_printed() {
        for nanos in [
            0,
            951_782_400_000_000_000,
            1_795_251_683_887_116_812,
            -1,
            i64::MAX,
        ] {
            let time_of_nanos = CaptureTime::from_nanos(nanos);
            assert_eq!(
                time(&time_of_nanos.to_string()),
                Ok(time_of_nanos),
                "{time_of_nanos}"
            );
        }
    }

    #[test]
    fn times_may_be_written_in_several_ways() {
        let expected = time("2026-11-21T10:00:00Z").unwrap();
        for text in [
            "2026-11-21T19:00:00+09:00",
            "2026-11-21 05:30:00-04:30",
            "2026-11-21t10:00:00.000z",
            "2026-11-21T10:00",
            "1795255200",
            "1795255200.0",
        ] {
            assert_eq!(time(text), Ok(expected), "{text}");
        }
        assert_eq!(
            time("2026-11-21").unwrap().to_string(),
            "2026-11-21T00:00:00.000000000Z"
        );
        assert_eq!(time("0.000000001").unwrap().nanos(), 1);
        assert_eq!(time("-1.5").unwrap().nanos(), -1_500_000_000);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-13-01",
            "2026-02-29",
            "2026-11-21T24:00:00Z",
            "2026-11-21T10:60",
            "10:00",
            "1.2.3",
            "2026-11-21T10:00:00+9",
            "2026-11-21T10:00:00.1234567890Z",
            "99999999999999999999",
            "9999-01-01",
            "2026-11-21T",
            "1e9",
            "ü",
            "2026-11-21Tü",
            "--5",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, nanos) in [
            ("0s", 0),
            ("150us", 150_000),
            ("150µs", 150_000),
            ("20ms", 20_000_000),
            ("1.5s", 1_500_000_000),
            ("5min", 300_000_000_000),
            ("1h", 3_600_000_000_000),
            ("7ns", 7),
            ("1d", 86_400_000_000_000),
        ] {
            assert_eq!(span(text), Ok(Nanos(nanos)), "{text}");
        }
        for text in ["", "10", "s", "1w", "-1s", "1.2.3s", "99999999999999h", "1 s"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nodes_are_told_apart_by_their_looks() {
        let filter = |text: &str| text.parse::<NodeFilter>();
        assert_eq!(filter("10.0.0.1"), Ok(NodeFilter::Ip([10, 0, 0, 1].into())));
        assert_eq!(filter("cn1"), Ok(NodeFilter::Name("cn1".to_owned())));
        assert_eq!(
            filter("0x7E3d7640ffc956d8f7024664c4506049ebd5954b"),
            Ok(NodeFilter::Address(
                "7e3d7640ffc956d8f7024664c4506049ebd5954b".parse().unwrap()
            ))
        );
        assert!(filter("0x12").is_err());
        assert!(filter("").is_err());
    }

    #[test]
    fn run_names_are_printable() {
        assert_eq!(run_name("night 1"), Ok("night 1".to_owned()));
        assert!(run_name("").is_err());
        assert!(run_name("a\x1b[2J").is_err());
        assert!(run_name(&"a".repeat(129)).is_err());
    }
}
