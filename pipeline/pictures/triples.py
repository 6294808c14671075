"""Questions on pictures or sounds with their answers, as a model is asked them.

The question is asked as one turn of a chat, by the model's own template, with `<|image_1|>` or `<|audio_1|>` before it
where it does not say itself where that is (Phi-3.5-vision's on a line of its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError, DataError
from pipeline.model.chats import rendered
from pipeline.model.side_files import TEMPLATE, stop_ids
from pipeline.model.texts import read_rows
from pipeline.model.tokenizer import encode, load_tokenizer
from pipeline.pictures.kinds import Kind
from pipeline.pictures.media import read_medium
from pipeline.pictures.rows import fields
from pipeline.pictures.tower import kind_of
from pipeline.types import JSON

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Triple:
    """A question on a picture or a sound as the model is asked it, and the answer.

    file: of the picture or sound, relative to the file of the rows. prompt: the chat's text, with one `<|image_1|>` or
    `<|audio_1|>` in it, as runtimes take it. before, after: token ids around it, the answer's and its end's among
    `after`; places: how many it takes, `place` the id in them; answered: how many tokens the answer has.
    """

    file: str
    question: str
    answer: str
    prompt: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    places: int
    place: int
    answered: int

    @property
    def ids(self) -> NDArray[np.int64]:
        """All token ids; the places of a picture or sound have its own."""
        return np.asarray([*self.before, *[self.place] * self.places, *self.after], np.int64)

    @property
    def asked(self) -> NDArray[np.int64]:
        """The same without the answer."""
        return self.ids[: -self.answered]

    @property
    def target(self) -> NDArray[np.int64]:
        """The token before the answer, and the answer's: what is scored begins behind the first."""
        return np.asarray(self.after[-self.answered - 1 :], np.int64)

    def to_json(self) -> JSON:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: JSON) -> Triple:
        return cls(**{**raw, "before": tuple(raw["before"]), "after": tuple(raw["after"])})


def read_triples(path: Path, model: Path, longest: int, limit: int = 0) -> list[Triple]:
    """Rows of a file for the model in a canonical folder, whose context is `longest` tokens; `limit` 0 is all.

    Raises DataError naming file and line.
    """
    if not (model / TEMPLATE).is_file():
        raise CheckpointError("it has no chat template, and questions are asked as chats", where=str(model))
    tokenizer, kind = load_tokenizer(model), kind_of(model)
    places: dict[str, int] = {}
    found: list[Triple] = []
    if kind.token and tokenizer.token_to_id(kind.token) != kind.place:
        raise CheckpointError(f"its tokenizer does not have {kind.token} as {kind.place}", where=str(model))
    end = next((i for i in stop_ids(model) if tokenizer.id_to_token(i) == "<|end|>"), None)
    for row, where in read_rows(path):
        if limit and len(found) == limit:
            break
        file, question, answer = fields(row, kind.medium, where)
        if file not in places:
            places[file] = read_medium(path.parent / file, kind).tokens
        triple = _asked(file, question, answer, tokenizer, model, kind, places[file], end, where)
        if len(triple.ids) > longest:
            said = f"{len(triple.ids)} tokens with its {kind.medium.word}, the context is {longest}"
            raise DataError(said, where=where)
        found.append(triple)
    if not found:
        raise DataError("there are no questions in it", where=str(path))
    return found


def _asked(
    file: str,
    question: str,
    answer: str,
    tokenizer: Tokenizer,
    model: Path,
    kind: Kind,
    places: int,
    end: int | None,
    where: str,
) -> Triple:
    place, word = kind.medium.place, kind.medium.word
    asked = question if place in question else kind.shown + question
    made = rendered(model, [[{"role": "user", "content": asked}]])
    if not made or made[0][1].count(place) != 1:
        raise CheckpointError(f"its chat template does not keep the {word}'s place", where=f"{model}, {where}")
    prompt = made[0][1]
    before, after = (encode(tokenizer, text) for text in prompt.split(place))
    said = [*encode(tokenizer, answer), *([] if end is None else [end])]
    if kind.token and encode(tokenizer, prompt.replace(place, kind.token)) != [*before, kind.place, *after]:
        raise DataError(f"the tokenizer joins the {word}'s place with the text around it", where=where)
    ids = (tuple(before), (*after, *said))
    return Triple(file, question, answer, prompt, *ids, places, kind.place, len(said))


def longest_of(triples: Sequence[Triple]) -> int:
    """Tokens of the longest."""
    return max(len(triple.ids) for triple in triples)
