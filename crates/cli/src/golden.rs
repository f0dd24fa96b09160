//! Golden files of this crate's unit tests, under `tests/data`.

use std::path::Path;
use std::{env, fs};

/// Compares with the golden file, or rewrites it under `BFTAP_BLESS=1`.
pub(crate) fn check(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    if env::var_os("BFTAP_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, got).unwrap();
        return;
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        want == got,
        "{name} differs from what was blessed: run with BFTAP_BLESS=1, then read the diff. Now:\n{got}"
    );
}
