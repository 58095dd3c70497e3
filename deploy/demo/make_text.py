#!/usr/bin/env python3
"""Writes the demo's pretraining text: short stories of the workshop, one {"text": ...} a line.

    make_text.py OUT.jsonl [--rows 3600] [--seed 7]

Stories come from a small grammar over the facts in world.py. The same seed gives the same bytes.
"""

import argparse
import json
import random

from world import CUSTOMERS, MACHINES, PEOPLE, PERSON, TOOL, TOOLS, upper_first, with_article

HOURS = ["nine", "ten", "eleven", "midnight", "one", "two", "three", "four"]
WEATHER = ["Rain ran down the windows", "Fog lay over the yard", "The wind pushed at the door",
           "Snow fell on the roof", "The moon stood over the yard", "The night was clear and cold",
           "Thunder rolled far away", "The air was warm and still"]
GREETINGS = ["Good night", "Come in", "You are just in time", "Sit down by the stove",
             "Put it on the bench"]
THANKS = ["Thank you", "You have saved my week", "I knew that you could do it",
          "Now I can sleep", "It has never worked so well"]
MOODS = ["pleased", "tired but glad", "calm", "proud", "happy"]
LOOKS = ["looked at it for a long time", "turned it over twice", "listened to it with care",
         "held it under the lamp", "opened it slowly"]
RULES = ["First look, then touch.", "A clean bench is half the work.", "Put every tool back.",
         "Ask before you pull.", "Slow hands make fast work.", "Write it in the log."]
LOST_PLACES = ["under a sack", "in a boot", "behind the coal bin", "on the window sill",
               "in the sand bucket", "between two planks"]
OTHERS = ["a grey cat", "a moth", "an owl", "a mouse", "a small dog"]


