#!/usr/bin/env python3
"""Runs a lab with nodes that misbehave, and stores it: into MySQL while it runs, and into both databases what was kept of it.

    python3 -m check.lab --bftap BFTAP --folder FOLDER --mysql mysql://... --postgres postgres://...

It is `bftap lab run` in a machine of its own, which needs root and Open vSwitch (`scripts/setup --lab`); where that is not to be had it is
said, and with CI set it fails. How long the lab runs is told by its nodes' own records, not by a clock. While it runs, every panel and
every alert rule is asked on the database that is written. In the end there are these runs:

    lab                 MySQL: as the monitor wrote it; PostgreSQL: `bftap analyze` of the packets that the monitor kept
    lab, kept           both: `bftap analyze` of the packets that the monitor kept
    lab, with losses    both: the same without some of the packets and secrets

On standard output is a height that took more than one round; nothing where there is no lab.
"""

import argparse
import ipaddress
import os
import pathlib
import re
import struct
import subprocess
import sys
import time
from urllib.parse import urlsplit

from . import alerts, databases
from .dashboards import alert_rules, run_range
from .expand import Range
from .machine import Machine, NoMachine
from .queries import Problems, check_full
from .records import AT_MOST_S, Record

RUN, KEPT, LOSSY = "lab", "lab, kept", "lab, with losses"
NODES = 7
# Of seven two may keep back or spoil their votes: cn4 for a while, then cn7. The others only say too much. Of garbage each frame is an
# event, and no rule lists more than 1,000: so little of it comes.
FAULTS = (
    "2:equivocation@4s", "3:conflicting-commits@4s", "4:wrong-signatures@4s..24s", "4:flood=1:undecodable@4s..184s", "5:flood=200",
    "6:role=en", "6:churn=1s@5s", "7:silent@26s",
)
OPTIONS = ("--simultaneous-dials", "--block-period", "500ms", "--round-timeout", "2s")
# What the rules must have found, and whom they name.
FOUND = {
    ("equivocation", "cn2"), ("conflicting_lock", "cn3"), ("bad_signature", "cn4"), ("undecodable_flood", "cn4"),
    ("repeated_payload", "cn5"), ("forbidden_code", "cn6"), ("silent_validator", "cn7"), ("missing_proposer", "cn7"),
}
# Alerts that must then fire, and what they tell besides the run: of what goes on, however long it takes.
FIRED = {
    "Critical events": {("equivocation", "cn2"), ("conflicting_lock", "cn3")},
    "Silent validator": {("cn7",)},
    "Loss": {("messages that do not decode",)},
}
# Of the run with losses one packet of so many is left out between these nodes.
LOSSY_PAIR, LEFT_OUT = (1, 2), 100
# The type of a pcapng block with a packet.
ENHANCED_PACKET = 6


