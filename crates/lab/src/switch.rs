//! Open vSwitch: daemons of the lab's own, in a folder of their own, or those of the machine.

use std::path::PathBuf;
use std::process::Command;

use crate::plan::{Controller, Datapath, MARK, Plan, PortKind, ROLE};
use crate::tools::{self, ToolError};

/// The switch of a lab.
pub(crate) struct Switch<'p> {
    plan: &'p Plan,
}

impl<'p> Switch<'p> {
    pub(crate) const fn new(plan: &'p Plan) -> Self {
        Self { plan }
    }

    /// Sockets, database and logs of its own daemons.
    pub(crate) fn folder(plan: &Plan) -> PathBuf {
        plan.dir.join("ovs")
    }

    /// Programs it needs.
    pub(crate) fn require(&self) -> Result<(), ToolError> {
        tools::require(&["ovs-vsctl"])?;
        if !self.plan.use_running {
            tools::require(&["ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-appctl"])?;
        }
        if self.plan.controller == Controller::Test {
            tools::require(&["ovs-testcontroller"])?;
        }
        Ok(())
    }

    /// Starts its own daemons; none where the machine's are used.
    pub(crate) fn start(&self) -> Result<(), ToolError> {
        if self.plan.use_running {
            return self.vsctl(&["--timeout=5", "show"]).map(drop);
        }
        let database = self.at("conf.db");
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        self.run("ovsdb-tool", &["create", &database, schema])?;
        let daemon = |name: &str| {
            [
                format!("--pidfile={}", self.at(&format!("{name}.pid"))),
                format!("--log-file={}", self.at(&format!("{name}.log"))),
                format!("--unixctl={}", self.at(&format!("{name}.ctl"))),
                "--detach".to_owned(),
                "--no-chdir".to_owned(),
            ]
        };
        let socket = self.socket();
        let mut server = self.command("ovsdb-server")?;
        server
            .arg(&database)
            .arg(format!("--remote=p{socket}"))
            .args(daemon("ovsdb"));
        tools::output(&mut server)?;
        self.vsctl(&["--no-wait", "init"])?;
        let mut vswitchd = self.command("ovs-vswitchd")?;
        vswitchd.arg(&socket).args(daemon("vswitchd"));
        tools::output(&mut vswitchd).map(drop)
    }

    /// Makes the bridge.
    pub(crate) fn add_bridge(&self) -> Result<(), ToolError> {
        let bridge = self.plan.names().bridge();
        let datapath = match self.plan.datapath {
            Datapath::Netdev => "datapath_type=netdev",
            Datapath::System => "datapath_type=system",
        };
        self.vsctl(&[
            "add-br",
            &bridge,
            "--",
            "set",
            "bridge",
            &bridge,
            datapath,
            "protocols=OpenFlow10,OpenFlow13",
        ])
        .map(drop)
    }

    /// Adds ports for nodes, taps and the mirror, in one step.
    pub(crate) fn add_ports(&self) -> Result<(), ToolError> {
        let names = self.plan.names();
        let (bridge, mirror) = (names.bridge(), names.mirror());
        let mut words: Vec<String> = Vec::new();
        let mut add = |port: &str, internal: bool| {
            words.extend(["--", "add-port", &bridge, port].map(str::to_owned));
            if internal {
                words.extend(["--", "set", "interface", port, "type=internal"].map(str::to_owned));
            }
        };
        for node in 1..=self.plan.nodes {
            add(&names.node(node), self.plan.ports == PortKind::Internal);
        }
        for tap in 1..=self.plan.taps {
            add(&names.tap(tap), false);
        }
        add(&mirror, true);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.vsctl(&words)?;
        self.vsctl(&[
            "--",
            "--id=@port",
            "get",
            "port",
            &mirror,
            "--",
            "--id=@mirror",
            "create",
            "mirror",
            &format!("name={mirror}"),
            "select-all=true",
            "output-port=@port",
            "--",
            "set",
            "bridge",
            &bridge,
            "mirrors=@mirror",
        ])
        .map(drop)
    }

    /// Hands the bridge to its controller, if it is to have one.
    pub(crate) fn set_controller(&self) -> Result<(), ToolError> {
        let bridge = self.plan.names().bridge();
        let address = match &self.plan.controller {
            Controller::Normal => return Ok(()),
            Controller::Address(address) => address.clone(),
            Controller::Test => {
                let socket = self.at("controller.sock");
                let mut controller = self.command("ovs-testcontroller")?;
                controller
                    .arg(format!("punix:{socket}"))
                    .arg(format!("--pidfile={}", self.at("controller.pid")))
                    .arg(format!("--log-file={}", self.at("controller.log")))
                    .args([
                        format!("--unixctl={}", self.at("controller.ctl")),
                        "--detach".into(),
                        "--no-chdir".into(),
                    ]);
                tools::output(&mut controller)?;
                format!("unix:{socket}")
            }
        };
        self.vsctl(&[
            "set-fail-mode",
            &bridge,
            "secure",
            "--",
            "set-controller",
            &bridge,
            &address,
        ])
        .map(drop)
    }

    /// Takes the bridge off the machine's switch.
    pub(crate) fn remove_bridge(&self, bridge: &str) -> Result<(), ToolError> {
        self.vsctl(&["--timeout=10", "--if-exists", "del-br", bridge])
            .map(drop)
    }

    /// Tells its own daemons to end, and to take their devices with them.
    pub(crate) fn stop(&self) {
        // Whoever does not listen is ended by its mark.
        let _ = self.run(
            "ovs-appctl",
            &["--timeout=5", "-t", &self.at("vswitchd.ctl"), "exit", "--cleanup"],
        );
        let _ = self.run(
            "ovs-appctl",
            &["--timeout=5", "-t", &self.at("ovsdb.ctl"), "exit"],
        );
    }

    /// What `ovs-vsctl --db` is to be given; `None` for the machine's own.
    pub(crate) fn database(&self) -> Option<String> {
        (!self.plan.use_running).then(|| self.socket())
    }

    pub(crate) fn vsctl(&self, words: &[&str]) -> Result<String, ToolError> {
        let mut command = self.command("ovs-vsctl")?;
        if let Some(database) = self.database() {
            command.arg(format!("--db={database}"));
        }
        tools::output(command.args(words))
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<String, ToolError> {
        tools::output(self.command(program)?.args(words))
    }

    fn command(&self, program: &str) -> Result<Command, ToolError> {
        let mut command = tools::command(program)?;
        command.env(MARK, self.plan.names().mark()).env(ROLE, "switch");
        if !self.plan.use_running {
            let folder = Self::folder(self.plan);
            for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"] {
                command.env(variable, &folder);
            }
        }
        Ok(command)
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.at("db.sock"))
    }

    fn at(&self, file: &str) -> String {
        Self::folder(self.plan).join(file).to_string_lossy().into_owned()
    }
}
