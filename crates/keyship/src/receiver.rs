//! Listens for shippers: a thread a connection, few at a time, each known by its certificate.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bftap_decrypt::keylog::KeyLogEntry;
use rustls::{ServerConfig, ServerConnection};

use crate::ledger::{Account, Ledger, LedgerError};
use crate::link::{Link, LinkError, now};
use crate::receiving::{Receiving, Request};
use crate::tls::{self, Identity, TlsError};
use crate::wire::{Frame, ReceiverId};
use crate::{Tell, Weight};

/// What a receiver does.
#[derive(Debug)]
pub struct ReceiverOptions {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who it is, and whom it believes.
    pub identity: Identity,
    /// Where lines are kept. Without, all shippers send everything once more to the next receiver.
    pub folder: Option<PathBuf>,
    /// How long it waits for others.
    pub patience: Patience,
}

/// Waits at either end.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a handshake, or for the other end to take what is sent.
    pub handshake: Duration,
    /// Without a word of the other end.
    pub silence: Duration,
    /// Until a shipper with nothing to send asks whether the receiver is there.
    pub ping: Duration,
    /// Between two attempts to connect: the first wait, and the longest.
    pub retry: (Duration, Duration),
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            ping: Duration::from_secs(5),
            retry: (Duration::from_millis(250), Duration::from_secs(15)),
        }
    }
}

/// What happens with each line that is new, after it is stored: its shipper's name, and what it says.
pub type OnSecret = Arc<dyn Fn(&str, KeyLogEntry) + Send + Sync>;

/// Why a receiver does not start.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The folder.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A receiver that listens until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Arc<ServerConfig>,
    id: ReceiverId,
    ledger: Option<Ledger>,
    accounts: Mutex<HashMap<String, Arc<Mutex<Account>>>>,
    connections: Mutex<Connections>,
    patience: Patience,
    on_secret: OnSecret,
    tell: Tell,
    refusals: Mutex<Refusals>,
    stop: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, OpenConnection>,
}

struct OpenConnection {
    socket: TcpStream,
    from: IpAddr,
    /// Known when it has shown its certificate.
    shipper: Option<String>,
}

/// Connections whose certificate was not seen yet: in all, and of one address.
const MOST_STRANGERS: (usize, usize) = (64, 16);

/// Shippers that are known at a time.
const MOST_SHIPPERS: usize = 256;

/// Lines stored at a time.
const BATCH: usize = 512;

