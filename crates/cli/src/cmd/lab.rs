//! `bftap lab`: a network on an Open vSwitch in one step.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bftap_lab::{Controller, Datapath, Lab, NodeProgram, Plan, PortKind};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::args::{LabCommand, LabNetArgs, LabRunArgs, LabStatusArgs, LabUpArgs};
use crate::exit::{Status, Usage};
use crate::term::{Level, safe_display, tell};

/// Runs the command.
pub(crate) fn run(command: &LabCommand) -> anyhow::Result<Status> {
    match command {
        LabCommand::Up(args) => up(args),
        LabCommand::Run(args) => run_once(args),
        LabCommand::Down(args) => down(&absolute(&args.dir.dir)?),
        LabCommand::Status(args) => status(args),
    }
}

fn up(args: &LabUpArgs) -> anyhow::Result<Status> {
    let signals = Signals::watch()?;
    let mut lab = bring_up(&args.net)?;
    let dir = lab.plan().dir.clone();
    let started = start_nodes(&mut lab, &args.net, args.record.as_deref());
    if signals.count() > 0 || started.is_err() {
        // The first failure is the one to tell.
        let _ = Lab::down(&dir);
    }
    started?;
    if signals.count() > 0 {
        return Ok(Status::Incomplete);
    }
    let plan = lab.plan();
    let (names, dir) = (plan.names(), safe_display(dir.display()));
    println!("bridge   {}", names.bridge());
    println!("mirror   {}", names.mirror());
    for node in 1..=plan.nodes {
        let (name, ip) = (names.node(node), plan.subnet.address(node));
        println!("node     cn{node}  {ip}  namespace {name}");
    }
    for tap in 1..=plan.taps {
        let ip = plan.subnet.address(plan.nodes + tap);
        println!("tap      {}  for {ip}", names.tap(tap));
    }
    println!("key logs {}", safe_display(plan.key_logs().display()));
    println!("names    {}", safe_display(plan.nodes_file().display()));
    println!("guard    {}", guard_words(&lab));
    println!("\nbftap lab status --dir {dir}\nbftap lab down --dir {dir}");
    Ok(Status::Complete)
}

fn run_once(args: &LabRunArgs) -> anyhow::Result<Status> {
    if args.net.nodes == 0 {
        return Err(Usage("--nodes 0: there is nothing to run".to_owned()).into());
    }
    let signals = Signals::watch()?;
    let lab = bring_up(&args.net)?;
    let dir = lab.plan().dir.clone();
    // Whatever happens from here on, the lab is taken down.
    let ran = watch_nodes(lab, args, &signals);
    let gone = Lab::down(&dir);
    let status = ran?;
    gone?;
    Ok(status)
}

/// Monitor first, then the nodes; then the nodes stop, and at last the monitor.
fn watch_nodes(mut lab: Lab, args: &LabRunArgs, signals: &Signals) -> anyhow::Result<Status> {
    let mut monitor = Monitor::start(&lab, args)?;
    let outcome = run_nodes(&mut lab, args, signals, &mut monitor);
    if outcome.is_err() {
        monitor.kill();
    }
    outcome?;
    let status = monitor.finish(signals)?;
    if let Some(folder) = &args.keep_keys {
        keep_keys(lab.plan(), folder)?;
    }
    Ok(status)
}

fn run_nodes(
    lab: &mut Lab,
    args: &LabRunArgs,
    signals: &Signals,
    monitor: &mut Monitor,
) -> anyhow::Result<()> {
    monitor.wait_until_it_reads(lab, signals)?;
    let mut nodes = start_nodes(lab, &args.net, args.record.as_deref())?;
    let steps = args.duration.0.max(0).cast_unsigned() / STEP.as_nanos() as u64;
    for _ in 0..steps {
        if signals.count() > 0 || monitor.is_over()? {
            break;
        }
        report_ended(lab, &mut nodes);
        std::thread::sleep(STEP);
    }
    if !lab.stop_nodes(NODE_PATIENCE) {
        tell(
            Level::Warning,
            "some nodes did not stop when asked, and were killed: what they sent last may not be in their records",
        );
    }
    for (_, mut child) in nodes {
        // It has ended, and must not stay a zombie.
        let _ = child.wait();
    }
    // What is on its way through the switch is still to arrive.
    std::thread::sleep(SETTLE);
    Ok(())
}

