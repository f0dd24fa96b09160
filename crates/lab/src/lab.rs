//! Up, down, status.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::identities;
use crate::plan::{Controller, Datapath, MARK, Names, NodeProgram, Plan, PlanError, PortKind, ROLE, Subnet};
use crate::processes;
use crate::state::{Made, State, StateError, io_error};
use crate::switch::{Switch, USERSPACE_DEVICE};
use crate::tools::{self, ToolError, run};

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    state: State,
}

/// Why a lab does not come up, or does not go down whole.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces and switches are root's.
    #[error("a lab is made of network namespaces and a switch: run this as root")]
    NotRoot,
    /// It cannot be as it is wanted.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// What was made cannot be kept in mind.
    #[error(transparent)]
    State(#[from] StateError),
    /// A program said no.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Something of another lab, or of one that was not taken down.
    #[error(
        "{name} is there already: `bftap lab down --dir {dir}` removes what an earlier lab in this folder left behind"
    )]
    Clash {
        /// What is there.
        name: String,
        /// The lab's folder.
        dir: String,
    },
    /// The machine could not tell its own network from the lab's.
    #[error(
        "this machine has {address} on {interface}, which overlaps with {subnet}: choose another --subnet, or leave out --host-address"
    )]
    SubnetInUse {
        /// Address and length.
        address: String,
        /// Where.
        interface: String,
        /// What the lab wants.
        subnet: Subnet,
    },
    /// Two of them would want the same device.
    #[error(
        "another Open vSwitch in user space runs here, perhaps another lab's, and a network namespace has room for one: take it \
         down, or use it (--use-running-ovs), or the kernel's datapath (--datapath system)"
    )]
    OtherSwitch,
    /// There is none.
    #[error("there is no lab in {0}")]
    None(String),
    /// Something is left.
    #[error("not everything could be removed: {}", .0.join("; "))]
    Left(Vec<String>),
}

/// What taking down found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Down {
    /// Processes that were ended.
    pub processes: usize,
    /// Namespaces and interfaces that were removed one by one.
    pub removed: usize,
}

/// A node of a lab that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Number, from 1.
    pub node: usize,
    /// Its processes.
    pub pids: Vec<i32>,
}

impl Lab {
    /// Brings a lab up, without nodes. What was made before a failure is taken down again.
    ///
    /// # Errors
    /// When something is missing, in the way, or refused.
    pub fn up(plan: Plan) -> Result<Self, LabError> {
        plan.check()?;
        check_root()?;
        tools::require(&["ip"])?;
        if plan.ports == PortKind::Veth && plan.nodes > 0 {
            tools::require(&["ethtool"])?;
        }
        Switch::new(&plan).require()?;
        let names = plan.names();
        // Whoever has a state file is told so by `begin`, and not of what it made.
        if !State::path(&plan.dir).exists() {
            if let Some(name) = links(&names)?.into_iter().chain(namespaces(&names)?).next() {
                let dir = plan.dir.display().to_string();
                return Err(LabError::Clash { name, dir });
            }
            let userspace = !plan.use_running && plan.datapath == Datapath::Netdev;
            if userspace && processes::hold_tap(USERSPACE_DEVICE) {
                return Err(LabError::OtherSwitch);
            }
        }
        if plan.host_address {
            check_subnet(plan.subnet)?;
        }
        let mut lab = Self {
            state: State::begin(plan)?,
        };
        match lab.make() {
            Ok(()) => Ok(lab),
            Err(error) => {
                let dir = lab.state.plan.dir.clone();
                // The first failure is the one to tell.
                let _ = Self::down(&dir);
                Err(error)
            }
        }
    }

    /// The lab of a folder.
    ///
    /// # Errors
    /// When there is none, or its state cannot be read.
    pub fn of(dir: &Path) -> Result<Self, LabError> {
        match State::read(dir)? {
            Some(state) => Ok(Self { state }),
            None => Err(LabError::None(dir.display().to_string())),
        }
    }

    /// What was wanted.
    pub const fn plan(&self) -> &Plan {
        &self.state.plan
    }

    /// What `ovs-vsctl --db` is to be given; `None` for the machine's own switch.
    pub fn database(&self) -> Option<String> {
        Switch::new(&self.state.plan).database()
    }

    /// The kernel's buffer for packets on their way into the switch, if it is small enough to lose some.
    pub fn small_buffer() -> Option<u64> {
        let size = fs::read_to_string(format!("/proc/sys/{RMEM}")).ok()?;
        size.trim().parse().ok().filter(|&size| size < ENOUGH_BUFFER)
    }

