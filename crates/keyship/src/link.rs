//! Frames over a TLS connection over a socket, with a limit on every wait.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::{AlertDescription, CertificateError, Connection};
use zeroize::{Zeroize as _, Zeroizing};

use crate::wire::{Frame, FrameError, MAX_CONTENT};

/// A connection that is up.
pub(crate) struct Link {
    tls: Connection,
    socket: TcpStream,
    /// Plain text that is no whole frame yet.
    inbox: Zeroizing<Vec<u8>>,
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{}", tls_words(.0))]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the other end closed the connection")]
    Closed,
    #[error("the other end did not answer for {} s", .0.as_secs())]
    Silent(Duration),
}

/// Bytes of plain text taken in at a time.
const CHUNK: usize = 16 << 10;

impl Link {
    /// Shakes hands, in at most this time.
    pub(crate) fn shake_hands(
        tls: Connection,
        socket: TcpStream,
        within: Duration,
    ) -> Result<Self, LinkError> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(within))?;
        let mut link = Self {
            tls,
            socket,
            // So large that it never grows: no copy of a secret stays behind.
            inbox: Zeroizing::new(Vec::with_capacity(CHUNK + MAX_CONTENT + 2)),
        };
        let until = now() + within;
        while link.tls.is_handshaking() {
            link.flush()?;
            if link.tls.is_handshaking() && !link.read_some(until)? {
                return Err(LinkError::Silent(within));
            }
        }
        link.flush()?;
        Ok(link)
    }

    /// The certificate that the other end showed.
    pub(crate) fn peer_certificate(&self) -> Option<&rustls::pki_types::CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// Sends frames.
    pub(crate) fn send<'a>(&mut self, frames: impl IntoIterator<Item = &'a Frame>) -> Result<(), LinkError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_CONTENT + 2));
        for frame in frames {
            bytes.zeroize();
            frame.encode(&mut bytes);
            // Its buffer is bounded: what does not fit goes out first.
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let taken = self.tls.writer().write(rest)?;
                rest = &rest[taken..];
                if !rest.is_empty() {
                    self.flush()?;
                }
            }
        }
        self.flush()
    }

    /// The next frame; `None` if none comes for so long.
    pub(crate) fn receive(&mut self, wait: Duration) -> Result<Option<Frame>, LinkError> {
        let until = now() + wait;
        loop {
            if let Some(frame) = self.at_hand()? {
                return Ok(Some(frame));
            }
            if !self.read_some(until)? {
                return Ok(None);
            }
        }
    }

    /// The next frame, if it is there already.
    pub(crate) fn at_hand(&mut self) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some((frame, used)) = Frame::decode(&self.inbox)? {
                self.inbox.drain(..used);
                return Ok(Some(frame));
            }
            let filled = self.inbox.len();
            self.inbox.resize(filled + CHUNK, 0);
            let read = self.tls.reader().read(&mut self.inbox[filled..]);
            self.inbox
                .truncate(filled + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => return Err(LinkError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // Without a farewell: what was cut off is not acknowledged.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(LinkError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says farewell.
    pub(crate) fn close(mut self) {
        self.tls.send_close_notify();
        // Nobody waits for it.
        let _ = self.flush();
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    return Err(
                        io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing").into(),
                    );
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what there is, waiting for it until then; `false` if nothing came.
    fn read_some(&mut self, until: Instant) -> Result<bool, LinkError> {
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(false);
        }
        self.socket.set_read_timeout(Some(left))?;
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => return Err(LinkError::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) if is_timeout(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = self.tls.process_new_packets() {
            // The other end is told why.
            let _ = self.flush();
            return Err(error.into());
        }
        self.flush()?;
        Ok(true)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The wait of sockets: no fact depends on it.
#[expect(clippy::disallowed_methods, reason = "limits on waiting, at the edge")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What went wrong with TLS, for a person who set up certificates.
fn tls_words(error: &rustls::Error) -> String {
    use rustls::Error;
    match error {
        Error::NoCertificatesPresented => "it showed no certificate".to_owned(),
        Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is of another authority".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: is the clock right?".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name or address than the one that was dialled".to_owned()
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "its certificate is for something else (a shipper's, or a receiver's)".to_owned()
            }
            other => format!("its certificate is not accepted: {other}"),
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "the other end refused our certificate: it is of another authority".to_owned()
            }
            AlertDescription::CertificateExpired => {
                "the other end refused our certificate: it has expired, or the clocks differ".to_owned()
            }
            AlertDescription::CertificateRequired => "the other end asks for a certificate".to_owned(),
            AlertDescription::BadCertificate | AlertDescription::UnsupportedCertificate => {
                "the other end refused our certificate".to_owned()
            }
            AlertDescription::NoApplicationProtocol => "the other end is not for session secrets".to_owned(),
            other => format!("the other end ended the handshake: {other:?}"),
        },
        Error::PeerIncompatible(_) => "it does not speak TLS 1.3".to_owned(),
        Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => other.to_string(),
    }
}
