#!/usr/bin/env python3
"""The middle of `make demo`: a job that survives its node, its control plane and its agent.

    cluster.py --programs BIN --trainer FILE --job job.json --work DIR --kill-at STEP

Starts `ratchet up` with two nodes and a webhook receiver, submits the job through the CLI, shows it
live, and kills, each with SIGKILL and each only after a committed checkpoint:

  1. at STEP a whole node, agent and trainer: the job resumes by itself on the other one
  2. the control plane alone: training goes on, nothing is repeated
  3. the agent alone: its trainer lives on and is taken back

Then downloads the adapter to DIR/killed/adapter and the final checkpoint to DIR/killed/final, and
writes DIR/killed/summary.json. Exit status 0 only when the job completed and each of the three went
as it should. Standard library only.
"""

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import threading
import time

from local_cluster import CliError, LocalCluster

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 180  # of every wait but the last, for all the steps that are left
LIMIT_TRAINING_S = 1800
CHECKS = []


def say(text):
    print(f"\n          * {text}", flush=True)


def check(holds, text):
    """A claim of the demo; all are told, and one that fails fails the demo."""
    CHECKS.append((bool(holds), text))
    print(f"          {'ok  ' if holds else 'FAIL'} {text}", flush=True)


def prefixed(stream, prefix):
    def pump():
        for line in stream:
            print(f"{prefix} | {line.rstrip()}", flush=True)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    return thread