    /// Draws keys for lab nodes that listen on this port, and writes the nodes file.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn draw_identities(&self, port: u16) -> Result<(), LabError> {
        let plan = &self.state.plan;
        identities::draw(plan, port).map_err(|source| io_error(&plan.dir, source).into())
    }

    /// Starts a program in the namespace of a node (from 1); what it says goes to `log` in the node's folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_node(&mut self, node: usize, program: &NodeProgram) -> Result<Child, LabError> {
        self.state.about_to(Made::Nodes)?;
        let plan = &self.state.plan;
        let names = plan.names();
        let path = plan.node_dir(node).join("log");
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|source| io_error(&path, source))?;
        let errors = log.try_clone().map_err(|source| io_error(&path, source))?;
        let mut command = tools::command("ip")?;
        command
            .args(["netns", "exec", &names.node(node)])
            .args(program.command(plan, node))
            .env(MARK, names.mark())
            .env(ROLE, format!("node {node}"))
            .env("BFTAP_NODE", node.to_string())
            .env("BFTAP_NODE_IP", plan.subnet.address(node).to_string())
            .env("BFTAP_KEYLOG", plan.key_log(node))
            .env_remove("LC_ALL")
            // A password may be in it.
            .env_remove("BFTAP_STORE")
            .current_dir(plan.node_dir(node))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C is for whoever runs the lab, who then stops the nodes in order.
            .process_group(0);
        let child = command.spawn().map_err(|source| ToolError::Start {
            program: format!("node {node}"),
            source,
        })?;
        Ok(child)
    }

    /// Makes a command the lab's monitor: should it be there when the lab is taken down, it is ended.
    pub fn mark_monitor(&self, command: &mut Command) {
        command
            .env(MARK, self.state.plan.names().mark())
            .env(ROLE, MONITOR);
    }

    /// Asks all nodes to end, all at once, and ends by force those that do not; gives whether all did as asked.
    pub fn stop_nodes(&self, patience: Duration) -> bool {
        let names = self.state.plan.names();
        let node = |process: &processes::Process| process.role.starts_with("node ");
        processes::tell(&names, node);
        let all = processes::wait(&names, node, patience);
        if !all {
            processes::end(&names, node, Duration::ZERO);
        }
        all
    }

    /// The nodes, and what runs for each.
    pub fn nodes(&self) -> Vec<NodeState> {
        let plan = &self.state.plan;
        let running = processes::of(&plan.names());
        let of = |node: usize| {
            let role = format!("node {node}");
            let mut pids: Vec<_> = running
                .iter()
                .filter(|process| process.role == role)
                .map(|process| process.pid)
                .collect();
            pids.sort_unstable();
            pids
        };
        (1..=plan.nodes)
            .map(|node| NodeState { node, pids: of(node) })
            .collect()
    }

    /// Whether the switch answers.
    pub fn switch_runs(&self) -> bool {
        let bridge = self.state.plan.names().bridge();
        Switch::new(&self.state.plan)
            .vsctl(&["--timeout=3", "br-exists", &bridge])
            .is_ok()
    }

    /// Removes everything that a lab in this folder has made; nothing is an error that is gone already.
    ///
    /// # Errors
    /// When something cannot be removed; the rest is all the same.
    pub fn down(dir: &Path) -> Result<Down, LabError> {
        check_root()?;
        let names = Names::of(dir);
        // A state that cannot be read does not keep things from being removed by their names.
        let (state, unreadable) = match State::read(dir) {
            Ok(state) => (state, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut down = Down::default();
        let mut left = Vec::new();
        let node = |process: &processes::Process| process.role.starts_with("node");
        down.processes += processes::end(&names, node, NODE_PATIENCE);
        let monitor = |process: &processes::Process| process.role == MONITOR;
        down.processes += processes::end(&names, monitor, MONITOR_PATIENCE);
        if let Some(state) = &state {
            let switch = Switch::new(&state.plan);
            for made in state.made.iter().rev() {
                match made {
                    Made::Switch => switch.stop(),
                    Made::RunningBridge(bridge) => {
                        if let Err(error) = switch.remove_bridge(bridge) {
                            left.push(error.to_string());
                        }
                    }
                    Made::Sysctl { name, was } => {
                        let path = format!("/proc/sys/{name}");
                        let is = fs::read_to_string(&path).unwrap_or_default();
                        if is.trim() != was
                            && let Err(error) = fs::write(&path, was)
                        {
                            left.push(format!("{name} could not be set back to {was}: {error}"));
                        }
                    }
                    _ => {}
                }
            }
        }
        down.processes += processes::end(&names, |_| true, SWITCH_PATIENCE);
        for name in namespaces(&names)? {
            down.processes += processes::end_in_namespace(&name, SWITCH_PATIENCE);
            down.removed += 1;
            if let Err(error) = run("ip", &["netns", "del", &name]) {
                left.push(error.to_string());
            }
        }
        // Devices of a namespace go a moment after it.
        for _ in 0..LINK_TRIES {
            let links = links(&names)?;
            if links.is_empty() {
                break;
            }
            for name in links {
                if run("ip", &["link", "del", &name]).is_ok() {
                    down.removed += 1;
                }
            }
            std::thread::sleep(LINK_PAUSE);
        }
        // A switch that was killed leaves the one device behind that does not carry the lab's name. It may be another switch's by now.
        let userspace = Made::Link(USERSPACE_DEVICE.to_owned());
        if state
            .as_ref()
            .is_some_and(|state| state.made.contains(&userspace))
            && !processes::hold_tap(USERSPACE_DEVICE)
            && run("ip", &["link", "del", USERSPACE_DEVICE]).is_ok()
        {
            down.removed += 1;
        }
        left.extend(links(&names)?.into_iter().map(|name| format!("interface {name}")));
        if left.is_empty() {
            left.extend(remove_files(dir, state.as_ref()).err());
        }
        match unreadable {
            // Which files were made is not known, and other people's are not to go.
            Some(error) if left.is_empty() => Err(LabError::Left(vec![error])),
            _ if left.is_empty() => Ok(down),
            _ => Err(LabError::Left(left)),
        }
    }

    fn make(&mut self) -> Result<(), LabError> {
        let plan = self.state.plan.clone();
        let names = plan.names();
        self.make_folders(&plan)?;
        if let Some(size) = plan.rmem_default {
            let path = PathBuf::from(format!("/proc/sys/{RMEM}"));
            let was = fs::read_to_string(&path).map_err(|source| io_error(&path, source))?;
            self.state.about_to(Made::Sysctl {
                name: RMEM.to_owned(),
                was: was.trim().to_owned(),
            })?;
            fs::write(&path, size.to_string()).map_err(|source| io_error(&path, source))?;
        }
        let switch = Switch::new(&plan);
        if plan.use_running {
            switch.start()?;
            self.state.about_to(Made::RunningBridge(names.bridge()))?;
        } else {
            self.state.about_to(Made::Switch)?;
            if run("ip", &["link", "show", USERSPACE_DEVICE]).is_err() {
                self.state.about_to(Made::Link(USERSPACE_DEVICE.to_owned()))?;
            }
            switch.start()?;
        }
        if plan.use_running && plan.controller == Controller::Test {
            // Its daemon is the lab's own, whoever's the switch is.
            self.state.about_to(Made::Path(Switch::folder(&plan)))?;
        }
        switch.add_bridge()?;
        for node in 1..=plan.nodes {
            self.make_namespace(&plan, node)?;
        }
        for tap in 1..=plan.taps {
            let name = names.tap(tap);
            self.state.about_to(Made::Link(name.clone()))?;
            run("ip", &["tuntap", "add", "dev", &name, "mode", "tap"])?;
            run("ip", &["link", "set", &name, "up"])?;
        }
        switch.add_ports()?;
        for node in 1..=plan.nodes {
            address_node(&plan, node)?;
        }
        let (bridge, mirror) = (names.bridge(), names.mirror());
        for name in [&bridge, &mirror] {
            // The machine itself has nothing to say here.
            run("ip", &["link", "set", name, "addrgenmode", "none"])?;
            run("ip", &["link", "set", name, "up"])?;
        }
        if plan.host_address {
            let address = format!("{}/{}", plan.subnet.last(), plan.subnet.prefix_len());
            run("ip", &["addr", "add", &address, "dev", &bridge])?;
        }
        switch.set_controller()?;
        identities::names_only(&plan).map_err(|source| io_error(&plan.dir, source))?;
        Ok(())
    }

    fn make_folders(&mut self, plan: &Plan) -> Result<(), LabError> {
        self.state.about_to(Made::Path(plan.nodes_file()))?;
        let mut folders = vec![plan.dir.join("nodes"), plan.key_logs(), Switch::folder(plan)];
        for folder in &folders {
            self.state.about_to(Made::Path(folder.clone()))?;
        }
        folders.extend((1..=plan.nodes).map(|node| plan.node_dir(node)));
        for folder in folders {
            let made = DirBuilder::new().mode(0o700).create(&folder);
            made.map_err(|source| io_error(&folder, source))?;
        }
        let Some((user, group)) = plan.owner else {
            return Ok(());
        };
        // Nodes append to key logs that are there already, and leave them to whom they belong.
        let logs: Vec<_> = (1..=plan.nodes).map(|node| plan.key_log(node)).collect();
        for log in &logs {
            let made = File::options().write(true).create_new(true).mode(0o600).open(log);
            made.map_err(|source| io_error(log, source))?;
        }
        let dir = self.state.made.contains(&Made::Dir).then(|| plan.dir.clone());
        for path in logs.into_iter().chain([plan.key_logs()]).chain(dir) {
            let given = std::os::unix::fs::chown(&path, Some(user), Some(group));
            given.map_err(|source| io_error(&path, source))?;
        }
        Ok(())
    }

    fn make_namespace(&mut self, plan: &Plan, node: usize) -> Result<(), LabError> {
        let name = plan.names().node(node);
        self.state.about_to(Made::Namespace(name.clone()))?;
        run("ip", &["netns", "add", &name])?;
        run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
        if plan.ports == PortKind::Veth {
            run(
                "ip",
                &[
                    "link", "add", &name, "type", "veth", "peer", "name", INSIDE, "netns", &name,
                ],
            )?;
            run("ip", &["link", "set", &name, "addrgenmode", "none"])?;
            run("ip", &["link", "set", &name, "up"])?;
            // In user space the switch would hand on packets without checksums.
            run(
                "ip",
                &["netns", "exec", &name, "ethtool", "-K", INSIDE, "tx", "off"],
            )?;
        }
        Ok(())
    }
}

/// Gives a node its address.
fn address_node(plan: &Plan, node: usize) -> Result<(), LabError> {
    let name = plan.names().node(node);
    let device = match plan.ports {
        PortKind::Veth => INSIDE,
        PortKind::Internal => {
            run("ip", &["link", "set", &name, "netns", &name])?;
            &name
        }
    };
    let address = format!("{}/{}", plan.subnet.address(node), plan.subnet.prefix_len());
    run("ip", &["-n", &name, "addr", "add", &address, "dev", device])?;
    run("ip", &["-n", &name, "link", "set", device, "up"])?;
    Ok(())
}

/// Interfaces outside namespaces that carry the lab's prefix.
fn links(names: &Names) -> Result<Vec<String>, LabError> {
    let text = run("ip", &["-o", "link", "show"])?;
    let name = |line: &str| {
        let name = line.split(": ").nth(1)?.split('@').next()?;
        name.starts_with(names.prefix()).then(|| name.to_owned())
    };
    Ok(text.lines().filter_map(name).collect())
}

/// Namespaces that carry it.
fn namespaces(names: &Names) -> Result<Vec<String>, LabError> {
    let text = run("ip", &["netns", "list"])?;
    let name = |line: &str| {
        let name = line.split_whitespace().next()?;
        name.starts_with(names.prefix()).then(|| name.to_owned())
    };
    Ok(text.lines().filter_map(name).collect())
}

/// Removes the files of a lab, the state file last.
fn remove_files(dir: &Path, state: Option<&State>) -> Result<(), String> {
    State::clear_beginnings(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let Some(state) = state else {
        // A folder that was made for a lab that never began: empty, and nobody else's.
        let ours = fs::metadata(dir).is_ok_and(|metadata| metadata.mode() & 0o777 == 0o700);
        if ours && !State::path(dir).exists() {
            let _ = fs::remove_dir(dir);
        }
        return Ok(());
    };
    let gone = |result: io::Result<()>, path: &Path| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    };
    for made in &state.made {
        // Only what stands below the folder, whatever the file says.
        if let Made::Path(path) = made
            && path.parent() == Some(dir)
        {
            let result = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            gone(result, path)?;
        }
    }
    let file = State::path(dir);
    gone(fs::remove_file(&file), &file)?;
    if state.made.contains(&Made::Dir) {
        // What others have put there stays, and the folder with it.
        let _ = fs::remove_dir(dir);
    }
    Ok(())
}

fn check_root() -> Result<(), LabError> {
    let own = fs::metadata("/proc/self").map(|metadata| metadata.uid());
    if own.unwrap_or(0) == 0 {
        Ok(())
    } else {
        Err(LabError::NotRoot)
    }
}

/// Whether the machine has addresses of the subnet itself.
fn check_subnet(subnet: Subnet) -> Result<(), LabError> {
    let text = run("ip", &["-o", "-4", "addr", "show"])?;
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(interface), Some(_), Some(address)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if address.parse().is_ok_and(|other| subnet.overlaps(other)) {
            return Err(LabError::SubnetInUse {
                address: address.to_owned(),
                interface: interface.to_owned(),
                subnet,
            });
        }
    }
    Ok(())
}

const MONITOR: &str = "monitor";
/// Name of a veth's end in the namespace.
const INSIDE: &str = "eth0";
const RMEM: &str = "net/core/rmem_default";
/// With so much the switch lost nothing at the speed of these machines.
const ENOUGH_BUFFER: u64 = 4 << 20;
/// Lab nodes say goodbye for up to five seconds.
const NODE_PATIENCE: Duration = Duration::from_secs(8);
/// It drains, stores and reports.
const MONITOR_PATIENCE: Duration = Duration::from_secs(20);
const SWITCH_PATIENCE: Duration = Duration::from_secs(3);
const LINK_TRIES: usize = 20;
const LINK_PAUSE: Duration = Duration::from_millis(50);
