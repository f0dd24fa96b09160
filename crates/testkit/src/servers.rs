//! Database servers of the tests' own: in a temporary folder, on a free port of the loopback interface.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tempfile::TempDir;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// MariaDB.
    MariaDb,
    /// PostgreSQL.
    PostgreSql,
}

/// How much a server does for what it promises to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives the server's end, however sudden, but not the machine's: quick, for tests.
    Process,
    /// The server's own settings: for measuring.
    Full,
}

/// A running server; it ends, and its folder goes, when this is dropped, or when the program ends in whatever way.
///
/// Its time zone is not UTC, and its users have passwords that must be percent-encoded in a URL.
#[derive(Debug)]
pub struct DatabaseServer {
    database: Database,
    durability: Durability,
    port: u16,
    databases: AtomicU32,
    /// `None` while it is down.
    running: Option<Running>,
    /// After `running`: the server is gone when its folder goes.
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    /// Waits for the end of this program, and then ends the server and removes its folder.
    watcher: Child,
    alive: Option<ChildStdin>,
}

impl DatabaseServer {
    /// The password of [`user_url`](Self::user_url)'s user.
    pub const PASSWORD: &str = "hunter2/@?#:%";

    const PASSWORD_IN_URL: &str = "hunter2%2F%40%3F%23%3A%25";