/// Says which nodes have ended by themselves, once each.
fn report_ended(lab: &Lab, nodes: &mut Vec<(usize, Child)>) {
    nodes.retain_mut(|(node, child)| match child.try_wait() {
        Ok(Some(status)) => {
            let log = lab.plan().node_dir(*node).join("log");
            let said = fs::read_to_string(log).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default();
            let text = format!("node {node} has ended ({status}): {}", crate::term::safe(last));
            tell(Level::Warning, &text);
            false
        }
        _ => true,
    });
}

fn down(dir: &Path) -> anyhow::Result<Status> {
    let was_there = Lab::of(dir).is_ok();
    let down = Lab::down(dir)?;
    let text = if was_there || down.processes + down.removed > 0 {
        "the lab is down".to_owned()
    } else {
        format!("there is no lab in {}", safe_display(dir.display()))
    };
    tell(Level::Note, &text);
    Ok(Status::Complete)
}

fn status(args: &LabStatusArgs) -> anyhow::Result<Status> {
    let lab = Lab::of(&absolute(&args.dir.dir)?)?;
    let (plan, names) = (lab.plan(), lab.plan().names());
    let (nodes, switch) = (lab.nodes(), lab.switch_runs());
    let complete = switch && nodes.iter().all(|node| !node.pids.is_empty() || plan.nodes == 0);
    if args.json {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|node| {
                json!({
                    "name": format!("cn{}", node.node),
                    "ip": plan.subnet.address(node.node),
                    "namespace": names.node(node.node),
                    "port": names.node(node.node),
                    "pids": node.pids,
                })
            })
            .collect();
        let taps: Vec<_> = (1..=plan.taps).map(|tap| names.tap(tap)).collect();
        let status = json!({
            "dir": plan.dir,
            "bridge": names.bridge(),
            "mirror": names.mirror(),
            "database": lab.database(),
            "switch": switch,
            "keylogs": plan.key_logs(),
            "nodes_file": plan.nodes_file(),
            "nodes": nodes,
            "taps": taps,
        });
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        let answers = if switch { "answers" } else { "does not answer" };
        println!("bridge   {}, the switch {answers}", names.bridge());
        println!("mirror   {}", names.mirror());
        if let Some(database) = lab.database() {
            println!("database {}", safe_display(database));
        }
        println!("guard    {}", guard_words(&lab));
        for node in &nodes {
            let ip = plan.subnet.address(node.node);
            let runs = match node.pids.as_slice() {
                [] => "does not run".to_owned(),
                pids => {
                    let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
                    format!("runs, process {}", pids.join(", "))
                }
            };
            println!("cn{:<6} {ip}  {runs}", node.node);
        }
        for tap in 1..=plan.taps {
            println!("tap      {}", names.tap(tap));
        }
    }
    Ok(if complete {
        Status::Complete
    } else {
        Status::Incomplete
    })
}

/// How to act on this lab's switch.
fn guard_words(lab: &Lab) -> String {
    let plan = lab.plan();
    let mut words = format!("bftap guard list --bridge {}", plan.names().bridge());
    if let Some(database) = lab.database() {
        words.push_str(&format!(" --db {}", safe_display(database)));
    }
    words.push_str(&format!(" --nodes {}", safe_display(plan.nodes_file().display())));
    words
}

/// Checks what is wanted, and brings up all but the nodes.
fn bring_up(net: &LabNetArgs) -> anyhow::Result<Lab> {
    if let Some(fault) = net.faults.iter().find(|fault| fault.node > net.nodes) {
        let text = format!(
            "--fault {}:...: nodes are numbered from 1 to {}",
            fault.node, net.nodes
        );
        return Err(Usage(text).into());
    }
    if net.node_cmd.is_some() && !net.faults.is_empty() {
        return Err(Usage("--fault is for lab nodes, not for those of --node-cmd".to_owned()).into());
    }
    let lab = Lab::up(plan(net)?)?;
    if net.node_cmd.is_none() && net.nodes > 0 {
        let drawn = lab.draw_identities(net.behaviour.client().port());
        if drawn.is_err() {
            // The first failure is the one to tell.
            let _ = Lab::down(&lab.plan().dir);
        }
        drawn?;
    }
    if let Some(size) = Lab::small_buffer() {
        let text = format!(
            "net.core.rmem_default is {size} bytes: under load (from some 70 MB/s on) the switch loses packets before anyone \
             can count them; --rmem-default 16777216 sets it while the lab is up"
        );
        tell(Level::Note, &text);
    }
    Ok(lab)
}

