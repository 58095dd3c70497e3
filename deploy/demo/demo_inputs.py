#!/usr/bin/env python3
"""The parts of demo.sh that read or write JSON. Standard library only.

    demo_inputs.py prepare FOLDER [--model DIR] [--data FILE] [--question TEXT]
        Writes FOLDER/job.json (demo.json with absolute paths), FOLDER/heldout.jsonl,
        FOLDER/question.txt and, for a data file of the user's, FOLDER/train.jsonl: its last tenth
        (at least one row, at most 100) is held out, the rest trains.
    demo_inputs.py step EVENTS.jsonl
        Prints the last step done, 0 when there is none.
    demo_inputs.py wait EVENTS.jsonl STEP PID
        Returns when STEP is done and a checkpoint is committed; fails when process PID ends first.
    demo_inputs.py resumed EVENTS.jsonl
        Prints "STEP REPLAYED CLASS" of the last resume.
    demo_inputs.py get KEY
        Prints a number of the JSON object on stdin.
"""

import argparse
import json
import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
HELDOUT_ROWS_MAX = 100
POLL_S = 0.02


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


def progress(path):
    """The last step done and that of the last committed checkpoint, 0 where there is none."""
    step = checkpoint = 0
    for event in events(path):
        if event.get("type") == "step":
            step = event["step"]
        elif event.get("type") == "checkpoint" and event.get("path"):
            checkpoint = max(checkpoint, event["step"])
    return step, checkpoint


def last_step(args):
    print(progress(args.events)[0])


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait(args):
    while is_alive(args.pid):
        step, checkpoint = progress(args.events)
        if step >= args.step and checkpoint > 0:
            return
        time.sleep(POLL_S)
    sys.exit(1)


def resumed(args):
    last = None
    for event in events(args.events):
        if event.get("type") == "resume":
            last = event
    if last is None:
        sys.exit(f"No resume is recorded in '{args.events}'.")
    print(last["step"], last["replay_steps"], last["class"])


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
    for name, function in (("step", last_step), ("wait", wait), ("resumed", resumed)):
        command = commands.add_parser(name)
        command.add_argument("events", type=pathlib.Path)
        command.set_defaults(run=function)
        if function is wait:
            command.add_argument("step", type=int)
            command.add_argument("pid", type=int)
    command = commands.add_parser("get")
    command.add_argument("key")
    command.set_defaults(run=get)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
