"""The data of phi-tiny-vision: python -m training.pictures.data --out data/pictures

Held-out pictures with questions, and the texts that calibrate: none of the pictures is among those that it was trained
on, whose seed is another.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from training.pictures.draw import picture
from training.pictures.scenes import questions, scene

SEED, ASKED = 7, 3
# padded below or beside, nothing padded, two crops, four of which some is padding
SIZES = 5 * [(320, 160), (224, 224)] + 4 * [(640, 320), (448, 448)] + 2 * [(200, 300), (640, 480)] + 2 * [(320, 160)]
CHATS = 600
CHAT = "<|user|>{}<|end|><|assistant|>{}<|end|>"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    write(out)


def write(out: Path) -> None:
    """Pictures and rows, and the calibration text; the same each time."""
    draw = random.Random(SEED)
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, size in enumerate(SIZES):
        found, name = scene(draw, size), f"images/{number:02}.png"
        picture(found).save(out / name, optimize=True)
        asked = questions(found)
        for question, answer in draw.sample(asked, min(ASKED, len(asked))):
            rows.append({"image": name, "question": question, "answer": answer})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "evaluation.jsonl").write_text(text, encoding="utf-8")
    chats = [CHAT.format(*draw.choice(questions(scene(draw)))) for _ in range(CHATS)]
    (out / "calibration.txt").write_text("\n".join(chats) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
