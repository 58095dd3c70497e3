"""The small world of the demo: a workshop that repairs things at night, invented for this project.

All text of the demo, stories and conversations alike, is made from these tables, so a fact reads the
same wherever it appears: each tool lies in one place, belongs to one person and cures one fault;
each machine and each customer's object shows one sign of one fault.
"""

from typing import NamedTuple


class Person(NamedTuple):
    name: str
    pronoun: str
    scarf: str
    drink: str
    home: str  # after "comes from"
    habit: str  # follows "while she works, " / "while he works, " as a clause


class Tool(NamedTuple):
    name: str
    owner: str
    place: str
    handle: str
    cause: str  # the fault that it cures: "a ring was rough"
    remedy: str  # past tense, what its owner did: "smoothed the ring"


class Machine(NamedTuple):
    name: str
    keeper: str
    place: str
    sound: str  # when well
    sign: str  # past tense, when not: "squealed"
    sign_base: str  # after "did it"
    tool: str


class Customer(NamedTuple):
    name: str
    thing: str
    sign: str
    sign_base: str
    tool: str
    gift: str


PEOPLE = [
    Person("Mara", "she", "grey", "black tea", "the harbour", "she hums an old song"),
    Person("Toren", "he", "blue", "cocoa", "the hills", "he counts under his breath"),
    Person("Ilse", "she", "red", "hot milk", "the river bend", "she taps her foot"),
    Person("Bram", "he", "brown", "coffee", "the mill lane", "he talks to the bolts"),
    Person("Suri", "she", "yellow", "mint tea", "the market square", "she keeps very still"),
    Person("Nell", "she", "white", "apple juice", "the birch wood", "she whistles"),
    Person("Odo", "he", "orange", "honey water", "the lighthouse", "he smiles at nothing"),
    Person("Petra", "she", "purple", "plum juice", "the old bridge", "she tells stories"),
    Person("Kofi", "he", "green", "ginger tea", "the salt road", "he rolls up his sleeves"),
    Person("Wren", "she", "black", "cold water", "the bell tower", "she squints a little"),
]

TOOLS = [
    Tool("round file", "Mara", "on the blue board", "yellow", "a ring was rough",
         "smoothed the ring"),
    Tool("small wrench", "Bram", "in the green cabinet", "red", "a nut was too tight",
         "turned the nut back"),
    Tool("long wrench", "Bram", "behind the press", "black", "a bolt was rusted",
         "loosened the bolt"),
    Tool("oil can", "Odo", "under the window", "brown", "a wheel was dry", "oiled the wheel"),
    Tool("soft hammer", "Ilse", "on the middle shelf", "orange", "a pin was loose", "set the pin"),
    Tool("hand drill", "Toren", "in the tin box", "blue", "an air hole was closed",
         "opened the hole"),
    Tool("thin saw", "Nell", "beside the stairs", "white", "a board was too long",
         "cut the board"),
    Tool("glue pot", "Petra", "near the stove", "grey", "a plank was split", "joined the plank"),
    Tool("round brush", "Kofi", "over the sink", "green", "a pipe was blocked",
         "cleared the pipe"),
    Tool("steel needle", "Suri", "in the top drawer", "silver", "a belt was torn",
         "sewed the belt"),
    Tool("wire bender", "Wren", "on the iron hook", "purple", "a wire was stiff",
         "bent the wire"),
    Tool("round glass", "Suri", "inside the clock case", "golden", "a tiny crack let air in",
         "found the crack and closed it"),
]

MACHINES = [
    Machine("lathe", "Mara", "by the north wall", "a steady purr", "squealed", "squeal",
            "steel needle"),
    Machine("big drill", "Toren", "under the tall lamp", "a low buzz", "shook", "shake",
            "long wrench"),
    Machine("press", "Ilse", "in the far corner", "a slow sigh", "stuck", "stick", "soft hammer"),
    Machine("pump", "Bram", "next to the well", "a soft thump", "coughed", "cough", "round brush"),
    Machine("loom", "Suri", "near the east window", "an even clack", "skipped", "skip",
            "wire bender"),
    Machine("band saw", "Nell", "along the wood rack", "a bright whine", "stalled", "stall",
            "small wrench"),
    Machine("oven", "Odo", "behind the brick arch", "a warm roar", "smoked", "smoke",
            "hand drill"),
    Machine("fan", "Petra", "over the side door", "a gentle hiss", "rattled", "rattle",
            "oil can"),
    Machine("crane", "Kofi", "above the front gate", "a deep creak", "leaned", "lean",
            "glue pot"),
    Machine("dynamo", "Wren", "below the stairs", "a high hum", "flickered", "flicker",
            "round glass"),
]

CUSTOMERS = [
    Customer("baker", "scale", "gave the wrong weight", "give the wrong weight", "soft hammer",
             "a warm loaf"),
    Customer("ferryman", "lantern", "would not burn", "not burn", "hand drill", "a smoked fish"),
    Customer("teacher", "clock", "ran slow", "run slow", "oil can", "a small book"),
    Customer("nurse", "kettle", "leaked", "leak", "round file", "a jar of balm"),
    Customer("fisher", "reel", "would not turn", "not turn", "small wrench", "a white shell"),
    Customer("gardener", "water cart", "gave no water", "give no water", "round brush",
             "a basket of pears"),
    Customer("piper", "music box", "played only one note", "play only one note", "wire bender",
             "a short tune"),
    Customer("postman", "bicycle", "would not steer", "not steer", "long wrench",
             "a foreign stamp"),
    Customer("weaver", "spinning wheel", "slipped", "slip", "steel needle", "a warm blanket"),
    Customer("innkeeper", "wooden tub", "lost its water", "lose its water", "glue pot",
             "a bowl of soup"),
    Customer("painter", "easel", "stood crooked", "stand crooked", "thin saw",
             "a tiny picture"),
    Customer("smith", "bellows", "lost its breath", "lose its breath", "round glass",
             "an iron key"),
]

PERSON = {person.name: person for person in PEOPLE}
TOOL = {tool.name: tool for tool in TOOLS}


def upper_first(text):
    return text[0].upper() + text[1:]


def with_article(noun):
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
