"""The figures of a model card: what each is, beside the reference's, with its error where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.pictures.rows import MEDIA

DEFAULT_MODE = "_default_mode"

# metric: (the hub's type, name in the table, how it is written, the formula in words)
METRICS = {
    "perplexity": (
        "perplexity",
        "Perplexity",
        "{:.4f}",
        "exp of the mean negative log-likelihood of the next token",
    ),
    "kl_nats_mean": (
        "kl_divergence",
        "KL divergence, nats per token",
        "{:.3e}",
        "Σ p (ln p − ln q), averaged over tokens: p is the reference's next-token distribution, q this package's",
    ),
    "top1_agreement": (
        "top1_agreement",
        "Top-1 agreement",
        "{:.4f}",
        "share of tokens where both give the same token the largest probability",
    ),
    "task_accuracy": (
        "accuracy",
        "Accuracy on questions",
        "{:.4f}",
        "share of multiple-choice questions whose right answer has the best log-likelihood per character (acc_norm)",
    ),
    "tasks_passed": (
        "accuracy",
        "Chat tasks passed",
        "{:.4f}",
        "share of chats whose answer, greedily by this package's runtime and template, passes its check",
    ),
}


OF_MEDIA = {"task_accuracy": "share of questions whose answer is, greedily, the right one word for word"}
IDENTICAL = {"kl_nats_mean": 0.0, "top1_agreement": 1.0}  # the reference against itself


def evaluation(manifest: Mapping[str, Any]) -> str:
    """The card's chapter on quality."""
    quality = manifest["quality"]
    if all(quality.get(metric) is None for metric in METRICS):
        return "## Evaluation\n\nNot measured.\n"
    tokens, medium = quality.get("evaluated_tokens"), MEDIA.get(manifest.get("modality", ""))
    text = f"answers to questions on {medium.option}" if medium else "the evaluation text"
    what = f"{tokens:,} tokens of {text}" if tokens else text
    apart = (
        f"each behind its {medium.word} and question" if medium else "in windows that each begin with an empty cache"
    )
    reference = {**IDENTICAL, **(manifest.get("reference") or {})}
    rows = []
    for metric, (_, name, form, formula) in METRICS.items():
        value, beside = quality.get(metric), reference.get(metric)
        formula = OF_MEDIA.get(metric, formula) if medium else formula
        if value is not None:
            rows.append(
                (name, _with_error(quality, metric, form), "" if beside is None else form.format(beside), formula)
            )
        users = quality.get(metric + DEFAULT_MODE)
        if users is not None and users != value:
            meaning = (
                f"as the runtime reads the {medium.word} itself"
                if medium
                else "as the runtime computes without settings"
            )
            rows.append((f"{name}, by default", form.format(users), "", meaning))
    return (
        "## Evaluation\n\n"
        f"Measured on {what}, {apart}. The reference is the source model in "
        f"transformers, in fp32, on the same{'' if medium else ' windows'}. Speed belongs to a machine: "
        f"`python -m pipeline benchmark {manifest['cell']['id']}` measures it.\n\n"
        + table(("Metric", "Value", "Reference", "Meaning"), rows)
    )


def _with_error(quality: Mapping[str, Any], metric: str, form: str) -> str:
    """The figure, with its standard error or its 95 % interval where one is known."""
    low, high = (quality.get(f"{metric}_{end}") for end in ("low", "high"))
    if low is not None and high is not None:
        return f"{form.format(quality[metric])} ({low:.2f} to {high:.2f})"
    error = quality.get(f"{metric}_se")
    return form.format(quality[metric]) + (f" ± {form.format(error)}" if error is not None else "")


def table(header: tuple[str, ...], rows: Any) -> str:
    """A table of Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
