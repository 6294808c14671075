"""What every backend must keep, on its real runtime: subclass BackendContract and name the backend."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipeline.backends.process import ask_runtime
from pipeline.backends.reading import CHATS, check_reading, renderings
from pipeline.backends.registry import load_backend
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import PipelineError, QualityError
from pipeline.harness.run import setup
from pipeline.metrics.decode import check_decode
from pipeline.metrics.divergence import score_window, totals
from pipeline.model.side_files import stop_ids
from pipeline.packaging.manifest import digests
from pipeline.types import Checkpoint
from tests.contract.switching import Switching
from tests.contract.workshop import Workshop, reference_of
from tests.support.backends import conf_of, order
from tests.support.tiny import ROOT, tiny_config, write_canonical, write_checkpoint

HEAVY = (
    "torch",
    "transformers",
    "onnx",
    "onnxruntime",
    "onnxruntime_genai",
    "openvino",
    "nncf",
    "mlx",
    "gguf",
    "llama_cpp",
)


def recipes_of(name: str) -> list[tuple[str, str]]:
    """Of text models: a tower's bits are tested with the towers."""
    found = conf_of(name)["recipes"]
    return [(family, recipe) for family in found for recipe, said in found[family].items() if "tower_bits" not in said]


class BackendContract(Switching):
    """The promises. `name` is the backend's; `kl_bound` the largest mean KL of a family on random weights."""

    name: str
    tokenizes = True  # whether its packages have a tokenizer of their own
    kl_bound = {"fp32": 1e-6, "fp16": 1e-4, "bf16": 1e-3, "int8": 2e-2, "int4": 0.2}

    @pytest.fixture(scope="class")
    def workshop(self, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
        setup()  # as every stage does before it touches a tool
        root = tmp_path_factory.mktemp(self.name)
        folder = write_checkpoint(root / "model")
        checkpoint = Checkpoint("tiny", folder, folder, tiny_config())
        return Workshop(self.name, load_backend(self.name), conf_of(self.name), checkpoint, root)

    @pytest.fixture(scope="class")
    def reference(self, workshop: Workshop) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = np.random.default_rng(1).integers(3, 2000, (2, 48))
        return (ids, *reference_of(workshop.checkpoint.folder, ids))

    def test_importing_it_imports_no_ml_library(self) -> None:
        code = (
            "import sys; from pipeline.backends.registry import load_backend\n"
            f"load_backend({self.name!r})\nprint([name for name in {HEAVY!r} if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        assert done.stdout.strip() == "[]", done.stdout + done.stderr

    def test_its_tools_are_installed_in_the_versions_that_its_yaml_requires(self, workshop: Workshop) -> None:
        from pipeline.harness.host import tool_facts

        facts = tool_facts(workshop.conf["requires"])
        assert facts["usable"] and not facts["wrong"], facts

    def test_an_export_is_byte_identical_the_second_time(self, workshop: Workshop) -> None:
        form = next(iter(workshop.conf["forms"]))
        assert digests(workshop.export(form)) == digests(workshop.export(form, "-again"))

    def test_every_recipe_scores_generates_and_counts(self, workshop: Workshop, reference: Any, recipe: Any) -> None:
        family, name = recipe
        made = workshop.recipe(family, name)
        build, stats = workshop.build(made)
        ids, hidden, head = reference
        with workshop.backend.open(build) as session:
            sums = [score_window(row, session.logits(row[None, :])[0], hidden[i], head) for i, row in enumerate(ids)]
            prompts = [row[:16].tolist() for row in ids]
            answer = ask_runtime(self.name, build, RuntimeRequest("generate", prompts, 12)).value["tokens"]
            decode = check_decode(prompts, answer, session.logits)
        assert totals(sums).kl_nats_mean < self.kl_bound.get(family, self.kl_bound["int8"])
        assert decode.tokens == 24
        if made.method == "none":
            assert stats.operators == 0
        else:
            assert stats.operators > 0 and stats.bits_per_weight < 20  # the embedding stays fp32

    def test_logits_are_the_same_the_second_time_and_for_a_batch(self, workshop: Workshop, reference: Any) -> None:
        build, _ = workshop.build(workshop.recipe("fp32", "default"))
        ids = reference[0]
        with workshop.backend.open(build) as session:
            first, again = session.logits(ids[:1]), session.logits(ids[:1])
            batch = session.logits(ids)
        assert first.dtype == np.float32 and (first == again).all()
        assert np.abs(batch[:1] - first).max() < 1e-4

    def test_a_build_is_byte_identical_the_second_time(self, workshop: Workshop) -> None:
        made = workshop.recipe("int4", "default")
        assert digests(workshop.build(made)[0]) == digests(workshop.build(made, "-again")[0])

    @pytest.mark.parametrize("family", ["fp16", "int8", "int4"])
    def test_a_streamed_build_is_the_converted_and_quantized_one_byte_for_byte(
        self, workshop: Workshop, tmp_path: Path, family: str
    ) -> None:
        made = workshop.recipe(family, "default")
        build, stats = workshop.build(made)
        form = workshop.conf["forms"][made.form]
        wanted = order(made, tmp_path, workshop.calibration(made), workshop.checkpoint)
        streamed = workshop.backend.stream(workshop.checkpoint, form, wanted)
        assert digests(tmp_path) == digests(build) and streamed == stats
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in build.iterdir())

    def test_a_package_is_plain_files_and_generates_what_its_build_generates(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        out = workshop.root / "package"
        out.mkdir()
        workshop.backend.package(build, workshop.checkpoint, {}, out)
        assert digests(out), "an empty package"
        request = RuntimeRequest("generate", [[5, 6, 7, 8]], 8)
        answers = [ask_runtime(self.name, folder, request).value for folder in (build, out)]
        assert answers[0] == answers[1] and len(answers[1]["tokens"][0]) == 8

    def test_a_package_reads_and_stops_as_its_checkpoint_and_one_that_does_not_is_refused(
        self, workshop: Workshop, tmp_path: Path
    ) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        package, model = tmp_path / "package", tmp_path / "model"
        package.mkdir()
        workshop.backend.package(build, workshop.checkpoint, {}, package)
        shutil.copytree(workshop.checkpoint.folder, model)
        check_reading(self.name, package, model, "cell")
        if not self.tokenizes:
            return
        template = model / "chat_template.jinja"
        whole = template.read_text(encoding="utf-8")
        template.write_text(whole.replace("<|user|>", "<|human|>"), encoding="utf-8")
        with pytest.raises(QualityError, match="chat 1: token 1 is .<.user.>., not .*"):
            check_reading(self.name, package, model, "cell")
        template.write_text(whole + "{% if tools %}{{ tools | tojson }}{% endif %}", encoding="utf-8")
        with pytest.raises(QualityError, match="renders another text of chat 3: token "):
            check_reading(self.name, package, model, "cell")
        template.write_text(whole, encoding="utf-8")
        stops = {"eos_token_id": [2037, 2044, 7], "bos_token_id": 1}
        (model / "generation_config.json").write_text(json.dumps(stops), encoding="utf-8")
        with pytest.raises(QualityError, match=r"cell: the package stops at .*, the checkpoint at \[7, 2037, 2044\]"):
            check_reading(self.name, package, model, "cell")

    def test_a_chat_is_answered_by_the_packages_own_template_and_never_without_end(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        right = renderings(workshop.checkpoint.folder)
        chats = [chat for chat, _, _ in right]
        request = RuntimeRequest("chat", [], 6, chats=chats, context=128)
        found = ask_runtime(self.name, build, request).value
        if not self.tokenizes:
            assert not found
            return
        assert found["chats"] == [text for _, _, text in right]
        assert len(found["said"]) == len(found["ended"]) == len(chats)
        assert all(len(said) < 6 * 40 for said in found["said"])  # a random model goes on; tokens are short
        assert found == ask_runtime(self.name, build, request).value

    @pytest.mark.slow
    def test_an_answer_ends_where_the_checkpoint_does(self, tmp_path: Path) -> None:
        """Of a model that says one of two end tokens, whatever it is asked."""
        if not self.tokenizes:
            return
        folder = tmp_path / "model"
        config = write_canonical(folder)
        tensors, stops = load_file(folder / "model.safetensors"), stop_ids(folder)
        head = tensors["lm_head.weight"]
        head[:] = 0
        head[stops[0]], head[stops[1]] = 1, -1
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        backend, out = load_backend(self.name), tmp_path / "export"
        out.mkdir()
        checkpoint = Checkpoint("tiny", folder, folder, config)
        backend.convert(checkpoint, conf_of(self.name)["forms"]["fp32"], out)
        request = RuntimeRequest("chat", [], 6, chats=[CHATS[0]], context=128)
        found = ask_runtime(self.name, out, request).value
        assert (found["said"], found["ended"]) == ([""], [True])

    def test_its_runtime_measures(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        prompts = [list(range(3, 35)), [3 + i % 200 for i in range(600)]]
        request = RuntimeRequest("measure", prompts, 6, threads=1, warmup=1, runs=3)
        answer = ask_runtime(self.name, build, request)
        (longer,) = answer.value["longer"]
        assert answer.value["load_s"] > 0 and answer.peak_rss_bytes > 10_000_000
        assert 10_000_000 < answer.value["peak_rss_bytes"] <= longer["peak_rss_bytes"]
        assert median(longer["ttft_ms"]) > 2 * median(answer.value["ttft_ms"])  # not from a cache of prefixes
        for name in ("ttft_ms", "prefill_tokens_per_s", "decode_tokens_per_s"):
            for found in (answer.value, longer):
                assert len(found[name]) == 3 and min(found[name]) > 0

    def test_a_package_that_is_cut_is_one_clear_line(self, workshop: Workshop, tmp_path: Path) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        cut = tmp_path / "cut"
        shutil.copytree(build, cut)
        largest = max((path for path in cut.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
        with pytest.raises(PipelineError) as caught:
            ask_runtime(self.name, cut, RuntimeRequest("generate", [[5, 6, 7]], 4))
        assert len(str(caught.value).splitlines()) == 1

    def test_the_run_instruction_names_the_package(self, workshop: Workshop) -> None:
        build, _ = workshop.build(workshop.recipe("int4", "default"))
        assert "my-package" in workshop.backend.run_instruction(build, "my-package", 'Who "is" {he}?')
