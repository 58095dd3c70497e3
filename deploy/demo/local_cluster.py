"""A control plane with nodes on this machine, as a script sees it: started by `ratchet up`, asked
through the CLI, its processes found by their records and killed. Standard library only.

Used by cluster.py (what `make demo` shows) and by tests/e2e. Kills only processes that this control
plane and its agents recorded as theirs, each by pid and start time.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

POLL_S = 0.1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_time(pid):
    """Clock ticks from the machine's start to that of the process; None when it has ended."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


class Process:
    """A process by pid and start time, so that a reused pid is never taken for it."""

    def __init__(self, pid, started):
        self.pid, self.started = pid, started

    @classmethod
    def from_record(cls, path):
        """From a process.json; None when there is none or it names a process that has ended."""
        try:
            record = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        process = cls(record.get("pid", 0), record.get("start_time"))
        return process if process.is_alive() else None

    def is_alive(self):
        return self.pid > 1 and start_time(self.pid) == self.started

    def send(self, number, group=False):
        if not self.is_alive():
            return False
        try:
            (os.killpg if group else os.kill)(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def __eq__(self, other):
        return isinstance(other, Process) and vars(self) == vars(other)

    def __repr__(self):
        return f"process {self.pid}"


class Node:
    """A local node: its folder, its agent, its trainers."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    @property
    def name(self):
        return self.folder.name

    def agent(self):
        return Process.from_record(self.folder / "process.json")

    def trainers(self):
        records = self.folder.glob("agent/attempts/*/e*/process.json")
        return [found for found in map(Process.from_record, records) if found]

    def node_id(self):
        try:
            text = (self.folder / "agent" / "agent.json").read_text(encoding="utf-8")
            return json.loads(text).get("node_id", "")
        except (OSError, ValueError):
            return ""

    def kill(self):
        """SIGKILL for the agent and the process group of every trainer, as a power cut would: the
        agent is stopped first, so that it sees nothing of its trainers' end."""
        agent, trainers = self.agent(), self.trainers()
        if agent:
            agent.send(signal.SIGSTOP)
        for trainer in trainers:
            trainer.send(signal.SIGKILL, group=True)
        end = time.monotonic() + 5
        while any(trainer.is_alive() for trainer in trainers) and time.monotonic() < end:
            time.sleep(0.002)
        if agent:
            agent.send(signal.SIGKILL)


class CliError(Exception):
    def __init__(self, words, code, output):
        super().__init__(f"ratchet {' '.join(words)} left with {code}: {output}")
        self.code, self.output = code, output


class LocalCluster:
    """`with LocalCluster(...)`: a control plane that serves; at the end nothing of it is left."""

    def __init__(self, programs, state, nodes=2, settings=(), environment=None, log=None,
                 flags=()):
        self.programs = pathlib.Path(programs)  # folder of ratchet, ratchet-control, ratchet-agent
        self.state = pathlib.Path(state).resolve()
        self.nodes_wanted = nodes
        self.settings = list(settings)
        self.flags = list(flags)  # for `ratchet up`
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {**os.environ, "RATCHET_LOGIN": str(self.state / "login.json"),
                            **(environment or {})}
        for name in ("RATCHET_URL", "RATCHET_TOKEN", "RATCHET_TOKEN_FILE", "RATCHET_CA_FILE"):
            self.environment.pop(name, None)
        self.listen_host = "127.0.0.1"
        self.trainer = None
        self.log = log
        self.up = None

    # --- life ------------------------------------------------------------------------------------

    def start(self, limit_s=60):
        """Starts `ratchet up`; returns the seconds until it serves."""
        self.state.mkdir(parents=True, exist_ok=True)
        settings = self.state / "settings.conf"
        settings.write_text("".join(f"{line}\n" for line in self.settings), encoding="utf-8")
        words = [self.programs / "ratchet", "up", "--json", "--nodes", str(self.nodes_wanted),
                 "--state", self.state, "--listen", f"{self.listen_host}:{self.port}", "--login",
                 self.state / "login.json", "--settings", settings,
                 *self.flags]
        if self.trainer:
            words += ["--trainer", self.trainer]
        began = time.monotonic()
        output = self.log or subprocess.DEVNULL
        self.up = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   env=self.environment, start_new_session=True)
        self.wait(self.serves, limit_s, "the control plane to serve")
        return time.monotonic() - began

    def stop(self):
        """Ctrl-C for `ratchet up`: the control plane ends, nodes and trainers live on."""
        if self.up is None:
            return
        self.up.send_signal(signal.SIGINT)
        try:
            self.up.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.up.kill()
            self.up.wait()
        self.up = None

    def end(self):
        """Stops everything, nodes too."""
        self.stop()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            left = [node for node in self.nodes() if node.agent() or node.trainers()]
            if not left:
                break
            for node in left:
                node.kill()
            time.sleep(POLL_S)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end()

    # --- what it says ----------------------------------------------------------------------------

    def cli(self, *words, expect=0, limit_s=120):
        """Runs a command; its stdout."""
        words = [str(word) for word in words]
        done = subprocess.run([self.programs / "ratchet", *words], env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s,
                              check=False)
        if expect is not None and done.returncode != expect:
            raise CliError(words, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def ask(self, *words):
        """The JSON of a command; None while the control plane does not answer."""
        try:
            return json.loads(self.cli(*words, "--json"))
        except CliError as error:
            if error.code in (5, 6):
                return None
            raise

    def serves(self):
        if self.up is not None and self.up.poll() is not None:
            raise RuntimeError(f"ratchet up left with {self.up.returncode}; its log is in {self.state}")
        return self.control() is not None and self.ask("list") is not None

    def job(self, job_id):
        return self.ask("show", job_id)

    # --- processes -------------------------------------------------------------------------------

    def control(self):
        """The control plane's process; None while it does not run."""
        try:
            record = json.loads((self.state / "control.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        started = start_time(record["pid"])
        return Process(record["pid"], started) if started is not None else None

    def nodes(self):
        folder = self.state / "local"
        return sorted(map(Node, folder.iterdir()), key=lambda node: node.name) if folder.exists() else []

    def node_of(self, job_id):
        """The node whose trainer runs the job; None between two attempts."""
        for node in self.nodes():
            for record in node.folder.glob(f"agent/attempts/{job_id}/e*/process.json"):
                if Process.from_record(record):
                    return node
        return None

    def trainer_of(self, job_id):
        for node in self.nodes():
            for record in node.folder.glob(f"agent/attempts/{job_id}/e*/process.json"):
                if process := Process.from_record(record):
                    return process
        return None

    @staticmethod
    def wait(condition, limit_s, what, pause_s=POLL_S):
        """What the condition returns once it is true; TimeoutError names what was waited for."""
        end = time.monotonic() + limit_s
        while True:
            if found := condition():
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"waited {limit_s} s in vain for {what}")
            time.sleep(pause_s)
