//! Options of the page: `bftap web`, `bftap report`, and what `analyze` and `live` have of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{WhichStore, parse};

/// Show what is stored in a browser
///
/// The page at http://127.0.0.1:8787/ shows runs as they are stored, and follows those that are being written. It asks nothing of any other
/// host, and changes nothing. Only this machine can see it; for others it takes a token, over TLS (docs/page.md). Ends with Ctrl-C.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap web --store postgres://bftap@db/bftap\n         bftap web --listen 10.0.0.5:8787 --tls-cert page.pem --tls-key page.key --token-file token --allow-host lab.example"
)]
pub(crate) struct WebArgs {
    #[command(flatten)]
    pub(crate) which: WhichStore,

    /// Where it listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) access: PageAccessArgs,
}

/// Who may see the page.
#[derive(Args, Debug)]
pub(crate) struct PageAccessArgs {
    /// The page is reached under this name, too: requests for any other name are refused; repeatable
    #[arg(long, value_name = "HOST", help_heading = "Page")]
    pub(crate) allow_host: Vec<String>,

    /// Certificate of the page with its chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Page")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Page")]
    pub(crate) tls_key: Option<PathBuf>,

    /// The first line of this file is the token that everybody must show, at least 20 characters; goes with --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Page")]
    pub(crate) token_file: Option<PathBuf>,
}

/// The page beside an analysis, and as a file.
#[derive(Args, Debug)]
pub(crate) struct PageArgs {
    /// Write the report as one self-contained page: the same views as `bftap web`, for a browser without network
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,

    /// Show the page at this address while this runs: for example 127.0.0.1:8787 (docs/page.md)
    #[arg(long, value_name = "ADDR", help_heading = "Page")]
    pub(crate) web: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) access: PageAccessArgs,
}

/// Write pages and figures of a stored run
///
/// The page is one file with the views of `bftap web` in it; the figures are SVG files, fit for print (docs/page.md).
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap report --store sqlite://bftap.db --run night --html night.html --svg figures",
    group = clap::ArgGroup::new("out").required(true).multiple(true).args(["html", "svg"])
)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) which: WhichStore,

    /// Name of the run [default: the latest]
    #[arg(long, value_name = "NAME", value_parser = parse::run_name)]
    pub(crate) run: Option<String>,

    /// Write the self-contained page here
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write the figures into this folder; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) svg: Option<PathBuf>,
}