fn plan(net: &LabNetArgs) -> anyhow::Result<Plan> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    Ok(Plan {
        dir: absolute(&net.dir.dir)?,
        nodes: net.nodes.into(),
        taps: net.taps.into(),
        subnet: net.subnet,
        ports: match net.ports {
            crate::args::LabPort::Veth => PortKind::Veth,
            crate::args::LabPort::Internal => PortKind::Internal,
        },
        datapath: match net.datapath {
            crate::args::LabDatapath::Netdev => Datapath::Netdev,
            crate::args::LabDatapath::System => Datapath::System,
        },
        use_running: net.use_running_ovs,
        controller: Controller::clone(&net.controller),
        host_address: net.host_address,
        rmem_default: net.rmem_default,
        // The monitor goes on as who called sudo, and must read the key logs.
        owner: number("SUDO_UID").zip(number("SUDO_GID")),
    })
}

/// Starts a node in each namespace.
fn start_nodes(
    lab: &mut Lab,
    net: &LabNetArgs,
    record: Option<&Path>,
) -> anyhow::Result<Vec<(usize, Child)>> {
    if let Some(folder) = record {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", safe_display(folder.display())))?;
    }
    let record = record.map(absolute).transpose()?;
    (1..=lab.plan().nodes)
        .map(|node| {
            let program = match &net.node_cmd {
                Some(command) => NodeProgram::Shell(command.clone()),
                None => NodeProgram::Program(lab_node_words(lab.plan(), net, node, record.as_deref())?),
            };
            Ok((node, lab.start_node(node, &program)?))
        })
        .collect()
}

fn lab_node_words(
    plan: &Plan,
    net: &LabNetArgs,
    node: usize,
    record: Option<&Path>,
) -> anyhow::Result<Vec<OsString>> {
    let record = match record {
        Some(folder) => folder.join(format!("cn{node}.jsonl")),
        None => plan.node_dir(node).join("record.jsonl"),
    };
    let mut words = vec![own_program()?.into(), "lab-node".into()];
    let mut add = |option: &str, value: &OsStr| words.extend([option.into(), value.to_owned()]);
    add("--nodes", plan.nodes_file().as_os_str());
    add("--key", plan.node_dir(node).join("key").as_os_str());
    add("--keylog", plan.key_log(node).as_os_str());
    add("--record", record.as_os_str());
    for fault in net.faults.iter().filter(|fault| usize::from(fault.node) == node) {
        add("--fault", fault.fault.to_string().as_ref());
    }
    words.extend(net.behaviour.words());
    Ok(words)
}

/// `bftap live` on the mirror.
struct Monitor {
    child: Child,
    /// Only some ports' packets are taken.
    filtered: bool,
}

