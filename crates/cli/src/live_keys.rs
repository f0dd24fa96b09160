//! Session secrets while they are needed: key files followed as they grow, and shippers that bring them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use bftap_decrypt::SecretStore;
use bftap_keyship::Tell;
use bftap_keyship::follow::{Follower, Found};
use bftap_keyship::receiver::{OnSecret, Patience, Receiver, ReceiverOptions};
use bftap_keyship::tls::Identity;

use crate::args::{IdentityArgs, LiveKeyArgs};
use crate::exit::Usage;
use crate::term::{Level, safe};

/// Where secrets come from while a monitor runs.
#[derive(Debug, Default)]
pub(crate) struct LiveKeyOptions {
    /// Files and directories to follow.
    pub(crate) paths: Vec<PathBuf>,
    /// Where shippers connect, and by what they are known.
    pub(crate) listen: Option<(SocketAddr, Identity)>,
    /// Folder in which what shippers sent is kept for the next start. Without, they send everything once more then.
    pub(crate) keep: Option<PathBuf>,
}

impl LiveKeyOptions {
    /// What was typed.
    ///
    /// # Errors
    /// An address without certificates.
    pub(crate) fn from_args(args: &LiveKeyArgs, keep: Option<PathBuf>) -> Result<Self, Usage> {
        let identity = match (&args.keys_dir, &args.keys_cert, &args.keys_key, &args.keys_ca) {
            (Some(dir), ..) => Some(Identity::in_folder(dir)),
            (None, Some(cert), Some(key), Some(ca)) => Some(Identity {
                cert: cert.clone(),
                key: key.clone(),
                ca: ca.clone(),
            }),
            _ => None,
        };
        let listen = match (args.keys_listen, identity) {
            (Some(address), Some(identity)) => Some((address, identity)),
            (Some(_), None) => {
                return Err(Usage(
                    "--keys-listen needs certificates: --keys-dir DIR as `bftap keys init` makes it, or --keys-cert, --keys-key and \
                     --keys-ca"
                        .to_owned(),
                ));
            }
            (None, _) => None,
        };
        Ok(Self {
            paths: args.keylog.clone(),
            listen,
            keep,
        })
    }
}

/// Fills a store until it is dropped.
#[derive(Debug)]
pub(crate) struct LiveKeys {
    following: Option<Following>,
    receiver: Option<Receiver>,
}

#[derive(Debug)]
struct Following {
    follower: Arc<Mutex<Follower>>,
    store: Arc<SecretStore>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(200);

/// Secrets taken in at a time.
const BATCH: usize = 4096;

impl LiveKeys {
    /// Reads what there is, then starts the threads that wait for more.
    ///
    /// # Errors
    /// It cannot listen, or its certificates are of no use.
    pub(crate) fn start(
        options: LiveKeyOptions,
        store: &Arc<SecretStore>,
        tell: Tell,
    ) -> anyhow::Result<Self> {
        let receiver = match options.listen {
            Some((listen, identity)) => {
                let on_secret: OnSecret = {
                    let store = Arc::clone(store);
                    Arc::new(move |shipper, entry| {
                        let source = format!("{} (shipped)", safe(shipper)).into();
                        store.add(entry, &source);
                    })
                };
                let options = ReceiverOptions {
                    listen,
                    identity,
                    folder: options.keep,
                    patience: Patience::default(),
                };
                Some(Receiver::start(options, on_secret, Arc::clone(&tell))?)
            }
            None => None,
        };
        let following = if options.paths.is_empty() {
            None
        } else {
            Some(Following::start(Follower::new(options.paths, tell), store)?)
        };
        Ok(Self { following, receiver })
    }

    /// Where shippers connect.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        Some(self.receiver.as_ref()?.address())
    }

    /// Names of the shippers that are connected.
    #[cfg_attr(not(test), expect(dead_code, reason = "for `live`"))]
    pub(crate) fn shippers(&self) -> Vec<String> {
        self.receiver
            .as_ref()
            .map(Receiver::connected)
            .unwrap_or_default()
    }

    /// Reads files to their ends once more, last lines without a newline too, and takes nothing any more.
    pub(crate) fn finish(mut self) {
        drop(self.receiver.take());
        if let Some(mut following) = self.following.take() {
            following.halt();
            let found = lock(&following.follower).finish();
            add(found, &following.store);
        }
    }
}

impl Following {
    fn start(mut follower: Follower, store: &Arc<SecretStore>) -> anyhow::Result<Self> {
        // What is there already is known before the first packet comes.
        while look(&mut follower, store) {}
        let follower = Arc::new(Mutex::new(follower));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (follower, store, stop) = (Arc::clone(&follower), Arc::clone(store), Arc::clone(&stop));
            thread::Builder::new()
                .name("key-files".to_owned())
                .spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        if !look(&mut lock(&follower), &store) {
                            thread::sleep(LOOK);
                        }
                    }
                })
                .context("cannot start a thread that follows key files")?
        };
        Ok(Self {
            follower,
            store: Arc::clone(store),
            stop,
            thread: Some(thread),
        })
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was told.
            let _ = thread.join();
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.halt();
    }
}

