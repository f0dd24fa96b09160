//! What is alike in database servers: connecting, making the tables, and what can be wrong with both.

mod refusal;
mod tables;

use std::future::Future;
use std::time::Duration;

use crate::StoreError;

pub(crate) use refusal::{Meaning, Place};
pub(crate) use tables::{Schema, bring_up_to_date};

/// How long a server may take to answer a connection. One that is there answers within seconds also over bad lines.
const CONNECT_WAIT: Duration = Duration::from_secs(20);

/// Connects, but does not wait for ever.
pub(crate) async fn connect<C>(
    place: &Place,
    connecting: impl Future<Output = Result<C, sqlx::Error>>,
) -> Result<C, StoreError> {
    match tokio::time::timeout(CONNECT_WAIT, connecting).await {
        Ok(connected) => connected.map_err(|error| place.cannot_connect(error)),
        Err(_) => Err(StoreError::Silent {
            store: place.store.clone(),
            waited_s: CONNECT_WAIT.as_secs(),
        }),
    }
}
