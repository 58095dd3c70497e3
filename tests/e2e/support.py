"""What the end-to-end tests share: the trainer as a process, specs, and what a run left behind.

Everything runs on the demo's own model and data, so that the tests need nothing else.
"""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

SOURCE = pathlib.Path(os.environ["RATCHET_SOURCE_DIR"])
TRAINER = pathlib.Path(os.environ["RATCHET_BINARY_DIR"]) / "bin" / "ratchet-trainer"
MODEL = SOURCE / "deploy" / "demo" / "base"
DATA = SOURCE / "deploy" / "demo" / "data" / "train.jsonl"
HELD_OUT = SOURCE / "deploy" / "demo" / "data" / "heldout.jsonl"

# Every wait in the tests ends: a trainer that hangs is a failure, not a stuck machine.
LIMIT_S = 120


def merge(base, changes):
    """`changes` laid over `base`, object by object; None removes a key."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


# Small and quick, with everything in play that a resume could get wrong: dropout, packing,
# accumulation, several passes over the data, a schedule, clipping.
SPEC = {
    "name": "e2e",
    "base_model": str(MODEL),
    "data": {"train": "rows.jsonl", "sequence_length": 96, "over_long": "drop", "packing": True},
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"},
    "training": {
        "learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 3, "data_epochs": 3,
        "micro_batch": 1, "global_batch": 2, "precision": "fp32",
        "gradient_checkpointing": False, "seed": 7,
    },
    "checkpoint": {"interval_steps": 4, "keep": 2},
    "devices": {"kind": "cpu"},
}


class Folder(unittest.TestCase):
    """A test with a folder of its own that holds rows.jsonl."""

    rows = 24

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ratchet-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        lines = DATA.read_text().splitlines()[: self.rows]
        (self.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")

    def spec(self, name="job.json", **changes):
        path = self.folder / name
        path.write_text(json.dumps(merge(SPEC, changes)))
        return path

    def start(self, spec, out, *flags):
        return subprocess.Popen(
            [TRAINER, "run", spec, "--out", out, *flags],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet_environment())

    def run_trainer(self, spec, out, *flags, expect=0):
        process = self.start(spec, out, *flags)
        stdout, stderr = process.communicate(timeout=LIMIT_S)
        self.assertEqual(process.returncode, expect, f"stdout: {stdout}\nstderr: {stderr}")
        return stdout, stderr

    def kill(self, process, how=signal.SIGKILL):
        process.send_signal(how)
        return process.communicate(timeout=LIMIT_S)


def quiet_environment():
    """Two threads whatever the machine has, so that class A holds between all runs of a test; and
    threads that sleep while they wait: on a busy machine, spinning ones starve each other."""
    return {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}


def events(out, kind=None):
    path = pathlib.Path(out) / "events.jsonl"
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a killed trainer
        if kind is None or event["type"] == kind:
            found.append(event)
    return found


def checkpoints(out):
    folder = pathlib.Path(out) / "ckpt"
    return sorted(path for path in folder.glob("step-*")) if folder.exists() else []


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def final_hashes(out):
    """SHA-256 of what training produced: weights and optimizer of the last checkpoint."""
    last = checkpoints(out)[-1]
    return {name: digest(last / name)
            for name in ("adapter_model.safetensors", "optimizer.safetensors")}


def wait_until(condition, process=None, limit_s=LIMIT_S, pause_s=0.001):
    """True when the condition held; False when the process ended first."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if condition():
            return True
        if process is not None and process.poll() is not None:
            return condition()
        time.sleep(pause_s)
    raise TimeoutError("the condition did not come true in time")
