"""The kinds of models that see or hear: what is read of a file, and what is in its places in a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.pictures import phi3v, phi4mm
from pipeline.pictures.rows import MEDIA, SPEECH, VISION, Medium


@dataclass(frozen=True)
class Kind:
    """One of them.

    name: config.json's model_type, and the modality where there are two. side: pixels of a crop's side, whose patches
    are of 14; 0: of sounds. place: the id in the places of a picture or sound, negative where no token has it. token:
    the one that has; its tokenizer reads a prompt whole, else the text on each side for itself. media: such tokens may
    lie above the embedding's rows. asked: how many tokens a question takes, about: with a picture of one or two crops,
    with any picture, with ten seconds. behind: what stands between a picture and a question that does not name it.
    """

    name: str
    architecture: str
    modality: str
    side: int
    asked: int
    place: int
    token: str = ""
    media: int = 0
    behind: str = ""

    @property
    def medium(self) -> Medium:
        return MEDIA[self.modality]

    @property
    def shown(self) -> str:
        """How a picture or sound stands before a question that does not name it."""
        return self.medium.place + self.behind


PHI4MM = Kind("phi4mm", phi4mm.ARCHITECTURE, VISION, 448, 800, *phi4mm.PLACES[VISION], phi4mm.MEDIA_TOKENS)
PHI4MM_SPEECH = Kind("phi4mm-speech", phi4mm.ARCHITECTURE, SPEECH, 0, 160, *phi4mm.PLACES[SPEECH], phi4mm.MEDIA_TOKENS)
PHI3V = Kind("phi3_v", phi3v.ARCHITECTURE, VISION, phi3v.SIDE, 2400, -1, behind="\n")
KINDS = {kind.name: kind for kind in (PHI4MM, PHI4MM_SPEECH, PHI3V)}


def kind_for(architecture: str, modality: str) -> Kind | None:
    """The kind of an architecture that is taken with a modality; None where there is none."""
    return next(
        (kind for kind in KINDS.values() if (kind.architecture, kind.modality) == (architecture, modality)), None
    )
