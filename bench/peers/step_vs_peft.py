#!/usr/bin/env python3
"""Our CPU training step against transformers + PEFT: same model, same rows, same machine, one run.

    step_vs_peft.py [--trainer build/release/bin/ratchet-trainer] [--python PYTHON] [--rounds 2]

PYTHON is an interpreter that has torch, transformers and peft (this one by default). The arms
alternate, ours first in even rounds. Writes one row to bench/results/step_vs_peft.tsv and prints it.
Exit status 1 when the arms did not do the same work: the loss of the first step, where all LoRA B
are zero, must agree to a relative 1e-4. The figures themselves pass or fail nothing.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from results import ROOT, commit, cpu_name  # noqa: E402
from step_run import ALPHA, RANK, StepFailed, measured, run_trainer, write_rows, write_spec  # noqa: E402

WARM_UP = 3  # steps left out: first touches of memory, thread pools
FIRST_LOSS_AGREEMENT = 1e-4
COLUMNS = ["date", "commit", "cpu", "threads", "model", "rows", "sequence", "steps", "rounds",
           "ours_ms", "peft_ms", "time_ratio", "ours_peak_mib", "peft_peak_mib", "memory_ratio",
           "torch", "transformers", "peft"]


def ours(args, work, index):
    steps, peak = run_trainer(args.trainer, work / "spec.json", work / f"ours-{index}")
    return {"step_ms": [step["times"]["total_ms"] for step in steps],
            "loss": [step["loss"] for step in steps], "peak_mib": peak}


def theirs(args, work, index):
    path = work / f"peft-{index}.json"
    with open(path, "w", encoding="utf-8") as file:
        peak = measured([args.python, HERE / "peft_step.py", work / "model", work / "rows.jsonl",
                         "--sequence", args.sequence, "--rows-a-step", args.rows,
                         "--steps", args.steps, "--rank", RANK, "--alpha", ALPHA], file)
    return json.loads(path.read_text(encoding="utf-8")) | {"peak_mib": peak}


def median_step(runs):
    return statistics.median(ms for run in runs for ms in run["step_ms"][WARM_UP:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainer", default=ROOT / "build/release/bin/ratchet-trainer")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/bench/step_vs_peft")
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--rows", type=int, default=2, help="rows a step")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    if args.steps <= WARM_UP:
        parser.error(f"--steps must be more than the {WARM_UP} that are left out")
    work = args.work / datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    work.mkdir(parents=True)

    # One step's rows, repeated: the order in which our arm visits rows then does not matter.
    write_rows(work / "one_step.jsonl", args.rows, args.sequence)
    rows = (work / "one_step.jsonl").read_text(encoding="utf-8")
    (work / "rows.jsonl").write_text(rows * args.steps, encoding="utf-8")
    write_spec(work / "spec.json", work / "model", work / "one_step.jsonl", rows_a_step=args.rows,
               sequence=args.sequence, steps=args.steps)
    subprocess.run([args.trainer, "make-model", HERE / "llama_100m.json", work / "model",
                    "--tokenizer", ROOT / "deploy/demo/base", "--dtype", "fp32", "--seed", "3"],
                   check=True)

    our_runs, peft_runs = [], []
    for index in range(args.rounds):
        arms = [(ours, our_runs), (theirs, peft_runs)]
        for arm, runs in arms if index % 2 == 0 else reversed(arms):
            runs.append(arm(args, work, index))

    first_ours, first_peft = our_runs[0]["loss"][0], peft_runs[0]["loss"][0]
    if abs(first_ours - first_peft) > FIRST_LOSS_AGREEMENT * first_peft:
        sys.exit(f"The arms did not do the same work: first losses {first_ours} and {first_peft}.")
    our_ms, peft_ms = median_step(our_runs), median_step(peft_runs)
    our_mib = max(run["peak_mib"] for run in our_runs)
    peft_mib = max(run["peak_mib"] for run in peft_runs)
    versions = peft_runs[0]["versions"]
    values = [datetime.date.today().isoformat(), commit(), cpu_name(), peft_runs[0]["threads"],
              "llama_100m", args.rows, args.sequence, args.steps - WARM_UP, args.rounds,
              f"{our_ms:.0f}", f"{peft_ms:.0f}", f"{our_ms / peft_ms:.3f}", f"{our_mib:.0f}",
              f"{peft_mib:.0f}", f"{our_mib / peft_mib:.3f}", versions["torch"],
              versions["transformers"], versions["peft"]]
    table = ROOT / "bench/results/step_vs_peft.tsv"
    table.parent.mkdir(exist_ok=True)
    new = not table.exists()
    with open(table, "a", encoding="utf-8") as file:
        if new:
            file.write("\t".join(COLUMNS) + "\n")
        file.write("\t".join(map(str, values)) + "\n")
    for name, value in zip(COLUMNS, values):
        print(f"{name:16} {value}")


if __name__ == "__main__":
    try:
        main()
    except StepFailed as failure:
        sys.exit(str(failure))
