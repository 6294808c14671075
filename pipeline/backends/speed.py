"""Speed and memory of a package on this machine, in a fresh process, alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from pipeline.backends.process import ask_runtime, busy_cores
from pipeline.backends.request import RuntimeRequest
from pipeline.entries import Benchmark
from pipeline.files import read_json
from pipeline.harness import host
from pipeline.layout import MANIFEST
from pipeline.pictures.rows import MEDIA
from pipeline.records import AtLength, Measured, Speed

BYTE_TOKENS = range(3, 259)  # in every Phi vocabulary; which tokens they are does not change the speed


def measure(package: Path, settings: Benchmark, machine: Mapping[str, Any]) -> Measured:
    """Speed and peak memory of a package, measured in a fresh process.

    Of one that sees or hears, of its example: the time to the first token begins with the file.
    """
    count = settings.threads or min(host.threads(), psutil.cpu_count(logical=False) or 1)
    lengths = (settings.prompt_tokens, *settings.more_prompt_tokens)
    prompts = [[BYTE_TOKENS[i * 7 % len(BYTE_TOKENS)] for i in range(length)] for length in lengths]
    request = RuntimeRequest(
        "measure",
        prompts,
        settings.new_tokens,
        count,
        warmup=settings.warmup,
        runs=settings.runs,
        device=settings.device,
    )
    prompt_tokens = settings.prompt_tokens
    if settings.modality:
        example = read_json(package / MANIFEST)["example"]
        file = package / example[MEDIA[settings.modality].field]
        request = replace(request, prompts=[], asked=[example["prompt"]], media=[str(file)])
    before = busy_cores()
    answer = ask_runtime(settings.backend, package, request)
    after = busy_cores()
    extra, longer = answer.value.pop("extra", {}), answer.value.pop("longer", [])
    peak = answer.value.pop("peak_rss_bytes", answer.peak_rss_bytes)
    prompt_tokens = answer.value.pop("prompt_tokens", prompt_tokens)
    return Measured(
        metrics=_figures(answer.value, peak),
        extra={name: round(median(runs), 2) for name, runs in extra.items()},
        runs=answer.value,
        threads=count,
        prompt_tokens=prompt_tokens,
        new_tokens=settings.new_tokens,
        load_before=round(before, 2),
        load_after=round(after, 2),
        noisy=max(before, after) > settings.busy_load,
        machine=machine,
        longer=tuple(
            AtLength(length, **_medians(runs), peak_rss_bytes=runs["peak_rss_bytes"])
            for length, runs in zip(settings.more_prompt_tokens, longer, strict=bool(longer))
        ),
    )


def _figures(runs: Mapping[str, Any], peak: int) -> Speed:
    """Medians over runs; ttft p95 by nearest rank."""
    ttft = sorted(runs["ttft_ms"])
    return Speed(
        load_s=round(runs["load_s"], 4),
        ttft_ms_p95=round(ttft[ceil(0.95 * len(ttft)) - 1], 3),
        peak_rss_bytes=peak,
        **_medians(runs),
    )


def _medians(runs: Mapping[str, Any]) -> dict[str, float]:
    return {
        "ttft_ms_p50": round(median(runs["ttft_ms"]), 3),
        "prefill_tokens_per_s": round(median(runs["prefill_tokens_per_s"]), 2),
        "decode_tokens_per_s": round(median(runs["decode_tokens_per_s"]), 2),
    }
