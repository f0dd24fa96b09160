//! Rows that are no more because chains or nodes have other names now.

use crate::facts_to_rows as to_rows;
use crate::rows::Value;
use crate::store::{Replaced, RunId};

use super::Driver;

/// Tables that have rows of a height.
const OF_HEIGHTS: [&str; 5] = ["message_count", "delivery_row", "round", "node_round", "vote"];

/// Removes all rows of these heights and minutes.
pub(super) async fn remove<D: Driver>(
    driver: &mut D,
    run: RunId,
    replaced: &Replaced,
) -> Result<(), sqlx::Error> {
    for (chain, sequence) in &replaced.heights {
        let chain = to_rows::key_text(chain);
        for table in OF_HEIGHTS {
            let sql = format!(
                "DELETE FROM {table} WHERE run_id = ? AND sequence = ? \
                 AND chain_id = (SELECT c.chain_id FROM chain AS c WHERE c.run_id = ? AND c.chain = ?)"
            );
            let values = [
                Value::int(run.0),
                Value::int(to_rows::stored(*sequence)),
                Value::int(run.0),
                Value::text(&chain),
            ];
            driver.execute(&sql, &values).await?;
        }
    }
    for minute in &replaced.minutes {
        let values = [Value::int(run.0), Value::int(minute.nanos())];
        driver
            .execute(
                "DELETE FROM link_count WHERE run_id = ? AND minute_ns = ?",
                &values,
            )
            .await?;
    }
    Ok(())
}
