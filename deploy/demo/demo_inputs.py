#!/usr/bin/env python3
"""The parts of demo.sh that read or write JSON. Standard library only.

    demo_inputs.py prepare FOLDER [--model DIR] [--data FILE] [--question TEXT]
        Writes FOLDER/job.json (demo.json with absolute paths), FOLDER/heldout.jsonl,
        FOLDER/question.txt and, for a data file of the user's, FOLDER/train.jsonl: its last tenth
        (at least one row, at most 100) is held out, the rest trains.
    demo_inputs.py step EVENTS.jsonl
        Prints the last step done, 0 when there is none.
    demo_inputs.py summary SUMMARY.json
        Prints "KILLED_AT RESUMED_FROM REPLAYED RECOVERY_S CONTROL_S WEBHOOKS" of cluster.py.
    demo_inputs.py get KEY
        Prints a number of the JSON object on stdin.
"""

import argparse
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
HELDOUT_ROWS_MAX = 100


def first_question(row):
    """What a user asks first in a row of any of the data formats; None when it cannot be told."""
    for key in ("messages", "conversations"):
        for turn in row.get(key) or []:
            role = turn.get("role", turn.get("from"))
            text = turn.get("content", turn.get("value"))
            if role in ("user", "human") and isinstance(text, str):
                return text
    for key in ("prompt", "question", "instruction"):
        if isinstance(row.get(key), str):
            return row[key]
    return None


def split(data, folder):
    """Writes train.jsonl and heldout.jsonl from the user's file; returns the held-out lines."""
    lines = [line for line in data.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(lines) < 2:
        sys.exit(f"'{data}' has {len(lines)} row(s): the demo needs one to train on and one to hold "
                 "out. Give a JSONL file with one conversation a line.")
    held = max(1, min(len(lines) // 10, HELDOUT_ROWS_MAX))
    for name, part in (("train.jsonl", lines[:-held]), ("heldout.jsonl", lines[-held:])):
        (folder / name).write_text("\n".join(part) + "\n", encoding="utf-8")
    return lines[-held:]


def prepare(args):
    spec = json.loads((HERE / "demo.json").read_text(encoding="utf-8"))
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    spec["base_model"] = str((args.model or HERE / "base").resolve())
    if args.data:
        heldout = split(args.data.resolve(), folder)
        spec["data"]["train"] = str(folder / "train.jsonl")
    else:
        spec["data"]["train"] = str(HERE / "data" / "train.jsonl")
        text = (HERE / "data" / "heldout.jsonl").read_text(encoding="utf-8")
        (folder / "heldout.jsonl").write_text(text, encoding="utf-8")
        heldout = text.splitlines()
    question = args.question
    if question is None:
        try:
            question = first_question(json.loads(heldout[0]))
        except (ValueError, AttributeError):
            question = None  # The trainer says what is wrong with the row, better than this.
    if args.model:  # a model of unknown size: gentler, and rows as long as a chat's usually are
        spec["training"]["learning_rate"] = 2e-4
        spec["data"]["sequence_length"] = 1024
    (folder / "job.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
    (folder / "question.txt").write_text(question or "Hello", encoding="utf-8")


def events(path):
    """The events of a file that may still grow: a last line that is half written is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def last_step(args):
    print(max((event["step"] for event in events(args.events) if event.get("type") == "step"),
              default=0))


def summary(args):
    told = json.loads(args.summary.read_text(encoding="utf-8"))
    print(told["killed_at"], told["resumed_from"], told["replayed"], told["recovery_s"],
          told["control_restart_s"], told["webhooks"])


def get(args):
    print(f"{json.load(sys.stdin)[args.key]:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("prepare")
    command.add_argument("folder", type=pathlib.Path)
    command.add_argument("--model", type=pathlib.Path)
    command.add_argument("--data", type=pathlib.Path)
    command.add_argument("--question")
    command.set_defaults(run=prepare)
    command = commands.add_parser("step")
    command.add_argument("events", type=pathlib.Path)
    command.set_defaults(run=last_step)
    command = commands.add_parser("summary")
    command.add_argument("summary", type=pathlib.Path)
    command.set_defaults(run=summary)
    command = commands.add_parser("get")
    command.add_argument("key")
    command.set_defaults(run=get)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
