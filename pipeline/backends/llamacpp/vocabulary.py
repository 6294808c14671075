"""The tokenizer inside a GGUF file: SentencePiece (Phi-3, 3.5) or byte-level BPE (Phi-4)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.tokenizer import load_tokenizer
from pipeline.types import Checkpoint

# llama.cpp knows pre-tokenizers by name: which of them splits with this regular expression
GPT_4O = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"  # Phi-4-mini
CL100K = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"  # Phi-4
PRE_TOKENIZERS = {GPT_4O: "gpt-4o", CL100K: "dbrx"}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}  # GPT-2's expression
_DIGITS = {"type": "Digits", "individual_digits": True}
STEPS = (([_DIGITS, _BYTES], "smollm"), ([_BYTES], "gpt-2"))  # tokenizers' own steps, as llama-vocab.cpp has them
TABLE = Path(__file__).with_name("pre_tokenizers.json")
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# what llama.cpp takes for ends by their text (llama-vocab.cpp)
ENDS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<EOT>",
)
UNUSED_SCORE, ADDED_SCORE = -10000.0, -1000.0


def add_vocabulary(writer: Any, checkpoint: Checkpoint) -> None:
    """Write tokens, types, special tokens and chat template. Raises CheckpointError for an unknown tokenizer."""
    import gguf

    folder, size = checkpoint.folder, int(checkpoint.config["vocab_size"])
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if (folder / "tokenizer.model").is_file() or described["model"].get("byte_fallback"):
        from_model = (folder / "tokenizer.model").is_file()
        tokens, scores, kinds = _sentencepiece(folder, size) if from_model else _of_merges(described, size, folder)
        _place_added(described["added_tokens"], tokens, scores, kinds)
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)
        writer.add_token_types(kinds)
        special = gguf.SpecialVocab(folder, n_vocab=size)
    else:
        pre = pre_tokenizer(described, folder)
        texts, kinds = _byte_level(described, size)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(texts)
        writer.add_token_types(kinds)
        special = gguf.SpecialVocab(folder, load_merges=True)
    special.add_to_gguf(writer)
    _add_stops(writer, folder, described["added_tokens"])


def _add_stops(writer: Any, folder: Path, added: list[Mapping[str, Any]]) -> None:
    """The end tokens beside the first, as far as llama.cpp does not find them by name: the format has two places more.

    Raises CheckpointError for one that has none.
    """
    texts = {int(token["id"]): token["content"] for token in added}
    path = folder / "generation_config.json"
    ends = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    others = [stop for stop in (ends[1:] if isinstance(ends, list) else []) if texts.get(stop) not in ENDS]
    for stop, add in zip(others, (writer.add_eot_token_id, writer.add_eom_token_id), strict=False):
        add(stop)
    if len(others) > 2:
        raise CheckpointError(f"a GGUF file has no place for the end token {others[2]}", where=str(folder))


def _sentencepiece(folder: Path, size: int) -> tuple[list[bytes], list[float], list[int]]:
    from gguf import TokenType
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokens = [f"[PAD{i}]".encode() for i in range(size)]
    scores = [UNUSED_SCORE] * size
    kinds = [int(TokenType.UNUSED)] * size
    for i in range(min(size, pieces.vocab_size())):
        tokens[i], scores[i] = pieces.id_to_piece(i).encode(), pieces.get_score(i)
        if pieces.is_unknown(i):
            kinds[i] = int(TokenType.UNKNOWN)
        elif pieces.is_control(i):
            kinds[i] = int(TokenType.CONTROL)
        elif pieces.is_unused(i):
            kinds[i] = int(TokenType.UNUSED)
        elif pieces.is_byte(i):
            kinds[i] = int(TokenType.BYTE)
        else:
            kinds[i] = int(TokenType.NORMAL)
    return tokens, scores, kinds


def _of_merges(described: Mapping[str, Any], size: int, folder: Path) -> tuple[list[bytes], list[float], list[int]]:
    """The same from tokenizer.json alone, as transformers 5 saves it: SentencePiece's scores are the order of merges.

    Raises CheckpointError where tokenizer.json does not say all that tokenizer.model would.
    """
    from gguf import TokenType

    model, text = described["model"], json.dumps(described.get("normalizer")) + json.dumps(described["pre_tokenizer"])
    prefix = '"Prepend"' in text or '"prepend_scheme": "first"' in text or '"prepend_scheme": "always"' in text
    if model.get("type") != "BPE" or not prefix:
        raise CheckpointError(
            "llama.cpp needs tokenizer.model, which is not here, and tokenizer.json does not say the same",
            where=str(folder),
            hint="copy tokenizer.model from the model that this one was made of",
        )
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model["merges"]):
        pair = merge if isinstance(merge, list) else merge.split(" ")
        ranks.setdefault("".join(pair), rank)
    tokens = [f"[PAD{i}]".encode() for i in range(size)]
    scores = [UNUSED_SCORE] * size
    kinds = [int(TokenType.UNUSED)] * size
    for piece, i in model["vocab"].items():
        tokens[i], scores[i] = piece.encode(), -float(ranks.get(piece, len(ranks)))
        if piece == model.get("unk_token"):
            kinds[i] = int(TokenType.UNKNOWN)
        else:
            kinds[i] = int(TokenType.BYTE if BYTE.fullmatch(piece) else TokenType.NORMAL)
    return tokens, scores, kinds


def _place_added(added: list[Mapping[str, Any]], tokens: list[bytes], scores: list[float], kinds: list[int]) -> None:
    from gguf import TokenType

    for token in added:
        i = int(token["id"])
        if i < len(tokens):
            tokens[i], scores[i] = token["content"].encode(), ADDED_SCORE
            kinds[i] = int(TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED)


def _byte_level(described: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    texts = [f"[PAD{i}]" for i in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    for text, i in described["model"]["vocab"].items():
        texts[i], kinds[i] = text, int(TokenType.NORMAL)
    for token in described["added_tokens"]:
        i = int(token["id"])
        if i < size:
            texts[i] = token["content"]
            kinds[i] = int(TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED)
    return texts, kinds


def pre_tokenizer(described: Mapping[str, Any], folder: Path) -> str:
    """llama.cpp's name of what splits text before merging: by its own table, else by the expression or the steps."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    ids = load_tokenizer(folder).encode(table["text"]).ids
    name = table["names"].get(sha256(str(ids).encode()).hexdigest())
    if name:
        return str(name)
    splits = described.get("pre_tokenizer") or {}
    steps = splits.get("pretokenizers", [splits])
    for known, name in STEPS:
        if steps == known and described.get("normalizer") is None:
            return name
    unescaped = json.dumps(described.get("pre_tokenizer"), ensure_ascii=False).replace("\\\\", "\\")
    for pattern, name in PRE_TOKENIZERS.items():
        if pattern in unescaped:
            return name
    raise CheckpointError(
        "llama.cpp's name for this pre-tokenizer is not known",
        where=str(folder / "tokenizer.json"),
        hint="set backend.llamacpp.root to a llama.cpp checkout: its script may know it",
    )
