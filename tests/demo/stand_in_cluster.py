#!/usr/bin/env python3
"""Stands in for deploy/demo/cluster.py in demo_test.py: same flags, same files; no processes.

STAND_IN=drift ends with other bits, STAND_IN=calm replays no step, STAND_IN=broken fails. The rest
is the stand-in trainer's.
"""

import argparse
import json
import os
import pathlib
import sys

INTERVAL = 25
REPLAYED = 5


def main():
    fault = os.environ.get("STAND_IN", "")
    parser = argparse.ArgumentParser()
    for flag in ("--programs", "--trainer", "--job", "--work"):
        parser.add_argument(flag, type=pathlib.Path, required=True)
    parser.add_argument("--kill-at", type=int, required=True)
    args = parser.parse_args()
    if fault == "broken":
        sys.exit("error: a check of the stand-in does not hold")
    steps = json.loads(args.job.read_text(encoding="utf-8"))["training"]["max_steps"]
    final = args.work / "killed" / "final"
    final.mkdir(parents=True)
    (args.work / "killed" / "adapter").mkdir()
    drift = " drifted" if fault == "drift" else ""
    for name in ("adapter_model", "optimizer"):
        (final / f"{name}.safetensors").write_text(f"{name} {steps}{drift}")
    resumed = args.kill_at // INTERVAL * INTERVAL
    (args.work / "killed" / "summary.json").write_text(json.dumps({
        "killed_at": resumed + REPLAYED, "resumed_from": resumed,
        "replayed": 0 if fault == "calm" else REPLAYED, "recovery_s": 3.5,
        "control_restart_s": 0.5, "webhooks": 9}))


if __name__ == "__main__":
    main()