class Lab:
    """A lab that runs, its nodes' records, and the database that its monitor writes."""

    def __init__(self, machine, folder, database):
        self._machine, self._database = machine, database
        self._records = [Record(folder / "rec" / f"cn{node}.jsonl") for node in range(1, NODES + 1)]
        self._deadline, self._not_found = time.monotonic() + AT_MOST_S, FOUND

    def wait(self, what, met):
        """Until something is so. Nobody knows how fast a busy machine is, but this does not wait for ever."""
        while True:
            for record in self._records:
                record.read()
            found = met()
            if found:
                return found
            if self._machine.is_over():
                sys.exit(f"check.lab: the lab has ended: {self._machine.said()}")
            if time.monotonic() > self._deadline:
                told = {f"cn{node}": (max(record.decided, default=0), len(record.deeds)) for node, record in enumerate(self._records, 1)}
                sys.exit(f"check.lab: not within {AT_MOST_S} s: {what}; heights and deeds are {told}, not stored {self._not_found}")
            time.sleep(0.2)

    def of(self, node):
        return self._records[node - 1]

    def everybody_did_it(self):
        """Enough of each fault that its rule speaks, and heights behind it."""
        return (
            self.of(2).did("equivocation", "preprepare") >= 2 and self.of(3).heights("conflicting-commits") >= 5
            and self.of(4).heights("wrong-signatures") >= 2 and self.of(4).did("flood=1:undecodable") >= 30
            and self.of(5).did("flood=200") >= 200 and self.of(6).did("churn") >= 12
            and self.of(7).did("silent", "preprepare") >= 2 and self.of(7).seconds("silent") >= 9
            and len(self.changed()) >= 3 and max(self.of(1).decided) >= 30
        )

    def changed(self):
        """Heights that were decided in a round above 0, and have others behind them."""
        decided = self.of(1).decided
        return [sequence for sequence, round_ in decided.items() if round_ > 0 and sequence + 2 in decided]

    def cut(self, one, other):
        """Takes some packets away between two nodes: they are sent again."""
        (bridge,) = self._machine.path("/run/bftap-lab/ovs").glob("*.mgmt")
        switch = ("ovs-ofctl", "-O", "OpenFlow13")
        bridge = f"unix:/run/bftap-lab/ovs/{bridge.name}"
        flow = f"ip,nw_src=10.77.0.{one},nw_dst=10.77.0.{other}"
        self._machine.output(*switch, "add-flow", bridge, f"priority=500,{flow},actions=drop")

        def taken():
            told = self._machine.output(*switch, "dump-flows", bridge, flow)
            return any(int(packets) >= 10 for packets in re.findall(r"n_packets=(\d+).*actions=drop", told))

        self.wait("packets between two nodes", taken)
        self._machine.output(*switch, "--strict", "del-flows", bridge, f"priority=500,{flow}")

    def stored(self, sequence):
        """Whether the monitor has written what the rules find, and a height."""
        # Nothing newer would be seen within a transaction.
        self._database.rollback()
        run = self._database.value("SELECT MAX(run_id) FROM run WHERE name = %s", RUN)
        _, events = self._database.rows("SELECT DISTINCT rule, COALESCE(signer, sender, ip) FROM event WHERE run_id = %s", run)
        decided = self._database.value("SELECT COUNT(*) FROM round WHERE run_id = %s AND sequence = %s AND outcome = 'decided'",
                                       run, sequence)
        silent = self._database.value("SELECT COUNT(*) FROM event WHERE run_id = %s AND numbers LIKE %s", run, '%"open":1%')
        self._not_found = FOUND - set(events)
        return not self._not_found and decided and silent


def check_alerts(database, problems):
    """Alert rules over the run that is written: they name who misbehaves, and nobody else."""
    database.rollback()
    run = database.value("SELECT MAX(run_id) FROM run WHERE name = %s", RUN)
    range_ = Range(*run_range(database, run))
    for rule, query in alert_rules(database.name):
        title = rule["title"]
        rows = alerts.answer(database, f"{database.name}, {RUN}, {title}", query, range_, problems)
        fired = {texts[1:] for texts in alerts.firing(rule, rows)}
        if missing := FIRED.get(title, set()) - fired:
            problems.add(f"{database.name}, {RUN}, alert {title}", f"does not fire for {sorted(missing)}, but for {sorted(fired)}")
        if title == "Critical events" and (honest := {texts for texts in fired if "cn1" in texts}):
            problems.add(f"{database.name}, {RUN}, alert {title}", f"names an honest node: {sorted(honest)}")


