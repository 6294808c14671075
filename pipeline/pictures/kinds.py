"""The kinds of models that see: what their pictures are cut to, and what is in a picture's places in a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.pictures import phi3v, phi4mm
from pipeline.pictures.rows import PLACE


@dataclass(frozen=True)
class Kind:
    """One of them.

    name: config.json's model_type. side: pixels of a crop's side, whose patches are of 14.
    place: the id in a picture's places, negative where no token has it. token: the one that has; its tokenizer reads a
    prompt whole, else the text on each side of a picture for itself. media: such tokens may lie above the embedding's
    rows. shown: how a picture stands before a question that does not name it.
    """

    name: str
    architecture: str
    side: int
    place: int
    token: str = ""
    media: int = 0
    shown: str = PLACE


PHI4MM = Kind("phi4mm", phi4mm.ARCHITECTURE, 448, phi4mm.IMAGE_TOKEN_ID, phi4mm.IMAGE_TOKEN, phi4mm.MEDIA_TOKENS)
PHI3V = Kind("phi3_v", phi3v.ARCHITECTURE, phi3v.SIDE, -1, shown=f"{PLACE}\n")
KINDS = {kind.name: kind for kind in (PHI4MM, PHI3V)}
