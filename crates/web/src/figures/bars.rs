//! Bars: copies, causes, phases, participation.

use serde_json::Value;

use super::number;
use super::plot::{COLOURS, Frame, Picture, Scale, duration, short, shown};

/// Histogram of copies, for each receiver beside each other.
pub(super) fn copies(answer: &Value) -> Option<String> {
    let receivers: Vec<(&str, Vec<(i64, f64)>)> = answer["receivers"]
        .as_array()?
        .iter()
        .map(|receiver| {
            let pairs = receiver["histogram"].as_array().into_iter().flatten();
            let pairs = pairs.map(|pair| (pair[0].as_i64().unwrap_or(0), number(&pair[1])));
            (receiver["receiver"].as_str().unwrap_or_default(), pairs.collect())
        })
        .collect();
    // All of them in one: beyond a few, bars side by side cannot be told apart.
    let mut sums: std::collections::BTreeMap<i64, f64> = std::collections::BTreeMap::new();
    for (copies, payloads) in receivers.iter().flat_map(|(_, histogram)| histogram) {
        *sums.entry(*copies).or_default() += payloads;
    }
    let last = *sums.keys().next_back()?;
    let (width, height) = (760.0, 320.0);
    let mut picture = Picture::new(
        width,
        height,
        "Copies of a payload",
        "How many payloads arrived at a receiver in exactly so many copies, of all receivers.",
    );
    let frame = Frame {
        left: 60.0,
        right: width - 20.0,
        top: 50.0,
        bottom: height - 44.0,
    };
    let y = Scale::from_zero(sums.values().copied().fold(0.0, f64::max));
    picture.axis_y(frame, y, "payloads");
    let each = (frame.right - frame.left) / last.max(1) as f64;
    let step = (last / 30 + 1).max(1);
    for (copies, payloads) in &sums {
        let x = frame.left + each * (copies - 1) as f64;
        let top = y.at(*payloads, frame.bottom, frame.top);
        let says = format!("{copies} copies: {payloads} payloads");
        picture.bar(
            (x + each * 0.1, top),
            (each * 0.8, frame.bottom - top),
            COLOURS[0],
            &says,
        );
        if copies % step == 0 || *copies == 1 {
            picture.text(
                x + each / 2.0,
                frame.bottom + 16.0,
                "middle",
                "",
                &copies.to_string(),
            );
        }
    }
    picture.text(frame.right, frame.bottom + 32.0, "end", "fill=\"#444\"", "copies");
    Some(picture.finish())
}

/// What messages were: useful, or of no use by which cause.
pub(super) fn redundancy(summary: &Value, redundancy: &Value) -> Option<String> {
    let causes = ["echo_signer", "resent", "echo_source", "crossing", "regossip"];
    let kinds = summary["totals"]["by_kind"].as_array()?;
    if kinds.is_empty() {
        return None;
    }
    let (width, height) = (760.0, 90.0 + 44.0 * kinds.len() as f64);
    let mut picture = Picture::new(
        width,
        height,
        "What messages brought",
        "Of the messages of each kind: those that brought their receiver something new, and the others by cause.",
    );
    let names = ["useful"].into_iter().chain(causes);
    let items: Vec<_> = names
        .enumerate()
        .map(|(place, name)| {
            (
                name.replace('_', " "),
                COLOURS[place].to_owned(),
                "none".to_owned(),
            )
        })
        .collect();
    let top = picture.legend((100.0, 40.0), width - 20.0, &items);
    let x = Scale::from_zero(
        kinds
            .iter()
            .map(|kind| number(&kind["messages"]))
            .fold(0.0, f64::max),
    );
    for (row, kind) in kinds.iter().enumerate() {
        let y = top + 44.0 * row as f64;
        let name = kind["kind"].as_str().unwrap_or_default();
        picture.text(92.0, y + 18.0, "end", "", name);
        let wasted = |cause: &str| -> f64 {
            let rows = redundancy["waste"].as_array().into_iter().flatten();
            rows.filter(|row| row["kind"] == name && row["cause"] == cause)
                .map(|row| number(&row["copies"]))
                .fold(0.0, |sum, copies| sum + copies)
        };
        let parts = std::iter::once(("useful", number(&kind["useful"])))
            .chain(causes.iter().map(|cause| (*cause, wasted(cause))));
        let mut left = 100.0;
        for (place, (part, messages)) in parts.enumerate() {
            let length = x.at(messages, 0.0, width - 190.0);
            let says = format!("{name}, {}: {messages}", part.replace('_', " "));
            picture.bar((left, y), (length, 28.0), COLOURS[place], &says);
            left += length;
        }
        picture.text(
            left + 6.0,
            y + 18.0,
            "start",
            "",
            &shown(number(&kind["messages"])),
        );
    }
    Some(picture.finish())
}