impl Receiver {
    /// Listens. What is in the folder already goes to `on_secret` first.
    ///
    /// # Errors
    /// The address, the certificates or the folder cannot be used.
    pub fn start(options: ReceiverOptions, on_secret: OnSecret, tell: Tell) -> Result<Self, ReceiverError> {
        let tls = tls::server(&options.identity, &tell)?;
        let ledger = options.folder.as_deref().map(Ledger::open).transpose()?;
        let mut accounts = HashMap::new();
        let id = match &ledger {
            Some(ledger) => {
                let shippers = ledger.shippers().map_err(|source| LedgerError::Io {
                    doing: "read",
                    path: options
                        .folder
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect(),
                    source,
                })?;
                for shipper in shippers.into_iter().take(MOST_SHIPPERS) {
                    let account = ledger.account(&shipper, |line| on_secret(&shipper, line.entry))?;
                    accounts.insert(shipper, Arc::new(Mutex::new(account)));
                }
                ledger.receiver()
            }
            None => ReceiverId(tls::random_id().map_err(|source| LedgerError::Io {
                doing: "make",
                path: "a name for this receiver".to_owned(),
                source,
            })?),
        };
        let failed = |source| ReceiverError::Listen {
            address: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            tls,
            id,
            ledger,
            accounts: Mutex::new(accounts),
            connections: Mutex::default(),
            patience: options.patience,
            on_secret,
            tell,
            refusals: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("keys-listen".to_owned())
                .spawn(move || shared.listen(&listener))
                .map_err(failed)?
        };
        Ok(Self {
            address,
            shared,
            listener: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names of the shippers that are connected.
    pub fn connected(&self) -> Vec<String> {
        let mut names: Vec<_> = lock(&self.shared.connections)
            .open
            .values()
            .filter_map(|connection| connection.shipper.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // The listener looks at `stop` when somebody connects.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let woken = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        for connection in lock(&self.shared.connections).open.values() {
            let _ = connection.socket.shutdown(Shutdown::Both);
        }
        if let (Ok(_), Some(listener)) = (woken, self.listener.take()) {
            // If it panicked, there is nothing to wait for.
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        loop {
            let accepted = listener.accept();
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            threads.retain(|thread| !thread.is_finished());
            let Ok((socket, peer)) = accepted else {
                // Out of descriptors, or the peer has left: others may come.
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            let Some(number) = self.admit(&socket, peer) else {
                continue;
            };
            let shared = Arc::clone(self);
            let spawned = thread::Builder::new()
                .name("keys-shipper".to_owned())
                .spawn(move || {
                    shared.serve(number, socket, peer);
                    lock(&shared.connections).open.remove(&number);
                });
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(_) => drop(lock(&self.connections).open.remove(&number)),
            }
        }
        for connection in lock(&self.connections).open.values() {
            let _ = connection.socket.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// A number for a connection, if there is room for it.
    fn admit(&self, socket: &TcpStream, peer: SocketAddr) -> Option<u64> {
        let mut connections = lock(&self.connections);
        let strangers = connections.open.values().filter(|other| other.shipper.is_none());
        let (all, same) = strangers.fold((0, 0), |(all, same), other| {
            (all + 1, same + usize::from(other.from == peer.ip()))
        });
        if all >= MOST_STRANGERS.0 || same >= MOST_STRANGERS.1 {
            drop(connections);
            self.refuse(peer, "too many connections that have not shown a certificate");
            return None;
        }
        let clone = socket.try_clone().ok()?;
        let number = connections.next;
        connections.next += 1;
        connections.open.insert(
            number,
            OpenConnection {
                socket: clone,
                from: peer.ip(),
                shipper: None,
            },
        );
        Some(number)
    }

    fn serve(&self, number: u64, socket: TcpStream, peer: SocketAddr) {
        let tls = match ServerConnection::new(Arc::clone(&self.tls)) {
            Ok(tls) => tls,
            Err(error) => return self.refuse(peer, &error.to_string()),
        };
        let link = match Link::shake_hands(tls.into(), socket, self.patience.handshake) {
            Ok(link) => link,
            Err(_) if self.stop.load(Ordering::Acquire) => return,
            Err(error) => return self.refuse(peer, &error.to_string()),
        };
        let Some(shipper) = link.peer_certificate().and_then(tls::shipper_name) else {
            return self.refuse(
                peer,
                "its certificate has no host name that can be the name of a file: `bftap keys init` makes one that has",
            );
        };
        let account = match self.account(&shipper) {
            Ok(account) => account,
            Err(error) => return self.part(link, peer, &shipper, &error),
        };
        self.introduce(number, &shipper);
        (self.tell)(Weight::Note, &format!("{shipper} sends its secrets from {peer}"));
        match self.take(link, &shipper, &account) {
            Ok(()) => {}
            Err((_, None)) if self.stop.load(Ordering::Acquire) => {}
            Err((error, None)) => (self.tell)(Weight::Note, &format!("{shipper} at {peer} is gone: {error}")),
            Err((error, Some(link))) => self.part(link, peer, &shipper, &error),
        }
    }

    /// A shipper has one connection: an earlier one is dead and does not know it.
    fn introduce(&self, number: u64, shipper: &str) {
        let mut connections = lock(&self.connections);
        for (other, connection) in &connections.open {
            if *other != number && connection.shipper.as_deref() == Some(shipper) {
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
        }
        if let Some(connection) = connections.open.get_mut(&number) {
            connection.shipper = Some(shipper.to_owned());
        }
    }

    fn account(&self, shipper: &str) -> Result<Arc<Mutex<Account>>, Trouble> {
        let mut accounts = lock(&self.accounts);
        if let Some(account) = accounts.get(shipper) {
            return Ok(Arc::clone(account));
        }
        if accounts.len() >= MOST_SHIPPERS {
            return Err(Trouble::Shippers);
        }
        let account = match &self.ledger {
            Some(ledger) => ledger.account(shipper, |line| (self.on_secret)(shipper, line.entry))?,
            None => Account::in_memory(),
        };
        let account = Arc::new(Mutex::new(account));
        accounts.insert(shipper.to_owned(), Arc::clone(&account));
        Ok(account)
    }

    /// Takes lines until the connection ends. With an error that the shipper is to be told comes its connection.
    fn take(
        &self,
        mut link: Link,
        shipper: &str,
        account: &Mutex<Account>,
    ) -> Result<(), (Trouble, Option<Link>)> {
        let mut receiving = Receiving::default();
        loop {
            let first = match link.receive(self.patience.silence) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Err((LinkError::Silent(self.patience.silence).into(), None)),
                Err(LinkError::Frame(error)) => return Err((LinkError::Frame(error).into(), Some(link))),
                Err(error) => return Err((error.into(), None)),
            };
            let mut next = Some(first);
            let (mut lines, mut replies) = (Vec::new(), Vec::new());
            let mut trouble: Option<Trouble> = None;
            while let Some(frame) = next.take() {
                match receiving.receive(frame) {
                    Ok(Request::Answer(reply)) => replies.push(reply.into_frame(self.id)),
                    Ok(Request::Store(line)) => lines.push(line),
                    Err(error) => {
                        trouble = Some(error.into());
                        break;
                    }
                }
                if lines.len() + replies.len() < BATCH {
                    match link.at_hand() {
                        Ok(frame) => next = frame,
                        Err(error) => trouble = Some(error.into()),
                    }
                }
            }
            if !lines.is_empty() {
                let stored = lock(account).store(lines);
                match stored {
                    Ok(fresh) => {
                        for line in fresh {
                            (self.on_secret)(shipper, line.entry);
                        }
                        replies.push(receiving.stored());
                    }
                    Err(error) => return Err((error.into(), Some(link))),
                }
            }
            if let Err(error) = link.send(&replies) {
                return Err((error.into(), None));
            }
            match trouble {
                None => {}
                Some(Trouble::Link(error @ (LinkError::Closed | LinkError::Io(_)))) => {
                    return Err((error.into(), None));
                }
                Some(trouble) => return Err((trouble, Some(link))),
            }
        }
    }

    /// Ends a connection, and says why at both ends.
    fn part(&self, mut link: Link, peer: SocketAddr, shipper: &str, trouble: &Trouble) {
        (self.tell)(
            Weight::Warning,
            &format!("the connection of {shipper} at {peer} was ended: {trouble}"),
        );
        let reason = match trouble {
            // Paths of this machine are nobody else's business.
            Trouble::Ledger(LedgerError::Full { .. }) => {
                "the receiver keeps no more lines of this shipper".to_owned()
            }
            Trouble::Ledger(_) => "the receiver cannot store lines now".to_owned(),
            other => other.to_string(),
        };
        let _ = link.send(&[Frame::Sorry { reason }]);
        link.close();
    }

    /// Tells who was turned away, but not more often than a person reads.
    fn refuse(&self, peer: SocketAddr, why: &str) {
        let (told, untold) = lock(&self.refusals).count(now());
        if !told {
            return;
        }
        let more = if untold > 0 {
            format!(" ({untold} others were refused in the minute before)")
        } else {
            String::new()
        };
        (self.tell)(Weight::Warning, &format!("refused {peer}: {why}{more}"));
    }
}

/// Why a shipper's connection is ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Protocol(#[from] crate::receiving::ReceivingError),
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error("there are {MOST_SHIPPERS} shippers already")]
    Shippers,
}

/// How many peers were turned away lately.
#[derive(Default)]
struct Refusals {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

/// Refusals told in a minute.
const TOLD: u32 = 30;

impl Refusals {
    /// Whether one more is told, and how many were not in the minute before.
    fn count(&mut self, now: Instant) -> (bool, u64) {
        let mut untold = 0;
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= Duration::from_secs(60))
        {
            self.since = Some(now);
            self.told = 0;
            untold = std::mem::take(&mut self.untold);
        }
        if self.told >= TOLD {
            self.untold += 1;
            return (false, 0);
        }
        self.told += 1;
        (true, untold)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
