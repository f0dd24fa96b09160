//! `bftap store`: makes, checks and thins out stores, and gives the original tool its views.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bftap_model::{CaptureTime, Nanos};
use bftap_store::{Access, Prune, RunId, Store, StoreCheck, StoreError, StoreUrl, open};

use crate::args::{OriginalViewsArgs, PruneArgs, StoreCommand, WhichStore};
use crate::exit::{Status, Usage};
use crate::report::{Page, Table, bytes, count, counted};
use crate::store_url;
use crate::term::{Ink, Level, Style, safe, tell};

/// Runs the command.
pub(crate) fn run(command: &StoreCommand) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        match command {
            StoreCommand::Init(which) => init(&url_of(which)?).await,
            StoreCommand::Check(which) => check(&url_of(which)?).await,
            StoreCommand::Prune(args) => prune(args).await,
            StoreCommand::OriginalViews(args) => original_views(args).await,
        }
    })
}

fn url_of(which: &WhichStore) -> anyhow::Result<StoreUrl> {
    let url = store_url::resolve(which.store.as_deref(), which.store_file.as_deref())?;
    if url == StoreUrl::None {
        return Err(Usage("there is no store: name one with --store".to_owned()).into());
    }
    Ok(url)
}

async fn init(url: &StoreUrl) -> anyhow::Result<Status> {
    let mut store = open(url, Access::Write).await?;
    let runs = store.runs().await?.len() as u64;
    store.close().await?;
    print(&format!(
        "{}: ready, schema {}, {}\n",
        safe(&url.to_string()),
        bftap_store::SCHEMA,
        counted(runs, "run", "runs")
    ))?;
    Ok(Status::Complete)
}

async fn check(url: &StoreUrl) -> anyhow::Result<Status> {
    let mut store = open(url, Access::Read).await?;
    let checked = store.check().await?;
    store.close().await?;
    print(&shown(url, &checked, Style::of_stdout()))?;
    for problem in &checked.problems {
        tell(Level::Error, &safe(problem));
    }
    Ok(if checked.problems.is_empty() {
        Status::Complete
    } else {
        Status::Incomplete
    })
}

fn shown(url: &StoreUrl, checked: &StoreCheck, style: Style) -> String {
    let mut page = Page::new(style);
    let remark = format!(
        "{}, schema {}, {}",
        url,
        checked.schema,
        bytes(positive(checked.bytes))
    );
    page.heading("RUNS", &remark);
    let mut table = Table::new()
        .long_words("run")
        .numbers("id")
        .words("state")
        .words("started")
        .numbers("heights' counts")
        .numbers("deliveries")
        .numbers("all rows");
    for checked in &checked.runs {
        let run = &checked.run;
        let of = |table: &str| checked.rows.iter().find(|(name, _)| *name == table);
        let rows = |table| of(table).map_or(0, |(_, rows)| positive(*rows));
        let all = checked.rows.iter().map(|(_, rows)| positive(*rows)).sum::<u64>();
        let state = match (run.state.as_str(), run.live) {
            ("running", true) => "running, live",
            (state, _) => state,
        };
        table.row([
            run.name.as_str().into(),
            count(positive(run.run_id)).into(),
            state.into(),
            time(run.started_ns).into(),
            rows("message_count").into(),
            rows("delivery_row").into(),
            all.into(),
        ]);
    }
    page.table(&table);
    if checked.runs.is_empty() {
        page.line("none yet");
    }
    if checked.problems.is_empty() {
        page.paragraph(Ink::Good, "", "Everything agrees.");
    }
    page.into_text()
}

async fn prune(args: &PruneArgs) -> anyhow::Result<Status> {
    let url = url_of(&args.which)?;
    let now = now_ns();
    let before = |age: Option<Nanos>| age.map(|age| now.saturating_sub(age.0));
    let what = Prune {
        runs_before_ns: before(args.runs_older_than),
        detail_before_ns: before(args.detail_older_than),
    };
    // Pruning makes nothing: a store that is not there is a mistake.
    let mut store = open(&url, Access::Read).await?;
    store.close().await?;
    store = open(&url, Access::Write).await?;
    let pruned = store.prune(&what).await?;
    store.close().await?;
    let mut text = format!("{}: removed ", safe(&url.to_string()));
    text.push_str(&counted(pruned.runs.len() as u64, "run", "runs"));
    for (table, rows) in &pruned.rows {
        text.push_str(&format!(
            ", {} of {}",
            counted(positive(*rows), "row", "rows"),
            table.trim_end_matches("_row")
        ));
    }
    text.push('\n');
    for name in &pruned.runs {
        text.push_str(&format!("  {}\n", safe(name)));
    }
    print(&text)?;
    Ok(Status::Complete)
}

async fn original_views(args: &OriginalViewsArgs) -> anyhow::Result<Status> {
    let url = url_of(&args.which)?;
    let mut store = open(&url, Access::Read).await?;
    let run = find(store.as_mut(), args.run.as_deref()).await?;
    store.close().await?;
    store = open(&url, Access::Write).await?;
    let views = store.original_views(run).await?;
    store.close().await?;
    let mut text = String::new();
    for view in &views {
        text.push_str(&format!("SELECT round_number, prepare FROM {view}\n"));
    }
    if views.is_empty() {
        tell(Level::Warning, "the run has no nodes, so there are no views");
    }
    print(&text)?;
    Ok(Status::Complete)
}

async fn find(store: &mut dyn Store, name: Option<&str>) -> Result<RunId, StoreError> {
    store.find_run(name).await.map(|run| RunId(run.run_id))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write")
}

/// Seconds are enough for a person.
fn time(nanos: i64) -> String {
    let text = CaptureTime::from_nanos(nanos).to_string();
    text.split('.').next().unwrap_or_default().replace('T', " ")
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[allow(
    clippy::disallowed_methods,
    reason = "ages of runs are about this machine's time"
)]
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