/// How long phases took.
pub(super) fn phases(summary: &Value) -> Option<String> {
    let phases = summary["phases"].as_array()?;
    if phases.is_empty() {
        return None;
    }
    let (width, height) = (760.0, 104.0 + 52.0 * phases.len() as f64);
    let mut picture = Picture::new(
        width,
        height,
        "Where the time went",
        "Median, 95 % and 99 % of how long each phase of a round took; each light line is ten times the one before.",
    );
    let marks = [
        ("p50_ns", "median", 0),
        ("p95_ns", "95 %", 4),
        ("p99_ns", "99 %", 1),
    ];
    let items: Vec<_> = marks
        .iter()
        .map(|(_, name, colour)| ((*name).to_owned(), COLOURS[*colour].to_owned(), "none".to_owned()))
        .collect();
    let top = picture.legend((190.0, 40.0), width - 20.0, &items);
    // Block times and phases differ by a thousand, so a step of the scale is ten times the one before.
    let all = phases
        .iter()
        .flat_map(|phase| marks.map(|(key, ..)| number(&phase[key])));
    let (least, most) = all
        .filter(|nanos| *nanos >= 1.0)
        .fold((f64::INFINITY, 1.0_f64), |(least, most), nanos| {
            (least.min(nanos), most.max(nanos))
        });
    let (from, to) = (least.min(most).log10().floor(), most.log10().ceil());
    let to = to.max(from + 1.0);
    let x = Scale { from, to };
    let (left, right, bottom) = (190.0, 610.0, top + 52.0 * phases.len() as f64);
    for step in 0..=(to - from) as i32 {
        let at = x.at(from + f64::from(step), left, right);
        picture.line((at, top - 6.0), (at, bottom), "stroke=\"#ddd\"");
        let tick = duration(10_f64.powf(from + f64::from(step)));
        picture.text(at, bottom + 14.0, "middle", "fill=\"#444\"", &tick);
    }
    for (row, phase) in phases.iter().enumerate() {
        let y = top + 52.0 * row as f64;
        let name = phase["phase"].as_str().unwrap_or_default().replace('_', " ");
        picture.text(182.0, y + 18.0, "end", "", &name);
        picture.text(
            182.0,
            y + 32.0,
            "end",
            "fill=\"#444\"",
            &format!(
                "{} {}",
                phase["rounds"],
                if phase["rounds"] == 1 { "round" } else { "rounds" }
            ),
        );
        for (place, (key, name, colour)) in marks.iter().enumerate() {
            let value = number(&phase[*key]);
            let length = x.at(value.max(1.0).log10().max(from), left, right) - left;
            let at = y + 13.0 * place as f64;
            picture.bar(
                (190.0, at),
                (length, 10.0),
                COLOURS[*colour],
                &format!("{name}: {}", duration(value)),
            );
            picture.text(
                196.0 + length,
                at + 9.0,
                "start",
                "font-size=\"10\"",
                &duration(value),
            );
        }
    }
    Some(picture.finish())
}

