//! The captures of real nodes that lie beside the checkout.

use std::path::{Path, PathBuf};

/// The folder of shared captures: `$BFTAP_SHARED/captures`, else `../shared/captures` beside the checkout.
///
/// `None`, and a loud word on standard error, where there is none: tests that need it then end early. On a build server
/// (`CI` is set) its absence is a failure.
///
/// # Panics
/// If `CI` is set and the folder is absent.
pub fn shared_captures() -> Option<PathBuf> {
    let shared = std::env::var_os("BFTAP_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let captures = shared.join("captures");
    if captures.is_dir() {
        return Some(captures);
    }
    let message =
        "the captures of real nodes are absent (BFTAP_SHARED, or a folder `shared` beside the checkout)";
    assert!(std::env::var_os("CI").is_none(), "{message}");
    eprintln!("NOT TESTED: {message}");
    None
}
