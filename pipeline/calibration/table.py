"""A table of formats, {matrix of the checkpoint: format}, held against the checkpoint that it is for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pipeline.errors import ArtifactError
from pipeline.model.checkpoint import EMBEDDING, HEAD

Table = Mapping[str, str]


def check_table(table: Table, matrices: Collection[str]) -> None:
    """Raises ArtifactError for a table that names another matrix or leaves one out; tied ones may share an entry."""
    foreign = sorted(set(table) - set(matrices))
    lacking = sorted(name for name in matrices if not format_of(table, name))
    if foreign or lacking:
        what = f"has {foreign[0]}, which the checkpoint lacks" if foreign else f"has no {lacking[0]}"
        raise ArtifactError(f"the table of formats is of another model: it {what}")


def format_of(table: Table, matrix: str) -> str:
    """The format of a matrix: of the lm_head the embedding's, where it has none of its own. Empty: there is none."""
    return table.get(matrix) or (table.get(EMBEDDING, "") if matrix == HEAD else "")
