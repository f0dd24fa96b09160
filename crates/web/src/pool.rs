//! A few connections to the store, only for reading: each on a thread of its own, so that a long answer holds up neither others nor those
//! who only ask for the page.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bftap_store::{Access, Store, StoreUrl, open};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::answers::{RunState, answer, states};
use crate::{Ask, Problem};

/// Connections at a time: a page asks for two or three things at once.
const CONNECTIONS: usize = 4;

/// Questions that wait for a connection; more are told to come again.
const WAITING: usize = 512;

/// How long the store may take for one.
const PATIENCE: Duration = Duration::from_secs(30);

/// What sets two runs, by their ids, side by side: the JSON of `docs/diff.md`.
pub type Compare = Arc<dyn for<'s> Fn(&'s mut dyn Store, i64, i64) -> Comparing<'s> + Send + Sync>;

/// A comparison that is being made.
pub type Comparing<'s> = Pin<Box<dyn Future<Output = Result<Value, Problem>> + 's>>;

/// Threads with a connection each.
pub(crate) struct Pool {
    work: Sender<Work>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}

enum Work {
    Answer(Ask, oneshot::Sender<Result<Value, Problem>>),
    States(oneshot::Sender<Result<Vec<RunState>, Problem>>),
}

impl Pool {
    /// Starts the threads; they end when this is dropped. Connections are opened when they are needed.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(url: &StoreUrl, compare: &Compare) -> io::Result<Self> {
        let (work, todo) = bounded(WAITING);
        for number in 0..CONNECTIONS {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let connection = Connection {
                url: url.clone(),
                compare: Arc::clone(compare),
                store: None,
            };
            let todo = todo.clone();
            std::thread::Builder::new()
                .name(format!("page-store-{number}"))
                .spawn(move || connection.work(&runtime, &todo))?;
        }
        Ok(Self { work })
    }

    /// What the store says to a question.
    pub(crate) async fn answer(&self, ask: Ask) -> Result<Value, Problem> {
        let (say, said) = oneshot::channel();
        self.give(Work::Answer(ask, say))?;
        said.await.map_err(|_| ended())?
    }

    /// How the runs stand.
    pub(crate) async fn states(&self) -> Result<Vec<RunState>, Problem> {
        let (say, said) = oneshot::channel();
        self.give(Work::States(say))?;
        said.await.map_err(|_| ended())?
    }

    fn give(&self, work: Work) -> Result<(), Problem> {
        self.work
            .try_send(work)
            .map_err(|_| Problem::Busy("too many ask at once; try again".to_owned()))
    }
}

fn ended() -> Problem {
    Problem::Busy("the page is being closed".to_owned())
}

struct Connection {
    url: StoreUrl,
    compare: Compare,
    store: Option<Box<dyn Store>>,
}

impl Connection {
    fn work(mut self, runtime: &Runtime, todo: &Receiver<Work>) {
        for work in todo {
            match work {
                // Whoever has gone needs no answer.
                Work::Answer(_, say) if say.is_closed() => {}
                Work::States(say) if say.is_closed() => {}
                Work::Answer(ask, say) => {
                    let compare = Arc::clone(&self.compare);
                    let answer = runtime.block_on(self.ask(async |store| match ask {
                        Ask::Compare { a, b } => compare(store, a, b).await,
                        ask => answer(store, &ask).await,
                    }));
                    let _ = say.send(answer);
                }
                Work::States(say) => {
                    let answer = runtime.block_on(self.ask(async |store| states(store).await));
                    let _ = say.send(answer);
                }
            }
        }
    }

    async fn ask<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut dyn Store) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let kept = self.store.take();
        let work = async {
            let mut store = match kept {
                Some(store) => store,
                None => open(&self.url, Access::Read).await?,
            };
            let answer = ask(store.as_mut()).await;
            Ok::<_, Problem>((store, answer))
        };
        let Ok(done) = timeout(PATIENCE, work).await else {
            return Err(Problem::Busy(
                "the store takes too long to answer; try again".to_owned(),
            ));
        };
        let (store, answer) = done?;
        // A connection that failed is not used again: the next question opens another.
        if !matches!(answer, Err(Problem::Store(_))) {
            self.store = Some(store);
        }
        answer
    }
}
