#!/usr/bin/env python3
"""Control plane at scale: a real ratchet-control over TLS, 10,000 jobs stored, 2,000 agents.

    fleet.py [--programs build/release/bin] [--agents 2000] [--jobs 10000] [--seconds 60] [--dry]

Makes a certificate with openssl, starts ratchet-control pinned to one core, and fleet_load (agents,
users, webhook receiver) on the others. Prints each part's figures and appends a row to
bench/results/fleet.tsv; --dry prints only. Exit status 1 when a call failed or a webhook was lost:
then there is no row. The figures themselves pass or fail nothing. Method: bench/README.md.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from results import ROOT, ProcessUse, about, append_row  # noqa: E402

SERVER_CORE = 0
SETTINGS = """\
webhook_allow = 127.0.0.1
node_paths = yes
rate_limit_per_s = 100000
rate_limit_burst = 100000
"""


def make_certificate(folder):
    key, certificate = folder / "server.key", folder / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True)
    return certificate, key


class Control:
    """ratchet-control on one core, until the block ends."""

    def __init__(self, args, work):
        self.state = work / "state"
        self.certificate, key = make_certificate(work)
        settings = work / "settings.conf"
        settings.write_text(SETTINGS, encoding="utf-8")
        self.log = open(work / "control.log", "wb")
        self.process = subprocess.Popen(
            [args.programs / "ratchet-control", "--settings", settings, "--state", self.state,
             "--listen", "127.0.0.1:0", "--tls-cert", self.certificate, "--tls-key", key],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}))
        words = self.process.stdout.readline().split()
        if len(words) != 3:
            raise SystemExit(f"ratchet-control did not start; its log is {work / 'control.log'}.")
        self.url = words[2]
        self.use = ProcessUse(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def join_token(self, programs, path):
        environment = {**os.environ, "RATCHET_URL": self.url, "RATCHET_CA_FILE": self.certificate,
                       "RATCHET_TOKEN_FILE": self.state / "admin.token"}
        subprocess.run([programs / "ratchet", "tokens", "create", "--scope", "join", "--out", path],
                       env=environment, check=True, capture_output=True)
        return path


def watch(load, control):
    """Figures of each part, with the server's CPU share and memory; the load's exit status."""
    parts, before = {}, None
    for line in load.stdout:
        kind, _, rest = line.partition(" ")
        if kind == "begin":
            before = (time.monotonic(), control.use.cpu_s())
            continue
        if kind != "end":
            print(line, end="")
            continue
        name, _, text = rest.partition(" ")
        figures = json.loads(text)
        wall = time.monotonic() - before[0]
        figures["cpu_percent"] = round(100 * (control.use.cpu_s() - before[1]) / wall, 1)
        figures["rss_mib"] = control.use.memory_mib()
        parts[name] = figures
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()),
              flush=True)
    return parts, load.wait()


def row_of(args, machine, parts, peak_mib):
    steady, events, join = parts["steady"], parts["events"], parts["join"]
    return machine | {
        "jobs": args.jobs, "agents": args.agents, "training": steady["training"],
        "seconds": args.seconds, "join_s": join["seconds"],
        "heartbeat_p50_ms": steady["heartbeat_p50_ms"],
        "heartbeat_p99_ms": steady["heartbeat_p99_ms"],
        "heartbeat_max_ms": steady["heartbeat_max_ms"],
        "submit_p50_ms": steady["submit_p50_ms"], "submit_p99_ms": steady["submit_p99_ms"],
        "submits_per_s": args.submits_per_s, "cpu_percent": steady["cpu_percent"],
        "events_per_s": events["events_per_s"], "webhook_p50_ms": events["webhook_p50_ms"],
        "webhook_p99_ms": events["webhook_p99_ms"], "webhook_max_ms": events["webhook_max_ms"],
        "events_heartbeat_p99_ms": events["heartbeat_p99_ms"],
        "events_submit_p99_ms": events["submit_p99_ms"],
        "events_cpu_percent": events["cpu_percent"], "peak_rss_mib": peak_mib,
    }


def main():
    flags = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--programs", type=pathlib.Path, default=ROOT / "build/release/bin")
    flags.add_argument("--work", type=pathlib.Path, default=ROOT / "build/bench",
                       help="folder on the disk that is meant; the state goes into one below it")
    flags.add_argument("--agents", type=int, default=2000)
    flags.add_argument("--jobs", type=int, default=10000)
    flags.add_argument("--training", type=int, default=200, help="agents that train")
    flags.add_argument("--seconds", type=int, default=60, help="of each part")
    flags.add_argument("--submits-per-s", type=float, default=10)
    flags.add_argument("--events-per-s", type=float, default=500)
    flags.add_argument("--dry", action="store_true")
    flags.add_argument("--keep", action="store_true", help="leave the state folder")
    args = flags.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="fleet-", dir=args.work))
    machine = about()
    others = set(range(os.cpu_count())) - {SERVER_CORE} or {SERVER_CORE}
    try:
        with Control(args, work) as control:
            token = control.join_token(args.programs, work / "join.token")
            load = subprocess.Popen(
                [args.programs / "fleet_load", "--url", control.url, "--ca", control.certificate,
                 "--token-file", control.state / "admin.token", "--join-token-file", token,
                 "--jobs", str(args.jobs), "--agents", str(args.agents), "--training",
                 str(args.training), "--seconds", str(args.seconds), "--submits-per-s",
                 str(args.submits_per_s), "--events-per-s", str(args.events_per_s)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, others))
            parts, status = watch(load, control)
            peak_mib = control.use.memory_mib("VmHWM")
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    print(f"peak_rss_mib {peak_mib}")
    if status != 0:
        print(f"fleet_load left with {status}", file=sys.stderr)
        return 1
    if not args.dry:
        append_row("fleet.tsv", row_of(args, machine, parts, peak_mib))
    return 0


if __name__ == "__main__":
    sys.exit(main())
