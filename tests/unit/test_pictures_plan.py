"""Which combinations of a model that sees are cells, and what is wrong with one in the configuration."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from tests.support.tiny import ROOT
from tests.unit.test_plan import plan_of

SEES = "model.phi-tiny-vision"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_suite_opens_two_backends_and_says_why_no_other() -> None:
    plan = plan_of(["suite=vision"])
    assert {cell.backend for cell in plan.cells.values()} == {"onnxruntime", "openvino"}
    reasons = "\n".join(plan.excluded.values())
    for said in (
        "neither its architecture nor its projector",
        "mlx-vlm 0.7.10 computes another model",
    ):
        assert said in reasons
    entry = plan.models["phi-tiny-vision"]
    assert (entry.text, entry.questions) == ("data/pictures/evaluation.jsonl", "data/pictures")
    assert entry.weights == "artifacts/models/phi-tiny-vision"


@pytest.mark.parametrize(
    ("model", "backends"),
    [
        ("phi-4-multimodal", ("onnxruntime", "openvino")),
        ("phi-4-multimodal-speech", ("onnxruntime",)),
        ("phi-3.5-vision", ("onnxruntime",)),
    ],
)
def test_the_real_models_are_planned_without_network_or_files(model: str, backends: tuple[str, ...]) -> None:
    plan = plan_of([f"model=[{model}]", "precision=[int4]", "target=[cpu]", "backend=[onnxruntime,openvino]"])
    assert list(plan.cells) == [f"{model.replace('.', '-')}_int4_{backend}_cpu" for backend in backends]


def test_speech_is_planned_with_the_reasons_of_those_that_do_not_take_it() -> None:
    plan = plan_of(["model=[phi-4-multimodal-speech]", "precision=[int4]", "target=[cpu,apple-silicon]"])
    assert list(plan.cells) == ["phi-4-multimodal-speech_int4_onnxruntime_cpu"]
    entry = plan.models["phi-4-multimodal-speech"]
    assert (entry.text, entry.questions) == ("data/sounds/evaluation.jsonl", "data/sounds")
    assert (entry.fetch.modality, entry.reference.tasks) == ("speech", ())
    reasons = "\n".join(plan.excluded.values())
    for said in ("leaves the sound out", "neither its architecture nor its projector", "quantizes the sum of both"):
        assert said in reasons


def test_the_cookbooks_setting_of_phi_3_5_vision() -> None:
    plan = plan_of(["suite=cookbook-vision"])
    made = {f"phi-3-5-vision_{precision}_onnxruntime_cpu" for precision in ("fp32", "int4")}
    assert set(plan.cells) == made
    assert plan.models["phi-3-5-vision"].text == "data/pictures/evaluation.jsonl"
    reasons = "\n".join(plan.excluded.values())
    assert "exchanges height and width" in reasons and "mixes the tiles" in reasons


def test_forms_and_recipes_that_take_no_pictures_are_left_out() -> None:
    words = ["model=[phi-tiny-vision]", "backend=[onnxruntime]", "precision=[int4,fit]", "target=[cpu,qnn-htp]"]
    plan = plan_of(words)
    assert list(plan.cells) == [f"phi-tiny-vision_{precision}_onnxruntime_cpu" for precision in ("int4", "fit")]
    assert "form qnn takes no pictures" in plan.excluded["phi-tiny-vision_int4_onnxruntime_qnn-htp"]


def test_formats_are_searched_for_the_decoder_and_its_embedding_lies_apart() -> None:
    plan = plan_of(["model=[phi-tiny-vision]", "backend=[onnxruntime,openvino]", "precision=[fit]", "target=[cpu]"])
    assert len(plan.fits) == 2 and all(entry.fit.modality == "vision" for entry in plan.fits.values())
    assert all(set(entry.variants.formats) == {"lm_head", "layers"} for entry in plan.variants.values())


def test_a_tower_has_bits_where_there_is_one() -> None:
    words = ["model=[phi-tiny,phi-tiny-vision]", "backend=[onnxruntime]", "precision=[int8-tower]", "target=[cpu]"]
    plan = plan_of(words)
    assert list(plan.cells) == ["phi-tiny-vision_int8-tower_onnxruntime_cpu"]
    assert "it has no tower" in plan.excluded["phi-tiny_int8-tower_onnxruntime_cpu"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [f"{SEES}.modality=touch"],
            "modality 'touch' is not known: Phi4MMForCausalLM is taken with `vision` or `speech`",
        ),
        ([f"{SEES}.modality="], "modality is not set"),
        ([f"{SEES}.pictures="], "pictures is empty: JSONL rows of image, question and answer"),
        ([f"{SEES}.pictures=away.jsonl"], "there is no file away.jsonl"),
        ([f"{SEES}.pictures=data/english/questions.jsonl"], "questions.jsonl:1: `image` is missing"),
        ([f"{SEES}.adapter=models/phi-tiny"], "adapter"),
        (["model=[phi-tiny]", "model.phi-tiny.modality=vision"], "Phi3ForCausalLM takes text alone here"),
        ([f"{SEES}.modality=speech"], "sounds is empty: JSONL rows of audio, question and answer"),
        ([f"{SEES}.modality=speech", f"{SEES}.sounds=data/pictures/evaluation.jsonl"], "`audio` is missing"),
        (["model=[phi-3.5-vision]", "model.phi-3-5-vision.modality=speech"], "Phi3VForCausalLM is taken with `vision`"),
    ],
)
def test_a_mistake_is_said_before_anything_runs(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_of(["suite=vision", *words])


def test_a_row_whose_picture_is_away_is_named(tmp_path: object) -> None:
    rows = ROOT / str(tmp_path) / "rows.jsonl"
    rows.write_text('{"image": "a.png", "question": "?", "answer": "."}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="names a.png, which is no file"):
        plan_of(["suite=vision", f"{SEES}.pictures={rows}"])
