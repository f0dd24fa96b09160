//! The switch, through the programs that come with it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A bridge, and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Database of the switch, as `ovs-vsctl --db` takes it. `None`: where the switch of this machine has it.
    pub db: Option<String>,
    /// OpenFlow socket of the bridge, as `ovs-ofctl` takes it. `None`: `BRIDGE.mgmt` beside the database's socket, else where the switch has it.
    pub openflow: Option<String>,
}

/// Why the switch did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A name that no bridge can have.
    #[error("{0:?} is not the name of a bridge")]
    Name(String),
    /// The program is not there.
    #[error("{0} is not there: install Open vSwitch (on Debian: apt install openvswitch-switch)")]
    NotInstalled(&'static str),
    /// The program cannot be started.
    #[error("cannot start {0}: {1}")]
    Start(&'static str, io::Error),
    /// The switch is not reached.
    #[error("cannot reach the switch: {0}. Is it running, and does this run as root?")]
    Unreachable(String),
    /// There is no such bridge.
    #[error("there is no bridge {name}{}", if .others.is_empty() { String::new() } else { format!(": there are {}", .others.join(", ")) })]
    NoBridge {
        /// The one that was named.
        name: String,
        /// Those that are there.
        others: Vec<String>,
    },
    /// OpenFlow 1.3 is off.
    #[error(
        "bridge {0} does not speak OpenFlow 1.3: ovs-vsctl set bridge {0} protocols=OpenFlow10,OpenFlow13"
    )]
    Version(String),
    /// Anything else that the program said.
    #[error("{program} {what}: {said}")]
    Refused {
        /// Which program.
        program: &'static str,
        /// What it was asked for.
        what: String,
        /// What it answered.
        said: String,
    },
}

/// Where Open vSwitch has its sockets.
const RUN_FOLDER: &str = "/var/run/openvswitch";

/// Seconds that a program waits for the switch.
const TIMEOUT: &str = "--timeout=10";

impl Bridge {
    /// Where `ovs-ofctl` is sent.
    pub fn target(&self) -> String {
        if let Some(openflow) = &self.openflow {
            return openflow.clone();
        }
        let beside = self
            .db
            .as_deref()
            .and_then(|db| db.strip_prefix("unix:"))
            .map(|db| {
                let folder = Path::new(db).parent().unwrap_or(Path::new("")).to_owned();
                folder.join(format!("{}.mgmt", self.name))
            });
        match beside {
            Some(socket) => format!("unix:{}", socket.display()),
            None => self.name.clone(),
        }
    }

    /// Keeps others who give orders to switches of this machine waiting, until the result is dropped: what is read of the switch
    /// and what is then written belong together.
    ///
    /// It is the folder of the switch's sockets that is locked, so nothing is left behind.
    ///
    /// # Errors
    /// The folder cannot be locked. One that is not there is no error here: whoever asks the switch next says what is wrong.
    pub fn hold(&self) -> Result<Option<File>, SwitchError> {
        let target = self.target();
        let folder = match target.strip_prefix("unix:") {
            Some(socket) => Path::new(socket).parent().unwrap_or(Path::new("")).to_owned(),
            // Over a network nobody can be held off.
            None if target.contains(':') => return Ok(None),
            None => PathBuf::from(std::env::var_os("OVS_RUNDIR").unwrap_or_else(|| RUN_FOLDER.into())),
        };
        let Ok(held) = File::open(&folder) else {
            return Ok(None);
        };
        held.lock()
            .map_err(|error| SwitchError::Unreachable(format!("{}: {error}", folder.display())))?;
        Ok(Some(held))
    }

    /// Runs `ovs-ofctl` on the bridge.
    ///
    /// # Errors
    /// It failed; what it said, for a person.
    pub fn openflow(&self, what: &[&str], arguments: &[&str], input: &str) -> Result<String, SwitchError> {
        self.check_name()?;
        let target = self.target();
        let mut all = vec![TIMEOUT, "-O", "OpenFlow13"];
        all.extend_from_slice(what);
        all.push(&target);
        all.extend_from_slice(arguments);
        let ran = run("ovs-ofctl", &all, input)?;
        if ran.worked {
            return Ok(ran.output);
        }
        if ran.said.contains("version negotiation failed") {
            return Err(SwitchError::Version(self.name.clone()));
        }
        if ran.said.contains("is not a bridge or a socket") || ran.said.contains("connect") {
            // Which of the two it is, the database knows.
            let bridges = self.bridges()?;
            if !bridges.contains(&self.name) {
                return Err(SwitchError::NoBridge {
                    name: self.name.clone(),
                    others: bridges,
                });
            }
            return Err(SwitchError::Unreachable(ran.said));
        }
        Err(SwitchError::Refused {
            program: "ovs-ofctl",
            what: what.join(" "),
            said: ran.said,
        })
    }

    /// Names of all bridges.
    ///
    /// # Errors
    /// The switch is not reached.
    pub fn bridges(&self) -> Result<Vec<String>, SwitchError> {
        let db = self.db.as_ref().map(|db| format!("--db={db}"));
        let mut all = vec![TIMEOUT];
        all.extend(db.as_deref());
        all.push("list-br");
        let ran = run("ovs-vsctl", &all, "")?;
        if ran.worked {
            Ok(ran.output.lines().map(str::to_owned).collect())
        } else {
            Err(SwitchError::Unreachable(ran.said))
        }
    }

    fn check_name(&self) -> Result<(), SwitchError> {
        let fine = !self.name.is_empty()
            && self.name.len() <= 64
            && !self.name.starts_with('-')
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if fine {
            Ok(())
        } else {
            Err(SwitchError::Name(self.name.clone()))
        }
    }
}

struct Ran {
    worked: bool,
    output: String,
    said: String,
}

fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<Ran, SwitchError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SwitchError::NotInstalled(program),
        _ => SwitchError::Start(program, error),
    };
    let mut child = Command::new(path_of(program))
        .args(arguments)
        .env("LC_ALL", "C")
        // A password may be in it.
        .env_remove("BFTAP_STORE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read everything says why. What is written is shorter than a pipe's buffer, so nobody waits.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said
        .lines()
        .map(|line| line.split_once("|WARN|").map_or(line, |(_, text)| text))
        .collect::<Vec<_>>()
        .join("; ");
    Ok(Ran {
        worked: output.status.success(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        said,
    })
}

/// The program, also where the administrator's folders are not searched.
fn path_of(program: &str) -> PathBuf {
    let searched = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|folder| folder.join(program).is_file()));
    let usual = Path::new("/usr/bin").join(program);
    if !searched && usual.is_file() {
        usual
    } else {
        PathBuf::from(program)
    }
}
