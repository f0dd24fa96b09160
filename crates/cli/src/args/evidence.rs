//! What can be typed behind `bftap evidence`.

use std::path::PathBuf;

use bftap_evidence::PublicKey;
use clap::{Args, Subcommand};

use super::parse;

/// Bundle the signed messages behind an event of a stored run, for others to check; list the events
///
/// Reads the captures of the run again, with the secrets of their sessions, and writes a folder without any secret: the messages as they were
/// on the wire, the headers and seals that bind their signer to the chain, the packets, and a text for a reader who has never
/// heard of bftap. Without EVENT, lists the run's events. What a bundle proves and what not is in docs/evidence.md.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: bftap evidence 3 -o evidence-3 --keylog sessions.keylog\n  \
    then:  bftap evidence verify evidence-3"
)]
pub(crate) struct EvidenceArgs {
    #[command(subcommand)]
    pub(crate) command: Option<EvidenceCommand>,

    #[command(flatten)]
    pub(crate) make: EvidenceMakeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    Verify(EvidenceVerifyArgs),
    Keygen(EvidenceKeygenArgs),
}

/// What is made of which event.
#[derive(Args, Debug)]
pub(crate) struct EvidenceMakeArgs {
    /// Number of the event, as `bftap evidence` lists it
    #[arg(value_name = "EVENT", requires = "output")]
    pub(crate) event: Option<u32>,

    /// Folder to make; it must not be there, or be empty
    #[arg(short = 'o', long = "output", value_name = "DIR", requires = "event")]
    pub(crate) output: Option<PathBuf>,

    /// The store: sqlite://FILE, mysql://USER@HOST/DATABASE or postgres://USER@HOST/DATABASE [env: BFTAP_STORE] [default: sqlite://bftap.db]
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "store_file",
        help_heading = "Event"
    )]
    pub(crate) store: Option<String>,

    /// File whose first line is the URL for --store; wins over the environment
    #[arg(long, value_name = "PATH", help_heading = "Event")]
    pub(crate) store_file: Option<PathBuf>,

    /// Name of the run [default: the latest]
    #[arg(long, value_name = "NAME", value_parser = parse::run_name, help_heading = "Event")]
    pub(crate) run: Option<String>,

    /// Read these captures instead of those that the run was made from; repeatable
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Captures")]
    pub(crate) capture: Vec<PathBuf>,

    /// Session secrets: a key log, or a directory of key logs or of files in the original tool's layout; repeatable
    ///
    /// Secrets that stand in a pcapng capture are always used. None of them gets into the bundle.
    #[arg(long, value_name = "PATH", help_heading = "Captures")]
    pub(crate) keylog: Vec<PathBuf>,

    /// Names of nodes, as JSON [default: those of the run]
    #[arg(long, value_name = "FILE", help_heading = "Captures")]
    pub(crate) nodes: Option<PathBuf>,

    /// Limits and other settings, as TOML (docs/config.md)
    #[arg(long, value_name = "FILE", help_heading = "Captures")]
    pub(crate) config: Option<PathBuf>,

    /// Dialect of sessions whose Hello is missing: klaytn or quorum-ibft [default: inferred]
    #[arg(long, value_name = "D", value_parser = parse::dialect, help_heading = "Captures")]
    pub(crate) dialect: Option<&'static str>,

    /// Sign the bundle with the key in this file, made by `bftap evidence keygen`
    #[arg(long, value_name = "FILE", requires = "output")]
    pub(crate) sign_key: Option<PathBuf>,
}

/// Check a bundle, without store and secrets, and say what it proves and what not
///
/// Nothing in the bundle is believed: all is read anew from the bytes of its messages and headers.
#[derive(Args, Debug)]
#[command(
    after_help = "Exits 0 if the claim is proven, 1 if it is not or only in part, or the bundle is not whole, 2 for wrong usage.\n\
    Example: bftap evidence verify evidence-3 --public-key 02ab..."
)]
pub(crate) struct EvidenceVerifyArgs {
    /// The bundle's folder
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// It must be signed by this key: 66 hex digits, as `bftap evidence keygen` prints them
    #[arg(long, value_name = "HEX")]
    pub(crate) public_key: Option<PublicKey>,
}

/// Make a key to sign bundles with, and print its public half
#[derive(Args, Debug)]
#[command(after_help = "Example: bftap evidence keygen evidence.key")]
pub(crate) struct EvidenceKeygenArgs {
    /// File to write; only its owner can read it, and it must not be there yet
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}
