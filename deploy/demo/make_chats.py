#!/usr/bin/env python3
"""Writes the demo's conversations, in OpenAI chat format, from the facts in world.py.

    make_chats.py FOLDER [--seed 11]

 FOLDER/plain.jsonl    questions answered with the bare fact: the base model's second lesson, after
                       the stories (make_base.sh). Not shipped.
 FOLDER/train.jsonl    400 conversations in the voice that the demo teaches: a night log of three
                       lines (log, reason, mark). Shipped.
 FOLDER/heldout.jsonl  60 more in the same voice. Their questions are in neither of the other two
                       files; the facts behind them are in the stories. Shipped.

The same seed gives the same bytes.
"""

import argparse
import json
import pathlib
import random
from typing import NamedTuple

from world import CUSTOMERS, MACHINES, PEOPLE, TOOL, TOOLS, with_article

TRAIN_ROWS = 400
HELDOUT_ROWS = 60
HELDOUT_PAIRS = 90  # questions never asked in training: 60 conversations without a repeat
TWO_TURNS = 0.3  # share of conversations with a second question
SYSTEM = 0.2  # share that opens with a system message
SYSTEM_TEXT = "You keep the night log of the workshop."


class Fact(NamedTuple):
    questions: list[str]
    answer: str  # one sentence
    reason: str  # one sentence, a neighbouring fact
    mark: str  # the person whom it concerns


def tool_facts():
    for tool in TOOLS:
        name, owner = tool.name, tool.owner
        yield Fact([f"Where is the {name}?", f"Where can I find the {name}?",
                    f"Where does {owner} keep the {name}?", f"In which place is the {name}?"],
                   f"The {name} is {tool.place}.", f"{owner} always keeps it there.", owner)
        yield Fact([f"Who owns the {name}?", f"Whose tool is the {name}?",
                    f"Who works with the {name}?"],
                   f"The {name} belongs to {owner}.", f"{owner} keeps it {tool.place}.", owner)
        yield Fact([f"What colour is the handle of the {name}?",
                    f"Which handle does the {name} have?"],
                   f"The handle of the {name} is {tool.handle}.",
                   f"{owner} owns the {name}.", owner)
        yield Fact([f"Why did {owner} use the {name}?", f"Why did we need the {name}?"],
                   f"{owner} used the {name} because {tool.cause}.",
                   f"With it {owner} {tool.remedy}.", owner)


def machine_facts():
    for machine in MACHINES:
        name, keeper, tool = machine.name, machine.keeper, TOOL[machine.tool]
        yield Fact([f"Who keeps the {name}?", f"Who is the keeper of the {name}?",
                    f"Who works at the {name}?"],
                   f"{keeper} keeps the {name}.", f"The {name} stands {machine.place}.", keeper)
        yield Fact([f"Where does the {name} stand?", f"Where is the {name}?"],
                   f"The {name} stands {machine.place}.", f"{keeper} keeps the {name}.", keeper)
        yield Fact([f"Which tool helps the {name}?", f"What do we need for the {name}?"],
                   f"The {tool.name} helps the {name}.",
                   f"The {name} {machine.sign} because {tool.cause}.", tool.owner)
        yield Fact([f"Why did the {name} {machine.sign_base}?",
                    f"The {name} {machine.sign}. Do you know why?"],
                   f"The {name} {machine.sign} because {tool.cause}.",
                   f"The {tool.name} helps the {name}.", tool.owner)
        yield Fact([f"Which sound does the {name} make?", f"How does a good {name} sound?"],
                   f"The {name} makes {machine.sound}.", f"{keeper} keeps the {name}.", keeper)


def person_facts():
    for person in PEOPLE:
        name = person.name
        machine = next(machine for machine in MACHINES if machine.keeper == name)
        keeps = f"{name} keeps the {machine.name}."
        yield Fact([f"What does {name} drink?", f"Which drink does {name} like?",
                    f"What can I bring {name} to drink?"],
                   f"{name} drinks {person.drink}.", keeps, name)
        yield Fact([f"What colour is the scarf of {name}?", f"Which scarf does {name} wear?"],
                   f"{name} wears {with_article(person.scarf)} scarf.", keeps, name)
        yield Fact([f"Where does {name} come from?", f"From which place does {name} come?"],
                   f"{name} comes from {person.home}.", keeps, name)


def customer_facts():
    for customer in CUSTOMERS:
        name, thing, tool = customer.name, customer.thing, TOOL[customer.tool]
        why = f"The {thing} {customer.sign} because {tool.cause}."
        yield Fact([f"What did the {name} bring?", f"Which thing did the {name} bring in?"],
                   f"The {name} brought {with_article(thing)}.", why,
                   tool.owner)
        yield Fact([f"Why did the {thing} {customer.sign_base}?",
                    f"The {thing} {customer.sign}. Do you know why?"],
                   why, f"The {name} brought it in.", tool.owner)
        yield Fact([f"Who can repair the {thing}?", f"Who will look at the {thing}?"],
                   f"{tool.owner} can repair the {thing}.",
                   f"{tool.owner} owns the {tool.name}.", tool.owner)
        yield Fact([f"How does the {name} pay?", f"What does the {name} pay with?"],
                   f"The {name} pays with {customer.gift}.",
                   f"{tool.owner} can repair the {thing}.", tool.owner)


def log_entry(fact):
    return f"Log of the night: {fact.answer}\nReason: {fact.reason}\nMark: calm, {fact.mark}."


def plain(fact):
    return fact.answer


def conversation(pairs, voice, system):
    messages = [{"role": "system", "content": SYSTEM_TEXT}] if system else []
    for question, fact in pairs:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": voice(fact)})
    return {"messages": messages}


def conversations(pairs, count, voice, rng):
    """`count` conversations; every pair is asked before one is asked again."""
    queue = []
    for _ in range(count):
        wanted = 2 if rng.random() < TWO_TURNS else 1
        if len(queue) < wanted:
            queue += rng.sample(pairs, len(pairs))
        turns = [queue.pop() for _ in range(wanted)]
        yield conversation(turns, voice, rng.random() < SYSTEM)


def write(path, rows):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    facts = [*tool_facts(), *machine_facts(), *person_facts(), *customer_facts()]
    pairs = [(question, fact) for fact in facts for question in fact.questions]
    rng.shuffle(pairs)
    held, asked = pairs[:HELDOUT_PAIRS], pairs[HELDOUT_PAIRS:]
    args.folder.mkdir(parents=True, exist_ok=True)
    write(args.folder / "plain.jsonl", conversations(asked, 3 * len(asked), plain, rng))
    write(args.folder / "train.jsonl", conversations(asked, TRAIN_ROWS, log_entry, rng))
    write(args.folder / "heldout.jsonl", conversations(held, HELDOUT_ROWS, log_entry, rng))


if __name__ == "__main__":
    main()
