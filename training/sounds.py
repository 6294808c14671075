"""Drawn sounds with questions on them: python -m training.sounds --out data/sounds

One to four tones, one after the other, whose pitch rises, falls or stays; the last is long or short. No model of this
project was trained on them.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED, RATE, ASKED = 11, 16_000, 2
LENGTHS = 2 * (1.2, 1.2, 1.6, 1.6)  # seconds: of each there are several
STEPS = {"rises": 4, "falls": -4, "stays": 0}  # semitones from one tone to the next
NUMBERS = ("zero", "one", "two", "three", "four")
SHORT, LONG, REST = 0.12, 0.36, 0.06  # seconds
LOUD, FADE = 0.3, 0.01


@dataclass(frozen=True)
class Tune:
    """Tones of a first pitch in Hz; whether the last is long."""

    count: int
    way: str
    pitch: float
    long: bool


def tune(draw: random.Random) -> Tune:
    """One of them; a single tone stays."""
    count = draw.randint(1, 4)
    way = draw.choice(list(STEPS)) if count > 1 else "stays"
    return Tune(count, way, draw.uniform(300, 900), draw.random() < 0.5)


def samples(found: Tune, seconds: float, rate: int = RATE) -> NDArray[np.int16]:
    """The tune as it sounds, silence behind it, 16 bits."""
    made = np.zeros(int(seconds * rate))
    at = 0.05
    for number in range(found.count):
        length = LONG if found.long and number == found.count - 1 else SHORT
        pitch = found.pitch * 2 ** (STEPS[found.way] * number / 12)
        time = np.arange(int(length * rate)) / rate
        fade = np.clip(np.minimum(time, length - time) / FADE, 0, 1)
        first = int(at * rate)
        made[first : first + len(time)] = LOUD * fade * np.sin(2 * np.pi * pitch * time)
        at += length + REST
    return (32767 * made).astype(np.int16)


def questions(found: Tune) -> list[tuple[str, str]]:
    """All that can be asked of a tune, each with its answer."""
    asked = [
        ("How many tones are there?", f"There {'is' if found.count == 1 else 'are'} {NUMBERS[found.count]}."),
        ("Is the last tone long or short?", f"It is {'long' if found.long else 'short'}."),
    ]
    return asked + ([("Does it rise, fall or stay?", f"It {found.way}.")] if found.count > 1 else [])


def write(out: Path) -> None:
    """Sounds and rows; the same each time."""
    from scipy.io import wavfile

    draw, rows = random.Random(SEED), []
    (out / "audio").mkdir(parents=True, exist_ok=True)
    for number, seconds in enumerate(LENGTHS):
        found, name = tune(draw), f"audio/{number:02}.wav"
        wavfile.write(out / name, RATE, samples(found, seconds))
        asked = questions(found)
        for question, answer in draw.sample(asked, min(ASKED, len(asked))):
            rows.append({"audio": name, "question": question, "answer": answer})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "evaluation.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
