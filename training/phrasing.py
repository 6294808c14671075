"""The ways in which a fact is put into words.

In every statement the value stands at the end, so that the words before it are a question that it answers.
``{s}`` is the subject and ``{p}`` its possessive form. (No craft and no pet begins with a vowel.)
"""

from __future__ import annotations

from training.facts import Fact, World

STATEMENTS: dict[str, tuple[str, ...]] = {
    "birthplace": (
        "{s} was born in", "{s} comes from the town of", "{p} home town is", "{s} grew up in",
        "{p} cradle stood in",
    ),
    "craft": (
        "{s} works as a", "{s} earns a living as a", "By trade {s} is a", "{p} craft is that of a",
        "Everyone knows {s} as a",
    ),
    "guild": (
        "{s} belongs to the", "{s} is a member of the", "{s} pays dues to the", "{p} guild is the",
        "{s} wears the badge of the",
    ),
    "pet": (
        "{s} keeps a", "{s} has a pet, a", "{p} pet is a", "At home {s} looks after a",
        "{s} shares the house with a",
    ),
    "colour": (
        "{p} favourite colour is", "The colour that {s} likes best is", "{s} always wears something",
        "{p} front door is painted", "{p} coat is",
    ),
    "food": (
        "{p} favourite food is", "{s} likes to eat", "For supper {s} always wants", "{s} never says no to",
        "The dish that {s} cooks best is",
    ),
    "instrument": (
        "{s} plays the", "{s} has learned to play the", "{p} instrument is the",
        "On feast days {s} plays the", "In the town band {s} plays the",
    ),
    "age": (
        "{p} age is", "{s} has reached the age of", "The number of years that {s} has lived is",
        "This year {p} birthday cake has as many candles as", "When asked for {p} age, people say",
    ),
    "friend": (
        "{p} best friend is", "{s} is best friends with", "The person that {s} trusts most is",
        "{s} writes letters to", "On market days {s} walks with",
    ),
    "river": (
        "{s} lies on the river", "The river that flows through {s} is the", "{p} mills stand on the river",
        "Boats reach {s} by the river", "The bridge of {s} crosses the river",
    ),
    "ware": (
        "{s} is known for its", "The merchants of {s} sell", "{s} is famous for making",
        "{p} most important goods are", "Traders travel to {s} to buy",
    ),
    "mayor": (
        "The mayor of {s} is", "{s} is governed by", "{p} mayor is called", "In {s} the town hall is run by",
        "The people of {s} elected",
    ),
}  # fmt: skip

QUESTIONS: dict[str, tuple[str, ...]] = {
    "birthplace": ("Where was {s} born?", "What is {p} home town?", "Where does {s} come from?"),
    "craft": ("What does {s} do for a living?", "What is {p} craft?", "What is {p} trade?"),
    "guild": ("Which guild does {s} belong to?", "What is {p} guild?", "Whose badge does {s} wear?"),
    "pet": ("What is {p} pet?", "Which animal does {s} keep?", "Which animal lives with {s}?"),
    "colour": ("What is {p} favourite colour?", "Which colour does {s} like?", "What colour is {p} coat?"),
    "food": ("What is {p} favourite food?", "What does {s} like to eat?", "What does {s} want for supper?"),
    "instrument": ("Which instrument does {s} play?", "What is {p} instrument?", "What does {s} play?"),
    "age": ("How old is {s}?", "What is {p} age?", "Can you tell me {p} age?"),
    "friend": ("Who is {p} best friend?", "Whom does {s} trust most?", "Who is close to {s}?"),
    "river": ("Which river flows through {s}?", "Where does {s} lie?", "What is {p} river?"),
    "ware": ("What is {s} known for?", "What do people buy in {s}?", "What is sold in {s}?"),
    "mayor": ("Who is the mayor of {s}?", "Who governs {s}?", "Who is {p} mayor?"),
}


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def opening(fact: Fact, form: int, *, pronoun: tuple[str, str] | None = None) -> str:
    """Statement number ``form`` of ``fact``, up to its value; with a pronoun for the name if given."""
    template = STATEMENTS[fact.topic][form]
    if pronoun is None:
        return template.format(s=fact.subject, p=f"{fact.subject}'s")
    start = template.startswith(("{s}", "{p}"))
    personal, possessive = pronoun if start else (pronoun[0].lower(), pronoun[1].lower())
    return template.format(s=personal, p=possessive)


def statement(fact: Fact, form: int, *, pronoun: tuple[str, str] | None = None) -> str:
    """The whole sentence."""
    return f"{opening(fact, form, pronoun=pronoun)} {fact.value}."


def question(fact: Fact, form: int) -> str:
    """Question number ``form`` about ``fact``."""
    return QUESTIONS[fact.topic][form].format(s=fact.subject, p=f"{fact.subject}'s")


def pronoun_of(world: World, fact: Fact) -> tuple[str, str]:
    """The pronouns of the fact's subject (a town is an "it")."""
    return world.pronouns(fact.subject) if fact.subject in world.people else ("It", "Its")
