//! Options of `bftap store`.

use std::path::PathBuf;

use bftap_model::Nanos;
use clap::{Args, Subcommand};

use super::parse;

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make the tables, or bring those of an older version up to date
    ///
    /// `bftap analyze` does so by itself; this is for a user that may make tables, where the one that analyses may not.
    #[command(after_help = "Example: bftap store init --store-file store.url")]
    Init(WhichStore),
    /// List the runs and what they hold, and look whether the store agrees with itself
    #[command(
        after_help = "Exits 1 if something does not agree.\nExample: bftap store check --store sqlite://bftap.db"
    )]
    Check(WhichStore),
    Prune(PruneArgs),
    OriginalViews(OriginalViewsArgs),
}

/// Where rows are.
#[derive(Args, Debug)]
pub(crate) struct WhichStore {
    /// The store: sqlite://FILE, mysql://USER@HOST/DATABASE or postgres://USER@HOST/DATABASE [env: BFTAP_STORE] [default: sqlite://bftap.db]
    #[arg(long, value_name = "URL", conflicts_with = "store_file")]
    pub(crate) store: Option<String>,

    /// File whose first line is the URL for --store; wins over the environment
    #[arg(long, value_name = "PATH")]
    pub(crate) store_file: Option<PathBuf>,
}

/// Remove old runs, and detail of old heights from runs that stay
///
/// Ages are spans like 90d, 36h or 45m. Of thinned heights the sums per minute stay: `minute_count` and `link_count`.
/// What was removed is counted in the run, so that totals can still be told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap store prune --runs-older-than 90d --detail-older-than 7d",
    group = clap::ArgGroup::new("age").required(true).multiple(true).args(["runs_older_than", "detail_older_than"])
)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) which: WhichStore,

    /// Remove runs that ended, or were killed and not written since, longer ago than this
    #[arg(long, value_name = "AGE", value_parser = parse::span)]
    pub(crate) runs_older_than: Option<Nanos>,

    /// Remove counts, rounds and deliveries of heights seen longer ago than this, by capture time
    #[arg(long, value_name = "AGE", value_parser = parse::span)]
    pub(crate) detail_older_than: Option<Nanos>,
}

/// Make a view for each node with the original tool's columns, so that its dashboards run
///
/// `SELECT round_number, prepare FROM cn1` works then. Views made before are replaced.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap store original-views --run night --store mysql://bftap@localhost/bftap"
)]
pub(crate) struct OriginalViewsArgs {
    #[command(flatten)]
    pub(crate) which: WhichStore,

    /// Name of the run [default: the latest]
    #[arg(long, value_name = "NAME", value_parser = parse::run_name)]
    pub(crate) run: Option<String>,
}