def run_lab(bftap, folder, urls, connections):
    """The lab, until its nodes have done enough; a height to look at."""
    mysql, problems, report = connections[0], Problems(), []
    faults = [word for fault in FAULTS for word in ("--fault", fault)]
    command = [
        bftap, "lab", "run", "--nodes", str(NODES), "--for", "30min", "--record", "rec", "--write", "net.pcapng", "--keep-keys", "keys",
        "--store", urls[0], *OPTIONS, *faults, "--", "--run", RUN,
    ]
    with Machine(folder, *command) as machine:
        address = urlsplit(urls[0])
        machine.let_in(address.hostname, address.port)
        machine.begin()
        lab = Lab(machine, folder, mysql)
        lab.wait("heights", lambda: len(lab.of(1).decided) >= 3)
        lab.cut(1, 2)
        lab.wait("what every fault makes its node do", lab.everybody_did_it)
        height = max(lab.changed())
        lab.wait("the monitor's rows of it", lambda: lab.stored(height))
        check_full([mysql], RUN, [height], problems, report)
        check_alerts(mysql, problems)
        if machine.interrupt(bftap, "lab", "run"):
            sys.exit(f"check.lab: the lab did not end well: {machine.said()}")
    for problem in problems:
        print(f"while it runs, {problem}", file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} things are not right while the lab runs")
    print(f"{len(report)} queries over a lab while it runs, and {len(alert_rules('mysql'))} alert rules: all right", file=sys.stderr)
    return height


def leave_out(kept, fewer):
    """Copies a pcapng file but for one packet of so many between two nodes."""
    pair = {ipaddress.ip_address(f"10.77.0.{node}").packed for node in LOSSY_PAIR}
    whole, at, packets = kept.read_bytes(), 0, 0
    with open(fewer, "wb") as file:
        while at < len(whole):
            # In the byte order of this machine, as it was written here.
            kind, length = struct.unpack_from("=II", whole, at)
            block = whole[at:at + length]
            # Source and destination, behind the heads of the block and of Ethernet.
            between = kind == ENHANCED_PACKET and {block[54:58], block[58:62]} == pair
            packets += between
            if not between or packets % LEFT_OUT:
                file.write(block)
            at += length


def withhold(keys, fewer):
    """Copies key logs but for the secrets of one session: the latest one of the node that comes and goes."""
    _, ephemeral, *_ = (keys / "cn6.keylog").read_text().splitlines()[-1].split()
    fewer.mkdir()
    for log in keys.iterdir():
        lines = log.read_text().splitlines(keepends=True)
        (fewer / log.name).write_text("".join(line for line in lines if ephemeral not in line))


def analyze(bftap, folder, url, name, capture, keys):
    done = subprocess.run(
        [bftap, "analyze", capture, "--keylog", keys, "--nodes", "keys.nodes.json", "--run", name], cwd=folder,
        env={**os.environ, "BFTAP_STORE": url}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    # 1: something could not be read, as wanted.
    if done.returncode not in (0, 1):
        sys.exit(f"check.lab: {name}: {done.stderr}")


def main():
    parser = argparse.ArgumentParser(description="Runs a lab with nodes that misbehave, and stores it in both databases.")
    databases.add_arguments(parser)
    parser.add_argument("--bftap", type=pathlib.Path, required=True, help="a built bftap")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="an empty folder for what is kept of the lab")
    arguments = parser.parse_args()
    bftap, urls = str(arguments.bftap.resolve()), (arguments.mysql, arguments.postgres)
    connections = databases.connected(arguments)
    try:
        height = run_lab(bftap, arguments.folder, urls, connections)
    except NoMachine as why:
        print(f"check-dashboards: NOT CHECKED over a lab: {why} (scripts/setup --lab, as root)", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
    leave_out(arguments.folder / "net.pcapng", arguments.folder / "fewer.pcapng")
    withhold(arguments.folder / "keys", arguments.folder / "fewer")
    analyze(bftap, arguments.folder, arguments.postgres, RUN, "net.pcapng", "keys")
    for url in urls:
        analyze(bftap, arguments.folder, url, KEPT, "net.pcapng", "keys")
        analyze(bftap, arguments.folder, url, LOSSY, "fewer.pcapng", "fewer")
    print(height)


if __name__ == "__main__":
    main()