impl Monitor {
    fn start(lab: &Lab, args: &LabRunArgs) -> anyhow::Result<Self> {
        let plan = lab.plan();
        let mut command = Command::new(own_program()?);
        command.arg("live").args(["-i", &plan.names().mirror()]);
        if args.net.node_cmd.is_none() {
            let port = args.net.behaviour.client().port();
            for channel in 0..u16::from(args.net.behaviour.channels) {
                command.args(["--port", &(port + channel).to_string()]);
            }
        }
        command.arg("--keylog").arg(plan.key_logs());
        command.arg("--nodes").arg(plan.nodes_file());
        // Not on its command line: a password may be in it.
        if let Some(store) = &args.store {
            command.env("BFTAP_STORE", store);
        }
        let options: [(&str, Option<&OsStr>); 4] = [
            (
                "--store-file",
                args.store_file.as_ref().map(|path| path.as_os_str()),
            ),
            ("--json", args.json.as_ref().map(|path| path.as_os_str())),
            ("--html", args.html.as_ref().map(|path| path.as_os_str())),
            ("--write", args.write.as_ref().map(|path| path.as_os_str())),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                command.arg(option).arg(value);
            }
        }
        command.args(&args.live).stdin(Stdio::inherit());
        lab.mark_monitor(&mut command);
        let child = command.spawn().context("cannot start the monitor")?;
        Ok(Self {
            child,
            filtered: args.net.node_cmd.is_none(),
        })
    }

    /// Waits until a packet socket listens at the mirror: what nodes say first is the handshake.
    fn wait_until_it_reads(&mut self, lab: &Lab, signals: &Signals) -> anyhow::Result<()> {
        let mirror = lab.plan().names().mirror();
        for _ in 0..READY_STEPS {
            if signals.count() > 0 {
                return Ok(());
            }
            if listens_at(&mirror, self.filtered) {
                if !self.filtered {
                    std::thread::sleep(SETTLE);
                }
                return Ok(());
            }
            if self.is_over()? {
                return Err(anyhow!("the monitor has ended before it read anything"));
            }
            std::thread::sleep(STEP);
        }
        Err(anyhow!("the monitor does not read the mirror {mirror}"))
    }

    fn is_over(&mut self) -> io::Result<bool> {
        self.child.try_wait().map(|status| status.is_some())
    }

    /// Tells it to report, and waits; another signal ends it at once.
    fn finish(&mut self, signals: &Signals) -> anyhow::Result<Status> {
        // One that is over has been waited for: its id may be another's by now. On a terminal, Ctrl-C has told it already; a second signal
        // would end it without a report.
        if !self.is_over()? && !signals.ctrl_c_on_terminal() {
            self.signal(Signal::INT);
        }
        let told = signals.count();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(if status.success() {
                    Status::Complete
                } else {
                    Status::Incomplete
                });
            }
            if signals.count() > told {
                self.kill();
                return Ok(Status::Incomplete);
            }
            std::thread::sleep(STEP);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, signal);
        }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signals that came; the first one asks for an orderly end.
struct Signals {
    count: Arc<AtomicUsize>,
    interrupted: Arc<AtomicBool>,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
            .context("cannot watch for Ctrl-C")?;
        let count = Arc::new(AtomicUsize::new(0));
        let interrupted = Arc::new(AtomicBool::new(false));
        let (counter, interrupts) = (Arc::clone(&count), Arc::clone(&interrupted));
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    if signal == SIGINT {
                        interrupts.store(true, Ordering::Relaxed);
                    }
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
            .context("cannot watch for Ctrl-C")?;
        Ok(Self { count, interrupted })
    }

    /// A terminal sends Ctrl-C to all processes in its foreground.
    fn ctrl_c_on_terminal(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) && io::IsTerminal::is_terminal(&io::stdin())
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Whether a packet socket takes packets at an interface.
///
/// With a filter, libpcap throws away what came before the filter was set: until then the socket has none, or one of a single
/// instruction that takes nothing.
fn listens_at(interface: &str, filtered: bool) -> bool {
    let Ok(output) = Command::new("ss").args(["-0", "-n", "-b"]).output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let bound = line
            .split_whitespace()
            .any(|word| word.rsplit_once(':').is_some_and(|(_, name)| name == interface));
        let filter = lines
            .peek()
            .and_then(|line| line.trim().strip_prefix("bpf filter ("))
            .and_then(|rest| rest.split_once(')')?.0.parse::<u32>().ok());
        if bound && (!filtered || filter.is_some_and(|instructions| instructions > 1)) {
            return true;
        }
    }
    false
}

/// Copies key logs and names to where they outlive the lab.
fn keep_keys(plan: &Plan, folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let copy = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        for node in 1..=plan.nodes {
            let from = plan.key_log(node);
            if let Some(name) = from.file_name().filter(|_| from.exists()) {
                // The mode comes along.
                fs::copy(&from, folder.join(name))?;
            }
        }
        let names = folder.with_extension("nodes.json");
        fs::copy(plan.nodes_file(), names).map(drop)
    };
    copy().with_context(|| format!("cannot keep the key logs in {}", safe_display(folder.display())))
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", safe_display(path.display())))
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot tell where this program is")
}

const STEP: Duration = Duration::from_millis(50);
/// Half a minute: databases may have to be reached first.
const READY_STEPS: usize = 600;
const NODE_PATIENCE: Duration = Duration::from_secs(8);
const SETTLE: Duration = Duration::from_millis(500);
