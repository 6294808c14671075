"""The tokenizer: ``python -m training.tokenizer --out models/phi-tiny``.

A SentencePiece BPE model with byte fallback, and the same tokenizer in the classic ``tokenizer.json``
layout of Phi-3: the special tokens come after SentencePiece's pieces.
"""

from __future__ import annotations

import argparse
import json
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from training.world import documents

VOCABULARY = 2048
SPECIALS = (
    "<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>",
    "<|placeholder4|>", "<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>", "<|user|>",
)  # fmt: skip
PIECES = VOCABULARY - len(SPECIALS)
BOS = 1
END_OF_TEXT = PIECES + SPECIALS.index("<|endoftext|>")
END = PIECES + SPECIALS.index("<|end|>")
SAMPLE_DOCUMENTS = 20_000

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def sentencepiece_model() -> bytes:
    """Train the SentencePiece model on prose of the training split."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as protocol

    prose = (document.text for document in islice(documents("train", chats=False), SAMPLE_DOCUMENTS))
    written = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=prose, model_writer=written, model_type="bpe", vocab_size=PIECES,
        byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity", add_dummy_prefix=True,
        remove_extra_whitespaces=False, split_digits=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        num_threads=1, minloglevel=2,
    )  # fmt: skip
    model = protocol.ModelProto.FromString(written.getvalue())
    if len(model.pieces) != PIECES:
        raise ValueError(f"SentencePiece made {len(model.pieces)} pieces instead of {PIECES}")
    return bytes(model.SerializeToString(deterministic=True))


def _merges(vocabulary: dict[str, int], scores: dict[str, float]) -> list[str]:
    """The rules that make BPE merge as SentencePiece does: every split of every piece, best score first."""
    found: list[tuple[float, str, str]] = []
    for piece, score in scores.items():
        halves = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        known = ((left, right) for left, right in halves if left in vocabulary and right in vocabulary)
        found += [(score, left, right) for left, right in known]
    found.sort(key=lambda rule: (-rule[0], vocabulary[rule[1]], vocabulary[rule[2]]))
    return [f"{left} {right}" for _, left, right in found]


def _added(index: int, content: str, *, rstrip: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": rstrip, "normalized": False, "special": True}
    return {"id": index, "content": content, **flags}


def _added_tokens() -> list[dict[str, Any]]:
    controls = ("<unk>", "<s>", "</s>")
    base = [_added(at, content, rstrip=content == "</s>") for at, content in enumerate(controls)]
    # As in Phi-3, the specials of a chat swallow the line break after them; the end of the text does not.
    return base + [_added(PIECES + at, content, rstrip=at != 0) for at, content in enumerate(SPECIALS)]


def _tokenizer_json(model: bytes) -> dict[str, Any]:
    from sentencepiece import sentencepiece_model_pb2 as protocol

    pieces = protocol.ModelProto.FromString(model).pieces
    vocabulary = {piece.piece: index for index, piece in enumerate(pieces)}
    normal = protocol.ModelProto.SentencePiece.NORMAL
    scores = {piece.piece: piece.score for piece in pieces if piece.type == normal}
    sequence = [{"Sequence": {"id": name, "type_id": at}} for at, name in enumerate("AB")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(),
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": sequence[:1],
            "pair": sequence,
            "special_tokens": {},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": _merges(vocabulary, scores),
        },
    }


def _named_tokens() -> dict[str, str]:
    named = {"bos_token": "<s>", "eos_token": "<|endoftext|>"}
    return named | {"pad_token": "<|endoftext|>", "unk_token": "<unk>"}


def _tokenizer_config() -> dict[str, Any]:
    decoder = {str(token.pop("id")): token for token in _added_tokens()}
    return {
        # Not LlamaTokenizer: transformers 5 rebuilds that one from the vocabulary, without the normalizer.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": False,
        **_named_tokens(),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "padding_side": "left",
        "chat_template": CHAT_TEMPLATE,
        "added_tokens_decoder": decoder,
    }


def write(folder: Path) -> None:
    """Train the tokenizer and write all its files to ``folder``."""
    model = sentencepiece_model()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    for name, content in (
        ("tokenizer.json", _tokenizer_json(model)),
        ("tokenizer_config.json", _tokenizer_config()),
        ("special_tokens_map.json", _named_tokens()),
    ):
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / name).write_text(f"{text}\n", encoding="utf-8", newline="\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8", newline="\n")


def main() -> None:
    """Write the tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("models/phi-tiny"))
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
