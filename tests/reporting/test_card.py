"""The model card: what the hub reads of it, and that it is the same every time."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from pipeline.packaging.card import model_card
from pipeline.types import Family

MANIFEST: dict[str, Any] = {
    "cell": {
        "id": "phi-3-5-mini_int4_onnxruntime_cpu",
        "model": "phi-3-5-mini",
        "precision": "int4",
        "family": "int4",
        "recipe": "default",
        "backend": "onnxruntime",
        "target": "cpu",
        "method": "weight-only",
        "settings": {"bits": 4, "group_size": 32, "symmetric": True, "lm_head_bits": 8},
    },
    "source": {
        "model": "phi-3-5-mini",
        "path_or_repo": "microsoft/Phi-3.5-mini-instruct",
        "revision": "2fe192450127e6a83f7441aef6e3ca586c338b77",
        "license": "mit",
        "weights_sha256": {"model-00001-of-00002.safetensors": "ab" * 32},
    },
    "license": "mit",
    "library": "onnxruntime-genai",
    "tags": ["phi3", "onnx"],
    "tools": {"onnxruntime": "1.32.0", "onnx": "1.23.2"},
    "quality": {
        "perplexity": 6.4123,
        "kl_nats_mean": 2.8e-4,
        "top1_agreement": 0.983,
        "task_accuracy": None,
        "evaluated_tokens": 20440,
    },
    "quantization": {"operators": 129, "bits_per_weight": 5.2, "kept": {"lm_head": 8}},
    "run": "```bash\npython run.py --prompt 'Hello'\n```",
    "files": {},
}


def manifest(**changes: Any) -> dict[str, Any]:
    result = copy.deepcopy(MANIFEST)
    for path, value in changes.items():
        group, _, name = path.partition("__")
        if name:
            result[group][name] = value
        else:
            result[group] = value
    return result


def front_matter(card: str) -> dict[str, Any]:
    loaded = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(loaded, dict)
    return loaded


def test_the_front_matter_is_yaml_that_the_hub_knows() -> None:
    data = front_matter(model_card(MANIFEST))
    assert data["base_model"] == "microsoft/Phi-3.5-mini-instruct"
    assert data["base_model_relation"] == "quantized"
    assert (data["license"], data["library_name"]) == ("mit", "onnxruntime-genai")
    assert data["pipeline_tag"] == "text-generation"
    assert {"onnx", "int4", "4-bit", "cpu"} <= set(data["tags"])


def test_huggingface_hub_reads_the_evaluation_results() -> None:
    card = ModelCard(model_card(MANIFEST))
    results = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert results == {"perplexity": 6.4123, "kl_divergence": 2.8e-4, "top1_agreement": 0.983}
    assert card.data.model_name == MANIFEST["cell"]["id"]


@pytest.mark.parametrize("source", ["phi-tiny", "/home/someone/models/phi-tiny", "models/deep/phi-tiny"])
def test_a_local_model_is_named_by_its_folder_and_is_no_base_model(source: str) -> None:
    card = model_card(manifest(source__path_or_repo=source, source__revision=""))
    data = front_matter(card)
    assert "base_model" not in data and "base_model_relation" not in data
    assert "`phi-tiny`, a local checkpoint" in card and "/home" not in card and "models/deep" not in card


def test_a_figure_that_was_not_measured_is_left_out() -> None:
    assert "Accuracy" not in model_card(MANIFEST)
    assert "| Accuracy on questions | 0.7500 |" in model_card(manifest(quality__task_accuracy=0.75))
    card = model_card(manifest(quality={}))
    assert "Not measured." in card and "model-index" not in front_matter(card)
    ModelCard(card)


def test_a_licence_the_hub_does_not_list_becomes_other_with_its_name() -> None:
    data = front_matter(model_card(manifest(license="Microsoft Research License")))
    assert (data["license"], data["license_name"]) == ("other", "microsoft-research-license")
    assert front_matter(model_card(manifest(license="")))["license"] == "unknown"


def test_the_text_says_what_was_done_and_how_it_was_measured() -> None:
    card = model_card(MANIFEST)
    assert "weight-only (bits 4, group_size 32, symmetric yes, lm_head_bits 8)" in card
    assert "20,440 tokens" in card and "transformers, in fp32" in card
    assert "`lm_head` is kept at 8 bits" in card and "5.20 bits per weight" in card
    assert MANIFEST["run"] in card and "| onnxruntime | 1.32.0 |" in card


def test_a_model_that_was_not_quantized_does_not_claim_so() -> None:
    changes = {"cell__family": "fp16", "cell__precision": "fp16", "cell__method": "none", "cell__settings": {}}
    card = model_card(manifest(**changes, quantization={"operators": 0, "bits_per_weight": 16.0, "kept": {}}))
    assert "no quantization" in card and "quantized to" not in card and "quantized operators" not in card


def test_the_same_manifest_gives_the_same_card() -> None:
    shuffled = {key: MANIFEST[key] for key in reversed(MANIFEST)}
    shuffled["tools"] = dict(reversed(MANIFEST["tools"].items()))
    assert model_card(shuffled) == model_card(MANIFEST)


def test_a_licence_that_forbids_redistribution_is_said() -> None:
    assert "forbids redistribution" in model_card(manifest(license="cc-by-nc-nd-4.0"))
    assert "forbids redistribution" not in model_card(manifest())


def test_only_what_was_quantized_is_called_so() -> None:
    kept = manifest(cell__family="fp16", cell__method="none")
    assert "base_model_relation" not in front_matter(model_card(kept))
    assert front_matter(model_card(kept))["base_model"] == "microsoft/Phi-3.5-mini-instruct"


def test_figures_stand_beside_the_references_with_their_error_and_the_default_modes() -> None:
    quality = {**MANIFEST["quality"], "task_accuracy": 0.75, "kl_nats_mean_se": 1e-5, "kl_nats_mean_default_mode": 3e-4}
    text = model_card(manifest(quality=quality, reference={"perplexity": 6.4, "task_accuracy": 0.8}))
    assert "| Perplexity | 6.4123 | 6.4000 |" in text
    assert "| KL divergence, nats per token | 2.800e-04 ± 1.000e-05 | 0.000e+00 |" in text
    assert "| KL divergence, nats per token, by default | 3.000e-04 |" in text
    assert "| Accuracy on questions | 0.7500 | 0.8000 |" in text
    quality |= {"tasks_passed": 0.9375, "tasks_passed_low": 0.7989, "tasks_passed_high": 0.9827}
    text = model_card(manifest(quality=quality, tasks=["data/phi-tiny/tasks.jsonl"], reference={"tasks_passed": 0.95}))
    assert "| Chat tasks passed | 0.9375 (0.80 to 0.98) | 0.9500 |" in text
    assert "phi-tiny/tasks.jsonl" in text


def test_the_answer_that_was_measured_stands_behind_the_instruction() -> None:
    sample = {"question": "Who?", "answer": "Ann", "said": "It is Ann.", "whole": True, "right": True}
    text = model_card(manifest(sample=sample))
    assert 'It answers, greedily as measured here (right: "Ann" is asked for):\n\n> It is Ann.\n' in text
    text = model_card(manifest(sample={**sample, "said": "Bob", "right": False}))
    assert '(wrong, as to every question that was tried as a chat: "Ann" is asked for):\n\n> Bob\n' in text


def test_the_front_matter_has_plain_text_whatever_the_manifest_has() -> None:
    tags = front_matter(model_card(manifest(cell__family=Family.INT4)))["tags"]
    assert "int4" in tags and "4-bit" in tags


def test_the_data_of_a_figure_and_the_licences_files_are_named() -> None:
    changes = {"quality__task_accuracy": 0.5, "license_files": ["LICENSE"]}
    text = model_card(manifest(data=["data/x/questions.jsonl", "data/x/evaluation.txt"], **changes))
    names = {result.metric_type: result.dataset_name for result in ModelCard(text).data.eval_results or []}
    assert (names["accuracy"], names["perplexity"]) == ("x/questions.jsonl", "x/evaluation.txt")
    assert "[LICENSE](LICENSE)" in text


def test_a_fine_tune_by_adapter_names_the_base_on_the_hub_the_adapter_and_both_digests() -> None:
    adapter = {"source": "my-lora", "base": "x/y", "method": "DoRA", "rank": 8, "sha256": {"adapter_config.json": "cd"}}
    for repo, base in (("microsoft/Phi-3.5-mini-instruct", "microsoft/Phi-3.5-mini-instruct"), ("folder", "x/y")):
        text = model_card(manifest(source__adapter=adapter, source__path_or_repo=repo))
        front = yaml.safe_load(text.split("---")[1])
        assert (front["base_model"], front["base_model_relation"]) == (base, "finetune")
        assert "with the adapter `my-lora` (DoRA, rank 8) merged" in text
        assert "- adapter_config.json: `cd`" in text and "ab" * 32 in text
