"""`phi_deploy` as a model of lm-evaluation-harness: a package, teacher-forced and greedy, on its own runtime.

Importing this registers it. Texts are encoded and chats rendered as the package does. By default figures are of
accuracy mode, as those of evaluate; generation is greedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lm_eval.models  # noqa: F401  # its own, which it would not look for any more
import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from pipeline.backends.process import ask_runtime
from pipeline.backends.registry import load_backend
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import ConfigError, suggest
from pipeline.metrics.divergence import log_softmax
from pipeline.packaging.manifest import verify

MODES = ("accuracy", "default")
LM_EVALS = {"device", "max_batch_size"}
LONGEST = 2048  # tokens of a window where nothing else is said: logits of all of them are in memory
Pair = tuple[tuple[str, str] | None, list[int], list[int]]


@register_model("phi_deploy")
class PhiDeployLM(TemplateLM):  # type: ignore[misc]  # untyped base
    """package: a folder that the pipeline packaged. mode: accuracy, or default as its users get it.

    max_length: tokens of a window, at most the model's context. batch_size: sequences of one length at a time. What
    lm_eval adds of its own, device and max_batch_size, says nothing here: evaluation is on the CPU.
    """

    def __init__(
        self,
        package: str,
        mode: str = "accuracy",
        max_length: int | None = None,
        max_gen_toks: int = 256,
        batch_size: int | str = 1,
        **more: Any,
    ) -> None:
        super().__init__()
        if unknown := sorted(set(more) - LM_EVALS):
            known = ("package", "mode", "max_length", "max_gen_toks", "batch_size")
            raise ConfigError(f"phi_deploy takes no '{unknown[0]}'", hint=suggest(unknown[0], known))
        if mode not in MODES:
            raise ConfigError(f"mode '{mode}' is none of {', '.join(MODES)}")
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ConfigError(f"batch_size '{batch_size}' is no number", hint="1 is what users run")
        self.package = Path(package)
        self.manifest = verify(self.package)
        self.backend_name = str(self.manifest["cell"]["backend"])
        backend = load_backend(self.backend_name)
        self.texts = backend.texts(self.package)
        self.max_length = min(int(max_length or LONGEST), self.texts.limits.context)
        self.max_gen_toks, self.batch_size = int(max_gen_toks), int(batch_size)
        self._opened = ExitStack()
        self._session = self._opened.enter_context(backend.open(self.package, default_mode=mode == "default"))

    def close(self) -> None:
        self._opened.close()

    @property
    def eot_token_id(self) -> int:
        return self.texts.limits.stops[0]

    @property
    def prefix_token_id(self) -> int:
        bos = self.texts.limits.bos
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        return str(self.manifest["cell"]["id"])

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self.texts.encode(string)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return self.tokenizer_name if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.texts.render(chat_history, add_generation_prompt)

    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **more: Any
    ) -> list[tuple[float, bool]]:
        """Σ ln p of each continuation's tokens, and whether each is the most likely one. Nothing is padded."""
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        lengths: dict[int, list[int]] = {}
        for at, (_, context, continuation) in enumerate(requests):
            lengths.setdefault(min(len(context) + len(continuation) - 1, self.max_length), []).append(at)
        for length, numbers in sorted(lengths.items()):
            for first in range(0, len(numbers), self.batch_size):
                some = numbers[first : first + self.batch_size]
                whole = [[*requests[n][1], *requests[n][2]][-length - 1 :] for n in some]
                ids = np.asarray([row[:-1] for row in whole], np.int64)
                for number, row, logits in zip(some, whole, self._session.logits(ids), strict=True):
                    wanted = np.asarray(row[-len(requests[number][2]) :])
                    scored = log_softmax(logits[-len(wanted) :])
                    own = scored[np.arange(len(wanted)), wanted]
                    found[number] = float(own.sum()), bool((scored.argmax(axis=-1) == wanted).all())
                    said = requests[number][0]
                    if said is not None:
                        self.cache_hook.add_partial("loglikelihood", said, found[number])
        return found

    def loglikelihood_rolling(self, requests: Iterable[Any], disable_tqdm: bool = False) -> list[float]:
        totals = []
        for (text,) in (request.args for request in requests):
            windows = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
            pairs: list[Pair] = [(None, *make_disjoint_window(window)) for window in windows]
            totals.append(sum(score for score, _ in self._loglikelihood_tokens(pairs)))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), totals[-1])
        return totals

    def generate_until(self, requests: Iterable[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy answers up to an end token, one of `until`, or `max_gen_toks`; those of one length by one process."""
        asked = [request.args for request in requests]
        counts: dict[int, list[int]] = {}
        for number, (_, options) in enumerate(asked):
            counts.setdefault(self._count(options), []).append(number)
        found = [""] * len(asked)
        stops = self.texts.limits.stops
        for count, numbers in counts.items():
            prompts = [self.tok_encode(asked[n][0])[-max(1, self.max_length - count) :] for n in numbers]
            request = RuntimeRequest("generate", prompts, count, stops=stops)
            answers = ask_runtime(self.backend_name, self.package, request).value["tokens"]
            for number, ids in zip(numbers, answers, strict=True):
                end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
                found[number] = _cut(self.texts.decode(ids[:end]), asked[number][1].get("until") or ())
                self.cache_hook.add_partial("generate_until", asked[number], found[number])
        return found

    def _count(self, options: dict[str, Any]) -> int:
        if options.get("do_sample") or options.get("temperature"):
            raise ConfigError("the task samples; packages are evaluated greedily", hint="--gen_kwargs do_sample=False")
        return int(options.get("max_gen_toks") or self.max_gen_toks)


def _cut(text: str, until: str | Sequence[str]) -> str:
    for stop in [until] if isinstance(until, str) else until:
        text = text.split(stop)[0] if stop else text
    return text
