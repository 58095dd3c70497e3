#!/usr/bin/env python3
"""Size is real: a Llama-3.2-1B-shaped model in bf16 shards, trained on the CPU, killed, resumed.

    one_billion.py [--trainer build/release/bin/ratchet-trainer] [--work DIR] [--limit-gib 24]

Makes the folder (random weights, 2.5 GB in shards of 1 GB), trains LoRA r 16 on all linear layers
for 3 steps at sequence length 512, once undisturbed and once killed with SIGKILL after the first
checkpoint, and compares the final hashes. Prints peak resident memory of every process and writes
a row to bench/results/one_billion.tsv. Not part of `make test`: about 10 minutes on 2 cores and 8 GB
of disk. Exit status 0 only when hashes are equal and no process passed the limit.
"""

import argparse
import datetime
import hashlib
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "deploy" / "demo"
GIB = 1 << 30

# The published shape; the vocabulary is the model's, the tokenizer the demo's, whose ids are fewer.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "initializer_range": 0.02,
}


def watch(words, kill_when=None):
    """Runs a process and returns (exit status, peak resident bytes, seconds)."""
    begun = time.monotonic()
    process = subprocess.Popen([str(word) for word in words])
    peak = 0
    while process.poll() is None:
        try:
            for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) * 1024)
        except (FileNotFoundError, ProcessLookupError):
            pass
        if kill_when is not None and kill_when():
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(0.02)
    return process.returncode, peak, time.monotonic() - begun


def hashes(out):
    last = sorted((out / "ckpt").glob("step-*"))[-1]
    return [hashlib.sha256((last / name).read_bytes()).hexdigest()
            for name in ("adapter_model.safetensors", "optimizer.safetensors")]


def load_seconds(out):
    """From 'loading' to the first step's begin, as the events tell."""
    stages = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    begun = next(e["time_ms"] for e in stages if e["type"] == "stage" and "loading" in e["detail"])
    ready = next(e["time_ms"] for e in stages if e["type"] == "stage" and e["stage"] == "training")
    return (ready - begun) / 1000


def main():
    flags = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--trainer", type=pathlib.Path,
                       default=ROOT / "build" / "release" / "bin" / "ratchet-trainer")
    flags.add_argument("--work", type=pathlib.Path)
    flags.add_argument("--limit-gib", type=float, default=24)
    args = flags.parse_args()
    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="ratchet-1b-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        return measure(args, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def measure(args, work):
    (work / "config.json").write_text(json.dumps(CONFIG))
    rows = [{"text": " ".join(["the night shift keeps the lamps lit and the kettle warm"] * 60)}
            for _ in range(4)]
    for number, row in enumerate(rows):
        row["text"] = f"night {number}: " + row["text"]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {
        "name": "one-billion", "base_model": str(work / "model"),
        "data": {"train": "rows.jsonl", "format": "text", "sequence_length": 512,
                 "over_long": "truncate", "packing": False},
        "lora": {"rank": 16, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"},
        "training": {"max_steps": 3, "micro_batch": 1, "global_batch": 1, "precision": "bf16",
                     "gradient_checkpointing": True, "warmup_steps": 0},
        "checkpoint": {"interval_steps": 1}, "devices": {"kind": "cpu"},
    }
    (work / "job.json").write_text(json.dumps(job))

    results = {"date": datetime.date.today().isoformat()}
    results["commit"] = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"],
                                       capture_output=True, text=True, check=True).stdout.strip()
    status, peak, seconds = watch([args.trainer, "make-model", work / "config.json",
                                   work / "model", "--tokenizer", DEMO / "base",
                                   "--shard-bytes", 10**9])
    if status != 0:
        return 1
    results.update(make_s=round(seconds, 1), make_peak_mib=peak >> 20)
    weights = sum(path.stat().st_size for path in (work / "model").glob("*.safetensors"))
    (work / "two-tokens.jsonl").write_text('{"text": "a"}\n')
    _, empty, _ = watch([args.trainer, "eval", DEMO / "base", work / "two-tokens.jsonl"])
    status, peak, _ = watch([args.trainer, "eval", work / "model", work / "two-tokens.jsonl"])
    if status != 0:
        return 1
    results.update(weights_mib=weights >> 20, empty_peak_mib=empty >> 20, load_peak_mib=peak >> 20)

    run = [args.trainer, "run", work / "job.json", "--out"]
    status, peak, seconds = watch([*run, work / "whole"])
    if status != 0:
        return 1
    results.update(train_s=round(seconds, 1), train_peak_mib=peak >> 20,
                   load_s=round(load_seconds(work / "whole"), 1))
    saved = lambda: any((work / "killed" / "ckpt").glob("step-*"))
    status, killed_peak, _ = watch([*run, work / "killed"], kill_when=saved)
    status, resumed_peak, _ = watch([*run, work / "killed"])
    if status != 0:
        return 1
    equal = hashes(work / "whole") == hashes(work / "killed")
    exported = (work / "killed" / "adapter" / "adapter_model.safetensors").exists()
    results.update(resumed_peak_mib=max(killed_peak, resumed_peak) >> 20,
                   hashes="equal" if equal else "DIFFERENT", exported=exported)

    table = ROOT / "bench" / "results" / "one_billion.tsv"
    table.parent.mkdir(parents=True, exist_ok=True)
    if not table.exists():
        table.write_text("\t".join(results) + "\n")
    with table.open("a") as file:
        file.write("\t".join(str(value) for value in results.values()) + "\n")
    for key, value in results.items():
        print(f"{key:18} {value}")
    highest = max(results[key] for key in results if key.endswith("_peak_mib"))
    return 0 if equal and exported and highest * 1024 * 1024 <= args.limit_gib * GIB else 1


if __name__ == "__main__":
    sys.exit(main())
