//! `bftap keys`: what can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    Init(KeysInitArgs),
    Check(KeysCheckArgs),
    Ship(KeysShipArgs),
    Receive(KeysReceiveArgs),
}

/// Make certificates for `keys ship`, `keys receive` and `live --keys-listen`
///
/// Makes an authority in DIR if there is none, and a folder for each receiver and shipper that is named: copy each to its machine.
/// More can be made later by the same authority. Nothing is overwritten without --force.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap keys init certs --receiver monitor.lab --receiver 10.0.0.9 --shipper cn1 --shipper cn2",
    group = ArgGroup::new("whom").required(true).multiple(true)
)]
pub(crate) struct KeysInitArgs {
    /// Where the authority is, or is made
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// A name or IP address under which shippers reach the receiver; all of them stand in its one certificate; repeatable
    #[arg(long, value_name = "HOST", group = "whom", num_args = 1..)]
    pub(crate) receiver: Vec<String>,

    /// A shipper's name: what it sends is kept under it; repeatable
    #[arg(long, value_name = "NAME", group = "whom", num_args = 1..)]
    pub(crate) shipper: Vec<String>,

    /// Days that the certificates hold
    #[arg(long, value_name = "N", default_value_t = bftap_keyship::certs::DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,

    /// Replace certificates of these names that are there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Say what is in key sources, and with captures which sessions they open
///
/// No secret is ever printed. Sessions that were joined in the middle are found here if they had carried at most 1 GiB in
/// each direction by then, with a minute of processor time for all searches; `bftap analyze` looks further.
#[derive(Args, Debug)]
#[command(after_help = "Example: bftap keys check sessions.keylog --capture tap1.pcap")]
pub(crate) struct KeysCheckArgs {
    /// Key log, or a directory of key logs or of files in the original tool's layout
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Capture whose sessions to try; repeatable
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) capture: Vec<PathBuf>,

    /// Only TCP connections with such a port at either end [default: every connection that looks like RLPx]
    #[arg(long = "port", value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,
}

/// Who this end is, and whom it believes.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("identity").required(true).multiple(true))]
pub(crate) struct IdentityArgs {
    /// Folder with cert.pem, key.pem and ca.pem, as `bftap keys init` makes it
    #[arg(long, value_name = "DIR", group = "identity", conflicts_with_all = ["cert", "key", "ca"])]
    pub(crate) dir: Option<PathBuf>,

    /// Certificate of this end, as PEM
    #[arg(long, value_name = "FILE", group = "identity", requires_all = ["key", "ca"])]
    pub(crate) cert: Option<PathBuf>,

    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// Authority of the other end's certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) ca: Option<PathBuf>,
}

/// Send session secrets to `keys receive` or `live --keys-listen` as nodes write them
///
/// Follows key logs as they grow, also through rotation, and sends each line once over TLS 1.3; it survives restarts of either end and cuts of
/// the network. Without --with-mac only what is needed to read sessions is sent.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap keys ship --to monitor.lab:9465 --dir shipper-cn1 /var/lib/klaytn/sessions.keylog"
)]
pub(crate) struct KeysShipArgs {
    /// Key log, or a directory of key logs or of files in the original tool's layout; may come later
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// The receiver
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) to: String,

    #[command(flatten)]
    pub(crate) identity: IdentityArgs,

    /// Name in the receiver's certificate [default: the host of --to]
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,

    /// Where it is kept how far each file was sent; holds no secret
    #[arg(long, value_name = "FILE", default_value = "bftap-keys-ship.state")]
    pub(crate) state: PathBuf,

    /// Send mac-secrets and nonces too: MACs can be checked, and whoever has them can forge frames
    #[arg(long)]
    pub(crate) with_mac: bool,
}

/// Receive session secrets from `keys ship`, into one key log a shipper
///
/// Only shippers with a certificate of the authority are let in. A line is on the disk before it is acknowledged.
#[derive(Args, Debug)]
#[command(after_help = "Example: bftap keys receive --listen 0.0.0.0:9465 --dir receiver --out keylogs")]
pub(crate) struct KeysReceiveArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) identity: IdentityArgs,

    /// Folder for SHIPPER.keylog files; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Where a monitor gets session secrets while it runs.
#[derive(Args, Debug)]
pub(crate) struct LiveKeyArgs {
    /// Session secrets, followed as they grow: a key log, or a directory of them; may come later; repeatable
    #[arg(long, value_name = "PATH", help_heading = "Secrets")]
    pub(crate) keylog: Vec<PathBuf>,

    /// Take session secrets from `bftap keys ship` at this address
    #[arg(long, value_name = "ADDR", help_heading = "Secrets")]
    pub(crate) keys_listen: Option<SocketAddr>,

    /// For --keys-listen: folder with cert.pem, key.pem and ca.pem, as `bftap keys init` makes it
    #[arg(
        long, value_name = "DIR", requires = "keys_listen", conflicts_with_all = ["keys_cert", "keys_key", "keys_ca"],
        help_heading = "Secrets"
    )]
    pub(crate) keys_dir: Option<PathBuf>,

    /// For --keys-listen: certificate of this monitor, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["keys_listen", "keys_key", "keys_ca"], help_heading = "Secrets")]
    pub(crate) keys_cert: Option<PathBuf>,

    /// For --keys-listen: its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "keys_cert", help_heading = "Secrets")]
    pub(crate) keys_key: Option<PathBuf>,

    /// For --keys-listen: authority of shippers' certificates, as PEM
    #[arg(long, value_name = "FILE", requires = "keys_cert", help_heading = "Secrets")]
    pub(crate) keys_ca: Option<PathBuf>,
}
