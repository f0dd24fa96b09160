//! Options of `bftap store` and of the commands over stored runs.

use std::path::PathBuf;

use bftap_model::Nanos;
use clap::{Args, Subcommand};

use super::parse;
use crate::export::Format;

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

/// Write the tables of a stored run as Parquet, CSV or JSON lines
///
/// One file a table, with all of its columns but those in whole seconds, which the database computes (docs/export.md, docs/SCHEMA.md). Files of an
/// earlier export are replaced when all of the new ones are whole.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap export --store sqlite://bftap.db --run night -o night --format csv --table round,vote"
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) which: WhichStore,

    /// Name of the run [default: the latest]
    #[arg(long, value_name = "NAME", value_parser = parse::run_name)]
    pub(crate) run: Option<String>,

    /// Folder for the files; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,

    /// What to write
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "parquet")]
    pub(crate) format: Format,

    /// Only these tables, for example --table round,vote [default: all]
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    pub(crate) table: Vec<String>,
}

/// Set two stored runs side by side, and say what differs beyond chance
///
/// Each measure with its difference and a 95 % confidence interval of that, by resampling heights. Says so where two runs cannot be compared:
/// other validators, other coverage, losses (docs/diff.md).
#[derive(Args, Debug)]
#[command(after_help = "Example: bftap diff before after --store sqlite://bftap.db")]
pub(crate) struct DiffArgs {
    /// Name of the first run, A
    #[arg(value_name = "RUN", value_parser = parse::run_name)]
    pub(crate) run_a: String,

    /// Name of the second run, B
    #[arg(value_name = "RUN", value_parser = parse::run_name)]
    pub(crate) run_b: String,

    #[command(flatten)]
    pub(crate) which: WhichStore,

    /// The store of B, where it is another one
    #[arg(long, value_name = "URL")]
    pub(crate) store_b: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