    /// The server that all tests of this program share; `None` as for [`start`](Self::start).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn shared(database: Database) -> Option<&'static Self> {
        static SERVERS: [OnceLock<Option<DatabaseServer>>; 2] = [OnceLock::new(), OnceLock::new()];
        let server = SERVERS[database as usize].get_or_init(|| Self::start(database, Durability::Process));
        server.as_ref()
    }

    /// Starts a server.
    ///
    /// `None`, and a loud word on standard error, where it is not installed: tests that need it then end early. On a build
    /// server (`CI` is set) that is a failure.
    ///
    /// # Panics
    /// If `CI` is set and the server is not installed, or if it does not start.
    pub fn start(database: Database, durability: Durability) -> Option<Self> {
        if !database.is_installed() {
            let message = format!("{database:?} is not installed: run `scripts/setup --databases`");
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("NOT TESTED: {message}");
            return None;
        }
        let folder = tempfile::Builder::new()
            .prefix("bftap-db-")
            .tempdir()
            .expect("a temporary folder");
        if let Some(user) = database.user() {
            must(Command::new("chown").arg(user).arg(folder.path()));
        }
        let mut server = Self {
            database,
            durability,
            port: 0,
            databases: AtomicU32::new(0),
            running: None,
            folder,
        };
        must(&mut server.install_command());
        server.restart();
        match database {
            Database::MariaDb => server.admin(&format!(
                "CREATE USER 'bftap'@'%' IDENTIFIED BY '{}'",
                Self::PASSWORD
            )),
            Database::PostgreSql => {
                server.admin(&format!("CREATE ROLE bftap LOGIN PASSWORD '{}'", Self::PASSWORD));
            }
        }
        Some(server)
    }

    /// The port it listens on; another one after every start.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the server.
    ///
    /// # Panics
    /// If it is down.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the server is up").pid
    }

    /// Makes an empty database and gives its name; the user of [`user_url`](Self::user_url) may do everything in it.
    pub fn fresh_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        match self.database {
            Database::MariaDb => self.admin(&format!(
                "CREATE DATABASE {name}; GRANT ALL ON {name}.* TO 'bftap'@'%'"
            )),
            Database::PostgreSql => {
                // Copying the template is something that PostgreSQL does not do twice at a time.
                static ONE: Mutex<()> = Mutex::new(());
                let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                self.admin(&format!("CREATE DATABASE {name} OWNER bftap"));
            }
        }
        name
    }

    /// URL of a database, for the user that owns it.
    pub fn user_url(&self, database: &str) -> String {
        self.url_of("bftap", Self::PASSWORD_IN_URL, database)
    }

    /// URL of a database, for any user; `password` as it stands in a URL.
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        let scheme = match self.database {
            Database::MariaDb => "mysql",
            Database::PostgreSql => "postgres",
        };
        format!("{scheme}://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// URL of a database through the server's socket instead of its port, for the user that owns it.
    pub fn socket_url(&self, database: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let password = Self::PASSWORD_IN_URL;
        match self.database {
            Database::MariaDb => {
                format!("mysql://bftap:{password}@localhost/{database}?socket={folder}/s.sock")
            }
            Database::PostgreSql => {
                let folder = folder.replace('/', "%2F");
                format!("postgres://bftap:{password}@{folder}:{}/{database}", self.port)
            }
        }
    }

    /// Executes SQL as the server's administrator.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn admin(&self, sql: &str) {
        let folder = self.folder.path();
        match self.database {
            Database::MariaDb => must(
                Command::new("mariadb")
                    .args(["--no-defaults", "--user=root"])
                    .arg(format!("--socket={}", folder.join("s.sock").display()))
                    .args(["-e", sql]),
            ),
            Database::PostgreSql => must(self.psql("postgres").args(["-c", sql])),
        }
    }

    /// Executes SQL as the server's administrator in a database.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn admin_in(&self, database: &str, sql: &str) {
        match self.database {
            Database::MariaDb => self.admin(&format!("USE {database}; {sql}")),
            Database::PostgreSql => must(self.psql(database).args(["-c", sql])),
        }
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            database,
        ])
        .arg("-h")
        .arg(self.folder.path())
        .args(["-p", &self.port.to_string()])
        // Where that is set, psql must not take it.
        .env_remove("PGOPTIONS");
        psql
    }

    /// Ends the server at once, as a crash does; it is down until [`restart`](Self::restart).
    pub fn kill9(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        // PostgreSQL works in processes of their own, which would end what they are at. Stopped, it makes no more of them.
        signal("STOP", &[running.pid]);
        let mut all = children_of(running.pid);
        all.push(running.pid);
        signal("KILL", &all);
        // The watcher waits until all of it is gone, and leaves the folder.
        if let Some(mut alive) = running.alive.take() {
            let _ = alive.write_all(b"leave\n");
        }
        let _ = running.watcher.wait();
    }

    /// Starts the server again, on another port; [`kill9`](Self::kill9)s it before if it is up.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.restart_on(None);
    }

    /// As [`restart`](Self::restart), on the port it had: clients that try again find it.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart_same_port(&mut self) {
        self.restart_on(Some(self.port));
    }

    fn restart_on(&mut self, port: Option<u16>) {
        self.kill9();
        // A port that was free may be taken the next moment, and the memory of a killed PostgreSQL is in use a little longer.
        for attempt in 0..10 {
            self.port = port.unwrap_or_else(free_port);
            let mut running = self.spawn();
            if self.answers(&mut running) {
                self.running = Some(running);
                return;
            }
            self.running = Some(running);
            self.kill9();
            std::thread::sleep(Duration::from_millis(100 << attempt.min(4)));
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("{:?} does not start: {log}", self.database);
    }

    fn spawn(&self) -> Running {
        // The server is the watcher's child. When the pipe ends without a word, this program has ended.
        const WATCH: &str = r#"
            log=$1; folder=$2; shift 2
            "$@" >> "$log" 2>&1 < /dev/null &
            echo $!
            if ! read -r word; then
                kill -KILL $! 2> /dev/null
                wait
                rm -rf "$folder"
            fi
            wait"#;
        let server = self.server_command();
        let mut watcher = Command::new("sh")
            .args(["-c", WATCH, "watcher"])
            .arg(self.folder.path().join("log"))
            .arg(self.folder.path())
            .arg(server.get_program())
            .args(server.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .current_dir("/")
            // Ctrl-C at a terminal goes to the tests; the watcher notices their end.
            .process_group(0)
            .spawn()
            .expect("a shell can be started");
        let mut pid = String::new();
        let said = watcher.stdout.take().expect("its output is a pipe");
        BufReader::new(said)
            .read_line(&mut pid)
            .expect("the watcher says a number");
        Running {
            pid: pid.trim().parse().expect("a process id"),
            alive: watcher.stdin.take(),
            watcher,
        }
    }

    /// Waits until the server answers; `false` if it ends before.
    fn answers(&self, running: &mut Running) -> bool {
        let ping = || match self.database {
            Database::MariaDb => Command::new("mariadb-admin")
                .args(["--no-defaults", "--user=root", "ping"])
                .arg(format!(
                    "--socket={}",
                    self.folder.path().join("s.sock").display()
                ))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status(),
            Database::PostgreSql => self
                .psql("postgres")
                .args(["-c", "SELECT"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status(),
        };
        for _ in 0..1200 {
            let up = ping().is_ok_and(|status| status.success());
            if up && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            if !is_alive(running.pid) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn install_command(&self) -> Command {
        let data = self.folder.path().join("data");
        let mut command;
        match self.database {
            Database::MariaDb => {
                command = Command::new("mariadb-install-db");
                command
                    .arg("--no-defaults")
                    .arg(format!("--datadir={}", data.display()))
                    .args([
                        "--auth-root-authentication-method=normal",
                        "--skip-test-db",
                        "--skip-name-resolve",
                    ]);
                if is_root() {
                    command.arg("--user=mysql");
                }
            }
            Database::PostgreSql => {
                command = self.database.as_user(&postgres_program("initdb"));
                command.arg("-D").arg(data).args([
                    "-U",
                    "postgres",
                    "--auth-local=trust",
                    "--auth-host=scram-sha-256",
                    "--no-sync",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                ]);
            }
        }
        command.current_dir("/");
        command
    }

    fn server_command(&self) -> Command {
        let folder = self.folder.path();
        let mut command;
        match self.database {
            Database::MariaDb => {
                command = Command::new(mariadbd());
                command
                    .arg("--no-defaults")
                    .arg(format!("--datadir={}", folder.join("data").display()))
                    .arg(format!("--socket={}", folder.join("s.sock").display()))
                    .arg(format!("--pid-file={}", folder.join("pid").display()))
                    .arg(format!("--port={}", self.port))
                    .args([
                        "--bind-address=127.0.0.1",
                        "--skip-name-resolve",
                        "--default-time-zone=+05:30",
                    ]);
                if self.durability == Durability::Process {
                    command.arg("--innodb-flush-log-at-trx-commit=2");
                }
                if is_root() {
                    command.arg("--user=mysql");
                }
            }
            Database::PostgreSql => {
                command = self.database.as_user(&postgres_program("postgres"));
                command
                    .arg("-D")
                    .arg(folder.join("data"))
                    .args(["-p", &self.port.to_string(), "-k"])
                    .arg(folder)
                    .args(["-c", "listen_addresses=127.0.0.1", "-c", "timezone=Asia/Kolkata"]);
                if self.durability == Durability::Process {
                    command.args(["-c", "fsync=off"]);
                }
            }
        }
        command
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // The watcher ends the server and removes the folder.
            drop(running.alive.take());
            let _ = running.watcher.wait();
        }
    }
}

impl Database {
    fn is_installed(self) -> bool {
        match self {
            Self::MariaDb => mariadbd().exists() && on_path("mariadb-install-db").is_some(),
            Self::PostgreSql => postgres_program("postgres").exists() && on_path("psql").is_some(),
        }
    }

    /// Whom the server runs as, if this program may choose: neither runs as root.
    fn user(self) -> Option<&'static str> {
        is_root().then_some(match self {
            Self::MariaDb => "mysql",
            Self::PostgreSql => "postgres",
        })
    }

    fn as_user(self, program: &Path) -> Command {
        match self.user() {
            Some(user) => {
                // It becomes the program, where `runuser` would stay between.
                let mut command = Command::new("setpriv");
                command.args([
                    &format!("--reuid={user}"),
                    &format!("--regid={user}"),
                    "--init-groups",
                    "--",
                ]);
                command.arg(program);
                command
            }
            None => Command::new(program),
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout == b"0\n")
}

fn mariadbd() -> PathBuf {
    on_path("mariadbd").unwrap_or_else(|| PathBuf::from("/usr/sbin/mariadbd"))
}

/// A program of the newest PostgreSQL: Debian keeps them apart from the PATH, by version.
fn postgres_program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max();
    match newest {
        Some(version) => Path::new("/usr/lib/postgresql").join(format!("{version}/bin/{name}")),
        None => on_path(name).unwrap_or_default(),
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.exists())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

/// Whether a process is there and has not ended: one that nobody has asked about is there a little longer.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name is in parentheses and may hold anything; the state follows.
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// Processes whose parent is this one.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Behind the name in parentheses: state, parent.
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            rest.split_whitespace().nth(1) == Some(&parent.to_string())
        })
        .collect()
}

fn signal(name: &str, pids: &[u32]) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).args(pids.iter().map(u32::to_string));
    // One that has ended meanwhile is no error.
    let _ = kill.stderr(Stdio::null()).status();
}

/// Runs a command that must succeed; tells what it said if it does not.
fn must(command: &mut Command) {
    let out = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        out.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_survive_a_kill_and_end_with_their_owner() {
        for database in [Database::MariaDb, Database::PostgreSql] {
            let Some(mut server) = DatabaseServer::start(database, Durability::Process) else {
                continue;
            };
            let name = server.fresh_database();
            server.admin_in(&name, "CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1)");
            let (port, pid) = (server.port(), server.pid());
            server.kill9();
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it is down");
            server.restart_same_port();
            assert_ne!(server.pid(), pid);
            assert_eq!(server.port(), port);
            server.admin_in(&name, "INSERT INTO t SELECT a FROM t");
            let (folder, pid) = (server.folder.path().to_owned(), server.pid());
            drop(server);
            assert!(!folder.exists());
            assert!(!is_alive(pid));
        }
    }
}
