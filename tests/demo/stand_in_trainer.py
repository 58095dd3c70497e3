#!/usr/bin/env python3
"""Stands in for ratchet-trainer in demo_test.py: same arguments, files and events; no training.

The environment chooses what goes wrong: STAND_IN=rise (the adapter makes the held-out loss worse).
Whatever the demo does not use is refused.
"""

import json
import os
import pathlib
import sys

FAULT = os.environ.get("STAND_IN", "")


def run(spec_path, out):
    spec = json.loads(pathlib.Path(spec_path).read_text(encoding="utf-8"))
    total = spec["training"]["max_steps"]
    interval = spec["checkpoint"]["interval_steps"]
    ckpt = out / "ckpt"
    ckpt.mkdir(parents=True, exist_ok=True)
    with open(out / "events.jsonl", "a", encoding="utf-8") as events:
        def emit(kind, **body):
            events.write(json.dumps({"type": kind, **body}) + "\n")
            events.flush()

        for step in range(1, total + 1):
            emit("step", step=step, loss=1.0)
            if step % interval == 0 or step == total:
                folder = ckpt / f"step-{step:08d}"
                folder.mkdir()
                for name in ("adapter_model", "optimizer"):
                    (folder / f"{name}.safetensors").write_text(f"{name} {step}")
                emit("checkpoint", step=step, path=str(folder))
    (out / "adapter").mkdir(exist_ok=True)


def main():
    command, *args = sys.argv[1:]
    adapted = "--adapter" in args
    if command == "run" and args[1] == "--out":
        run(args[0], pathlib.Path(args[2]))
    elif command == "eval" and args[-1] == "--json" and pathlib.Path(args[1]).is_file():
        print(json.dumps({"mean_loss": 3.0 if adapted and FAULT == "rise" else 1.0 if adapted else 2.0}))
    elif command == "generate" and "--chat" in args:
        print("Log of the night:\nas taught" if adapted else "as before")
    else:
        sys.exit(f"error: unexpected arguments {sys.argv[1:]}")


if __name__ == "__main__":
    main()
