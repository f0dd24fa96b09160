//! Messages by height and over time: the original tool's figures.

use serde_json::Value;

use super::number;
use super::plot::{COLOURS, DASHES, Frame, Picture, Scale, short};

/// Colour and dashes of the line of what would do.
const IDEAL: (&str, &str) = ("#333", "1 3");

const KINDS: [&str; 4] = ["preprepare", "prepare", "commit", "roundchange"];

/// The original's figure 3: messages that each node got at each height, a part for each kind, with what would do.
pub(super) fn by_sequence(nodes: &[(String, Value)], validators: usize) -> Option<String> {
    let points = |traffic: &Value, kind: &str| -> Vec<(f64, f64)> {
        let all = traffic["points"].as_array().into_iter().flatten();
        all.filter(|point| point["sequence"].is_i64())
            .map(|point| (number(&point["sequence"]), number(&point[kind])))
            .collect()
    };
    let kinds: Vec<&str> = KINDS
        .into_iter()
        .filter(|kind| {
            nodes
                .iter()
                .any(|(_, traffic)| points(traffic, kind).iter().any(|(_, messages)| *messages > 0.0))
        })
        .collect();
    if kinds.is_empty() {
        return None;
    }
    let (width, each) = (760.0, 150.0);
    let height = 70.0 + each * kinds.len() as f64;
    let mut picture = Picture::new(
        width,
        height,
        "Messages per node by sequence",
        "Messages that each node got at each height, by kind; the dotted line is one from each other validator.",
    );
    let ideal = |kind: &str| match kind {
        "prepare" | "commit" if validators > 1 => Some(validators as f64 - 1.0),
        _ => None,
    };
    let mut items: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(place, (name, _))| (short(name, 24), colour(place), dash(place)))
        .collect();
    if kinds.iter().any(|kind| ideal(kind).is_some()) {
        let line = "one from each other validator";
        items.push((line.to_owned(), IDEAL.0.to_owned(), IDEAL.1.to_owned()));
    }
    let top = picture.legend((60.0, 40.0), width - 20.0, &items);
    let all = |kind: &str| -> Vec<(f64, f64)> {
        nodes
            .iter()
            .flat_map(|(_, traffic)| points(traffic, kind))
            .collect()
    };
    let places: Vec<f64> = kinds.iter().flat_map(|kind| all(kind)).map(|(x, _)| x).collect();
    let x = Scale {
        from: places.iter().copied().fold(f64::INFINITY, f64::min),
        to: places.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    let room = (height - top - 40.0) / kinds.len() as f64;
    for (place, kind) in kinds.iter().enumerate() {
        let frame = Frame {
            left: 60.0,
            right: width - 20.0,
            top: top + room * place as f64 + 18.0,
            bottom: top + room * (place + 1) as f64 - 8.0,
        };
        let ideal = ideal(kind);
        let most = all(kind).iter().map(|(_, y)| *y).chain(ideal).fold(0.0, f64::max);
        let y = Scale::from_zero(most);
        picture.axis_y(frame, y, &format!("{kind}, messages"));
        if let Some(ideal) = ideal {
            let at = y.at(ideal, frame.bottom, frame.top);
            picture.line(
                (frame.left, at),
                (frame.right, at),
                &format!("stroke=\"{}\" stroke-dasharray=\"{}\"", IDEAL.0, IDEAL.1),
            );
        }
        for (node, (_, traffic)) in nodes.iter().enumerate() {
            let line: Vec<_> = points(traffic, kind)
                .into_iter()
                .map(|(sequence, messages)| {
                    (
                        x.at(sequence, frame.left, frame.right),
                        y.at(messages, frame.bottom, frame.top),
                    )
                })
                .collect();
            if !line.is_empty() {
                picture.path(&line, &colour(node), &dash(node));
            }
        }
        if place + 1 == kinds.len() {
            picture.axis_x(frame, x, &|tick| format!("{tick:.0}"), "sequence");
        }
    }
    Some(picture.finish())
}

/// The original's figure 4: messages of all nodes over time or heights, a line for each kind.
pub(super) fn over_time(traffic: &Value) -> Option<String> {
    let points = traffic["points"].as_array()?;
    if points.is_empty() {
        return None;
    }
    let by_minute = traffic["by"] == "minute";
    let key = if by_minute { "minute_ns" } else { "sequence" };
    let start = number(&points[0][key]);
    let at = |point: &Value| {
        if by_minute {
            (number(&point[key]) - start) / 60e9
        } else {
            number(&point[key])
        }
    };
    let (width, height) = (760.0, 340.0);
    let title = if by_minute {
        "Messages per minute by kind"
    } else {
        "Messages per sequence by kind"
    };
    let mut picture = Picture::new(
        width,
        height,
        title,
        "Messages that all nodes got together, by kind.",
    );
    let items: Vec<_> = KINDS
        .iter()
        .enumerate()
        .map(|(place, kind)| ((*kind).to_owned(), colour(place), dash(place)))
        .collect();
    let top = picture.legend((60.0, 40.0), width - 20.0, &items);
    let frame = Frame {
        left: 60.0,
        right: width - 20.0,
        top: top + 16.0,
        bottom: height - 44.0,
    };
    let most = points
        .iter()
        .flat_map(|point| KINDS.iter().map(|kind| number(&point[*kind])))
        .fold(0.0, f64::max);
    let y = Scale::from_zero(most);
    let x = Scale {
        from: at(&points[0]),
        to: points.last().map_or(1.0, at),
    };
    picture.axis_y(frame, y, "messages");
    let unit = if by_minute { "minutes" } else { "sequence" };
    picture.axis_x(frame, x, &|tick| super::plot::shown(tick), unit);
    for (place, kind) in KINDS.iter().enumerate() {
        let line: Vec<_> = points
            .iter()
            .map(|point| {
                (
                    x.at(at(point), frame.left, frame.right),
                    y.at(number(&point[*kind]), frame.bottom, frame.top),
                )
            })
            .collect();
        picture.path(&line, &colour(place), &dash(place));
    }
    Some(picture.finish())
}

fn colour(place: usize) -> String {
    COLOURS[place % COLOURS.len()].to_owned()
}

fn dash(place: usize) -> String {
    DASHES[(place + place / COLOURS.len()) % DASHES.len()].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_has_its_part_and_names_stay_text() {
        let traffic = json!({ "by": "sequence", "points": [
            { "sequence": 1, "preprepare": 1, "prepare": 12, "commit": 10, "roundchange": 0 },
            { "sequence": 2, "preprepare": 1, "prepare": 18, "commit": 11, "roundchange": 0 },
        ]});
        let svg = by_sequence(&[("<cn1>".to_owned(), traffic.clone())], 7).unwrap();
        assert_eq!(svg.matches("<path").count(), 3, "roundchange has nothing to show");
        assert!(
            svg.contains(">one from each other validator<"),
            "what the dotted line is"
        );
        assert!(svg.contains("&lt;cn1&gt;") && !svg.contains("<cn1>"));
        let svg = over_time(&traffic).unwrap();
        assert_eq!(svg.matches("<path").count(), 4);
        // The highest point is at the top of the frame or below, the lowest at its bottom.
        assert!(svg.contains("M60.0"), "the first point stands at the left edge");
        assert_eq!(over_time(&json!({ "by": "sequence", "points": [] })), None);
        assert_eq!(by_sequence(&[], 7), None);
    }
}
