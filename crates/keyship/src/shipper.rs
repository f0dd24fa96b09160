//! Sends the lines of followed files to a receiver, for as long as it is told to.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::follow::{FileId, Follower, Position};
use crate::line::{Extent, line_of};
use crate::link::{Link, LinkError, now};
use crate::positions::Positions;
use crate::receiver::Patience;
use crate::sending::{Answer, Sending, SendingError};
use crate::tls::{self, Identity, TlsError};
use crate::wire::Frame;
use crate::{Tell, Weight};

/// What a shipper does.
#[derive(Debug)]
pub struct ShipperOptions {
    /// The receiver: `HOST:PORT`.
    pub to: String,
    /// The name in its certificate, if it is not the host.
    pub server_name: Option<String>,
    /// Who this is, and whom it believes.
    pub identity: Identity,
    /// Key logs, and directories of them.
    pub paths: Vec<PathBuf>,
    /// Where it keeps how far it got.
    pub state: PathBuf,
    /// How much of a secret is sent.
    pub extent: Extent,
    /// How long it waits for others.
    pub patience: Patience,
}

/// Why a shipper does not start.
#[derive(Debug, thiserror::Error)]
pub enum ShipperError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not an address.
    #[error("{0:?} is not HOST:PORT")]
    Address(String),
    /// The file of places cannot be written.
    #[error("cannot write {path}: {source}")]
    State {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Sends lines. Made before files are read, so that what is wrong with the options is told at once.
pub struct Shipper {
    options: ShipperOptions,
    tls: Arc<ClientConfig>,
    server: ServerName<'static>,
    follower: Follower,
    sending: Sending<(FileId, Position)>,
    positions: Positions,
    looked: Option<Instant>,
    saved: Option<Instant>,
    tell: Tell,
    /// What was told of the connection last.
    last_problem: Option<String>,
    acknowledged: u64,
}

impl std::fmt::Debug for Shipper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipper").finish_non_exhaustive()
    }
}

/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(200);

/// Between two writes of the places.
const SAVE: Duration = Duration::from_secs(1);

/// Lines that wait while there is no connection; about 20 MB. What comes behind them stays in its file.
const MOST_WAITING: usize = 1 << 16;

impl Shipper {
    /// Reads certificates and places.
    ///
    /// # Errors
    /// Options are of no use.
    pub fn new(options: ShipperOptions, tell: Tell) -> Result<Self, ShipperError> {
        let tls = tls::client(&options.identity, &tell)?;
        let wrong = || ShipperError::Address(options.to.clone());
        let (host, port) = options.to.rsplit_once(':').ok_or_else(wrong)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        port.parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(wrong)?;
        let name = options.server_name.clone().unwrap_or_else(|| host.to_owned());
        let server = ServerName::try_from(name).map_err(|_| wrong())?;
        let (mut positions, problem) = Positions::open(&options.state);
        if let Some(problem) = problem {
            tell(Weight::Warning, &problem);
        }
        positions.try_writing().map_err(|source| ShipperError::State {
            path: options.state.display().to_string(),
            source,
        })?;
        let follower = Follower::resume(
            options.paths.clone(),
            positions.places().clone(),
            Arc::clone(&tell),
        );
        Ok(Self {
            options,
            tls,
            server,
            follower,
            sending: Sending::default(),
            positions,
            looked: None,
            saved: None,
            tell,
            last_problem: None,
            acknowledged: 0,
        })
    }

    /// Sends until `stop`.
    pub fn run(&mut self, stop: &AtomicBool) {
        let (first, longest) = self.options.patience.retry;
        let mut wait = first;
        while !stop.load(Ordering::Acquire) {
            self.look();
            let before = self.acknowledged;
            let problem = match self.connect().and_then(|link| self.send(link, stop)) {
                Ok(()) => break,
                Err(problem) => problem.to_string(),
            };
            self.save();
            if self.acknowledged > before {
                wait = first;
            }
            if self.last_problem.as_ref() != Some(&problem) {
                (self.tell)(
                    Weight::Warning,
                    &format!(
                        "{}: {problem}; {} wait, and it is tried again",
                        self.options.to,
                        lines(self.sending.waiting())
                    ),
                );
                self.last_problem = Some(problem);
            }
            // Not all shippers at once when a receiver comes back.
            let until = now() + wait.mul_f64(0.5 + jitter());
            while !stop.load(Ordering::Acquire) && now() < until {
                self.look();
                thread::sleep(LOOK.min(until.saturating_duration_since(now())));
            }
            wait = (wait * 2).min(longest);
        }
        self.save();
    }

    /// Lines that are not acknowledged yet, of those that were read.
    pub fn waiting(&self) -> usize {
        self.sending.waiting()
    }

