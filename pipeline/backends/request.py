"""What a backend's runtime is asked in a process of its own, and how it answers. Imports nothing heavy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import first_line

Run = tuple[float, float]  # seconds to the first token, and in all


@dataclass(frozen=True)
class RuntimeRequest:
    """JSON on stdin of `python -m pipeline.backends.<name>.runtime PACKAGE`, which imports that runtime alone.

    task `generate`: greedy continuation of each of `prompts` (token ids) by `new_tokens` tokens, or to one of `stops`;
    answers {"tokens": [[...], ...]}.
    task `measure`: load, then for each of `prompts` (the shortest first) `warmup` + `runs` times prefill it and decode
    `new_tokens` tokens, with `threads` threads; answers what `timed` gives, and may add "extra": {<metric>: [...]},
    what users of that runtime are used to. `device` is a target's device (pipeline.harness.host.DEVICES) to measure
    on, or empty for the CPU.
    task `chat`: greedy answers to `chats` of at most `new_tokens` tokens each, by the package's own template and as its
    users get them without settings; `context` is as many tokens as any chat with its answer takes. Answers
    {"chats": [...], "said": [...], "ended": [...]}: the text of each chat, of its answer, and whether a token ended it;
    {} where the package has no tokenizer of its own.
    `adapter`: with which of the package's adapters `generate` and `chat` answer; empty: without.
    task `tokenize`: the package's own tokenizer on `texts`, `prompts` (ids to write) and `chats`; answers
    {"ids": [[...], ...], "texts": [...], "chats": [...], "stops": [...], "exact": bool}: ids that end an answer, and
    whether there may be no others; {} where the package has no tokenizer of its own. `tools` has those of each chat;
    empty: no chat has any.

    Of a model that sees or hears, prompts are `asked` as texts with a picture's or sound's file each (`media`):
    `generate` answers {"ids": [[...], ...], "tokens": …} with the ids that the runtime made of them, and tokens up to
    one that ends the answer; `measure` adds "prompt_tokens". task `see`: what the runtime's own processing makes of the
    `media`, in one .npz each (pixels, mask, height, width, or features), at the places `cut`.
    """

    task: str
    prompts: Sequence[Sequence[int]]
    new_tokens: int
    threads: int = 0
    warmup: int = 0
    runs: int = 1
    device: str = ""
    texts: Sequence[str] = ()
    chats: Sequence[Sequence[Mapping[str, str]]] = ()
    tools: Sequence[Sequence[Mapping[str, Any]]] = ()
    context: int = 0
    stops: Sequence[int] = ()
    asked: Sequence[str] = ()
    media: Sequence[str] = ()
    cut: Sequence[str] = ()
    adapter: str = ""

    def chats_with_tools(self) -> list[tuple[list[Mapping[str, str]], list[Mapping[str, Any]] | None]]:
        """Each chat's messages and tools; None where it has none."""
        tools = self.tools or [()] * len(self.chats)
        return [(list(chat), list(its) or None) for chat, its in zip(self.chats, tools, strict=True)]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "prompts": [list(map(int, prompt)) for prompt in self.prompts]}


def serve(
    answer: Callable[[str, RuntimeRequest], dict[str, Any]], told: Callable[[Exception], str] = first_line
) -> int:
    """The request on stdin, one line of JSON on stdout; an error is one line, of what `told` takes from it, and 1."""
    try:
        result = answer(sys.argv[1], RuntimeRequest(**json.load(sys.stdin)))
    except Exception as error:  # the parent shows the last line
        sys.stderr.write(f"{type(error).__name__}: {told(error)}\n")
        return 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def timed(load_s: float, request: RuntimeRequest, run: Callable[[list[int]], Run]) -> dict[str, Any]:
    """The answer to `measure`: of the first prompt, and under "longer" of each further one.

    `run` generates behind a prompt. Memory is the process's peak until then.
    """
    found = []
    for prompt in map(list, request.prompts):
        runs = [run(prompt) for _ in range(request.warmup + request.runs)][request.warmup :]
        found.append({**speeds(load_s, len(prompt), request.new_tokens, runs), "peak_rss_bytes": peak_rss()})
    return {**found[0], "longer": found[1:]}


def peak_rss() -> int:
    """The largest resident memory that this process had, in bytes."""
    with suppress(OSError), Path("/proc/self/status").open(encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):  # getrusage has the parent's, too, from before exec
                return 1024 * int(line.split()[1])
    if sys.platform != "win32":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    import psutil

    return int(psutil.Process().memory_info().peak_wset)


def speeds(load_s: float, prompt_tokens: int, new_tokens: int, runs: Sequence[Run]) -> dict[str, Any]:
    """Of one prompt, from wall time around each run's generation: one figure per run."""
    return {
        "load_s": load_s,
        "ttft_ms": [1000 * first for first, _ in runs],
        "prefill_tokens_per_s": [prompt_tokens / first for first, _ in runs],
        "decode_tokens_per_s": [(new_tokens - 1) / (total - first) for first, total in runs],
    }