/// Which part of the rounds each validator committed, and what is missing.
pub(super) fn participation(nodes: &Value) -> Option<String> {
    let rows: Vec<(&str, &Value)> = nodes["nodes"]
        .as_array()?
        .iter()
        .flat_map(|node| {
            let label = node["label"].as_str().unwrap_or_default();
            let all = node["participation"].as_array().into_iter().flatten();
            all.map(move |row| (label, row))
        })
        .filter(|(_, row)| number(&row["rounds"]) > 0.0)
        .take(100)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let (width, height) = (760.0, 80.0 + 22.0 * rows.len() as f64);
    let mut picture = Picture::new(
        width,
        height,
        "Who took part",
        "Of the decided rounds of each validator: those with its commit, those where it is missing, those of which nothing is known, and \
         those that were decided without it before it was due, or that it kept back.",
    );
    let parts = [
        ("commits", "commit seen", 2),
        ("missing", "missing", 1),
        ("unknown", "not known", 7),
        ("", "decided without", 4),
    ];
    let items: Vec<_> = parts
        .iter()
        .map(|(_, name, colour)| ((*name).to_owned(), COLOURS[*colour].to_owned(), "none".to_owned()))
        .collect();
    let top = picture.legend((150.0, 40.0), width - 20.0, &items);
    for (place, (label, row)) in rows.iter().enumerate() {
        let y = top + 22.0 * place as f64;
        picture.text(142.0, y + 12.0, "end", "", &short(label, 20));
        let x = Scale {
            from: 0.0,
            to: number(&row["rounds"]),
        };
        let mut left = 150.0;
        let told: f64 = parts.iter().map(|(key, ..)| number(&row[*key])).sum();
        for (key, name, colour) in parts {
            // The rest.
            let rounds = if key.is_empty() {
                (x.to - told).max(0.0)
            } else {
                number(&row[key])
            };
            let length = x.at(rounds, 0.0, 500.0).min(650.0 - left);
            picture.bar(
                (left, y),
                (length, 16.0),
                COLOURS[colour],
                &format!("{label}, {name}: {rounds}"),
            );
            left += length.max(0.0);
        }
        let says = format!("{} of {}", row["commits"], row["rounds"]);
        picture.text(658.0, y + 12.0, "start", "", &says);
    }
    Some(picture.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bars_say_what_they_show_and_nothing_is_no_figure() {
        let answer = json!({ "receivers": [
            { "receiver": "cn1", "histogram": [[1, 4], [3, 2]] },
            { "receiver": "cn2", "histogram": [[3, 5]] },
        ]});
        let svg = copies(&answer).unwrap();
        assert!(svg.contains("<title>3 copies: 7 payloads</title>"), "{svg}");
        assert_eq!(copies(&json!({ "receivers": [] })), None);

        let summary = json!({
            "totals": { "by_kind": [{ "kind": "commit", "messages": 10, "useful": 6 }] },
            "phases": [{ "phase": "block_time", "rounds": 3, "p50_ns": 1e9, "p95_ns": 2e9, "p99_ns": 2e9 }],
        });
        let waste = json!({ "waste": [{ "kind": "commit", "cause": "regossip", "copies": 4 }] });
        let svg = redundancy(&summary, &waste).unwrap();
        assert!(
            svg.contains("commit, useful: 6") && svg.contains("commit, regossip: 4"),
            "{svg}"
        );
        let svg = phases(&summary).unwrap();
        assert!(svg.contains("median: 1 s") && svg.contains("3 rounds"), "{svg}");

        let nodes = json!({ "nodes": [{ "label": "cn1", "participation": [
            { "rounds": 10, "commits": 5, "missing": 1, "unknown": 1 },
        ]}]});
        let svg = participation(&nodes).unwrap();
        assert!(
            svg.contains("cn1, commit seen: 5")
                && svg.contains("5 of 10")
                && svg.contains("cn1, decided without: 3"),
            "{svg}"
        );
        assert_eq!(participation(&json!({ "nodes": [] })), None);
    }
}
