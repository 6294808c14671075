"""The made-up world: who lives in it, and every fact that holds there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

SEED = "phi-tiny/1"
PEOPLE = 48
TOWNS = 12

_ONSETS = (
    "b", "br", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "t", "tr", "v", "w", "z",
)  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea")
_HE_ENDINGS = ("n", "r", "k", "ld", "rin", "mir", "dan", "bert")
_SHE_ENDINGS = ("la", "na", "ra", "sa", "mia", "lis", "dra", "nne")
_TOWN_ENDINGS = ("ford", "mouth", "stead", "bridge", "field", "well", "haven", "crest", "mere", "holm")
_RIVER_ENDINGS = ("ne", "ss", "rn", "ll", "me", "th")

VALUES: dict[str, tuple[str, ...]] = {
    "craft": (
        "baker", "weaver", "potter", "miller", "mason", "tailor", "cooper", "brewer", "tanner", "dyer",
        "carver", "glazier", "farrier", "cobbler", "saddler", "printer", "ferryman", "shepherd", "gardener",
        "clockmaker",
    ),
    "guild": (
        "Lantern Guild", "Anchor Guild", "Copper Guild", "Willow Guild", "Hammer Guild", "Feather Guild",
        "Raven Guild", "Salt Guild", "Thistle Guild", "Mirror Guild", "Granite Guild", "Harvest Guild",
    ),
    "pet": (
        "cat", "dog", "goat", "parrot", "rabbit", "tortoise", "ferret", "pigeon", "hedgehog", "pony", "goose",
        "lizard", "mouse", "falcon", "badger", "donkey", "heron", "crow", "toad", "squirrel",
    ),
    "colour": (
        "red", "blue", "green", "yellow", "purple", "orange", "white", "black", "grey", "brown", "pink",
        "silver", "golden", "scarlet", "violet", "turquoise",
    ),
    "food": (
        "barley soup", "plum cake", "smoked eel", "onion pie", "honey bread", "roast duck", "pickled beets",
        "lentil stew", "cheese dumplings", "apple tart", "fried trout", "mushroom broth", "walnut cake",
        "rabbit stew", "oat porridge", "pear jam", "potato salad", "ginger biscuits",
    ),
    "instrument": (
        "flute", "fiddle", "drum", "harp", "lute", "horn", "bagpipe", "cello", "trumpet", "bell", "zither",
        "whistle", "accordion", "banjo",
    ),
    "ware": (
        "wool", "salt", "glass", "honey", "rope", "candles", "paper", "cheese", "timber", "silk", "copper",
        "barrels", "apples", "lamps", "knives", "baskets",
    ),
}  # fmt: skip
PERSON_TOPICS = ("birthplace", "craft", "guild", "pet", "colour", "food", "instrument", "age", "friend")
TOWN_TOPICS = ("river", "ware", "mayor")


@dataclass(frozen=True)
class Fact:
    """One thing that is so: the ``topic`` of ``subject`` is ``value``."""

    subject: str
    topic: str
    value: str


@dataclass(frozen=True)
class World:
    """The people, the towns and all facts, and how to speak of a person."""

    people: tuple[str, ...]
    women: frozenset[str]
    towns: tuple[str, ...]
    rivers: tuple[str, ...]
    facts: dict[tuple[str, str], Fact]

    def value(self, subject: str, topic: str) -> str:
        """What is true of ``subject`` under ``topic``."""
        return self.facts[subject, topic].value

    def values(self, topic: str) -> tuple[str, ...]:
        """Every value that a fact under ``topic`` can have, in a fixed order."""
        return tuple(sorted({fact.value for fact in self.facts.values() if fact.topic == topic}))

    def pronouns(self, person: str) -> tuple[str, str]:
        """The personal and the possessive pronoun of ``person``, capitalised."""
        return ("She", "Her") if person in self.women else ("He", "His")


def _names(rng: Random, count: int, endings: tuple[str, ...], syllables: tuple[int, ...], taken: set[str]) -> list[str]:
    names: list[str] = []
    while len(names) < count:
        body = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice(syllables)))
        name = (body + rng.choice(endings)).capitalize()
        if 4 <= len(name) <= 10 and not any(name[:4] == other[:4] for other in taken):
            taken.add(name)
            names.append(name)
    return names


@cache
def world() -> World:
    """The world; always the same one."""
    rng = Random(SEED)
    taken: set[str] = set()
    women = _names(rng, PEOPLE // 2, _SHE_ENDINGS, (1, 2), taken)
    people = women + _names(rng, PEOPLE - PEOPLE // 2, _HE_ENDINGS, (1, 2), taken)
    towns = _names(rng, TOWNS, _TOWN_ENDINGS, (1,), taken)
    rivers = _names(rng, TOWNS // 2, _RIVER_ENDINGS, (1, 2), taken)
    ages = tuple(str(age) for age in range(18, 88))
    facts: dict[tuple[str, str], Fact] = {}

    def add(subject: str, topic: str, choices: list[str] | tuple[str, ...]) -> None:
        value = rng.choice([choice for choice in choices if choice != subject])
        facts[subject, topic] = Fact(subject, topic, value)

    pools = {**VALUES, "birthplace": towns, "age": ages, "friend": people, "river": rivers, "mayor": people}
    for subjects, topics in ((people, PERSON_TOPICS), (towns, TOWN_TOPICS)):
        for subject in subjects:
            for topic in topics:
                add(subject, topic, pools[topic])
    return World(tuple(people), frozenset(women), tuple(towns), tuple(rivers), facts)
