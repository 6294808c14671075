"""docs/performance.md, pictures.md and fit.md from benchmarks/results/*.json: tables between their markers, and plots.

python benchmarks/report.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import frontier  # noqa: E402

RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"
SEARCHES = ROOT / "docs" / "fit.md"
SEEING = ROOT / "docs" / "pictures.md"
PLOT = ROOT / "docs" / "images" / "scale.png"
END = "<!-- end -->\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def memory(results: list[dict[str, Any]]) -> str:
    """One row per cell: bound, peak and time."""
    rows = []
    for result in results:
        checkpoint = result["checkpoint"]
        layer = 1000 + 2 * checkpoint["largest_tensor_fp32_mb"]
        bounds = {"mlx": 3000, "openvino": round(1300 * checkpoint["gb"])}
        for cell, found in result["cells"].items():
            stages, sizes = found["stages"], found["disk_mb"]
            seconds = sum(stages[name]["wall_s"] for name in ("convert", "quantize"))
            later = [
                f"{stages[name]['peak_anon_mb']:,}" if name in stages else "–" for name in ("evaluate", "benchmark")
            ]
            limit = f", in a cgroup of {result['limit_gb']:g} GB" if result.get("limit_gb") else ""
            rows.append(
                [
                    f"{checkpoint['name']}, {checkpoint['layers']} layers, {checkpoint['gb']:,.1f} GB{limit}",
                    cell.replace(":", " "),
                    f"{found['peak_anon_mb']:,}",
                    f"{bounds.get(cell.partition(':')[2], layer):,}",
                    f"{sizes['build']:,}",
                    f"{seconds:,.0f}",
                    *later,
                ]
            )
    header = [
        "checkpoint",
        "cell",
        "peak anonymous MB",
        "goal MB",
        "build MB",
        "convert and quantize s",
        "evaluate MB",
        "benchmark MB",
    ]
    return table(header, rows)


def sights(results: list[dict[str, Any]]) -> str:
    """One row per cell of a checkpoint that sees or hears: peak anonymous MB of each stage, the goal with the tower."""
    rows = []
    for result in results:
        checkpoint = result["checkpoint"]
        for cell, found in result["cells"].items():
            tower, largest = found["disk_mb"]["tower"], checkpoint["largest_tensor_fp32_mb"]
            openvino = cell.endswith(":openvino")
            goal = round(1300 * checkpoint["gb"]) if openvino else 1000 + 2 * largest + tower
            stages = {**result["shared"], **found["stages"]}
            peaks = [f"{stages[name]['peak_anon_mb']:,}" for name in ("fetch", "quantize", "answer", "package")]
            about = f"{checkpoint['name']}, {result['modality']}, {checkpoint['gb']:,.1f} GB"
            seconds = f"{stages['quantize']['cpu_s']:,.0f}"
            rows.append([about, cell.replace(":", " "), *peaks, f"{goal:,}", f"{found['disk_mb']['build']:,}", seconds])
    header = ["checkpoint", "cell", "fetch", "quantize", "answer", "package", "goal", "build MB", "quantize CPU s"]
    return table(header, rows)


def tools(result: dict[str, Any]) -> str:
    rows = []
    for backend, found in result["backends"].items():
        if "skipped" in found:
            rows.append([f"{backend} {found['recipe']}", f"skipped: {found['skipped']}", *["–"] * 7])
            continue
        pairs = [f"{found['ours'][key]:,.0f} / {found['theirs'][key]:,.0f}" for key in found["ratio"]]
        ratios = [f"{ratio:.2f}" for ratio in found["ratio"].values()]
        way = "streamed" if found["streamed"] else "with an export"
        row = [x for pair in zip(pairs, ratios, strict=True) for x in pair]
        row += ["{ours:,} / {theirs:,}".format(**found["package_mb"]), "{same} of {theirs}".format(**found["tensors"])]
        rows.append([f"{backend} {found['recipe']}, {way}", *row])
    header = ["conversion", "wall s, ours / theirs", "ratio", "CPU s", "ratio", "peak MB", "ratio"]
    header += ["package MB", "tensors with the same bytes"]
    commands = [
        f"- {backend}: `{' && '.join(found['command'])}`\n"
        for backend, found in result["backends"].items()
        if "ratio" in found
    ]
    return table(header, rows) + "\nTheirs:\n\n" + "".join(commands)


def decode(result: dict[str, Any]) -> str:
    """Packages against the reference tool's and against memory bandwidth."""
    rows = []
    for backend, found in result["backends"].items():
        theirs, speeds = found.get("theirs"), found["ours"]
        pairs = [
            f"{speed:,.1f} / {theirs[key]:,.1f}" if theirs else f"{speed:,.1f} / –" for key, speed in speeds.items()
        ]
        ratios = [f"{found['ratio'][key]:.2f}" if theirs else "–" for key in speeds]
        row = [backend, *(x for pair in zip(pairs, ratios, strict=True) for x in pair)]
        row += [
            f"{found['copy_gb_per_s']:.1f}",
            f"{found['mb_per_token']['ours']:,}",
            f"{found['bound_tokens_per_s']:,.1f}",
            f"{found['fraction_of_bound']:.2f}",
        ]
        rows.append(row)
    header = ["package", "decode tokens/s, ours / theirs", "ratio", "prefill tokens/s", "ratio"]
    header += ["GB/s of copies", "MB read per token", "bound tokens/s", "fraction of it"]
    return table(header, rows)


