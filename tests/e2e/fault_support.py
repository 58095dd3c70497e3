"""Faults of the surroundings: nodes that a test starts itself, a disk that gets smaller, and a network
that spoils uploads."""

import ctypes
import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.request

from cluster_support import PROGRAMS, QUIET, TRAINER, Process
from local_cluster import free_port, start_time

NO_MOUNTS = "no right to mount"
CLONE_NEWNS, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x00020000, 0x20, 0x4000, 0x40000
MIB = 1 << 20


class StaticNode:
    """A node that registers itself: an agent with a state folder of its own, and its trainers.

    `through` are words before the program (a namespace), `environment` changes that of the agent and
    its trainers; without `url` the control plane's own is used."""

    def __init__(self, test, cluster, name, url=None, through=(), environment=None, flags=(),
                 state=None):
        self.name = name
        self.state = state or test.folder / name
        self.port = free_port()
        token = test.folder / f"join-{name}"
        cluster.cli("tokens", "create", "--scope", "join", "--out", token)
        self.words = [*through, PROGRAMS / "ratchet-agent", "--control", url or cluster.url,
                      "--state", self.state, "--join-token-file", token, "--trainer", TRAINER,
                      "--name", name, "--listen", f"127.0.0.1:{self.port}", *flags]
        self.environment = {**os.environ, **QUIET, **(environment or {})}
        self.log = open(test.folder / f"{name}.log", "ab")
        test.addCleanup(self.log.close)
        self.child = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=self.log,
                                      stderr=self.log, env=self.environment)
        test.addCleanup(self.end)

    def agent(self):
        """The agent's process; None when it has ended."""
        started = None if self.child.poll() is not None else start_time(self.child.pid)
        return None if started is None else Process(self.child.pid, started)

    def trainer(self, job_id):
        """The process that trains the job here; None when there is none."""
        for record in self.state.glob(f"attempts/{job_id}/e*/process.json"):
            if process := Process.from_record(record):
                return process
        return None

    def steps_done(self, job_id):
        """The last step that the trainers here have themselves recorded."""
        step = 0
        for path in self.state.glob(f"attempts/{job_id}/e*/out/events.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    step = max(step, json.loads(line).get("step", 0))
                except ValueError:
                    continue
        return step

    def status(self):
        """The agent's /healthz."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=10) as answer:
            return json.loads(answer.read())

    def facts(self, cluster):
        """What the control plane knows of the node; None while it does not."""
        found = [node["facts"] for node in cluster.ask("nodes") or []
                 if node["facts"]["name"] == self.name]
        return found[0] if found else None

    def end(self):
        if agent := self.agent():
            agent.send(9)
        self.child.wait()
        for record in self.state.glob("attempts/*/e*/process.json"):
            if trainer := Process.from_record(record):
                trainer.send(9, group=True)


def own_mounts():
    """Gives this process, and those that it starts, mounts of their own. False: it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    return (libc.unshare(CLONE_NEWNS) == 0
            and libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) == 0)


class SmallDisk:
    """A file system of its own at `path`, which the test makes smaller and larger: to the programs
    there it is full when it is no larger than what they hold. Needs own_mounts()."""

    def __init__(self, test, path, room):
        self.path = path
        path.mkdir()
        self.libc = ctypes.CDLL(None, use_errno=True)
        self._mount(0, room)
        test.addCleanup(self.libc.umount2, os.fsencode(path), 2)  # 2: MNT_DETACH

    def _mount(self, flags, size):
        done = self.libc.mount(b"tmpfs", os.fsencode(self.path), b"tmpfs", ctypes.c_ulong(flags),
                               f"size={size},mode=0700".encode())
        return done == 0

    def leave(self, room):
        """From now on there are about `room` bytes more than are in use."""
        for _ in range(100):
            facts = os.statvfs(self.path)
            used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
            # Refused when more was written meanwhile; a size of 0 would mean no limit.
            if self._mount(MS_REMOUNT, max(used + room, facts.f_frsize)):
                return
        raise OSError(ctypes.get_errno(), f"cannot change the size of {self.path}")


