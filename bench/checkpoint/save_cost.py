#!/usr/bin/env python3
"""What a checkpoint costs: how long training waits for it, how long it takes beside, how large it is.

    save_cost.py [--trainer build/release/bin/ratchet-trainer] [--checkpoints 100]

Trains the 100 M-parameter Llama of bench/peers/llama_100m.json with LoRA of rank 16 on all linear
layers, 128 tokens a step, and saves every second step: far more often than the default of 100, so
that the percentiles have enough samples. Figures are the trainer's own events (proto/events.h):
checkpoint_stall_ms is what the step after a save waited, write_ms the time until it was committed.
Also the time from the start of loading to the first step. Appends a row to
bench/results/save_cost.tsv.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from results import ROOT, append_row, commit, percentile  # noqa: E402


def prepare(args, work):
    subprocess.run([args.trainer, "make-model", ROOT / "bench/peers/llama_100m.json", work / "model",
                    "--tokenizer", ROOT / "deploy/demo/base", "--dtype", "fp32"], check=True)
    rows = [{"text": f"night {i}: " + "the lamps are lit and the kettle is warm " * 20}
            for i in range(16)]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {
        "name": "save-cost", "base_model": str(work / "model"),
        "data": {"train": "rows.jsonl", "format": "text", "sequence_length": 128,
                 "over_long": "truncate", "packing": False},
        "lora": {"rank": 16, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"},
        "training": {"max_steps": 2 * args.checkpoints, "micro_batch": 1, "global_batch": 1,
                     "precision": "fp32", "gradient_checkpointing": False, "warmup_steps": 0},
        "checkpoint": {"interval_steps": 2}, "devices": {"kind": "cpu"},
    }
    (work / "job.json").write_text(json.dumps(job))


def main():
    flags = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--trainer", type=pathlib.Path,
                       default=ROOT / "build" / "release" / "bin" / "ratchet-trainer")
    flags.add_argument("--checkpoints", type=int, default=100)
    args = flags.parse_args()
    with tempfile.TemporaryDirectory(prefix="ratchet-save-cost-") as folder:
        work = pathlib.Path(folder)
        prepare(args, work)
        subprocess.run([args.trainer, "run", work / "job.json", "--out", work / "out"], check=True)
        lines = (work / "out" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    saved = [e for e in events if e["type"] == "checkpoint" and not e.get("skipped")]
    steps = [e["times"]["total_ms"] for e in events if e["type"] == "step"]
    loading = next(e["time_ms"] for e in events
                   if e["type"] == "stage" and "loading" in e["detail"])
    ready = next(e["time_ms"] for e in events
                 if e["type"] == "stage" and e["stage"] == "training")
    # The optimizer step after a save is what waits for its copy.
    saved_steps = {e["step"] for e in saved}
    stalls = [e["times"]["checkpoint_stall_ms"] for e in events
              if e["type"] == "step" and e["step"] - 1 in saved_steps]
    writes = [e["write_ms"] for e in saved]
    row = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "cores": os.cpu_count(),
        "checkpoints": len(saved),
        "checkpoint_bytes": saved[-1]["bytes"],
        "step_p50_ms": round(percentile(steps, 0.5), 1),
        "stall_p50_ms": round(percentile(stalls, 0.5), 3),
        "stall_p99_ms": round(percentile(stalls, 0.99), 3),
        "write_p50_ms": round(percentile(writes, 0.5), 1),
        "write_p99_ms": round(percentile(writes, 0.99), 1),
        "load_ms": ready - loading,
    }
    append_row("save_cost.tsv", row)


if __name__ == "__main__":
    sys.exit(main())