/// One look; whether there is more at once.
fn look(follower: &mut Follower, store: &SecretStore) -> bool {
    let found = follower.poll(BATCH);
    let more = found.len() >= BATCH;
    add(found, store);
    more
}

fn add(found: Vec<Found>, store: &SecretStore) {
    for secret in found {
        // Text for people from here on.
        let source = match safe(&secret.source) {
            std::borrow::Cow::Borrowed(_) => secret.source,
            std::borrow::Cow::Owned(escaped) => escaped.into(),
        };
        store.add(secret.entry, &source);
    }
}

fn lock(follower: &Mutex<Follower>) -> std::sync::MutexGuard<'_, Follower> {
    follower.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files by which an end is known.
pub(crate) fn identity(args: &IdentityArgs) -> Result<Identity, Usage> {
    match (&args.dir, &args.cert, &args.key, &args.ca) {
        (Some(dir), ..) => Ok(Identity::in_folder(dir)),
        (None, Some(cert), Some(key), Some(ca)) => Ok(Identity {
            cert: cert.clone(),
            key: key.clone(),
            ca: ca.clone(),
        }),
        _ => Err(Usage(
            "certificates are missing: --dir DIR as `bftap keys init` makes it, or --cert, --key and --ca"
                .to_owned(),
        )),
    }
}

/// Tells on standard error, with the time.
pub(crate) fn teller() -> Tell {
    Arc::new(|weight, text| {
        let level = match weight {
            bftap_keyship::Weight::Note => Level::Note,
            bftap_keyship::Weight::Warning => Level::Warning,
        };
        crate::term::tell_at(crate::clock::time_of_day(), level, text);
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bftap_keyship::certs::{Authority, Holder, Validity};
    use bftap_keyship::line::Extent;
    use bftap_keyship::shipper::{Shipper, ShipperOptions};

    use super::*;

    fn wait_for(done: impl Fn() -> bool) {
        for _ in 0..3000 {
            if done() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("not within a minute");
    }

    fn line(byte: u8) -> String {
        format!(
            "RLPX-AES {} session={}\n",
            hex::encode([byte; 32]),
            hex::encode([!byte; 32])
        )
    }

    fn sources(store: &SecretStore) -> Vec<String> {
        store
            .all()
            .iter()
            .map(|secret| secret.source.to_string())
            .collect()
    }

    #[test]
    fn secrets_come_from_files_that_grow_and_from_shippers_and_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let now = crate::clock::time_of_day().nanos() as u64 / 1_000_000_000;
        let (authority, _) = Authority::open(&path("ca"), now).unwrap();
        let valid = Validity::days(now, 1);
        authority
            .issue(&Holder::Receiver(vec!["127.0.0.1".to_owned()]), valid, false)
            .unwrap();
        authority
            .issue(&Holder::Shipper("cn1".to_owned()), valid, false)
            .unwrap();
        fs::write(path("here.keylog"), line(1)).unwrap();
        let store = Arc::new(SecretStore::new());
        let quiet: Tell = Arc::new(|_, _| ());
        let options = || LiveKeyOptions {
            paths: vec![path("here.keylog"), path("later")],
            listen: Some((
                "127.0.0.1:0".parse().unwrap(),
                Identity::in_folder(&path("ca/receiver")),
            )),
            keep: Some(path("kept")),
        };
        let keys = LiveKeys::start(options(), &store, Arc::clone(&quiet)).unwrap();
        assert_eq!(sources(&store).len(), 1, "what is there is known at once");
        let generation = store.generation();
        fs::create_dir(path("later")).unwrap();
        fs::write(path("later/a"), line(2)).unwrap();
        wait_for(|| store.generation() > generation);

        fs::write(path("there.keylog"), line(3)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut shipper = Shipper::new(
            ShipperOptions {
                to: keys.address().unwrap().to_string(),
                server_name: None,
                identity: Identity::in_folder(&path("ca/shipper-cn1")),
                paths: vec![path("there.keylog")],
                state: path("places"),
                extent: Extent::ReadOnly,
                patience: Patience::default(),
            },
            Arc::clone(&quiet),
        )
        .unwrap();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || shipper.run(&stopped));
        wait_for(|| sources(&store).iter().any(|source| source == "cn1 (shipped)"));
        assert_eq!(keys.shippers(), ["cn1"]);
        stop.store(true, Ordering::Release);
        thread.join().unwrap();
        fs::write(path("later/b"), line(4).trim_end()).unwrap();
        keys.finish();
        let known = sources(&store);
        assert_eq!(known.len(), 4, "{known:?}");
        assert!(
            known.iter().any(|source| source.ends_with("later/b")),
            "{known:?}"
        );

        // The next start knows what was shipped before.
        let again = Arc::new(SecretStore::new());
        let _keys = LiveKeys::start(options(), &again, quiet).unwrap();
        assert!(sources(&again).iter().any(|source| source == "cn1 (shipped)"));
        assert!(again.all().iter().all(|secret| secret.secrets.mac.is_none()));
    }
}