def read_head(stream):
    """Request line, fields (lower case) and raw bytes of an HTTP head; None at the end."""
    raw = b""
    while not raw.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        raw += line
    lines = raw.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    return lines[0], fields, raw


class BadNetwork:
    """Relays an agent's connections to the control plane, and spoils the requests that `spoil` names:
    each entry is (pattern of the request line, how, number), and used once.

    trickle N: the body passes at N bytes a second      cut N: both sides close after N of its bytes
    flip N: byte N of the body arrives changed          lose: the answer does not come back
    garbage: bytes that are no HTTP answer it           portal N: a page with status N answers it
    hold N: it is sent on after `let_go` is set, and at the latest after N seconds"""

    def __init__(self, test, port):
        self.target = ("127.0.0.1", port)
        self.spoil = []
        self.spoiled = []  # (how, request line), as it happened
        self.puts = []     # (path, offset, length) of each upload's request
        self.slow = threading.Event()  # while something trickles
        self.held = threading.Event()  # something was held
        self.let_go = threading.Event()
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        test.addCleanup(self.server.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            with client, socket.create_connection(self.target) as far:
                lost = threading.Event()
                back = threading.Thread(target=self.answers, args=(far, client, lost), daemon=True)
                back.start()
                try:
                    while self.request(client, far, lost):
                        pass
                finally:
                    for side in (client, far):
                        try:
                            side.shutdown(socket.SHUT_RDWR)
                        except OSError:
                            pass
                    back.join()
        except OSError:
            pass

    @staticmethod
    def answers(far, client, lost):
        try:
            while data := far.recv(65536):
                if lost.is_set():
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def choose(self, line):
        with self.lock:
            for entry in self.spoil:
                pattern, how, number = entry
                if re.match(pattern, line):
                    self.spoil.remove(entry)
                    self.spoiled.append((how, line))
                    return how, number
        return None, 0

    def request(self, client, far, lost):
        """Passes one request on. False: the connection is over."""
        # Unbuffered but for the head: what follows it is read from the socket.
        stream = client.makefile("rb", buffering=0)
        head = read_head(stream)
        if head is None:
            return False
        line, fields, raw = head
        length = int(fields.get("content-length", "0"))
        if line.startswith("PUT /v1/artifacts/"):
            self.puts.append((line.split()[1], int(fields["upload-offset"]), length))
        how, number = self.choose(line)
        if how == "garbage":
            client.sendall(b"\x16\x03\x01\x00\xff garbage \x00\r\n\r\n" * 20)
            return False
        if how == "portal":
            page = b"<html>Please log in to the network.</html>"
            client.sendall(b"HTTP/1.1 %d Portal\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
                           b"Connection: close\r\n\r\n%s" % (number, len(page), page))
            return False
        if how == "lose":
            lost.set()
        if how == "hold":
            self.held.set()
            self.let_go.wait(number)
        far.sendall(raw)
        return self.body(stream, far, length, how, number)

    def body(self, stream, far, length, how, number):
        passed = 0
        piece = max(1, number // 20) if how == "trickle" else 65536
        if how == "trickle":
            self.slow.set()
        try:
            while passed < length:
                stop = number - passed if how == "cut" else length
                data = stream.read(min(piece, length - passed, stop))
                if not data:
                    return False
                if how == "flip" and passed <= number < passed + len(data):
                    at = number - passed
                    data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
                far.sendall(data)
                passed += len(data)
                if how == "trickle":
                    time.sleep(0.05)
            return how != "cut"
        finally:
            if how == "trickle":
                self.slow.clear()


__all__ = ["MIB", "NO_MOUNTS", "BadNetwork", "SmallDisk", "StaticNode", "own_mounts"]