def evaluation(result: dict[str, Any]) -> str:
    names = ("evaluate", "forward_passes", "bare_loop")
    rows = [
        [
            name,
            *(f"{found[f'{of}_tokens_per_s']:,}" for of in names),
            f"{found['ratio']:.2f}",
            f"{found['cpu_ratio']:.2f}",
        ]
        for name, found in result["evaluation"].items()
    ]
    return table(["", "evaluate tokens/s", "its forward passes", "a bare loop", "ratio to it", "CPU to forward"], rows)


def scale(results: list[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        cold, idle = result["cold"], result["nothing_to_do"]
        rows.append(
            [
                str(result.get("cells", result.get("suite"))),
                str(int(cold["stages_run"])),
                f"{cold['wall_s']:,.0f}",
                f"{100 * cold['share_not_work']:.0f} %",
                f"{result['per_stage_ms']:,}",
                f"{idle['wall_s']:.1f}",
                f"{result['compose']['wall_s']:.1f}",
            ]
        )
    header = [
        "cells",
        "stages",
        "cold s",
        "not the stages' work",
        "ms per stage of it",
        "nothing to do, s",
        "compose s",
    ]
    return table(header, rows)


def plot(results: list[dict[str, Any]]) -> None:
    """Overhead per stage and idle time against the number of cells."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    cells = [result["cells"] for result in results]
    panels = (
        ("overhead per stage, ms", [result["per_stage_ms"] for result in results]),
        ("dvc repro with nothing to do, s", [result["nothing_to_do"]["wall_s"] for result in results]),
    )
    for axes, (title, values) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.plot(cells, values, marker="o", color="#0072B2")
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("cells")
        axes.set_ylim(bottom=0)
        axes.grid(color="#dddddd")
        axes.set_axisbelow(True)
    figure.savefig(PLOT, metadata={"Software": None})


def olive(result: dict[str, Any]) -> str:
    rows = []
    named = {"ours": "this project, the whole line", "alike": "without questions and chat tasks", "theirs": "Olive"}
    for who, name in named.items():
        of, ratio = result[who], result["ratio"].get(who, {"cpu_s": 1, "wall_s": 1})
        found = ", ".join(f"{cell} {figures['perplexity']:.4f}" for cell, figures in of["cells"].items())
        times = [f"{of[key]:,.0f} ({ratio[key]:.2f} ×)" for key in ("cpu_s", "wall_s")]
        rows.append([name, *times, found])
    return table(["", "CPU s", "wall s", "perplexity"], rows)


def fill(text: str, name: str, content: str) -> str:
    """The page with the content between <!-- name --> and <!-- end -->."""
    start = f"<!-- {name} -->\n"
    if start not in text:
        raise SystemExit(f"no line {start.strip()}")
    before, _, rest = text.partition(start)
    after = rest.partition(END)[2]
    return f"{before}{start}\n{content}\n{END}{after}"


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    sections: dict[str, Callable[[Any], str]] = {
        "memory": memory,
        "compare_tools": tools,
        "decode": decode,
        "evaluation": evaluation,
        "scale": scale,
        "against_olive": olive,
    }
    for name, write in sections.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            text = fill(text, name, write(found))
            if name == "scale":
                plot(found)
    PAGE.write_text(text, encoding="utf-8")
    if (path := RESULTS / "memory_multimodal.json").is_file():
        found = sights(json.loads(path.read_text(encoding="utf-8")))
        SEEING.write_text(fill(SEEING.read_text("utf-8"), "memory_multimodal", found), encoding="utf-8")
    if (path := RESULTS / "frontier.json").is_file():
        rows = json.loads(path.read_text(encoding="utf-8"))
        frontier.draw(rows)
        SEARCHES.write_text(fill(SEARCHES.read_text("utf-8"), "frontier", frontier.table(rows)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
