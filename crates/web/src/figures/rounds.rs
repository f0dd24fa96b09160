//! Rounds as a timeline with their phases.

use serde_json::Value;

use super::plot::{COLOURS, Frame, Picture, Scale, duration, short};

/// The newest rounds, each from its preprepare on.
pub(super) fn timeline(answer: &Value) -> Option<String> {
    let rounds = answer["rounds"].as_array()?;
    if rounds.is_empty() {
        return None;
    }
    let since = |round: &Value, key: &str| -> Option<f64> {
        let from = round["preprepare_ns"].as_i64()?;
        Some((round[key].as_i64()? - from).max(0) as f64)
    };
    let most = rounds
        .iter()
        .flat_map(|round| [since(round, "prepared_ns"), since(round, "committed_ns")])
        .flatten()
        .fold(0.0, f64::max);
    let (width, row) = (760.0, 16.0);
    let height = 110.0 + row * rounds.len() as f64;
    let mut picture = Picture::new(
        width,
        height,
        "Rounds, from their preprepare on",
        "The newest rounds: from the preprepare until the median node was prepared, and from there until it was committed.",
    );
    let items = [("until prepared", 4), ("until committed", 0)]
        .map(|(name, colour)| (name.to_owned(), COLOURS[colour].to_owned(), "none".to_owned()));
    let top = picture.legend((190.0, 40.0), width - 20.0, &items);
    let frame = Frame {
        left: 190.0,
        right: width - 120.0,
        top,
        bottom: height - 44.0,
    };
    let x = Scale::from_zero(most);
    picture.axis_x(frame, x, &duration, "after the preprepare");
    for (place, round) in rounds.iter().enumerate() {
        let y = top + row * place as f64;
        let proposer = round["proposer"].as_str().unwrap_or("?");
        let says = format!("{}/{} {}", round["sequence"], round["round"], short(proposer, 16));
        picture.text(frame.left - 6.0, y + 11.0, "end", "", &says);
        let prepared = since(round, "prepared_ns");
        let committed = since(round, "committed_ns");
        let at = |ns: f64| x.at(ns, frame.left, frame.right);
        if let Some(prepared) = prepared {
            let says = format!("prepared after {}", duration(prepared));
            picture.bar(
                (frame.left, y + 2.0),
                (at(prepared) - frame.left, row - 5.0),
                COLOURS[4],
                &says,
            );
        }
        if let Some(committed) = committed {
            let from = prepared.unwrap_or(0.0).min(committed);
            let says = format!("committed after {}", duration(committed));
            picture.bar(
                (at(from), y + 2.0),
                (at(committed) - at(from), row - 5.0),
                COLOURS[0],
                &says,
            );
        }
        let outcome = round["outcome"].as_str().unwrap_or_default();
        let cause = round["cause"]
            .as_str()
            .map(|cause| format!(": {}", cause.replace('_', " ")));
        picture.text(
            frame.right + 6.0,
            y + 11.0,
            "start",
            "",
            &short(&format!("{outcome}{}", cause.unwrap_or_default()), 20),
        );
    }
    Some(picture.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn phases_stand_one_behind_the_other() {
        let answer = json!({ "rounds": [
            { "sequence": 2, "round": 1, "proposer": "cn<1>", "preprepare_ns": 100, "prepared_ns": 1100, "committed_ns": 2100, "outcome": "decided" },
            { "sequence": 2, "round": 0, "proposer": null, "preprepare_ns": null, "prepared_ns": null, "committed_ns": null, "outcome": "changed", "cause": "no_preprepare" },
        ]});
        let svg = timeline(&answer).unwrap();
        assert!(
            svg.contains("prepared after 1 µs") && svg.contains("committed after 2 µs"),
            "{svg}"
        );
        assert!(
            svg.contains("cn&lt;1&gt;") && svg.contains("changed: no preprep"),
            "{svg}"
        );
        assert_eq!(timeline(&json!({ "rounds": [] })), None);
    }
}
