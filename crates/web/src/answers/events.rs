//! Events, and what proves them.

use bftap_store::rows::Cell;
use serde_json::{Value, json};

use super::reader::{Reader, cut, int, text};
use crate::Problem;

/// Which events.
pub(super) struct Wanted<'a> {
    pub(super) before: Option<i64>,
    pub(super) severity: Option<&'a str>,
    pub(super) suspicious: bool,
    /// One rule, or several with commas between.
    pub(super) rule: Option<&'a str>,
    /// It is named as signer or as sender.
    pub(super) node: Option<&'a str>,
    /// It is to blame.
    pub(super) blamed: Option<&'a str>,
}

/// Who is to blame for an event: where a signer is named it is, and the sender beside it may be honest and have only handed it over.
pub(super) const BLAMED: &str = "COALESCE(signer, sender)";

pub(super) async fn events(
    reader: &mut Reader<'_>,
    wanted: &Wanted<'_>,
    limit: u32,
) -> Result<Value, Problem> {
    let mut sql = String::new();
    let mut values: Vec<Cell> = Vec::new();
    if let Some(before) = wanted.before {
        sql.push_str(" AND event_number < ?");
        values.push(int(before));
    }
    if let Some(severity) = wanted.severity {
        sql.push_str(" AND severity = ?");
        values.push(text(severity));
    }
    if wanted.suspicious {
        sql.push_str(" AND suspicious = 1");
    }
    if let Some(rules) = wanted.rule {
        let rules: Vec<_> = rules.split(',').map(text).collect();
        sql.push_str(&format!(" AND rule IN (?{})", ", ?".repeat(rules.len() - 1)));
        values.extend(rules);
    }
    if let Some(node) = wanted.node {
        sql.push_str(" AND (signer = ? OR sender = ?)");
        values.extend([text(node), text(node)]);
    }
    if let Some(blamed) = wanted.blamed {
        sql.push_str(&format!(" AND {BLAMED} = ?"));
        values.push(text(blamed));
    }
    sql.push_str(&format!(" ORDER BY event_number DESC LIMIT {}", limit + 1));
    let mut rows = reader.table("event", &sql, &values).await?;
    let more = cut(&mut rows, limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| row["event_number"].clone());
    let rows: Vec<Value> = rows.into_iter().map(opened).collect();
    Ok(json!({ "events": rows, "more": more, "next": next }))
}

pub(super) async fn event(reader: &mut Reader<'_>, number: i64) -> Result<Value, Problem> {
    let rows = reader
        .table("event", "AND event_number = ?", &[int(number)])
        .await?;
    let event = rows
        .into_iter()
        .next()
        .map(opened)
        .ok_or_else(|| Problem::Missing(format!("there is no event {number}")))?;
    let run = reader.run().await?;
    let has_messages = event["payloads"]
        .as_array()
        .is_some_and(|payloads| !payloads.is_empty());
    let evidence = has_messages.then(|| {
        format!(
            "bftap evidence {number} --run {} -o evidence-{number} --store STORE --keylog KEYLOG",
            shell_word(run["name"].as_str().unwrap_or_default())
        )
    });
    Ok(json!({ "event": event, "evidence": evidence }))
}

/// Columns that hold JSON, as JSON.
pub(super) fn opened(mut event: Value) -> Value {
    for column in ["numbers", "payloads"] {
        if let Some(text) = event[column].as_str() {
            // What was cut to fit is no JSON any more: then it stays the text that it is.
            if let Ok(value) = serde_json::from_str(text) {
                event[column] = value;
            }
        }
    }
    event
}

/// A word that a shell takes as it is.
fn shell_word(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.:/@".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_get_out_of_its_quotes() {
        assert_eq!(shell_word("lab-1"), "lab-1");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("x'; rm -rf ~; '"), r"'x'\''; rm -rf ~; '\'''");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn numbers_are_opened_and_what_was_cut_stays_text() {
        let event = opened(json!({ "numbers": r#"{"a":1}"#, "payloads": r#"["0x1","#, "detail": "{}" }));
        assert_eq!(event["numbers"]["a"], 1);
        assert_eq!(event["payloads"], r#"["0x1","#);
        assert_eq!(event["detail"], "{}");
    }
}
