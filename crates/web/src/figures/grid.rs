//! Who sends to whom.

use std::collections::BTreeMap;

use serde_json::Value;

use super::number;
use super::plot::{Picture, escaped, short, shown};

/// Nodes that a matrix can show legibly.
const NODES: usize = 100;

/// Messages of each link as a shade, and as a number where there is room.
pub(super) fn matrix(answer: &Value) -> Option<String> {
    let names: Vec<&str> = answer["nodes"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .take(NODES)
        .collect();
    let places: BTreeMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(place, name)| (*name, place))
        .collect();
    let links: Vec<(usize, usize, f64, &Value)> = answer["links"]
        .as_array()?
        .iter()
        .filter_map(|link| {
            let row = places.get(link["sender"].as_str()?)?;
            let column = places.get(link["receiver"].as_str()?)?;
            Some((*row, *column, number(&link["messages"]), link))
        })
        .collect();
    let most = links.iter().map(|link| link.2).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let cell = (560.0 / names.len() as f64).clamp(7.0, 56.0);
    let (left, top) = (130.0, 120.0);
    let side = cell * names.len() as f64;
    let mut picture = Picture::new(
        left + side + 20.0,
        top + side + 20.0,
        "Messages from sender to receiver",
        "A row for each sender, a column for each receiver; the darker, the more messages.",
    );
    let small = format!("font-size=\"{:.0}\"", (cell * 0.5).clamp(5.0, 11.0));
    for (place, name) in names.iter().enumerate() {
        let at = cell * place as f64 + cell / 2.0;
        picture.text(left - 6.0, top + at + 4.0, "end", &small, &short(name, 18));
        let turned = format!(
            "{small} transform=\"rotate(-60 {:.1} {:.1})\"",
            left + at,
            top - 6.0
        );
        picture.text(left + at, top - 6.0, "start", &turned, &short(name, 14));
    }
    for (row, column, messages, link) in links {
        let share = messages / most;
        let (x, y) = (left + cell * column as f64, top + cell * row as f64);
        let says = format!(
            "{} to {}: {messages} messages",
            link["sender"].as_str().unwrap_or_default(),
            link["receiver"].as_str().unwrap_or_default()
        );
        picture.bar((x + 0.5, y + 0.5), (cell - 1.0, cell - 1.0), &shade(share), &says);
        if cell >= 30.0 {
            let ink = if share > 0.55 {
                "fill=\"#fff\" font-size=\"10\""
            } else {
                "font-size=\"10\""
            };
            picture.text(
                x + cell / 2.0,
                y + cell / 2.0 + 4.0,
                "middle",
                ink,
                &escaped(&shown(messages)),
            );
        }
    }
    Some(picture.finish())
}

/// From near white to dark blue.
fn shade(share: f64) -> String {
    let share = share.clamp(0.0, 1.0);
    let mix = |light: f64, dark: f64| (light + (dark - light) * share).round();
    format!(
        "rgb({},{},{})",
        mix(235.0, 0.0),
        mix(243.0, 69.0),
        mix(250.0, 124.0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_is_a_sender_and_the_most_is_the_darkest() {
        let answer = json!({ "nodes": ["a", "b"], "links": [
            { "sender": "a", "receiver": "b", "messages": 10 },
            { "sender": "b", "receiver": "a", "messages": 1 },
        ]});
        let svg = matrix(&answer).unwrap();
        let dark = svg
            .lines()
            .find(|line| line.contains("a to b: 10 messages"))
            .unwrap();
        assert!(
            dark.contains("rgb(0,69,124)") && dark.contains("y=\"120.5\""),
            "{dark}"
        );
        assert_eq!(matrix(&json!({ "nodes": [], "links": [] })), None);
    }
}
