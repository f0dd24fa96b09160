//! A picture: scales, axes, text that stays text.

use std::fmt::Write as _;

/// Colours that stay apart for colour-blind readers and in grey (Okabe and Ito, *Color Universal Design*, 2008).
pub(super) const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999",
];

/// Dashes, so that lines differ without colour, too.
pub(super) const DASHES: [&str; 4] = ["none", "6 3", "2 2", "8 2 2 2"];

/// A picture that is being drawn; lengths are in points of 1/96 inch.
pub(super) struct Picture {
    svg: String,
}

impl Picture {
    pub(super) fn new(width: f64, height: f64, title: &str, describes: &str) -> Self {
        let mut svg = String::new();
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" aria-labelledby=\"title describes\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11\">\n\
             <title id=\"title\">{}</title>\n<desc id=\"describes\">{}</desc>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n",
            escaped(title),
            escaped(describes)
        );
        let mut picture = Self { svg };
        picture.text(
            12.0,
            20.0,
            "start",
            "font-size=\"14\" font-weight=\"bold\"",
            title,
        );
        picture
    }

    /// Text at a place; `anchor` is `start`, `middle` or `end`.
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: &str, more: &str, text: &str) {
        let _ = writeln!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{}</text>",
            escaped(text)
        );
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let _ = writeln!(
            self.svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A box, with what it shows as its title.
    pub(super) fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str, says: &str) {
        let _ = writeln!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\"><title>{}</title></rect>",
            width.max(0.0),
            height.max(0.0),
            escaped(says)
        );
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], colour: &str, dash: &str) {
        let mut path = String::new();
        for (place, (x, y)) in points.iter().enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if place == 0 { "M" } else { "L" });
        }
        let _ = writeln!(
            self.svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\" stroke-dasharray=\"{dash}\"/>"
        );
    }

    /// Names of colours, one behind the other; gives the place below.
    pub(super) fn legend(
        &mut self,
        (left, y): (f64, f64),
        right: f64,
        items: &[(String, String, String)],
    ) -> f64 {
        let (mut x, mut y) = (left, y);
        for (name, colour, dash) in items {
            let width = 34.0 + 6.2 * name.chars().count() as f64;
            if x + width > right && x > left {
                x = left;
                y += 16.0;
            }
            let style = format!("stroke=\"{colour}\" stroke-width=\"3\" stroke-dasharray=\"{dash}\"");
            self.line((x, y - 4.0), (x + 20.0, y - 4.0), &style);
            self.text(x + 25.0, y, "start", "", name);
            x += width;
        }
        y + 16.0
    }

    /// The vertical axis on the left, with light lines across.
    pub(super) fn axis_y(&mut self, frame: Frame, scale: Scale, unit: &str) {
        for tick in ticks(scale.from, scale.to, 5) {
            let y = scale.at(tick, frame.bottom, frame.top);
            self.line((frame.left, y), (frame.right, y), "stroke=\"#ddd\"");
            self.text(frame.left - 6.0, y + 4.0, "end", "", &shown(tick));
        }
        self.line(
            (frame.left, frame.bottom),
            (frame.right, frame.bottom),
            "stroke=\"#333\"",
        );
        self.text(frame.left, frame.top - 6.0, "start", "fill=\"#444\"", unit);
    }

    /// Marks below the horizontal axis.
    pub(super) fn axis_x(&mut self, frame: Frame, scale: Scale, says: &dyn Fn(f64) -> String, unit: &str) {
        for tick in ticks(scale.from, scale.to, 6) {
            let x = scale.at(tick, frame.left, frame.right);
            self.line((x, frame.bottom), (x, frame.bottom + 4.0), "stroke=\"#333\"");
            self.text(x, frame.bottom + 16.0, "middle", "", &says(tick));
        }
        self.text(frame.right, frame.bottom + 30.0, "end", "fill=\"#444\"", unit);
    }

    pub(super) fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

/// Where a plot is in its picture.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

/// From values to places.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Scale {
    /// From zero to a little above the most.
    pub(super) fn from_zero(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = ticks(0.0, most, 5).get(1).copied().unwrap_or(most);
        Self {
            from: 0.0,
            to: (most / step).ceil() * step,
        }
    }

    pub(super) fn at(self, value: f64, low: f64, high: f64) -> f64 {
        let width = self.to - self.from;
        let share = if width > 0.0 {
            (value - self.from) / width
        } else {
            0.5
        };
        low + share * (high - low)
    }
}

/// About so many round numbers between two.
pub(super) fn ticks(from: f64, to: f64, about: usize) -> Vec<f64> {
    let span = to - from;
    if !(span > 0.0 && span.is_finite()) {
        return vec![from];
    }
    let raw = span / about as f64;
    let magnitude = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * magnitude >= raw);
    let step = factor.unwrap_or(10.0) * magnitude;
    let first = (from / step).ceil();
    let last = (to / step + 1e-9).floor();
    let count = (last - first).clamp(0.0, 50.0) as usize;
    (0..=count).map(|n| (first + n as f64) * step).collect()
}

/// A number as short as it can be.
pub(super) fn shown(value: f64) -> String {
    let plain = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        large if large >= 1e6 => format!("{}M", plain(value / 1e6)),
        large if large >= 1e4 => format!("{}k", plain(value / 1e3)),
        _ => plain(value),
    }
}

/// Nanoseconds with the unit that fits.
pub(super) fn duration(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        large if large >= 1e9 => (ns / 1e9, "s"),
        large if large >= 1e6 => (ns / 1e6, "ms"),
        large if large >= 1e3 => (ns / 1e3, "µs"),
        _ => (ns, "ns"),
    };
    format!("{} {unit}", shown(value))
}

/// Text that is no markup; characters that XML does not know are replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            control if control.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// A label that has this many characters at most.
pub(super) fn short(label: &str, most: usize) -> String {
    if label.chars().count() <= most {
        return label.to_owned();
    }
    let kept: String = label.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few_whatever_the_span() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(3.0, 3.0, 5), [3.0]);
        assert_eq!(ticks(0.0, f64::NAN, 5), [0.0]);
        for span in [1e-9, 0.3, 7.0, 123_456.0, 1e18] {
            let all = ticks(0.0, span, 5);
            assert!((2..=12).contains(&all.len()), "{span}: {all:?}");
        }
        assert!(Scale::from_zero(0.0).to > 0.0);
        assert!(Scale::from_zero(97.0).to >= 97.0);
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<a b='\"&\u{1}>"), "&lt;a b=&#39;&quot;&amp;\u{fffd}&gt;");
        assert_eq!(short("0x0123456789", 6), "0x012…");
        assert_eq!(duration(1_500_000.0), "1.5 ms");
        assert_eq!(shown(12_500.0), "12.5k");
    }
}
