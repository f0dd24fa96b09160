//! Which store the user means, so that a password need not stand on the command line.

use std::fs;
use std::path::Path;

use bftap_store::StoreUrl;

use crate::exit::Usage;
use crate::term::{Level, safe_display, tell};

const DEFAULT_STORE: &str = "sqlite://bftap.db";

/// Where rows are: the option, else the file, else the environment, else a file in the current folder.
///
/// # Errors
/// What was given is no store's URL, or the file cannot be read. No text shows what stands there: it may be a password.
pub(crate) fn resolve(url: Option<&str>, file: Option<&Path>) -> anyhow::Result<StoreUrl> {
    let (text, given_by) = if let Some(url) = url {
        (url.to_owned(), "--store")
    } else if let Some(path) = file {
        (first_line(path)?, "--store-file")
    } else if let Some(url) = std::env::var_os("BFTAP_STORE").filter(|url| !url.is_empty()) {
        let text = url
            .into_string()
            .map_err(|_| Usage("BFTAP_STORE is not valid UTF-8".to_owned()))?;
        (text, "BFTAP_STORE")
    } else {
        (DEFAULT_STORE.to_owned(), "--store")
    };
    text.parse()
        .map_err(|error: bftap_store::ParseStoreUrlError| Usage(format!("{given_by}: {error}")).into())
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let shown = safe_display(path.display());
    let text = fs::read_to_string(path)
        .map_err(|error| Usage(format!("cannot read --store-file {shown}: {error}")))?;
    if others_can_read(path) {
        let text = format!(
            "--store-file {shown}: others can read it; if there is a password in it, make it your own with chmod 600"
        );
        tell(Level::Warning, &text);
    }
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(Usage(format!(
            "the first line of --store-file {shown} is empty; the store's URL belongs there"
        ))
        .into()),
    }
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn store(store: Option<&str>, store_file: Option<PathBuf>) -> anyhow::Result<StoreUrl> {
        resolve(store, store_file.as_deref())
    }

    #[test]
    fn a_store_file_keeps_passwords_off_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        fs::write(&path, " sqlite://here.db \n# comment\n").unwrap();
        assert_eq!(
            store(None, Some(path.clone())).unwrap().to_string(),
            "sqlite://here.db"
        );
        fs::write(&path, "\nsqlite://here.db\n").unwrap();
        let error = store(None, Some(path)).unwrap_err();
        assert!(
            error.is::<Usage>() && error.to_string().contains("is empty"),
            "{error}"
        );
        assert!(
            store(None, Some(folder.path().join("no")))
                .unwrap_err()
                .is::<Usage>()
        );
    }

    #[test]
    fn wrong_stores_are_wrong_usage_and_not_repeated() {
        let error = store(Some("oracle://u:hunter2@h/d"), None).unwrap_err();
        assert!(
            error.is::<Usage>() && !error.to_string().contains("hunter2"),
            "{error}"
        );
        assert_eq!(store(Some("none"), None).unwrap(), StoreUrl::None);
    }
}
