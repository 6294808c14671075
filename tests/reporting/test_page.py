"""reports/index.html: one file that says what recommend says, whatever names it holds."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest

from pipeline.answers import Example
from pipeline.reporting.choice import recommend, targets_of
from pipeline.reporting.page.bundle import BUNDLE, VERSIONS
from pipeline.reporting.page.made import steps
from pipeline.reporting.page.page import page
from pipeline.reporting.page.samples import samples
from pipeline.reporting.report import write_report
from pipeline.reporting.uncertain import with_error
from pipeline.reporting.verdict import verdict
from tests.reporting.matrix import SPEED, Matrix
from tests.reporting.pages import html_of, many
from tests.support.chromium import Elements

AT = {"ttft_ms_p50": 40.0, "prefill_tokens_per_s": 900.0, "decode_tokens_per_s": 60.0, "peak_rss_bytes": 500_000_000}

pytestmark = pytest.mark.usefixtures("undrawn")
HOSTILE = "<script>alert(1)</script>"


def test_the_verdicts_are_those_of_recommend(matrix: Matrix) -> None:
    html, rows = html_of(many(matrix))
    said = {held["data-verdict"]: held["data-choice"] for held in Elements(html).having("data-verdict")}
    assert said == {target: recommend(rows, target).choice for target in targets_of(rows)}
    assert len(set(said.values())) == 2


def test_a_verdict_says_what_is_shipped_what_it_costs_and_what_else_there_is(four: Matrix) -> None:
    for cell in four.plan.cells:
        four.gate(cell, max_kl_nats=1e-4)
    four.run("phi-tiny_fp16_onnxruntime_cpu", decode_tokens_per_s=500.0)
    _, rows = html_of(four)
    said = verdict(rows, "cpu")
    assert said.lead.startswith("Ship fp16 onnxruntime: the fastest of the 3 within the gates; 8.2 MB, KL 4.8e-7 nats")
    assert "0.51 of the bytes of onnxruntime's fp32" in said.costs
    assert said.instead[0] == "int8 onnxruntime is 38 % smaller and 31 × worse (KL)."
    assert said.instead[1] == "fp32 onnxruntime is 96 % larger and equal to the reference but for rounding."


def test_a_verdict_names_what_comes_closest_where_nothing_passes(four: Matrix) -> None:
    for cell in four.plan.cells:
        four.gate(cell, max_package_mb=1)
    _, rows = html_of(four)
    said = verdict(rows, "cpu")
    assert said.lead == ("Nothing passes its gates. Closest is int4 onnxruntime: it misses max_package_mb 3.3 > 1.")
    assert not said.costs and not said.instead


def test_a_speed_of_a_busy_machine_is_in_no_verdict(four: Matrix) -> None:
    for cell in four.plan.cells:
        four.benchmark(cell, metrics=SPEED, noisy=True)
    _, rows = html_of(four)
    said = verdict(rows, "cpu")
    assert "tokens/s" not in said.lead + said.costs and "smallest" in said.lead


def test_the_page_needs_nothing_but_itself(four: Matrix) -> None:
    html, _ = html_of(four)
    assert not [held for name in ("src", "srcset", "action") for held in Elements(html).having(name)]
    links = [held["href"] for held in Elements(html).having("href")]
    assert all(link.startswith(("#", "data:")) or link.endswith(".png") for link in links)
    assert "url(" not in html.partition("</style>")[0] and "@import" not in html.partition("</style>")[0]


def test_what_a_name_holds_is_text(matrix: Matrix) -> None:
    cell = matrix.add("int4", model=HOSTILE)
    matrix.add("int8", model=HOSTILE)
    matrix.plan.excluded[HOSTILE] = HOSTILE
    entry = matrix.plan.cells[cell]
    rows = write_report(matrix.plan, matrix.root)
    html = page(rows, matrix.plan)
    assert entry.model == HOSTILE and HOSTILE not in html and "&lt;script&gt;alert(1)" in html
    assert len(re.findall("<script", html)) == 3


def test_a_hundred_cells_are_under_a_megabyte(matrix: Matrix) -> None:
    for number in range(100):
        cell = matrix.add(f"int4-recipe-{number}")
        matrix.run(cell, kl_nats_mean=1e-4 * (number + 1))
        matrix.gate(cell, max_kl_nats=1e-3, max_package_mb=3000, min_top1_agreement=0.9)
    html, _ = html_of(matrix)
    assert len(html.encode()) < 1_000_000


def test_figures_stand_with_their_errors(four: Matrix) -> None:
    for value, error, text in (
        (1.37e-3, 0.09e-3, "1.4e-3 ± 0.1e-3"),
        (1.20e-2, 0.04e-2, "1.20e-2 ± 0.04e-2"),
        (9.97e-3, 2.0e-3, "1.0e-2 ± 0.2e-2"),
        (0.5, 1e-9, "5.0e-1"),
        (0.0, 0.0, "0"),
    ):
        assert with_error(value, error) == text
    rows = write_report(four.plan, four.root)
    uneven = replace(rows[-1].metrics, kl_nats_mean_se_common=2e-5, top1_agreement_se_common=0.0012)
    html = page([*rows[:-1], replace(rows[-1], metrics=uneven)], four.plan)
    assert "2.8e-4 ± 0.2e-4" in html and "98.32 ± 0.12" in html and "75.0 (30.1 to 95.4)" in html
    assert '"kl_low": 0.0002408' in html


def test_where_packages_depart_from_the_reference_their_texts_stand_side_by_side(matrix: Matrix) -> None:
    for backend in ("onnxruntime", "openvino"):
        matrix.run(matrix.add("int4", backend=backend))
    rows = write_report(matrix.plan, matrix.root)
    texts = ("The people elected <b>Reasa</b>.", "The people elected Tom.")
    held = [
        replace(row, examples=(Example("Who won?", "The people elected Ann.", text, 3),))
        for row, text in zip(rows, texts, strict=True)
    ]
    html = page(held, matrix.plan)
    assert html.count("<q>Who won?</q>") == 1 and html.count("<dd>The people elected Ann.</dd>") == 1
    assert "<dd>The people elected <mark>Tom.</mark></dd>" in html and "<b>" not in html


def test_speeds_at_other_lengths_are_columns_of_those_that_have_them(four: Matrix) -> None:
    four.benchmark("phi-tiny_int4_onnxruntime_cpu", metrics=SPEED, extra={"prefill_512_tokens_per_s": 930.56})
    html, _ = html_of(four)
    table = html.partition('id="speed"')[2].partition("</table>")[0]
    assert ">prefill 512 tok/s</button>" in table and table.count(">930.6</td>") == 1


def test_speeds_behind_longer_prompts_have_a_line_for_each_length(four: Matrix) -> None:
    longer = [{**AT, "prompt_tokens": 1024, "peak_rss_bytes": 412_000_000}, {**AT, "prompt_tokens": 4096}]
    four.benchmark("phi-tiny_int4_onnxruntime_cpu", metrics=SPEED, longer=longer)
    html, _ = html_of(four)
    table = html.partition("Behind longer prompts")[2].partition("</table>")[0]
    assert table.count("<tr") == 1 + 3 and ">4,096</td>" in table and ">412</td>" in table


def test_the_page_names_the_checkpoint_and_the_data_by_their_digests(matrix: Matrix) -> None:
    cells = [matrix.add(precision) for precision in ("int8", "int4")]
    matrix.run(cells[1])
    matrix.packaged(cells[1], commit="c0ffee", checkpoint={"model.safetensors": "de" * 32})
    html, _ = html_of(matrix)
    made = html.partition('id="made"')[2]
    assert f"model.safetensors: sha256 {'de' * 32}" in made and f"text.txt: sha256 {'cd' * 32}" in made
    assert "(commit c0ffee)" in made


def test_a_package_is_shown_with_the_lines_that_run_it(matrix: Matrix) -> None:
    cell = matrix.add("int4")
    matrix.run(cell)
    matrix.packaged(cell, run='```bash\npip install x\n```\n\n```python\nrun("a & <b>")\n```\nOn cpu: as it is.\n')
    html, rows = html_of(matrix)
    assert steps(rows[0]) == [("bash", "pip install x"), ("python", 'run("a & <b>")'), ("", "On cpu: as it is.")]
    made = html.partition('id="made"')[2]
    assert html.count(">pip install x</pre>") == 2 and "run(&#34;a &amp; &lt;b&gt;&#34;)</pre>" in made


def test_the_page_names_its_commit_and_stays_as_it_is_where_only_that_changed(four: Matrix) -> None:
    html, _ = html_of(four)
    assert 'id="commit"' not in html  # no repository

    def git(*words: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        subprocess.run(["git", *who, *words], cwd=four.root, check=True, capture_output=True)

    (four.root / "params.yaml").write_text("a: 1\n", encoding="utf-8")
    (four.root / "dvc.lock").write_text("a: 1\n", encoding="utf-8")
    git("init", "-q")
    git("add", "params.yaml", "dvc.lock")
    git("commit", "-qm", "one")
    for name in ("params.yaml", "dvc.lock"):
        (four.root / name).write_text("a: 2\n", encoding="utf-8")
    first, _ = html_of(four)
    assert re.search(r'<code id="commit">[0-9a-f]{40}, with changes in params.yaml</code>', first)
    git("commit", "-qam", "two")
    assert html_of(four)[0] == first
    four.run("phi-tiny_int4_onnxruntime_cpu", decode_tokens_per_s=1.0)
    assert re.search(r'<code id="commit">[0-9a-f]{40}</code>', html_of(four)[0])


def test_every_package_that_departs_has_a_text(matrix: Matrix) -> None:
    rows = []
    for number in range(8):
        matrix.run(matrix.add(f"int4-{number}"))
    for number, row in enumerate(write_report(matrix.plan, matrix.root)):
        prompts = [f"prompt {number}"] if number < 6 else ["prompt 0", "prompt 1"]
        rows.append(replace(row, examples=tuple(Example(prompt, "a b", "a c", 1) for prompt in prompts)))
    shown = samples(rows)
    assert {one.row.id for prompt in shown for one in prompt.samples} == set(matrix.plan.cells)
    assert [len(prompt.samples) for prompt in shown] == [3, 3, 1, 1, 1, 1]


def test_a_page_of_nothing_says_so(matrix: Matrix) -> None:
    matrix.add("fp32")
    html, _ = html_of(matrix)
    assert "Nothing can be shipped" in html and "Nothing to draw" in html


def test_the_library_is_the_one_that_is_named() -> None:
    import gzip

    text = gzip.decompress(BUNDLE.read_bytes()).decode()
    for name, version in VERSIONS.items():
        assert f"/*! {name} {version}\n\nCopyright" in text
    assert "sourceMappingURL" not in text
