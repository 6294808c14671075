"""Small stories: a plot is a row of moments, each told in one of several ways."""

from __future__ import annotations

from random import Random

from training.facts import World
from training.splits import Split, split_of

_THINGS = (
    "key", "lantern", "map", "letter", "ring", "ladder", "basket", "blanket", "compass", "bucket", "book",
    "purse", "kettle", "mirror", "whetstone", "umbrella",
)  # fmt: skip
_TIMES = (
    "One morning", "One evening", "Late one night", "On a market day", "In the middle of winter",
    "On the first day of spring", "At harvest time", "Just before sunrise", "After a long rain",
)  # fmt: skip
_WEATHER = (
    "The wind was cold.", "The sky was clear.", "A thick fog hung over the roofs.", "It was raining hard.",
    "Snow lay on the road.", "The sun was warm.", "Thunder rolled in the distance.", "",
)  # fmt: skip
_SPOTS = (
    "under the bridge", "behind the mill", "in the old tower", "by the well", "at the edge of the forest",
    "in the market hall", "near the harbour", "on top of the hill", "in the cellar", "beside the chapel",
)  # fmt: skip
_MOODS = ("happy", "tired", "curious", "worried", "proud", "angry", "hungry", "quiet", "cheerful", "nervous")
_COINS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")
_ENDINGS = (
    "From that day on, {hero} and {friend} met every week.", "{hero} slept well that night.",
    "In {town} people still talk about it.", "Nobody ever found out why.",
    "{friend} laughed for a long time.", "And {hero} never lost the {thing} again.",
    "They shared some {food} and went home.", "The {pet} was asleep before the candle went out.",
)  # fmt: skip

_PLOTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lost": (
        ("{time}, {hero} lost a {thing} in {town}.",
         "{time}, {hero} the {craft} could not find the {thing}."),
        ("{weather}",),
        ("{He} was {mood} and looked {spot}.", "{He} searched {spot}, but it was not there.",
         "First {he} went home to ask, then {he} looked {spot}."),
        ("There {he} met {friend}, who was {mood2} and wanted to help.",
         "{friend} came along and asked what was wrong.",
         "Then {friend} arrived with a {pet2} and a basket of {food2}."),
        ("Together they found the {thing} {spot2}.", "It was the {pet} that found the {thing} {spot2}.",
         "In the end the {thing} lay {spot2}, covered in dust."),
        ("{ending}",),
    ),
    "market": (
        ("{time}, {hero} went to the market in {town} to sell a {thing}.",
         "{time}, {hero} carried a {thing} to {town}."),
        ("{weather}",),
        ("A merchant offered {coins} coins, but {hero} wanted more.", "At first nobody wanted to buy it.",
         "The people of {town} cared only for {ware}."),
        ("{friend} the {craft2} paid {coins} coins for it.",
         "Then {friend} gave {hero} {coins} coins and a smile.",
         "{friend} traded it for some {ware}."),
        ("{hero} was {mood} and bought some {food}.", "With the money {he} bought a gift for the {pet}.",
         "{He} walked home along the river {river}, {mood} as ever."),
        ("{ending}",),
    ),
    "feast": (
        ("{time}, there was a feast in {town}.", "{time}, the {guild} held a feast in {town}."),
        ("{weather}",),
        ("{hero} played the {instrument} and {friend} sang.",
         "{hero} brought the {instrument} and played until midnight.",
         "{friend} played the {instrument2}, and {hero} danced {spot}."),
        ("There was {food} for everyone, and {coins} barrels of cider.",
         "The mayor, {mayor}, gave a speech {spot}.",
         "{mayor} was {mood2}, for somebody had taken a {thing}."),
        ("{hero} found a {thing} {spot2} and gave it to {friend}.", "Later {friend} showed {hero} a {thing}.",
         "Somebody left a {thing} {spot2}, and {hero} took it home."),
        ("{ending}",),
    ),
    "journey": (
        ("{time}, {hero} set out from {town} with a {thing}.", "{time}, {hero} left {home} for {town}."),
        ("{weather}",),
        ("The road followed the river {river} for {coins} miles.", "After {coins} miles {he} rested {spot}.",
         "The {pet} ran ahead and waited {spot}."),
        ("{He} felt {mood} and ate some {food}.", "There {he} met {friend}, who looked {mood2}.",
         "{friend} passed by on a cart full of {ware}."),
        ("At night they made a fire {spot2}.", "{He} lost the {thing} {spot2} and had to turn back.",
         "When {he} reached the gate, it was closed, so {he} slept {spot2}."),
        ("{ending}",),
    ),
    "quarrel": (
        ("{time}, {hero} and {friend} quarrelled about a {thing}.",
         "{time}, {friend} borrowed a {thing} from {hero}."),
        ("{weather}",),
        ("{hero} said it was worth {coins} coins.", "{friend} said it had always been {spot}.",
         "{friend} was {mood2}, and {hero} was {mood}."),
        ("They asked {mayor}, the mayor of {town}.", "They took the matter to the {guild}.",
         "An old {craft} from {town} listened to them both."),
        ("The answer was to share it.", "In the end {hero} kept the {thing}, and {friend} got {coins} coins.",
         "In the end {friend} hid the {thing} {spot2}, and nobody spoke of it again."),
        ("{ending}",),
    ),
}  # fmt: skip


def _cast(world: World, rng: Random, split: Split) -> tuple[str, dict[str, str]]:
    while True:
        plot = rng.choice(tuple(_PLOTS))
        hero, town, thing = rng.choice(world.people), rng.choice(world.towns), rng.choice(_THINGS)
        # Half of the time it is the best friend: what the stories tell agrees with the facts.
        friend = world.value(hero, "friend") if rng.random() < 0.5 else rng.choice(world.people)
        if friend != hero and split_of("story", plot, hero, friend, town, thing) == split:
            return plot, {"hero": hero, "friend": friend, "town": town, "thing": thing}


def _details(world: World, rng: Random, cast: dict[str, str]) -> dict[str, str]:
    hero, friend, town = cast["hero"], cast["friend"], cast["town"]
    he = world.pronouns(hero)[0]
    spot, spot2 = rng.sample(_SPOTS, 2)
    mood, mood2 = rng.sample(_MOODS, 2)
    known = {topic: world.value(hero, topic) for topic in ("craft", "guild", "pet", "food", "instrument")}
    theirs = {f"{topic}2": world.value(friend, topic) for topic in ("craft", "pet", "food", "instrument")}
    about = {topic: world.value(town, topic) for topic in ("river", "ware", "mayor")}
    drawn = {"time": rng.choice(_TIMES), "weather": rng.choice(_WEATHER), "coins": rng.choice(_COINS)}
    moods = {"mood": mood, "mood2": mood2, "spot": spot, "spot2": spot2}
    whose = {"He": he, "he": he.lower(), "home": world.value(hero, "birthplace")}
    return cast | known | theirs | about | drawn | moods | whose


def story(world: World, rng: Random, split: Split) -> str:
    """One story of this split."""
    plot, cast = _cast(world, rng, split)
    details = _details(world, rng, cast)
    details["ending"] = rng.choice(_ENDINGS).format(**details)
    told = (rng.choice(ways).format(**details) for ways in _PLOTS[plot])
    return " ".join(sentence for sentence in told if sentence)


def request(rng: Random, text: str) -> str:
    """What somebody says who wants to hear ``text``."""
    about = next((thing for thing in _THINGS if f" {thing}" in text), "friend")
    return rng.choice(("Tell me a story about a {}.", "Do you know a story with a {} in it?")).format(about)
