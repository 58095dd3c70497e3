#!/usr/bin/env python3
"""Recovery on one machine: `ratchet up` with its defaults, the local provisioner, a real trainer.

    recovery.py [--programs build/release/bin] [--nodes 1] [--rounds 10] [--silences 3] [--dry]

Rounds of each: a node killed with SIGKILL, a reclaim notice, a control plane killed. Besides: what the
agent costs while it trains, a static node that falls silent, how long the programs take to start.
Times are those that the control plane itself recorded (attempts, events), against the moment of the
blow, on one clock. Appends a row to bench/results/recovery.tsv; --dry prints only. Exit status 1 when
a step was lost where none may be: then there is no row. Method: bench/README.md.
"""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE.parents[1] / "deploy" / "demo"))
from local_cluster import LocalCluster, free_port  # noqa: E402
from results import ROOT, ProcessUse, about, append_row, percentile  # noqa: E402

LIMIT_S = 120
STEPS_BETWEEN = 3  # that a job trains before the next blow
LEAD_MS = 30000
AGENT_S = 30
STARTS = 20
DEMO = ROOT / "deploy" / "demo"
# The job trains through all rounds: more steps than they can need, a checkpoint every few seconds.
CHANGES = {"training": {"max_steps": 1000000}, "checkpoint": {"interval_steps": 25, "keep": 2}}


def now_ms():
    return time.time() * 1000