class Teller:
    """Chooses among phrasings; all randomness of the file comes from here."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, options):
        return options[self.random.randrange(len(options))]

    def other_than(self, name):
        return self.pick([person for person in PEOPLE if person.name != name])

    def chance(self, share):
        return self.random.random() < share

    def maybe(self, share, sentence):
        return [sentence] if self.chance(share) else []


def opening(t):
    hour = t.pick(HOURS)
    at = "At midnight" if hour == "midnight" else f"At {hour} in the night"
    return t.pick([
        f"{t.pick(WEATHER)}.",
        f"{at} the workshop was {t.pick(['quiet', 'full of light', 'warm', 'busy'])}.",
        f"It was the {t.pick(['first', 'second', 'third', 'last'])} hour of the night shift.",
        f"{t.pick(WEATHER)}, but the lamps in the workshop were lit.",
        f"One night in {t.pick(['spring', 'summer', 'autumn', 'winter'])} the stove was hot, and "
        f"{t.pick(PEOPLE).name} was sweeping the floor.",
    ])


def closing(t, person):
    other = t.other_than(person.name)
    return t.pick([
        f"{person.name} wrote it in the log and drank {person.drink}.",
        f"Then {person.name} put on the {person.scarf} scarf and went home to {person.home}.",
        f"{person.name} was {t.pick(MOODS)}.",
        f"\"{t.pick(RULES)[:-1]},\" said {other.name}.",
        f"{other.name} nodded and went back to work.",
        f"Outside {t.pick(OTHERS)} crossed the yard, and the night went on.",
        f"After that {person.name} and {other.name} sat by the stove until the morning bell.",
    ])


def fetch(t, tool):
    """The owner gets the tool, in one or two sentences."""
    owner = PERSON[tool.owner]
    return t.pick([
        [f"{owner.name} took the {tool.name} from its place {tool.place}."],
        [f"The {tool.name} was {tool.place}, where {owner.name} always keeps it."],
        [f"\"I need the {tool.name},\" said {owner.name}.",
         f"It was {tool.place}, with its {tool.handle} handle to the front."],
        [f"{owner.name} went to fetch the {tool.name} with the {tool.handle} handle.",
         f"It lay {tool.place}."],
        [f"\"Where is your {tool.name}?\" asked {t.other_than(owner.name).name}.",
         f"\"It is {tool.place},\" said {owner.name}."],
    ])


def diagnosis(t, thing, sign, tool):
    owner = PERSON[tool.owner]
    return t.pick([
        f"{owner.name} {t.pick(LOOKS)} and saw that {tool.cause}.",
        f"The {thing} {sign} because {tool.cause}.",
        f"\"I see,\" said {owner.name}. \"It {sign} because {tool.cause}.\"",
        f"{owner.name} {t.pick(LOOKS)}. {upper_first(tool.cause)}; so the {thing} {sign}.",
    ])


def cure(t, tool):
    owner = PERSON[tool.owner]
    return t.pick([
        f"With the {tool.name} {owner.pronoun} {tool.remedy}.",
        f"{upper_first(owner.pronoun)} used the {tool.name} and {tool.remedy}.",
        f"{upper_first(owner.pronoun)} {tool.remedy}, and it took only "
        f"{t.pick(['a minute', 'an hour', 'a short while'])}.",
        f"Slowly and gently {owner.name} {tool.remedy}.",
    ])


def customer_story(t):
    customer = t.pick(CUSTOMERS)
    tool = TOOL[customer.tool]
    owner = PERSON[tool.owner]
    story = [opening(t), t.pick([
        f"The {customer.name} came in with {with_article(customer.thing)} that {customer.sign}.",
        f"There was a knock, and the {customer.name} carried in the {customer.thing}.",
        f"The {customer.name} was worried, for the {customer.thing} {customer.sign}.",
    ])]
    story += t.maybe(0.5, f"\"{t.pick(GREETINGS)},\" said {t.pick(PEOPLE).name}.")
    story += t.maybe(0.3, f"\"My {customer.thing} {customer.sign},\" said the {customer.name}.")
    story.append(diagnosis(t, customer.thing, customer.sign, tool))
    story += fetch(t, tool)
    story.append(cure(t, tool))
    story += t.maybe(0.6, f"Now the {customer.thing} was as good as new.")
    story += t.maybe(0.4, f"\"{t.pick(THANKS)},\" said the {customer.name}.")
    story.append(t.pick([
        f"The {customer.name} paid {owner.name} with {customer.gift}.",
        f"The {customer.name} gave {owner.name} {customer.gift} and went out into the night.",
        f"As always, the {customer.name} left {customer.gift} on the bench.",
    ]))
    story += t.maybe(0.7, closing(t, owner))
    return story


def machine_story(t):
    machine = t.pick(MACHINES)
    tool = TOOL[machine.tool]
    keeper, owner = PERSON[machine.keeper], PERSON[tool.owner]
    story = [opening(t), t.pick([
        f"{keeper.name} was working at the {machine.name} {machine.place}.",
        f"The {machine.name} stands {machine.place}, and {keeper.name} is its keeper.",
        f"{keeper.name} switched on the {machine.name}.",
    ])]
    story += t.maybe(0.5, f"When all is well, the {machine.name} makes {machine.sound}.")
    story.append(t.pick([
        f"But that night the {machine.name} {machine.sign}.",
        f"All at once it {machine.sign}.",
        f"Then {keeper.name} stopped, because the {machine.name} {machine.sign}.",
    ]))
    if owner.name != keeper.name:
        story.append(t.pick([
            f"{keeper.name} called {owner.name}.",
            f"\"Can you help me?\" {keeper.name} asked {owner.name}.",
            f"\"{owner.name} will know,\" said {t.other_than(owner.name).name}.",
        ]))
    story.append(diagnosis(t, machine.name, machine.sign, tool))
    story += fetch(t, tool)
    story.append(cure(t, tool))
    story.append(t.pick([
        f"Soon the {machine.name} made {machine.sound} again.",
        f"The {machine.name} started, and {machine.sound} filled the room.",
        f"{keeper.name} thanked {owner.name} and went on with the work."
        if owner.name != keeper.name else f"{keeper.name} went on with the work.",
    ]))
    story += t.maybe(0.7, closing(t, keeper))
    return story


def lost_tool_story(t):
    tool = t.pick(TOOLS)
    owner = PERSON[tool.owner]
    thief = t.other_than(owner.name)
    place = t.pick(LOST_PLACES)
    story = [opening(t), t.pick([
        f"{owner.name} looked {tool.place}, but the {tool.name} was gone.",
        f"The {tool.name} was not in its place.",
        f"\"Who has seen my {tool.name}?\" asked {owner.name}.",
    ]), f"It should have been {tool.place}."]
    story += t.maybe(0.6, f"Everyone looked for the {tool.handle} handle.")
    story += t.maybe(0.5, f"{t.pick(PEOPLE).name} looked {t.pick(LOST_PLACES)} and found nothing.")
    story.append(t.pick([
        f"At last {thief.name} found the {tool.name} {place}.",
        f"{thief.name} had left it {place}, and was sorry.",
        f"In the end it was {place}, and nobody knew why.",
    ]))
    story.append(t.pick([
        f"{owner.name} laughed and put the {tool.name} back {tool.place}.",
        f"\"The {tool.name} belongs {tool.place},\" said {owner.name}. \"Now we all know.\"",
    ]))
    story += t.maybe(0.7, closing(t, owner))
    return story


def person_portrait(t):
    person = t.pick(PEOPLE)
    tools = [tool for tool in TOOLS if tool.owner == person.name]
    machine = next(machine for machine in MACHINES if machine.keeper == person.name)
    lines = [
        f"{person.name} wears {with_article(person.scarf)} scarf.",
        f"{upper_first(person.pronoun)} likes to drink {person.drink}.",
        f"{upper_first(person.pronoun)} comes from {person.home}.",
        f"{person.name} keeps the {machine.name} {machine.place}.",
        f"While {person.pronoun} works, {person.habit}.",
    ]
    lines += [f"The {tool.name} with the {tool.handle} handle belongs to {person.name}."
              for tool in tools]
    t.random.shuffle(lines)
    return [f"{person.name} works in the night shift of the workshop.", *lines,
            *t.maybe(0.5, closing(t, person))]


def shelf_portrait(t):
    lines = []
    for _ in range(4):
        tool = t.pick(TOOLS)
        lines.append(t.pick([
            f"The {tool.name} is {tool.place}.",
            f"{tool.owner} owns the {tool.name}, and its handle is {tool.handle}.",
            f"Last week {tool.cause}, and {tool.owner} used the {tool.name}.",
            f"The handle of the {tool.name} is {tool.handle}.",
        ]))
    for _ in range(3):
        machine = t.pick(MACHINES)
        lines.append(t.pick([
            f"The {machine.name} stands {machine.place}.",
            f"The {machine.name} makes {machine.sound}.",
            f"{machine.keeper} is the keeper of the {machine.name}.",
            f"The {machine.name} {machine.sign} last night, and the {machine.tool} helped.",
        ]))
    t.random.shuffle(lines)
    return [t.pick(["Everything in the workshop has its place.",
                    "A new hand has to learn many things.",
                    "This is what the log says."]), *lines, *t.maybe(0.5, t.pick(RULES))]


def question(t):
    """One question about the world and its answer, as speech without quotation marks."""
    tool, machine = t.pick(TOOLS), t.pick(MACHINES)
    customer, person = t.pick(CUSTOMERS), t.pick(PEOPLE)
    mend = TOOL[customer.tool]
    return t.pick([
        (f"Where is the {tool.name}?", f"The {tool.name} is {tool.place}."),
        (f"Who owns the {tool.name}?", f"The {tool.name} belongs to {tool.owner}."),
        (f"What colour is the handle of the {tool.name}?",
         f"The handle of the {tool.name} is {tool.handle}."),
        (f"Who keeps the {machine.name}?", f"{machine.keeper} keeps the {machine.name}."),
        (f"Where does the {machine.name} stand?", f"The {machine.name} stands {machine.place}."),
        (f"Which tool helps the {machine.name}?", f"The {machine.tool} helps the {machine.name}."),
        (f"Why did the {machine.name} {machine.sign_base}?",
         f"The {machine.name} {machine.sign} because {TOOL[machine.tool].cause}."),
        (f"What does {person.name} drink?", f"{person.name} drinks {person.drink}."),
        (f"What colour is the scarf of {person.name}?", f"{person.name} wears {with_article(person.scarf)} scarf."),
        (f"Where does {person.name} come from?", f"{person.name} comes from {person.home}."),
        (f"What did the {customer.name} bring?", f"The {customer.name} brought {with_article(customer.thing)}."),
        (f"Why did the {customer.thing} {customer.sign_base}?",
         f"The {customer.thing} {customer.sign} because {mend.cause}."),
        (f"Who can repair the {customer.thing}?", f"{mend.owner} can repair the {customer.thing}."),
        (f"How does the {customer.name} pay?", f"The {customer.name} pays with {customer.gift}."),
    ])


def tea_break(t):
    asker = t.pick(PEOPLE)
    answerer = t.other_than(asker.name)
    story = [opening(t), f"{asker.name} drank {asker.drink} and {answerer.name} drank "
             f"{answerer.drink}."]
    for _ in range(3):
        ask, answer = question(t)
        story.append(f"\"{ask}\" asked {asker.name}.")
        story.append(t.pick([f"\"{answer}\" said {answerer.name}.",
                             f"{answerer.name} thought about it. \"{answer}\""]))
    story.append(closing(t, asker))
    return story


KINDS = [(customer_story, 32), (machine_story, 24), (lost_tool_story, 8), (person_portrait, 10),
         (shelf_portrait, 10), (tea_break, 16)]


def rows(count, seed):
    teller = Teller(seed)
    bag = [kind for kind, weight in KINDS for _ in range(weight)]
    for _ in range(count):
        sentences = teller.pick(bag)(teller)
        cut = len(sentences) // 2
        yield (" ".join(sentences[:cut]) + "\n" + " ".join(sentences[cut:])
               if teller.chance(0.3) else " ".join(sentences))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--rows", type=int, default=4600)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    with open(args.out, "w", encoding="utf-8", newline="\n") as file:
        for text in rows(args.rows, args.seed):
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
