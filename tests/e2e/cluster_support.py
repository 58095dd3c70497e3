"""What the cluster's end-to-end tests share: a control plane with nodes, jobs small enough to train
in seconds, a webhook receiver, and the promises that hold whatever was killed."""

import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from support import LIMIT_S, SOURCE, Folder, digest

sys.path.insert(0, str(SOURCE / "deploy" / "demo"))
from local_cluster import CliError, LocalCluster, Process  # noqa: E402, F401 (for the tests)

PROGRAMS = pathlib.Path(os.environ["RATCHET_BINARY_DIR"]) / "bin"
TRAINER = pathlib.Path(os.environ.get("RATCHET_TRAINER", PROGRAMS / "ratchet-trainer"))
RECEIVER = SOURCE / "deploy" / "demo" / "webhook_receiver.py"

# Shorter waits between attempts than for people; leases as they are, unless a test says so.
SETTINGS = ["backoff_ms = 300,600,1200,2400,5000", "webhook_allow = 127.0.0.1"]
# One thread: the machine has to run a control plane and two agents besides.
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "NO_COLOR": "1"}
FINAL = ("adapter_model.safetensors", "optimizer.safetensors")
TERMINAL = ("completed", "failed", "cancelled")


class ClusterTest(Folder):
    """A test with a folder and, when it asks, a cluster in it."""

    def cluster(self, name="state", nodes=2, settings=(), **options):
        cluster = LocalCluster(PROGRAMS, self.folder / name, nodes=nodes,
                               settings=[*SETTINGS, *settings], environment=QUIET, **options)
        cluster.trainer = TRAINER
        cluster.log = open(self.folder / f"{name}.log", "ab")
        self.addCleanup(cluster.log.close)
        self.addCleanup(cluster.end)
        cluster.start()
        return cluster

    def undisturbed(self, spec):
        """SHA-256 of what the trainer alone makes of a spec."""
        out = self.folder / "undisturbed"
        done = subprocess.run([TRAINER, "run", spec, "--out", out, "--quiet"], text=True,
                              capture_output=True, timeout=LIMIT_S, check=False,
                              env={**os.environ, **QUIET})
        self.assertEqual(done.returncode, 0, done.stderr)
        last = sorted((out / "ckpt").glob("step-*"))[-1]
        return {name: digest(last / name) for name in FINAL}

    def final_hashes(self, cluster, job_id):
        folder = self.folder / f"final-{job_id}"
        cluster.cli("download", job_id, "--checkpoint", "latest", "--out", folder)
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return {name: digest(folder / name) for name in FINAL}

    def wait_over(self, cluster, job_id, limit_s=240, look=lambda: None):
        def over():
            look()
            job = cluster.job(job_id)
            return job if job and job["state"] in TERMINAL else None
        return cluster.wait(over, limit_s, f"the end of {job_id}", pause_s=0.2)

    def events(self, cluster, job_id):
        events, after = [], 0
        while page := api(cluster, f"/v1/jobs/{job_id}/events?after={after}&limit=200")["items"]:
            events += page
            after = page[-1]["job_seq"]
        return events

    # --- promises -------------------------------------------------------------------------------

    def assert_no_gap(self, cluster, job_id):
        """The events of a job that is over are numbered 1, 2, 3, ...; returns them."""
        events = self.events(cluster, job_id)
        numbers = [event["job_seq"] for event in events]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        self.assertEqual(len(numbers), cluster.job(job_id)["event_seq"])
        return events

    def assert_one_at_a_time(self, cluster, job_id, fenced=False):
        """Attempts follow each other, each under a higher epoch; returns them. A fenced one may live
        on unreached: it ends when it is heard of again."""
        attempts = api(cluster, f"/v1/jobs/{job_id}/attempts")["items"]
        for number, attempt in enumerate(attempts, 1):
            self.assertEqual(attempt["attempt_no"], number)
        for before, after in zip(attempts, attempts[1:]):
            self.assertLess(before["epoch"], after["epoch"])
            self.assertIsNotNone(before["ended_at_ms"])
            if not fenced:
                self.assertLessEqual(before["ended_at_ms"], after["offered_at_ms"])
        return attempts

    def assert_head_only_rises(self, events):
        steps = [event["data"]["checkpoint_step"] for event in events
                 if event["type"] in ("checkpoint.committed", "checkpoint.adopted")]
        self.assertEqual(steps, sorted(steps))


class Dashboard:
    """The demo's webhook receiver and the endpoint that feeds it."""

    def __init__(self, test, cluster):
        self.log = test.folder / "webhooks.jsonl"
        port_file, secret = test.folder / "port", test.folder / "secret"
        self.process = subprocess.Popen(
            [sys.executable, RECEIVER, "--port-file", port_file, "--secret-file", secret,
             "--log", self.log], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        test.addCleanup(self.process.wait)
        test.addCleanup(self.process.kill)
        port = cluster.wait(lambda: port_file.exists() and port_file.read_text(), 30, "the receiver")
        webhook = cluster.ask("webhooks", "add", f"http://127.0.0.1:{port}/hook")
        self.id = webhook["id"]
        secret.write_text(webhook["secret"])

    def received(self):
        if not self.log.exists():
            return collections.Counter()
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        return collections.Counter((event["data"]["job_id"], event["data"]["job_seq"])
                                   for event in events)


def api(cluster, path, token=None, method="GET", body=None):
    """The JSON of a route; raises urllib.error.HTTPError."""
    if token is None:
        token = json.loads((cluster.state / "login.json").read_text())["token"]
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(cluster.url + path, data=data, method=method, headers={
        "Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def hold(process, seconds):
    """SIGSTOP, and SIGCONT after a while."""
    if process and process.send(signal.SIGSTOP):
        time.sleep(seconds)
        process.send(signal.SIGCONT)


__all__ = ["ClusterTest", "CliError", "Dashboard", "LocalCluster", "PROGRAMS", "Process", "QUIET",
           "TRAINER", "api", "hold", "tempfile", "unittest", "urllib"]
