//! Votes of heights, each height as a whole.

use std::collections::HashMap;

use crate::facts_to_rows as to_rows;
use crate::names::Names;
use crate::rows::Value;
use crate::store::{HeightVotes, RunId};

use super::Driver;

/// Writes the votes of heights in place of those that were there: judged again, a height may have fewer of one signer, whose rows would stay.
pub(super) async fn replace<D: Driver>(
    driver: &mut D,
    run: RunId,
    names: &Names,
    heights: &[HeightVotes],
) -> Result<(), sqlx::Error> {
    // Of a height that comes twice, the last one counts.
    let mut last = HashMap::with_capacity(heights.len());
    for (place, height) in heights.iter().enumerate() {
        last.insert((&*height.chain, height.sequence), place);
    }
    let heights: Vec<&HeightVotes> = heights
        .iter()
        .enumerate()
        .filter(|(place, height)| last.get(&(&*height.chain, height.sequence)) == Some(place))
        .map(|(_, height)| height)
        .collect();
    for height in &heights {
        let values = [
            Value::int(run.0),
            Value::int(to_rows::stored(height.sequence)),
            Value::int(names.chain(&height.chain)),
        ];
        driver
            .execute(
                "DELETE FROM vote WHERE run_id = ? AND sequence = ? AND chain_id = ?",
                &values,
            )
            .await?;
    }
    let rows = heights
        .into_iter()
        .flat_map(|height| to_rows::vote_rows(run, names, &height.votes));
    driver.put(rows).await
}
