"""A machine of the checks' own: namespaces for network, mounts and processes. As root, with Open vSwitch.

Nothing in it has a name outside, and all that runs in it ends with it.
"""

import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

TOOLS = ("unshare", "nsenter", "ip", "ethtool", "ovs-vsctl", "ovs-vswitchd", "ovs-ofctl")
# Its first process: it waits for a line, and then for the command.
FIRST = 'mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && echo ready && read -r go && "$@" > "$OUT"'
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET, PR_SET_PDEATHSIG = 0x40000000, 1


class NoMachine(Exception):
    """Why there is none."""


class Machine:
    """Runs one command in a folder, which gets its output as `out` and `err`; ends it when it is left."""

    def __init__(self, folder, *command):
        self._folder, self._doors = pathlib.Path(folder), []
        # Root's tools, whoever's path this is.
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        for tool in TOOLS:
            if not shutil.which(tool, path=path):
                raise NoMachine(f"{tool} is not installed")
        if os.geteuid():
            raise NoMachine("this is not root")
        self._environment = {**os.environ, "PATH": path, "OUT": str(self._folder / "out")}
        for variable in ("BFTAP_STORE", "SUDO_UID", "SUDO_GID"):
            self._environment.pop(variable, None)
        with open(self._folder / "err", "wb") as said:
            self._unshare = subprocess.Popen(
                ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
                 "sh", "-c", FIRST, "sh", *command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=self._environment, cwd=folder,
                # It must not outlive this program, however that ends.
                preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        ready = self._unshare.stdout.readline()
        children = self._children(self._unshare.pid)
        if ready.strip() != b"ready" or not children:
            self._unshare.kill()
            self._unshare.wait()
            raise NoMachine(f"unshare is refused: {self.said()}")
        self._first = children[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for door in self._doors:
            door.close()
        self._unshare.kill()
        self._unshare.wait()
        # The first process is gone when all others are.
        deadline = time.monotonic() + 30
        while os.path.exists(f"/proc/{self._first}") and time.monotonic() < deadline:
            time.sleep(0.05)

    @staticmethod
    def _children(pid):
        try:
            return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def begin(self):
        """Lets the command begin."""
        self._unshare.stdin.write(b"go\n")
        self._unshare.stdin.flush()

    def said(self):
        """The end of what the command said."""
        return (self._folder / "err").read_text(errors="replace")[-2000:]

    def is_over(self):
        return self._unshare.poll() is not None

    def interrupt(self, *beginning):
        """Ctrl-C for the command, which begins so; its status when it is over."""
        for pid in self._children(self._first):
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[:len(beginning)] == [word.encode() for word in beginning]:
                os.kill(pid, signal.SIGINT)
        return self._unshare.wait(timeout=120)

    def path(self, path):
        """A file of the machine, as it is called outside."""
        return pathlib.Path(f"/proc/{self._first}/root{path}")

    def output(self, *command):
        """What a command in the machine prints."""
        enter = ["nsenter", f"--target={self._first}", "--net", "--mount", "--"]
        return subprocess.run([*enter, *command], env=self._environment, stdin=subprocess.DEVNULL, check=True, capture_output=True,
                              text=True).stdout

    def let_in(self, host, port):
        """A service of this machine is to be found at the same address in the other one."""
        door, failed = None, []

        # A socket belongs to the namespace in which it was made; only this thread enters it.
        def enter():
            with open(f"/proc/{self._first}/ns/net", "rb") as namespace:
                if LIBC.setns(namespace.fileno(), CLONE_NEWNET):
                    failed.append(OSError(ctypes.get_errno(), "setns"))
                    return
            nonlocal door
            door = socket.create_server((host, port))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        self._doors.append(door)
        threading.Thread(target=serve, args=(door, host, port), daemon=True).start()


def serve(door, host, port):
    """Hands on every connection, until the door is closed."""
    while True:
        try:
            inside, _ = door.accept()
            outside = socket.create_connection((host, port))
        except OSError:
            return
        for one, other in ((inside, outside), (outside, inside)):
            threading.Thread(target=hand_on, args=(one, other), daemon=True).start()


def hand_on(one, other):
    try:
        while part := one.recv(1 << 16):
            other.sendall(part)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        # Whichever end is gone: the other must not wait.
        one.close()
        other.close()
