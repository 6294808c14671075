"""reports/index.html in a real browser: drawn, sorted, filtered; and nothing of a name runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.reporting.choice import recommend, targets_of
from pipeline.reporting.page.page import page
from pipeline.reporting.report import write_report
from tests.reporting.matrix import Matrix
from tests.reporting.pages import html_of, many
from tests.support.chromium import CHROMIUM, Elements, opened

pytestmark = [
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium"),
]
# what a reader does: sorts the table by size, twice; asks for the other target
USED = """<script>
const waiting = setInterval(() => {
  if (!document.body.dataset.drawn) return;
  clearInterval(waiting);
  const table = document.querySelector("#cells ~ .scroll table");
  const button = [...table.querySelectorAll("button")].find((one) => one.textContent === "size MB");
  const sizes = () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[2].textContent);
  for (const name of ["up", "down"]) { button.click(); document.body.dataset[name] = sizes().join(" "); }
  const target = document.querySelector("select[name=target]");
  target.value = "ios";
  target.dispatchEvent(new Event("change", { bubbles: true }));
  document.body.dataset.used = document.getElementById("count").textContent;
}, 20);
</script>"""


def test_a_browser_shows_the_verdicts_and_draws_the_pictures(matrix: Matrix, tmp_path: Path) -> None:
    _, rows = html_of(many(matrix))
    dom, console = opened(matrix.root / "reports/index.html", tmp_path / "profile")
    held = Elements(dom)
    assert not console
    assert held.having("data-drawn") and dom.count('class="marks"') == 2
    said = {one["data-verdict"]: one["data-choice"] for one in held.having("data-verdict")}
    assert said == {target: recommend(rows, target).choice for target in targets_of(rows)}
    assert "max_kl_nats 0.01" in dom.partition('class="marks"')[2]
    # the first target is selected: its cells are shown, the other's are not
    shown = {one["data-target"] for one in held.having("data-target") if "hidden" not in one}
    assert shown == {"cpu"} and ">8 of 16 cells<" in dom


def test_a_reader_sorts_and_filters(matrix: Matrix, tmp_path: Path) -> None:
    html, _ = html_of(many(matrix))
    path = tmp_path / "index.html"
    path.write_text(html.replace("</body>", f"{USED}</body>"), encoding="utf-8")
    dom, console = opened(path, tmp_path / "profile")
    (body,) = (held for tag, held in Elements(dom).found if tag == "body")
    assert not console
    assert body["data-up"] == "3.3 3.3 5.1 5.1 8.2 8.2 16.1 16.1" and body["data-down"].startswith("16.1 16.1 8.2")
    assert body["data-used"] == "8 of 16 cells"
    shown = {one["data-target"] for one in Elements(dom).having("data-target") if "hidden" not in one}
    assert shown == {"ios"} and "max_kl_nats 0.0001" in dom.partition('class="marks"')[2]


def test_a_hostile_name_runs_nothing_in_a_browser(matrix: Matrix, tmp_path: Path) -> None:
    name = '<img src=x onerror="document.title=1">'
    matrix.run(matrix.add("int4", model=name))
    rows = write_report(matrix.plan, matrix.root)
    path = tmp_path / "index.html"
    path.write_text(page(rows, matrix.plan), encoding="utf-8")
    dom, console = opened(path, tmp_path / "profile")
    held = Elements(dom)
    assert not console and held.having("data-drawn")
    assert not [tag for tag, _ in held.found if tag == "img"] and "<title>1" not in dom