def write_job(path):
    spec = json.loads((DEMO / "demo.json").read_text(encoding="utf-8"))
    spec["base_model"] = str(DEMO / "base")
    spec["data"]["train"] = str(DEMO / "data" / "train.jsonl")
    for part, changes in CHANGES.items():
        spec[part] |= changes
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def spread(name, milliseconds):
    """Median and worst, in ms; blank when nothing was seen."""
    seen = [round(value) for value in milliseconds if value is not None]
    return {f"{name}_p50_ms": percentile(seen, 0.5), f"{name}_max_ms": percentile(seen, 1.0)}


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.cluster = LocalCluster(args.programs, work / "state", nodes=args.nodes,
                                    environment={"OMP_WAIT_POLICY": "PASSIVE"},
                                    log=open(work / "up.log", "ab"))
        self.job_id = None
        self.lost = []  # what may not happen

    # --- questions ------------------------------------------------------------------------------

    def api(self, path, body=None):
        token = json.loads((self.cluster.state / "login.json").read_text(encoding="utf-8"))["token"]
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.cluster.url + path, data=data, headers={
            "Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def job(self):
        return self.api(f"/v1/jobs/{self.job_id}")

    def attempts(self):
        return self.api(f"/v1/jobs/{self.job_id}/attempts")["items"]

    def last_event(self):
        """Number of the newest event, from which a round counts."""
        after = 0
        while page := self.api(f"/v1/events?after={after}&limit=200")["items"]:
            after = page[-1]["id"]
        return after

    def event(self, kind, after, **data):
        """The first event of that type after `after` whose data has these values."""
        for event in self.api(f"/v1/events?after={after}&type={kind}&limit=200")["items"]:
            if all(event["data"].get(key) == value for key, value in data.items()):
                return event
        return None

    def wait(self, condition, what):
        return self.cluster.wait(condition, LIMIT_S, what)

    def wait_until_it_trains(self):
        """The job once it has trained on, holds a newer checkpoint, and all nodes are ready."""
        began = self.job()

        def ready():
            job = self.job()
            if job["state"] in ("completed", "failed", "cancelled"):
                raise SystemExit(f"The job is {job['state']}: {job['failure']}")
            nodes = [node for node in self.api("/v1/nodes")["items"]
                     if node["schedulable"] == "ready" and node["liveness"] == "live"]
            going = job["state"] == "training" and job["step"] >= began["step"] + STEPS_BETWEEN
            fresh = job["head"]["artifact_id"] and job["head"]["step"] > began["head"]["step"]
            return job if going and fresh and len(nodes) >= self.args.nodes else None
        return self.wait(ready, "a training job and ready nodes")

    def wait_for_attempt(self, number):
        """Attempt `number` once it has done a step."""
        def stepped():
            found = [one for one in self.attempts() if one["attempt_no"] == number]
            return found[0] if found and found[0]["first_step_at_ms"] else None
        return self.wait(stepped, f"the first step of attempt {number}")

    # --- rounds ---------------------------------------------------------------------------------

    def start(self):
        self.cluster.start()
        job = write_job(self.work / "job.json")
        self.job_id = self.cluster.ask("submit", job)["id"]

    def kill_node(self):
        """Milliseconds from the death of a node to its detection, and on to the first step."""
        before = self.wait_until_it_trains()
        self.cluster.node_of(self.job_id).kill()
        killed = now_ms()
        after = self.wait_for_attempt(before["attempts"] + 1)
        ended = self.attempts()[before["attempts"] - 1]["ended_at_ms"]
        return ended - killed, after["first_step_at_ms"] - ended

    def reclaim(self):
        """Milliseconds from the wish to the control plane's knowledge (which is more than from the
        agent's sight of the notice), to the demand for a replacement, from the attempt's end to the
        first step of the next one."""
        before = self.wait_until_it_trains()
        seen = self.last_event()
        node_id = before["node"]
        began = now_ms()
        self.api(f"/v1/nodes/{node_id}/simulate-reclaim", {"lead_ms": LEAD_MS})
        after = self.wait_for_attempt(before["attempts"] + 1)
        ended = self.attempts()[before["attempts"] - 1]["ended_at_ms"]
        told = self.event("node.reclaim_notice", seen)["occurred_at_ms"]
        asked = self.event("node.provisioning", seen)

        def recorded():
            last = self.api(f"/v1/jobs/{self.job_id}/interruptions")["items"][-1]
            return last if last["resumed_at_ms"] else None
        record = self.wait(recorded, "the interruption's record")
        if record["replayed_steps"] != 0:
            self.lost.append(f"{record['replayed_steps']} steps replayed after a notice")
        return (told - began, asked["occurred_at_ms"] - told if asked else None,
                after["first_step_at_ms"] - ended)

    def serves(self, token):
        """Whether a route that needs the store answers."""
        link = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=5)
        try:
            link.request("GET", "/v1/jobs?limit=1", headers={"Authorization": f"Bearer {token}"})
            return link.getresponse().status == 200
        except OSError:
            return False
        finally:
            link.close()

    def kill_control(self):
        """Milliseconds from the control plane's death to an answer of the next one."""
        before = self.wait_until_it_trains()
        trainer = self.cluster.trainer_of(self.job_id)
        token = json.loads((self.cluster.state / "login.json").read_text(encoding="utf-8"))["token"]
        self.cluster.control().send(signal.SIGKILL)
        began = time.monotonic()
        while not self.serves(token):
            time.sleep(0.001)
        took = (time.monotonic() - began) * 1000
        self.wait(lambda: self.job()["step"] >= before["step"] + STEPS_BETWEEN, "the next steps")
        after = self.job()
        same = all(after[key] == before[key] for key in ("epoch", "attempts", "interruptions"))
        if not same or not trainer or not trainer.is_alive():
            self.lost.append("a restart of the control plane disturbed the job")
        return took

    def agent_use(self):
        """CPU percent and resident memory of the agent whose trainer trains; steps a second."""
        before = self.wait_until_it_trains()
        use = ProcessUse(self.cluster.node_of(self.job_id).agent().pid)
        cpu, began = use.cpu_s(), time.monotonic()
        time.sleep(AGENT_S)
        wall = time.monotonic() - began
        percent = 100 * (use.cpu_s() - cpu) / wall
        return percent, use.memory_mib(), (self.job()["step"] - before["step"]) / wall

    # --- beside the job -------------------------------------------------------------------------

    def silences(self, count):
        """Milliseconds from a static agent's stop to the event that says its node is silent."""
        token = self.work / "join.token"
        self.cluster.cli("tokens", "create", "--scope", "join", "--out", token)
        with open(self.work / "static.log", "ab") as log:
            agent = subprocess.Popen(
                [self.args.programs / "ratchet-agent", "--control", self.cluster.url, "--state",
                 self.work / "static", "--join-token-file", token, "--name", "static-node"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            return [self.silence(agent) for _ in range(count)]
        finally:
            agent.kill()
            agent.wait()

    def silence(self, agent):
        def live():
            nodes = self.api("/v1/nodes")["items"]
            return any(node["facts"]["name"] == "static-node" and node["liveness"] == "live"
                       for node in nodes)
        self.wait(live, "the static node")
        seen = self.last_event()
        agent.send_signal(signal.SIGSTOP)
        stopped = now_ms()
        event = self.wait(lambda: self.event("node.silent", seen), "the node to be marked")
        agent.send_signal(signal.SIGCONT)
        return event["occurred_at_ms"] - stopped


def start_ms(words):
    """Median of the time from exec to exit."""
    taken = []
    for _ in range(STARTS):
        began = time.monotonic()
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        taken.append((time.monotonic() - began) * 1000)
    return round(percentile(taken, 0.5), 1)


def control_start_ms(programs, state):
    """From exec to the first answer; starts on a state folder that is there."""
    port, taken = free_port(), []
    for number in range(STARTS + 1):
        began = time.monotonic()
        process = subprocess.Popen(
            [programs / "ratchet-control", "--state", state, "--listen", f"127.0.0.1:{port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                    break
            except OSError:
                time.sleep(0.001)
        if number > 0:  # the first one makes the folder
            taken.append((time.monotonic() - began) * 1000)
        process.terminate()
        process.wait()
    return round(percentile(taken, 0.5), 1), round(max(taken), 1)


def measure(args, work):
    row = {"nodes": args.nodes, "rounds": args.rounds}
    bench = Bench(args, work)
    try:
        bench.start()
        deaths = [bench.kill_node() for _ in range(args.rounds)]
        row |= spread("detect", [one[0] for one in deaths])
        row |= spread("resume", [one[1] for one in deaths])
        print("killed nodes", deaths, flush=True)
        notices = [bench.reclaim() for _ in range(args.rounds)]
        row |= spread("notice_told", [one[0] for one in notices])
        row |= spread("replacement_asked", [one[1] for one in notices])
        row |= spread("notice_resume", [one[2] for one in notices])
        print("notices", notices, flush=True)
        restarts = [bench.kill_control() for _ in range(args.rounds)]
        row |= spread("control_back", restarts)
        print("restarts", restarts, flush=True)
        percent, mib, rate = bench.agent_use()
        row |= {"agent_cpu_percent": round(percent, 2), "agent_rss_mib": mib,
                "steps_per_s": round(rate, 1)}
        bench.api(f"/v1/jobs/{bench.job_id}/cancel", {})
        row |= spread("silent", bench.silences(args.silences))
    finally:
        bench.cluster.end()
    row["ratchet_start_ms"] = start_ms([args.programs / "ratchet", "--help"])
    row["agent_start_ms"] = start_ms([args.programs / "ratchet-agent", "--help"])
    row["control_start_p50_ms"], row["control_start_max_ms"] = control_start_ms(
        args.programs, work / "fresh")
    return row, bench.lost


def main():
    flags = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--programs", type=pathlib.Path, default=ROOT / "build/release/bin")
    flags.add_argument("--work", type=pathlib.Path, default=ROOT / "build/bench")
    flags.add_argument("--nodes", type=int, default=1, help="of ratchet up; 1 is its default")
    flags.add_argument("--rounds", type=int, default=10)
    flags.add_argument("--silences", type=int, default=3)
    flags.add_argument("--dry", action="store_true")
    flags.add_argument("--keep", action="store_true", help="leave the state folder")
    args = flags.parse_args()
    args.programs = args.programs.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="recovery-", dir=args.work))
    machine = about()
    try:
        row, lost = measure(args, work)
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    for what in lost:
        print(f"LOST: {what}", file=sys.stderr)
    if args.dry or lost:
        print(json.dumps(machine | row, indent=2))
    else:
        append_row("recovery.tsv", machine | row)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
