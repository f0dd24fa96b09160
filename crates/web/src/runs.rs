//! How the runs stand, asked for no more often than needed, however many watch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::Problem;
use crate::answers::RunState;
use crate::pool::Pool;

/// How old an answer may be: live runs are written four times a second.
const AGE: Duration = Duration::from_millis(150);

/// The latest answer.
#[derive(Debug)]
pub(crate) struct Runs {
    pool: Arc<Pool>,
    known: Mutex<Option<(Instant, Arc<[RunState]>)>>,
}

impl Runs {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            known: Mutex::default(),
        }
    }

    /// How they stand now; of all who ask at once one goes to the store.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn now(&self) -> Result<Arc<[RunState]>, Problem> {
        let mut known = self.known.lock().await;
        if let Some((at, runs)) = &*known
            && at.elapsed() < AGE
        {
            return Ok(Arc::clone(runs));
        }
        let runs: Arc<[RunState]> = self.pool.states().await?.into();
        *known = Some((Instant::now(), Arc::clone(&runs)));
        Ok(runs)
    }
}

/// The run that is meant: the latest of those whose rows count, or the one of that id.
pub(crate) fn find(runs: &[RunState], run: Option<i64>) -> Option<&RunState> {
    let mut shown = runs.iter().filter(|run| run.is_shown());
    match run {
        Some(id) => shown.find(|run| run.run_id == id),
        None => shown.next(),
    }
}
