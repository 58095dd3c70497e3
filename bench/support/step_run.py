"""A training step as a user gets it: `ratchet-trainer run` over rows of which every token trains."""

import json
import os
import random
import subprocess

WORDS = "the lamp over an old bench is lit and rain falls on roofs while one belt turns".split()
RANK, ALPHA = 16, 32


class StepFailed(Exception):
    """A program of the measurement ended with an error; the message says which and how."""


def write_rows(path, count, sequence):
    """Rows of more than `sequence` tokens: every word is at least one."""
    rng = random.Random(5)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            text = " ".join(rng.choice(WORDS) for _ in range(sequence + 8))
            file.write(json.dumps({"text": text}) + "\n")


def write_spec(path, model, rows, *, rows_a_step, sequence, steps, precision="fp32", device="cpu",
               interval_steps=1_000_000):
    spec = {
        "name": "step", "base_model": str(model), "method": "lora",
        "data": {"train": str(rows), "format": "text", "sequence_length": sequence,
                 "over_long": "truncate", "packing": False},
        "lora": {"rank": RANK, "alpha": ALPHA, "dropout": 0.0, "target_modules": "all-linear"},
        "training": {"learning_rate": 1e-4, "schedule": "constant", "warmup_steps": 0,
                     "max_steps": steps, "micro_batch": rows_a_step, "global_batch": rows_a_step,
                     "precision": precision, "gradient_checkpointing": False, "max_grad_norm": 1.0,
                     "seed": 1},
        "checkpoint": {"interval_steps": interval_steps, "keep": 1},
        "devices": {"kind": device},
    }
    path.write_text(json.dumps(spec, indent=2), encoding="utf-8")


def measured(command, stdout):
    """Runs a command; returns its peak resident memory in MiB."""
    process = subprocess.Popen([str(part) for part in command], stdout=stdout)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise StepFailed(f"{command[0]} {command[1]} ended with status {process.returncode}.")
    return usage.ru_maxrss / 1024


def run_trainer(trainer, spec, out):
    """Step events of one run, and the process's peak memory in MiB. Its output goes to OUT.log."""
    with open(f"{out}.log", "w", encoding="utf-8") as log:
        peak = measured([trainer, "run", spec, "--out", out, "--quiet"], log)
    with open(out / "events.jsonl", encoding="utf-8") as lines:
        return [event for event in map(json.loads, lines) if event["type"] == "step"], peak