    /// Lines that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn connect(&mut self) -> Result<Link, Problem> {
        let patience = self.options.patience;
        let addresses = self.options.to.to_socket_addrs().map_err(Problem::Resolve)?;
        let mut failed = None;
        let mut socket = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, patience.handshake) {
                Ok(connected) => {
                    socket = Some(connected);
                    break;
                }
                Err(error) => failed = Some(error),
            }
        }
        let Some(socket) = socket else {
            return Err(match failed {
                Some(error) => Problem::Connect(error),
                None => Problem::Resolve(std::io::Error::other("the name has no address")),
            });
        };
        let tls =
            ClientConnection::new(Arc::clone(&self.tls), self.server.clone()).map_err(LinkError::from)?;
        let mut link = Link::shake_hands(tls.into(), socket, patience.handshake)?;
        link.send(&[self.sending.connected()])?;
        let Some(frame) = link.receive(patience.handshake)? else {
            return Err(LinkError::Silent(patience.handshake).into());
        };
        match self.sending.receive(frame)? {
            Answer::Welcome(receiver) => {
                if self.positions.welcomed_by(receiver) {
                    (self.tell)(
                        Weight::Note,
                        &format!(
                            "{} has nothing of what was sent before: everything is sent once more",
                            self.options.to
                        ),
                    );
                    self.sending.clear();
                    self.follower.rewind();
                    self.looked = None;
                }
            }
            Answer::Sorry(reason) => return Err(Problem::Sorry(reason)),
            Answer::Stored(_) | Answer::Alive => {}
        }
        (self.tell)(Weight::Note, &format!("connected to {}", self.options.to));
        self.last_problem = None;
        Ok(link)
    }

    /// Sends over a connection until `stop`, or until it fails.
    fn send(&mut self, mut link: Link, stop: &AtomicBool) -> Result<(), Problem> {
        let patience = self.options.patience;
        let mut heard = now();
        let mut asked = heard;
        let mut ending: Option<Instant> = None;
        loop {
            if stop.load(Ordering::Acquire) && ending.is_none() {
                // What is read is brought to its end, within reason.
                self.looked = None;
                self.look();
                ending = Some(now() + patience.ping);
            }
            if ending.is_some_and(|until| self.sending.waiting() == 0 || now() >= until) {
                link.close();
                return Ok(());
            }
            let behind = self.look();
            let frames: Vec<Frame> = std::iter::from_fn(|| self.sending.next()).collect();
            if !frames.is_empty() {
                link.send(&frames)?;
                asked = now();
            } else if now().duration_since(asked) >= patience.ping {
                link.send(&[Frame::Ping])?;
                asked = now();
            }
            let wait = if behind {
                Duration::from_millis(1)
            } else {
                LOOK / 2
            };
            let mut frame = link.receive(wait)?;
            while let Some(next) = frame {
                heard = now();
                match self.sending.receive(next)? {
                    Answer::Stored(places) => {
                        self.acknowledged += places.len() as u64;
                        for (file, place) in places {
                            self.positions.stored(file, place);
                        }
                    }
                    Answer::Sorry(reason) => return Err(Problem::Sorry(reason)),
                    Answer::Welcome(_) | Answer::Alive => {}
                }
                frame = link.at_hand()?;
            }
            if now().duration_since(heard) >= patience.silence {
                return Err(LinkError::Silent(patience.silence).into());
            }
            if self.saved.is_none_or(|saved| now().duration_since(saved) >= SAVE) {
                self.save();
            }
        }
    }

    /// Looks at the files, if it is time; whether there is more at once.
    fn look(&mut self) -> bool {
        let room = MOST_WAITING.saturating_sub(self.sending.waiting()).min(4096);
        let is_time = self
            .looked
            .is_none_or(|looked| now().duration_since(looked) >= LOOK);
        if room == 0 || !is_time {
            return false;
        }
        let found = self.follower.poll(room);
        let behind = found.len() >= room;
        for secret in found {
            self.sending.push(
                line_of(&secret.entry, self.options.extent),
                (secret.file, secret.behind),
            );
        }
        self.looked = if behind { None } else { Some(now()) };
        behind
    }

    fn save(&mut self) {
        self.saved = Some(now());
        let follower = &self.follower;
        if let Err(error) = self.positions.save(|file| follower.knows(file)) {
            let problem = format!(
                "cannot write {}: {error}; after a restart more is sent than needed",
                self.options.state.display()
            );
            if self.last_problem.as_ref() != Some(&problem) {
                (self.tell)(Weight::Warning, &problem);
                self.last_problem = Some(problem);
            }
        }
    }
}

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("its address is not found: {0}")]
    Resolve(std::io::Error),
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Sending(#[from] SendingError),
    #[error("it ended the connection: {0}")]
    Sorry(String),
}

fn lines(number: usize) -> String {
    match number {
        1 => "1 line".to_owned(),
        number => format!("{number} lines"),
    }
}

/// Between 0 and 1.
fn jitter() -> f64 {
    tls::random_id().map_or(0.5, |id| f64::from(id[0]) / 255.0)
}
