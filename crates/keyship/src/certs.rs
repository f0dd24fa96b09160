//! Certificates for a lab that has no authority of its own: one authority, receivers, shippers.
//!
//! A receiver is known by its addresses, a shipper by its name, both as subject alternative names. Which of the two a certificate is
//! for stands in it (extended key usage), so that neither passes for the other.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use zeroize::Zeroizing;

use crate::ledger::is_safe_name;

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// One that listens, under these names and addresses.
    Receiver(Vec<String>),
    /// One that sends, under this name.
    Shipper(String),
}

/// From when to when a certificate holds, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub from: u64,
    /// Last second.
    pub to: u64,
}

impl Validity {
    /// For so many days from now, and since yesterday: clocks differ.
    pub fn days(now: u64, days: u32) -> Self {
        Self {
            from: now.saturating_sub(DAY),
            to: now.saturating_add(u64::from(days) * DAY),
        }
    }
}

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Days that certificates of shippers and receivers hold, unless told otherwise.
pub const DAYS: u32 = 730;

/// Days that an authority holds.
const AUTHORITY_DAYS: u32 = 3650;

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file or folder cannot be used.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: String,
        /// What came of it.
        source: io::Error,
    },
    /// A file is there already.
    #[error(
        "{0} is there already and is not overwritten; --force makes it anew, and what used it is refused from then on"
    )]
    Exists(String),
    /// Only one of the authority's two files is there.
    #[error(
        "of {CA_CERT} and {CA_KEY} only one is in {0}: put the other beside it, or begin in an empty folder"
    )]
    HalfAnAuthority(String),
    /// A name that cannot be in a certificate, or be the name of a file.
    #[error(
        "{0:?} cannot be the name of a shipper: letters, digits, `-`, `_` and dots within, at most 100 of them, and no IP address"
    )]
    ShipperName(String),
    /// A name that cannot be in a certificate.
    #[error("{0:?} is neither an IP address nor a name of a host")]
    ReceiverName(String),
    /// The authority's key cannot be read, or a certificate not be made.
    #[error("{0}: {1}")]
    Make(String, rcgen::Error),
}

/// The authority's certificate: on every machine.
pub const CA_CERT: &str = "ca.pem";
/// The authority's key: only where certificates are made.
pub const CA_KEY: &str = "ca-key.pem";
/// A receiver's certificate, in the folder that is made for it.
pub const CERT: &str = "cert.pem";
/// Its key.
pub const KEY: &str = "key.pem";

/// A folder in which certificates are made.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the authority of a folder, or makes both; whether it was made is told.
    ///
    /// # Errors
    /// Files cannot be read or written, or only half of them is there.
    pub fn open(folder: &Path, now: u64) -> Result<(Self, bool), CertError> {
        make_folder(folder)?;
        let (cert_path, key_path) = (folder.join(CA_CERT), folder.join(CA_KEY));
        match (read(&cert_path)?, read(&key_path)?) {
            (Some(certificate), Some(key)) => {
                let key =
                    KeyPair::from_pem(&key).map_err(|error| CertError::Make(shown(&key_path), error))?;
                let issuer = Issuer::new(authority_params(Validity::days(now, AUTHORITY_DAYS)), key);
                let authority = Self {
                    folder: folder.to_owned(),
                    issuer,
                    certificate: certificate.to_string(),
                };
                Ok((authority, false))
            }
            (None, None) => {
                let failed = |error| CertError::Make("cannot make an authority".to_owned(), error);
                let key = KeyPair::generate().map_err(failed)?;
                let params = authority_params(Validity::days(now, AUTHORITY_DAYS));
                let certificate = params.self_signed(&key).map_err(failed)?.pem();
                write_new(
                    &key_path,
                    Zeroizing::new(key.serialize_pem()).as_bytes(),
                    0o600,
                    false,
                )?;
                write_new(&cert_path, certificate.as_bytes(), 0o644, false)?;
                let authority = Self {
                    folder: folder.to_owned(),
                    issuer: Issuer::new(params, key),
                    certificate,
                };
                Ok((authority, true))
            }
            _ => Err(CertError::HalfAnAuthority(shown(folder))),
        }
    }

    /// Makes a folder with everything that a receiver or shipper needs, and gives its path.
    ///
    /// # Errors
    /// There is one, and `force` is not set; or it cannot be made.
    pub fn issue(&self, holder: &Holder, validity: Validity, force: bool) -> Result<PathBuf, CertError> {
        let (name, names, usage) = match holder {
            Holder::Receiver(names) => (
                "receiver".to_owned(),
                names.clone(),
                ExtendedKeyUsagePurpose::ServerAuth,
            ),
            Holder::Shipper(name) => {
                if !is_shipper_name(name) {
                    return Err(CertError::ShipperName(name.clone()));
                }
                (
                    format!("shipper-{name}"),
                    vec![name.clone()],
                    ExtendedKeyUsagePurpose::ClientAuth,
                )
            }
        };
        if matches!(holder, Holder::Receiver(_)) {
            for name in &names {
                if name.parse::<std::net::IpAddr>().is_err() && !is_safe_name(name) {
                    return Err(CertError::ReceiverName(name.clone()));
                }
            }
        }
        let failed = |error| CertError::Make(format!("cannot make the certificate of {name}"), error);
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = common_name(&format!("bftap {name}"));
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, validity);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        let folder = self.folder.join(&name);
        make_folder(&folder)?;
        let (cert_path, key_path) = (folder.join(CERT), folder.join(KEY));
        if !force && let Some(there) = [&cert_path, &key_path].into_iter().find(|path| path.exists()) {
            return Err(CertError::Exists(shown(there)));
        }
        write_new(
            &key_path,
            Zeroizing::new(key.serialize_pem()).as_bytes(),
            0o600,
            force,
        )?;
        write_new(&cert_path, certificate.as_bytes(), 0o644, force)?;
        write_new(&folder.join(CA_CERT), self.certificate.as_bytes(), 0o644, true)?;
        Ok(folder)
    }
}

/// A name that stands in a certificate as a host name, is safe as a file name, and is no address.
pub fn is_shipper_name(name: &str) -> bool {
    is_safe_name(name)
        && name.parse::<std::net::IpAddr>().is_err()
        && name.split('.').all(|label| !label.is_empty() && label.len() <= 63 && !label.ends_with('-') && !label.starts_with('-'))
        // A name whose last part is a number is taken for a damaged address.
        && name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The same for all authorities, so that it can be made again from the key: certificates name their issuer by it, and by its key.
fn authority_params(validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("bftap keys authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, validity);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let time = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.min(LAST_SECOND));
    params.not_before = time(validity.from);
    params.not_after = time(validity.to);
}

/// End of the year 9999, the last that a certificate can say.
const LAST_SECOND: u64 = 253_402_300_799;

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn make_folder(path: &Path) -> Result<(), CertError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| CertError::Io {
            doing: "make",
            path: shown(path),
            source,
        })
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, CertError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CertError::Io {
            doing: "read",
            path: shown(path),
            source,
        }),
    }
}

fn write_new(path: &Path, content: &[u8], mode: u32, replace: bool) -> Result<(), CertError> {
    let failed = |source| CertError::Io {
        doing: "write",
        path: shown(path),
        source,
    };
    if replace {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CertError::Exists(shown(path)),
            _ => failed(error),
        })?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed)
}