class Demo:
    def __init__(self, args):
        self.args = args
        self.out = args.work / "killed"
        self.out.mkdir(parents=True, exist_ok=True)
        self.secret = args.work / "webhook.secret"
        self.webhook_log = args.work / "webhook.jsonl"
        self.cluster = LocalCluster(args.programs, args.work / "state", nodes=2,
                                    settings=["webhook_allow = 127.0.0.1"],
                                    log=open(args.work / "up.log", "ab"))
        self.cluster.trainer = args.trainer
        self.job_id = None
        self.summary = {}

    # --- what is watched --------------------------------------------------------------------------

    def job(self):
        return self.cluster.job(self.job_id)

    def step(self):
        job = self.job()
        return job["step"] if job else -1

    def wait(self, condition, what):
        return self.cluster.wait(condition, LIMIT_S, what)

    def wait_for_step(self, step, between_checkpoints=False):
        """The job once it trains at `step` or later and has a committed checkpoint; between_checkpoints:
        a few steps after that and well before the next, so that there are steps to replay."""
        interval = json.loads(self.args.job.read_text(encoding="utf-8"))["checkpoint"]["interval_steps"]

        def reached():
            job = self.job()
            if job and job["state"] in ("completed", "failed", "cancelled"):
                raise SystemExit(f"The job is {job['state']} before step {step}: {job['failure']}")
            if not job or job["step"] < step or not job["head"]["artifact_id"]:
                return None
            past = job["step"] - job["head"]["step"]
            return job if not between_checkpoints or 2 <= past <= interval * 2 / 3 else None
        return self.wait(reached, f"step {step}")

    # --- the way of the job -----------------------------------------------------------------------

    def start_receiver(self):
        port_file = self.args.work / "webhook.port"
        receiver = subprocess.Popen(
            [sys.executable, HERE / "webhook_receiver.py", "--port-file", port_file,
             "--secret-file", self.secret, "--log", self.webhook_log],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        prefixed(receiver.stdout, "")
        port = self.wait(lambda: port_file.exists() and port_file.read_text(), "the receiver")
        webhook = self.cluster.ask("webhooks", "add", f"http://127.0.0.1:{port}/events",
                                   "--description", "a dashboard")
        self.secret.write_text(webhook["secret"], encoding="ascii")
        self.secret.chmod(0o600)
        return receiver

    def submit(self):
        self.job_id = self.cluster.ask("submit", self.args.job)["id"]
        say(f"submitted: job {self.job_id}")
        watch = subprocess.Popen(
            [self.args.programs / "ratchet", "watch", self.job_id], env=self.cluster.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        prefixed(watch.stdout, "watch    ")
        return watch

    def kill_node(self):
        job = self.wait_for_step(self.args.kill_at, between_checkpoints=True)
        node = self.cluster.node_of(self.job_id)
        before = node.node_id()
        began = time.monotonic()
        node.kill()
        say(f"kill -9 of the whole node {before} (agent and trainer) after step {job['step']}")

        def resumed():
            now = self.job()
            records = now["interruption_records"] if now else []
            return now if records and records[-1].get("resumed_at_ms") else None
        now = self.wait(resumed, "the job to resume")
        record = now["interruption_records"][-1]
        self.summary |= {"killed_at": record["interrupted_step"],
                         "resumed_from": record["resumed_step"],
                         "replayed": record["replayed_steps"],
                         "recovery_s": round(time.monotonic() - began, 1),
                         "stages": record["stages"], "cause": record["cause"]}
        after = now["node"] or ""
        check(after and after != before, f"the job resumed by itself on another node ({after})")
        check(now["epoch"] > job["epoch"], f"under a new epoch, {now['epoch']}")
        check(record["replayed_steps"] >= 1,
              f"{record['replayed_steps']} steps are trained again, from step {record['resumed_step']}")

    def kill_control(self):
        before = self.wait_for_step(self.summary["killed_at"] + self.args.pause)
        trainer, control = self.cluster.trainer_of(self.job_id), self.cluster.control()
        control.send(signal.SIGKILL)
        say(f"kill -9 of the control plane alone (step {before['step']})")
        began = time.monotonic()

        def back():
            now = self.cluster.control()
            return now and now != control and self.cluster.ask("list") is not None
        self.wait(back, "the control plane to be back")
        self.summary["control_restart_s"] = round(time.monotonic() - began, 2)
        after = self.wait_for_step(before["step"] + 2)
        check(trainer and trainer.is_alive(), "its trainer never stopped")
        check((after["epoch"], after["attempts"]) == (before["epoch"], before["attempts"]),
              "no new epoch, no new attempt")

    def kill_agent(self):
        before = self.wait_for_step(self.step() + self.args.pause)
        node, trainer = self.cluster.node_of(self.job_id), self.cluster.trainer_of(self.job_id)
        agent = node.agent()
        agent.send(signal.SIGKILL)
        say(f"kill -9 of the agent alone (step {before['step']}); its trainer is {trainer}")
        self.wait(lambda: node.agent() and node.agent() != agent, "the agent to be back")
        after = self.wait_for_step(before["step"] + 2)
        check(trainer.is_alive(), "the same trainer lives on, and its agent has taken it back")
        check((after["epoch"], after["attempts"]) == (before["epoch"], before["attempts"]),
              "no new epoch, no new attempt")

    def collect(self, watch):
        code = watch.wait(timeout=LIMIT_TRAINING_S)
        check(code == 0, "the job is completed, as 'ratchet watch' says with its exit code")
        self.cluster.cli("download", self.job_id, "--out", self.out / "adapter")
        self.cluster.cli("download", self.job_id, "--checkpoint", "latest", "--out",
                         self.out / "final")
        events = self.cluster.ask("show", self.job_id)["event_seq"]
        self.wait(lambda: self.received() and "job.succeeded" in self.received(), "the last webhook")
        self.summary |= {"job": self.job_id, "events": events, "webhooks": len(self.received())}

    def received(self):
        if not self.webhook_log.exists():
            return []
        return [json.loads(line)["type"] for line in
                self.webhook_log.read_text(encoding="utf-8").splitlines()]

    def run(self):
        receiver = watch = None
        try:
            seconds = self.cluster.start()
            say(f"ratchet up: control plane at {self.cluster.url} after {seconds:.1f} s, two nodes")
            receiver = self.start_receiver()
            watch = self.submit()
            self.kill_node()
            self.kill_control()
            self.kill_agent()
            self.collect(watch)
        finally:
            for process in (watch, receiver):
                if process and process.poll() is None:
                    process.kill()
            self.cluster.end()
        text = json.dumps({**self.summary, "checks": CHECKS}, indent=2)
        (self.out / "summary.json").write_text(text + "\n", encoding="utf-8")
        return 0 if all(holds for holds, _ in CHECKS) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("--programs", "--trainer", "--job", "--work"):
        parser.add_argument(flag, type=pathlib.Path, required=True)
    parser.add_argument("--kill-at", type=int, required=True)
    parser.add_argument("--pause", type=int, default=15, help="steps between two kills")
    args = parser.parse_args()
    args.work = args.work.resolve()
    try:
        return Demo(args).run()
    except (TimeoutError, RuntimeError, CliError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}. What was said: {args.work}/up.log, {args.work}/state", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
