"""Hub ids: resolve a revision to its commit and download safetensors only. The only code that uses the network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError, first_line
from pipeline.files import copy_file

log = logging.getLogger(__name__)

ALLOWED = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja", "merges.txt", "vocab.json"]
IGNORED = ["*-lora/*"]  # Phi-4-multimodal's adapters, which its weights have as well
ALLOWED += ["README.md", "LICEN[CS]E*", "NOTICE*", "USE_POLICY*"]  # under which terms


def download(repo: str, revision: str, out: Path, code: bool = False) -> str:
    """Fill `out` with the repository's files at a revision; returns the commit it resolved to.

    Files come through the Hugging Face cache: a download that was cut resumes, and what is there needs no network.
    The repository's Python files come along only with `code` (trust_remote_code in the config).

    Raises CheckpointError for an unknown id or revision, a gated model, no network, or no safetensors.
    """
    from httpx2 import HTTPError
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"hub model {repo}@{revision}"
    try:
        snapshot = _snapshot(repo, revision, [*ALLOWED, *(["*.py"] if code else [])], where)
    except GatedRepoError:
        raise CheckpointError(
            "it is gated", where=where, hint="accept its licence on the hub, then: hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise CheckpointError("there is no such revision", where=where, hint="set model.<name>.revision") from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            "there is no such repository, or it is private",
            where=where,
            hint="check the id, or: hf auth login",
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, HTTPError, OSError) as error:
        raise CheckpointError(
            f"the hub cannot be reached or refused: {first_line(error)}",
            where=where,
            hint="check the network, or take a local folder: 'model=[local]' model.local.path=DIR",
        ) from None
    for path in sorted(snapshot.rglob("*")):
        if path.is_file():
            _link_content(path.resolve(), out / path.name)
    return snapshot.name


def _snapshot(repo: str, revision: str, patterns: list[str], where: str) -> Path:
    """The cached folder of the commit that the revision is now; without a network, of the one it was."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    only: dict[str, Any] = {"allow_patterns": patterns, "ignore_patterns": IGNORED}
    try:
        info = HfApi().model_info(repo, revision=revision)
    except (OfflineModeIsEnabled, HTTPError, OSError) as error:
        if isinstance(error, HfHubHTTPError):  # the hub answered
            raise
        try:
            cached = Path(snapshot_download(repo, revision=revision, local_files_only=True, **only))
        except LocalEntryNotFoundError:
            raise error from None
        log.info("%s: the hub is away, the cached commit %s is taken", where, cached.name[:12])
        return cached
    if not any(sibling.rfilename.endswith(".safetensors") for sibling in info.siblings or []):
        raise CheckpointError("it has no safetensors weights", where=where, hint="take a revision that has them")
    return Path(snapshot_download(repo, revision=revision, **only))


def _link_content(source: Path, target: Path) -> None:
    """A hard link where both are on one disk, so that a model is not there twice; else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        copy_file(source, target)
