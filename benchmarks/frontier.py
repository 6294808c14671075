"""What searches found on a model, and its fixed recipes: collected from projects that ran them, and drawn.

    python benchmarks/frontier.py --into benchmarks/results/frontier.json /data/onnxruntime /data/openvino …
    python benchmarks/report.py

Each folder is a project after `dvc repro`: its `reports/cells.json` has the measured figures, `artifacts/fits` what was
predicted. Of a search all trials are kept, by bytes of the build, so that one point is one build.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PLOT = ROOT / "docs" / "images" / "frontier.png"
COLOURS = {"onnxruntime": "#0072B2", "openvino": "#D55E00", "llamacpp": "#009E73", "mlx": "#CC79A7"}
LABELS = {"onnxruntime": (8, -13), "openvino": (-9, -13), "llamacpp": (-9, -13), "mlx": (9, 5)}  # points off a diamond


def collected(project: Path) -> list[dict[str, Any]]:
    """Rows of one project: backend, option, MB, bits a weight, KL with its error, top-1, predicted where found."""
    rows = []
    for cell in json.loads((project / "reports/cells.json").read_text("utf-8")):
        figures = cell["metrics"]
        if figures["kl_nats_mean"] is None:
            continue
        row = {
            "backend": cell["backend"],
            "option": cell["option"],
            "mb": round(figures["size_bytes"] / 1e6, 1),
            "bits_per_weight": round(figures["bits_per_weight"], 2),
            "kl_nats": figures["kl_nats_mean"],
            "kl_nats_se": figures["kl_nats_mean_se"],
            "top1": round(figures["top1_agreement"], 4),
            "tokens": figures["evaluated_tokens"],
        }
        path = project / "artifacts/fits" / f"{cell['model']}_{cell['option']}_{cell['backend']}.json"
        if path.is_file():
            found = json.loads(path.read_text("utf-8"))
            taken = found["trials"][found["chosen"]]
            beside = taken["build_bytes"] - taken["weight_bits"] / 8
            row |= {
                "predicted": taken["predicted"],
                "trials": len(found["trials"]),
                "frontier": [[(at["weight_bits"] / 8 + beside) / 1e6, at["kl_nats_mean"]] for at in found["frontier"]],
            }
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line a build, backend by backend, the largest first."""
    lines = [
        "| backend | recipe | size MB | bits/w | KL nats | top-1 % | predicted |\n",
        "|---|---|---:|---:|---:|---:|---:|\n",
    ]
    order = list(dict.fromkeys(row["backend"] for row in rows))
    for row in sorted(rows, key=lambda row: (order.index(row["backend"]), -row["mb"])):
        predicted = f"{row['predicted']:.1e}" if "predicted" in row else ""
        figures = f"{row['kl_nats']:.2g} ± {row['kl_nats_se']:.1g} | {100 * row['top1']:.1f} | {predicted}"
        lines.append(f"| {row['backend']} | `{row['option']}` | {row['mb']} | {row['bits_per_weight']} | {figures} |\n")
    return "".join(lines)


def draw(rows: list[dict[str, Any]]) -> None:
    """KL against size: what was predicted as lines, builds found as diamonds, fixed recipes as dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for backend in dict.fromkeys(row["backend"] for row in rows):
        of, colour = [row for row in rows if row["backend"] == backend], COLOURS[backend]
        lines = [row["frontier"] for row in of if "frontier" in row]
        if lines:
            axes.plot(*zip(*lines[-1], strict=True), linestyle="--", linewidth=1.2, color=colour)
        for row in of:
            found = "frontier" in row
            axes.errorbar(
                row["mb"],
                row["kl_nats"],
                yerr=row["kl_nats_se"],
                marker="D" if found else "o",
                markersize=8 if found else 5,
                color=colour,
                linestyle="none",
            )
            beside = LABELS[backend] if found else (7, 5)
            axes.annotate(
                row["option"],
                (row["mb"], row["kl_nats"]),
                xytext=beside,
                ha="right" if beside[0] < 0 else "left",
                textcoords="offset points",
                fontsize=8,
                color=colour,
                fontweight="bold" if found else "normal",
            )
        axes.plot([], [], marker="o", linestyle="none", color=colour, label=backend)
    sizes = [row["mb"] for row in rows]
    axes.set(yscale="log", xlabel="size, MB", xlim=(0.9 * min(sizes), 1.12 * max(sizes)))
    axes.set_title("KL to the fp32 reference, nats per token", loc="left", fontsize=10)
    axes.grid(which="both", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    figure.savefig(PLOT, metadata={"Software": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", type=Path, nargs="+")
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [row for project in arguments.projects for row in collected(project)]
    arguments.into.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
