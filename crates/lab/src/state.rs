//! What was made, written down before it is made.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// The state file of a lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Format of this file.
    pub version: u32,
    /// What is wanted.
    pub plan: Plan,
    /// What was made, or was about to be, in this order.
    pub made: Vec<Made>,
}

/// Something that has to be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// The lab's folder itself: it was not there before.
    Dir,
    /// A file or folder below it.
    Path(PathBuf),
    /// A setting of the kernel; what it was.
    Sysctl {
        /// Below `/proc/sys`.
        name: String,
        /// What it was.
        was: String,
    },
    /// Daemons of the lab's own.
    Switch,
    /// A bridge on the machine's own switch.
    RunningBridge(String),
    /// A network namespace.
    Namespace(String),
    /// An interface outside namespaces.
    Link(String),
    /// Nodes were started.
    Nodes,
}

/// Why the state cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is one already.
    #[error(
        "there is a lab in {0} already: `bftap lab down --dir {0}` takes it down, --dir chooses another folder"
    )]
    Exists(String),
    /// It cannot be written or read.
    #[error("{path} cannot be used")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not one.
    #[error("{path} is not the state of a lab")]
    Shape {
        /// Which file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl State {
    /// The state file in a folder.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("lab.json")
    }

    /// Begins a lab: its folder and state file. Of two that begin at once, one does.
    ///
    /// # Errors
    /// When there is one already, or the folder cannot be made.
    pub fn begin(plan: Plan) -> Result<Self, StateError> {
        let dir = plan.dir.clone();
        let failed = |source| io_error(&dir, source);
        let mut made = Vec::new();
        if !dir.exists() {
            use std::os::unix::fs::DirBuilderExt as _;
            if let Some(parent) = dir.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            fs::DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
            made.push(Made::Dir);
        }
        let state = Self {
            version: VERSION,
            plan,
            made,
        };
        // Whole or not at all, and only one of two that begin at once: a link is refused where there is one.
        let path = Self::path(&dir);
        let fresh = dir.join(format!("{FRESH}.{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)?;
            state.write_to(&mut file)?;
            fs::hard_link(&fresh, &path)
        };
        let written = write();
        let _ = fs::remove_file(&fresh);
        match written {
            Ok(()) => Ok(state),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StateError::Exists(dir.display().to_string()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes what a lab has left that was killed while its state was first written.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) fn clear_beginnings(dir: &Path) -> io::Result<()> {
        let Ok(entries) = fs::read_dir(dir) else {
            return Ok(());
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(FRESH) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Reads a lab's state; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(dir: &Path) -> Result<Option<Self>, StateError> {
        let path = Self::path(dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path, error)),
        };
        let state = serde_json::from_slice(&text).map_err(|source| StateError::Shape {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Some(state))
    }

    /// Writes down what is about to be made.
    ///
    /// # Errors
    /// When it cannot be written: then it must not be made.
    pub fn about_to(&mut self, made: Made) -> Result<(), StateError> {
        if self.made.contains(&made) {
            return Ok(());
        }
        self.made.push(made);
        let path = Self::path(&self.plan.dir);
        let fresh = self.plan.dir.join(FRESH);
        let write = || -> io::Result<()> {
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            self.write_to(&mut file)?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|source| io_error(&path, source))
    }

    fn write_to(&self, file: &mut File) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        file.write_all(&text)
    }
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        path: path.display().to_string(),
        source,
    }
}

const VERSION: u32 = 1;
/// A state on its way into the state file.
const FRESH: &str = "lab.json.new";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Controller, Datapath, PortKind};

    #[test]
    fn what_is_about_to_be_made_is_written_before() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("lab");
        let plan = Plan {
            dir: dir.clone(),
            nodes: 1,
            taps: 0,
            subnet: "10.0.0.0/24".parse().unwrap(),
            ports: PortKind::Internal,
            datapath: Datapath::System,
            use_running: true,
            controller: Controller::Address("tcp:127.0.0.1:6633".into()),
            host_address: true,
            rmem_default: Some(1),
            owner: Some((1000, 1000)),
        };
        let mut state = State::begin(plan.clone()).unwrap();
        assert!(matches!(State::begin(plan.clone()), Err(StateError::Exists(_))));
        state.about_to(Made::Namespace("n1".into())).unwrap();
        state.about_to(Made::Namespace("n1".into())).unwrap();
        let read = State::read(&dir).unwrap().unwrap();
        assert_eq!(read.plan, plan);
        assert_eq!(read.made, [Made::Dir, Made::Namespace("n1".into())]);
        fs::write(State::path(&dir), "{").unwrap();
        assert!(matches!(State::read(&dir), Err(StateError::Shape { .. })));
        assert!(State::read(folder.path()).unwrap().is_none());
    }
}
