//! A TCP proxy in front of a database server that sees commits pass, to end programs in the middle of one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes, and so does its answer.
    Pass,
    /// The connection ends before the server hears of it.
    CutBefore,
    /// The server hears of it, and nobody hears the answer.
    CutBehind,
}

/// Forwards connections to a server, and tells of every `COMMIT` (of MySQL's and PostgreSQL's text protocols, without TLS).
///
/// Ends with its last connection and its own drop.
#[derive(Debug)]
pub struct CommitProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    commits: AtomicU64,
    closed: AtomicBool,
    judge: Box<dyn Fn(u64) -> Fate + Send + Sync>,
    behind: Box<dyn Fn(u64) + Send + Sync>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("server", &self.server)
            .field("commits", &self.commits)
            .finish_non_exhaustive()
    }
}

impl CommitProxy {
    /// Listens on a free port of loopback.
    ///
    /// `judge` is asked with the number of each commit, from 1, before it is forwarded; `behind` is called right after it was, while
    /// its answer is on the way, or withheld.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(
        server: SocketAddr,
        judge: impl Fn(u64) -> Fate + Send + Sync + 'static,
        behind: impl Fn(u64) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            commits: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            judge: Box::new(judge),
            behind: Box::new(behind),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.closed.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                // A server that is away looks the same through the proxy: the connection ends.
                if let Ok(server) = TcpStream::connect(accepting.server) {
                    forward(client, server, &accepting);
                }
            }
        });
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many commits it has seen.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }
}

impl Drop for CommitProxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Copies both ways on threads of their own.
fn forward(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let silent = Arc::new(AtomicBool::new(false));
    let silenced = Arc::clone(&silent);
    std::thread::spawn(move || {
        let _ = copy(server_too, client_too, |_| !silenced.load(Ordering::Relaxed));
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let _ = requests(client, server, &shared, &silent);
    });
}

fn requests(
    mut client: TcpStream,
    mut server: TcpStream,
    shared: &Shared,
    silent: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let ended = loop {
        let len = match client.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(len) => len,
            Err(error) => break Err(error),
        };
        let request = &buffer[..len];
        if !is_commit(request) {
            if let Err(error) = server.write_all(request) {
                break Err(error);
            }
            continue;
        }
        let number = shared.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let fate = (shared.judge)(number);
        if fate == Fate::CutBefore {
            break Ok(());
        }
        if fate == Fate::CutBehind {
            silent.store(true, Ordering::Relaxed);
        }
        let sent = server.write_all(request);
        (shared.behind)(number);
        if fate == Fate::CutBehind || sent.is_err() {
            break sent;
        }
    };
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    ended
}

/// Whether this is a whole request that commits: MySQL's COM_QUERY (length, sequence number 0, command 3) or PostgreSQL's `Q` message.
fn is_commit(request: &[u8]) -> bool {
    let text = match request {
        [_, _, _, 0, 3, text @ ..] => text,
        [b'Q', _, _, _, _, text @ ..] => text.strip_suffix(&[0]).unwrap_or(text),
        _ => return false,
    };
    text.eq_ignore_ascii_case(b"COMMIT")
}

fn copy(mut from: TcpStream, mut to: TcpStream, wanted: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let ended = loop {
        // A server that is killed ends its connections, some of them with a reset.
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(len) if wanted(&buffer[..len]) => {
                if let Err(error) = to.write_all(&buffer[..len]) {
                    break Err(error);
                }
            }
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    let _ = to.shutdown(Shutdown::Both);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_of_both_protocols_are_known() {
        for commit in [&b"\x07\0\0\0\x03COMMIT"[..], b"Q\0\0\0\x0bCOMMIT\0"] {
            assert!(is_commit(commit), "{commit:?}");
        }
        for other in [
            &b""[..],
            b"COMMIT",
            b"\x06\0\0\0\x03BEGIN",
            b"Q\0\0\0\x0aBEGIN\0",
            b"\x08\0\0\0\x16COMMIT?",
        ] {
            assert!(!is_commit(other), "{other:?}");
        }
    }

    #[test]
    fn a_commit_is_forwarded_answered_or_cut() {
        // Answers every request with its own bytes.
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let (heard, requests) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for client in server.incoming().take(3) {
                let mut client = client.unwrap();
                let heard = heard.clone();
                std::thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(len @ 1..) = client.read(&mut buffer) {
                        heard.send(buffer[..len].to_vec()).unwrap();
                        let _ = client.write_all(&buffer[..len]);
                    }
                });
            }
        });
        let judge = |number| [Fate::Pass, Fate::CutBehind, Fate::CutBefore][(number - 1) as usize];
        let proxy = CommitProxy::start(address, judge, |_| {}).unwrap();
        const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
        for (answered, arrived) in [(true, true), (false, true), (false, false)] {
            let mut client = TcpStream::connect(proxy.address()).unwrap();
            client.write_all(b"hello").unwrap();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(requests.recv().unwrap(), b"hello");
            client.write_all(COMMIT).unwrap();
            let mut answer = Vec::new();
            if answered {
                answer.resize(COMMIT.len(), 0);
                client.read_exact(&mut answer).unwrap();
            } else {
                let _ = client.read_to_end(&mut answer);
            }
            assert_eq!(answer == COMMIT, answered);
            if arrived {
                assert_eq!(requests.recv().unwrap(), COMMIT);
            }
            assert!(requests.try_recv().is_err());
        }
        assert_eq!(proxy.commits(), 3);
    }
}
