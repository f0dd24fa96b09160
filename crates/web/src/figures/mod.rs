//! Figures of a stored run as SVG, fit for print: white ground, lines told apart by dashes as well as colours, no fonts of their own.
//!
//! They are drawn from the same answers as the page ([`crate::answer`]), each by a pure function of that answer.

mod bars;
mod grid;
mod lines;
mod plot;
mod rounds;

use bftap_store::Store;
use serde_json::Value;

use crate::{Ask, Problem, answer};

/// A figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What its file is called, without `.svg`.
    pub name: &'static str,
    /// The file.
    pub svg: String,
}

/// Most receivers that have a line of their own.
const LINES: usize = 8;

/// All figures of a run that have something to show.
///
/// # Errors
/// There is no such run, or the store cannot be read.
pub async fn figures(store: &mut dyn Store, run: i64) -> Result<Vec<Figure>, Problem> {
    let mut drawn = Vec::new();
    let mut keep = |name, svg: Option<String>| drawn.extend(svg.map(|svg| Figure { name, svg }));
    let of = async |store: &mut dyn Store, view: &str, query: Option<&str>| {
        answer(store, &Ask::parse(&format!("runs/{run}/{view}"), query)?).await
    };
    let nodes = of(store, "nodes", None).await?;
    let traffic = of(store, "traffic", None).await?;
    keep("messages-over-time", lines::over_time(&traffic));
    let mut by_node = Vec::new();
    for label in seen_best(&nodes) {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("node", &label);
        // The newest heights, one by one: a point that is a minute says nothing of a height.
        if let Some(last) = traffic["last"].as_i64().filter(|_| traffic["by"] == "minute") {
            query.append_pair("from", &(last - 119).max(0).to_string());
        }
        let traffic = of(store, "traffic", Some(&query.finish())).await?;
        by_node.push((label, traffic));
    }
    let validators = nodes["nodes"].as_array().map_or(0, |nodes| {
        nodes.iter().filter(|node| node["validator"] == true).count()
    });
    keep("messages-by-sequence", lines::by_sequence(&by_node, validators));
    let copies = of(store, "copies", None).await?;
    keep("copies", bars::copies(&copies));
    let matrix = of(store, "matrix", None).await?;
    keep("matrix", grid::matrix(&matrix));
    let redundancy = of(store, "redundancy", None).await?;
    let summary = of(store, "summary", None).await?;
    keep("redundancy", bars::redundancy(&summary, &redundancy));
    keep("phases", bars::phases(&summary));
    let newest = of(store, "rounds", Some("limit=40")).await?;
    keep("rounds", rounds::timeline(&newest));
    keep("participation", bars::participation(&nodes));
    Ok(drawn)
}

/// Receivers of which most was seen: those with full coverage, or if there are none, those with most messages.
fn seen_best(nodes: &Value) -> Vec<String> {
    let mut receivers: Vec<(bool, i64, String)> = nodes["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|node| node["messages"].as_i64().unwrap_or(0) > 0)
        .map(|node| {
            let full = node["coverage"] == "full";
            let messages = node["messages"].as_i64().unwrap_or(0);
            (
                full,
                messages,
                node["label"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    let any_full = receivers.iter().any(|(full, ..)| *full);
    receivers.retain(|(full, ..)| *full || !any_full);
    receivers.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.2.cmp(&b.2)));
    receivers.truncate(LINES);
    let mut labels: Vec<String> = receivers.into_iter().map(|(.., label)| label).collect();
    labels.sort();
    labels
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}
