//! Shippers and a receiver over loopback, with certificates of the test's own, and a network that cuts.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bftap_keyship::Tell;
use bftap_keyship::certs::{Authority, Holder, Validity};
use bftap_keyship::line::Extent;
use bftap_keyship::receiver::{OnSecret, Patience, Receiver, ReceiverOptions};
use bftap_keyship::shipper::{Shipper, ShipperOptions};
use bftap_keyship::tls::Identity;

const NOW: u64 = 1_795_000_000;

/// A lab on loopback: certificates, a folder, words that were told.
struct Lab {
    folder: tempfile::TempDir,
    told: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    fn new() -> Self {
        let lab = Self {
            folder: tempfile::tempdir().unwrap(),
            told: Arc::default(),
        };
        lab.authority("ca", &["cn1", "cn2"]);
        lab
    }

    fn authority(&self, name: &str, shippers: &[&str]) {
        let (authority, _) = Authority::open(&self.path(name), now()).unwrap();
        let validity = Validity::days(now(), 10);
        let receiver = Holder::Receiver(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
        authority.issue(&receiver, validity, false).unwrap();
        for shipper in shippers {
            authority
                .issue(&Holder::Shipper((*shipper).to_owned()), validity, false)
                .unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tell(&self) -> Tell {
        let told = Arc::clone(&self.told);
        Arc::new(move |_, text| told.lock().unwrap().push(text.to_owned()))
    }

    fn told(&self, text: &str) -> bool {
        self.told.lock().unwrap().iter().any(|told| told.contains(text))
    }

    fn receiver(&self, listen: SocketAddr) -> Receiver {
        self.receiver_with(listen, Some("out"), Arc::new(|_, _| ()))
    }

    fn receiver_with(&self, listen: SocketAddr, folder: Option<&str>, on_secret: OnSecret) -> Receiver {
        let options = ReceiverOptions {
            listen,
            identity: Identity::in_folder(&self.path("ca/receiver")),
            folder: folder.map(|name| self.path(name)),
            patience: patience(),
        };
        // The port of a receiver that was just stopped may be taken for a moment.
        let start = || {
            let options = ReceiverOptions {
                identity: options.identity.clone(),
                folder: options.folder.clone(),
                ..options
            };
            Receiver::start(options, Arc::clone(&on_secret), self.tell())
        };
        let mut receiver = start();
        for _ in 0..100 {
            if receiver.is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
            receiver = start();
        }
        receiver.unwrap()
    }

    fn options(&self, to: SocketAddr, identity: &str, name: &str) -> ShipperOptions {
        ShipperOptions {
            to: to.to_string(),
            server_name: None,
            identity: Identity::in_folder(&self.path(identity)),
            paths: vec![self.path(name)],
            state: self.path(&format!("{name}.places")),
            extent: Extent::ReadOnly,
            patience: patience(),
        }
    }

    fn ship(&self, to: SocketAddr, identity: &str, name: &str) -> Running {
        Running::start(self.options(to, identity, name), self.tell())
    }

    fn stored(&self, shipper: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(&format!("out/{shipper}.keylog"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the receiver has as many lines; then they must be exactly these.
    fn expect(&self, shipper: &str, lines: u32) {
        let wanted: BTreeSet<String> = (0..lines)
            .map(|number| line(number).trim_end().to_owned())
            .collect();
        wait_for(
            || self.stored(shipper).len() >= wanted.len(),
            || {
                format!(
                    "{} of {lines} lines; {:?}",
                    self.stored(shipper).len(),
                    self.told.lock().unwrap()
                )
            },
        );
        let stored = self.stored(shipper);
        assert_eq!(stored.len(), wanted.len(), "a line came twice");
        assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), wanted);
    }
}

/// A shipper on a thread.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Running {
    fn start(options: ShipperOptions, tell: Tell) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut shipper = Shipper::new(options, tell).unwrap();
        let thread = thread::spawn(move || {
            shipper.run(&stopped);
            shipper.acknowledged()
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Stops it, and says how many lines were acknowledged.
    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn patience() -> Patience {
    Patience {
        handshake: Duration::from_secs(10),
        silence: Duration::from_secs(2),
        ping: Duration::from_millis(300),
        retry: (Duration::from_millis(20), Duration::from_millis(200)),
    }
}

fn now() -> u64 {
    // Certificates are checked against the machine's clock.
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_secs()
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn wait_for(done: impl Fn() -> bool, what: impl Fn() -> String) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("not within a minute: {}", what());
}

fn line(number: u32) -> String {
    let mut key = [0x5a; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    let key = hex::encode(key);
    format!("RLPX-AES {key} session={key}\n")
}

fn append(path: &Path, numbers: impl IntoIterator<Item = u32>) {
    let text: String = numbers.into_iter().map(line).collect();
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn random(state: &AtomicU64, below: u64) -> u64 {
    let mut x = state.load(Ordering::Relaxed);
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    state.store(x, Ordering::Relaxed);
    x % below
}

#[test]
fn lines_arrive_as_they_are_written_each_under_its_shippers_name() {
    let lab = Lab::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let on_secret: OnSecret = {
        let seen = Arc::clone(&seen);
        Arc::new(move |shipper, entry| {
            assert!(entry.secrets.mac.is_none());
            seen.lock()
                .unwrap()
                .push((shipper.to_owned(), *entry.secrets.aes.expose()));
        })
    };
    let receiver = lab.receiver_with(any(), Some("out"), on_secret);
    append(&lab.path("one"), 0..10);
    let first = lab.ship(receiver.address(), "ca/shipper-cn1", "one");
    lab.expect("cn1", 10);
    let second = lab.ship(receiver.address(), "ca/shipper-cn2", "two");
    append(&lab.path("two"), 0..5);
    append(&lab.path("one"), 10..20);
    lab.expect("cn1", 20);
    lab.expect("cn2", 5);
    assert_eq!(receiver.connected(), ["cn1", "cn2"]);
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.iter()
            .filter(|(name, _): &&(String, _)| name == "cn1")
            .count(),
        20
    );
    assert_eq!(seen.iter().filter(|(name, _)| name == "cn2").count(), 5);
    for name in ["out/cn1.keylog", "one.places"] {
        wait_for(|| lab.path(name).exists(), || name.to_owned());
        let mode = fs::metadata(lab.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    drop((first, second));
}

#[test]
fn mac_keys_are_sent_only_when_asked_for() {
    let lab = Lab::new();
    let receiver = lab.receiver(any());
    let field = |byte: u8| hex::encode([byte; 32]);
    let full = format!(
        "RLPX {} {} {} {} {}",
        field(1),
        field(2),
        field(3),
        field(4),
        field(5)
    );
    fs::write(lab.path("full"), format!("{full} role=initiator\n")).unwrap();
    let _reduced = lab.ship(receiver.address(), "ca/shipper-cn1", "full");
    let mut options = lab.options(receiver.address(), "ca/shipper-cn2", "full");
    options.extent = Extent::WithMac;
    options.state = lab.path("other.places");
    let _whole = Running::start(options, lab.tell());
    wait_for(
        || !lab.stored("cn1").is_empty() && !lab.stored("cn2").is_empty(),
        || "two lines".to_owned(),
    );
    assert_eq!(
        lab.stored("cn1"),
        [format!("RLPX-AES {} session={}", field(2), field(1))]
    );
    assert_eq!(lab.stored("cn2"), [full]);
}

/// Passes bytes on, and cuts each connection after some number of them, at times without a word.
struct Cutter {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    cuts: Arc<AtomicU64>,
    /// From now on nothing is cut.
    calm: Arc<AtomicBool>,
}

impl Cutter {
    fn start(to: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind(any()).unwrap();
        let cutter = Self {
            address: listener.local_addr().unwrap(),
            stop: Arc::default(),
            cuts: Arc::default(),
            calm: Arc::default(),
        };
        let (stop, cuts, calm) = (
            Arc::clone(&cutter.stop),
            Arc::clone(&cutter.cuts),
            Arc::clone(&cutter.calm),
        );
        let state = Arc::new(AtomicU64::new(seed));
        thread::spawn(move || {
            for socket in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(near), Ok(far)) = (socket, TcpStream::connect(to)) else {
                    continue;
                };
                // A handshake takes some 3 kB up and 2 kB down: some cuts fall into it, most behind it.
                let left = Arc::new(AtomicU64::new(random(&state, 20_000)));
                let silent = random(&state, 5) == 0;
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (left, cuts, calm) = (Arc::clone(&left), Arc::clone(&cuts), Arc::clone(&calm));
                    thread::spawn(move || pass(from, to, &left, silent, &cuts, &calm));
                }
            }
        });
        cutter
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    left: &AtomicU64,
    silent: bool,
    cuts: &AtomicU64,
    calm: &AtomicBool,
) {
    let mut buffer = [0; 1500];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let calm = calm.load(Ordering::Acquire);
        let before = left.load(Ordering::Relaxed);
        let cut = !calm && before < read as u64;
        let passed = if cut { before as usize } else { read };
        left.fetch_sub(passed.min(before as usize) as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..passed]).is_err() {
            break;
        }
        if cut {
            cuts.fetch_add(1, Ordering::Relaxed);
            if silent {
                // Half-open: both ends go on believing in a connection that carries nothing.
                thread::sleep(Duration::from_secs(5));
            }
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

#[test]
fn cuts_at_any_byte_neither_lose_nor_repeat_a_line() {
    let lab = Lab::new();
    let receiver = lab.receiver(any());
    let cutter = Cutter::start(receiver.address(), 0x1234_5678_9abc_def1);
    let shipper = lab.ship(cutter.address, "ca/shipper-cn1", "log");
    let lines = 2000;
    for number in 0..lines {
        append(&lab.path("log"), [number]);
        if number % 20 == 0 {
            thread::sleep(Duration::from_millis(30));
        }
    }
    wait_for(
        || cutter.cuts.load(Ordering::Relaxed) >= 10,
        || format!("{} cuts", cutter.cuts.load(Ordering::Relaxed)),
    );
    cutter.calm.store(true, Ordering::Release);
    lab.expect("cn1", lines);
    drop(shipper);
}

#[test]
fn restarts_of_both_ends_neither_lose_nor_repeat_a_line() {
    let lab = Lab::new();
    let mut receiver = Some(lab.receiver(any()));
    let address = receiver.as_ref().unwrap().address();
    let mut shipper = Some(lab.ship(address, "ca/shipper-cn1", "log"));
    let state = AtomicU64::new(0xfeed_beef);
    let mut written = 0;
    for _ in 0..20 {
        let more = random(&state, 300) as u32;
        append(&lab.path("log"), written..written + more);
        written += more;
        thread::sleep(Duration::from_millis(random(&state, 300)));
        match random(&state, 3) {
            0 => {
                drop(receiver.take());
                thread::sleep(Duration::from_millis(random(&state, 300)));
                receiver = Some(lab.receiver(address));
            }
            1 => {
                shipper.take().unwrap().stop();
                shipper = Some(lab.ship(address, "ca/shipper-cn1", "log"));
            }
            _ => {
                fs::rename(lab.path("log"), lab.path(&format!("log.{written}"))).unwrap_or_default();
                // One that was rotated away before it was read is followed under its new name only if that is followed too.
                thread::sleep(Duration::from_millis(10));
                let _ = fs::rename(lab.path(&format!("log.{written}")), lab.path("log"));
            }
        }
    }
    lab.expect("cn1", written);
    drop((shipper, receiver));
}

#[test]
fn a_shipper_that_goes_on_sends_nothing_twice_and_starts_over_with_an_empty_receiver() {
    let lab = Lab::new();
    let receiver = lab.receiver(any());
    append(&lab.path("log"), 0..100);
    let shipper = lab.ship(receiver.address(), "ca/shipper-cn1", "log");
    lab.expect("cn1", 100);
    assert_eq!(shipper.stop(), 100);
    append(&lab.path("log"), 100..110);
    let shipper = lab.ship(receiver.address(), "ca/shipper-cn1", "log");
    lab.expect("cn1", 110);
    assert_eq!(shipper.stop(), 10, "only what is new goes out");
    let address = receiver.address();
    drop(receiver);
    fs::remove_dir_all(lab.path("out")).unwrap();
    let _receiver = lab.receiver(address);
    let shipper = lab.ship(address, "ca/shipper-cn1", "log");
    lab.expect("cn1", 110);
    assert_eq!(shipper.stop(), 110);
    assert!(lab.told("everything is sent once more"));
}

/// A monitor that keeps nothing on disk gets everything when it is back.
#[test]
fn a_receiver_without_a_folder_is_told_everything_after_its_restart() {
    let lab = Lab::new();
    let count = Arc::new(AtomicU64::new(0));
    let on_secret: OnSecret = {
        let count = Arc::clone(&count);
        Arc::new(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    };
    append(&lab.path("log"), 0..50);
    let receiver = lab.receiver_with(any(), None, Arc::clone(&on_secret));
    let address = receiver.address();
    let _shipper = lab.ship(address, "ca/shipper-cn1", "log");
    let seen = |number| {
        wait_for(
            || count.load(Ordering::Relaxed) >= number,
            || format!("{} of {number}", count.load(Ordering::Relaxed)),
        );
    };
    seen(50);
    drop(receiver);
    let _receiver = lab.receiver_with(address, None, on_secret);
    seen(100);
}

#[test]
fn wrong_certificates_are_refused_and_both_ends_say_why() {
    let lab = Lab::new();
    lab.authority("other", &["cn1"]);
    let (authority, made) = Authority::open(&lab.path("ca"), now()).unwrap();
    assert!(!made, "the same authority goes on");
    let old = Validity {
        from: NOW - 1_000_000_000,
        to: now() - 1000,
    };
    authority
        .issue(&Holder::Shipper("old".to_owned()), old, false)
        .unwrap();
    authority
        .issue(
            &Holder::Shipper("late".to_owned()),
            Validity::days(now(), 1),
            false,
        )
        .unwrap();
    let receiver = lab.receiver(any());
    append(&lab.path("log"), 0..3);
    // Of another authority, but it believes ours.
    fs::copy(lab.path("ca/ca.pem"), lab.path("other/shipper-cn1/ca.pem")).unwrap();
    let stranger = lab.ship(receiver.address(), "other/shipper-cn1", "log");
    wait_for(
        || lab.told("refused 127.0.0.1:") && lab.told("its certificate is of another authority"),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
    wait_for(
        || lab.told("the other end refused our certificate: it is of another authority"),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
    assert_eq!(stranger.stop(), 0);
    let expired = lab.ship(receiver.address(), "ca/shipper-old", "log");
    wait_for(
        || lab.told("its certificate has expired") && lab.told("refused our certificate: it has expired"),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
    assert_eq!(expired.stop(), 0);
    // The receiver's own certificate is not one of a shipper.
    let pretender = lab.ship(receiver.address(), "ca/receiver", "log");
    wait_for(
        || lab.told("for something else"),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
    assert_eq!(pretender.stop(), 0);
    // A shipper does not talk to a receiver of another authority, nor of another name.
    fs::copy(lab.path("other/ca.pem"), lab.path("ca/shipper-cn2/ca.pem")).unwrap();
    let careful = lab.ship(receiver.address(), "ca/shipper-cn2", "log");
    wait_for(
        || lab.told(": its certificate is of another authority; "),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
    assert_eq!(careful.stop(), 0);
    let mut options = lab.options(receiver.address(), "ca/shipper-cn1", "log");
    options.server_name = Some("elsewhere.example".to_owned());
    let elsewhere = Running::start(options, lab.tell());
    wait_for(
        || lab.told("for another name or address"),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
    assert_eq!(elsewhere.stop(), 0);
    assert!(fs::read_dir(lab.path("out")).unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        !name.to_string_lossy().ends_with(".keylog")
    }));
    // A shipper that was made later, by the same authority, is let in.
    let late = lab.ship(receiver.address(), "ca/shipper-late", "log");
    lab.expect("late", 3);
    drop(late);
}

#[test]
fn old_tls_no_certificate_and_no_tls_are_refused() {
    let lab = Lab::new();
    let receiver = lab.receiver(any());
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let ca = fs::read(lab.path("ca/ca.pem")).unwrap();
    use rustls::pki_types::pem::PemObject as _;
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(&ca).unwrap())
        .unwrap();
    let mut nobody = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    nobody.alpn_protocols = vec![bftap_keyship::wire::ALPN.to_vec()];
    let refused = |config: rustls::ClientConfig| {
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(receiver.address()).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        let _ = stream.write_all(&[0, 3, 1, 0, 1]);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        assert!(read.is_err() && answer.is_empty(), "{read:?}");
    };
    refused(nobody);
    wait_for(
        || lab.told("it showed no certificate"),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
    // A ClientHello of TLS 1.2 by hand: this build of rustls may not speak it.
    let mut hello = vec![0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2f, 1, 0, 0, 0]);
    let mut socket = TcpStream::connect(receiver.address()).unwrap();
    socket.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert_eq!(
        answer.first(),
        Some(&0x15),
        "an alert and nothing else: {answer:?}"
    );
    wait_for(
        || lab.told("does not speak TLS 1.3"),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
    let mut socket = TcpStream::connect(receiver.address()).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = socket.read_to_end(&mut answer);
    wait_for(
        || lab.told("does not speak TLS"),
        || format!("{:?}", lab.told.lock().unwrap()),
    );
}

#[test]
fn strangers_who_say_nothing_do_not_keep_shippers_out() {
    let lab = Lab::new();
    let receiver = lab.receiver(any());
    let silent: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(receiver.address()).unwrap())
        .collect();
    append(&lab.path("log"), 0..3);
    let _shipper = lab.ship(receiver.address(), "ca/shipper-cn1", "log");
    lab.expect("cn1", 3);
    drop(silent);
}

#[test]
fn certificates_are_private_and_never_overwritten_unasked() {
    let lab = Lab::new();
    let mode = |name: &str| fs::metadata(lab.path(name)).unwrap().permissions().mode() & 0o777;
    for folder in ["ca", "ca/receiver", "ca/shipper-cn1"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
    for key in ["ca/ca-key.pem", "ca/receiver/key.pem", "ca/shipper-cn1/key.pem"] {
        assert_eq!(mode(key), 0o600, "{key}");
    }
    assert!(!lab.path("ca/shipper-cn1/ca-key.pem").exists());
    let (authority, _) = Authority::open(&lab.path("ca"), now()).unwrap();
    let cn1 = Holder::Shipper("cn1".to_owned());
    let validity = Validity::days(now(), 1);
    let before = fs::read(lab.path("ca/shipper-cn1/cert.pem")).unwrap();
    let error = authority.issue(&cn1, validity, false).unwrap_err().to_string();
    assert!(error.contains("--force"), "{error}");
    assert_eq!(fs::read(lab.path("ca/shipper-cn1/cert.pem")).unwrap(), before);
    authority.issue(&cn1, validity, true).unwrap();
    assert_ne!(fs::read(lab.path("ca/shipper-cn1/cert.pem")).unwrap(), before);
    assert_eq!(mode("ca/shipper-cn1/key.pem"), 0o600);
    for name in ["", "../x", "a/b", "10.0.0.1", "-a", "a b", "x.1"] {
        assert!(
            authority
                .issue(&Holder::Shipper(name.to_owned()), validity, false)
                .is_err(),
            "{name:?}"
        );
    }
    fs::remove_file(lab.path("ca/ca-key.pem")).unwrap();
    let error = Authority::open(&lab.path("ca"), now()).unwrap_err().to_string();
    assert!(error.contains("only one is in"), "{error}");
}
