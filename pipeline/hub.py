"""Hub ids: resolve a revision to its commit and download safetensors only. The only code that uses the network."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import CheckpointError

ALLOWED = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja", "merges.txt", "vocab.json"]


def download(repo: str, revision: str, out: Path, code: bool = False) -> str:
    """Fill `out` with the repository's files at a revision; returns the commit it resolved to.

    Its Python files come along only with `code` (trust_remote_code in the config).

    Raises CheckpointError for an unknown id or revision, a gated model, no network, or no safetensors.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, snapshot_download
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
        info = HfApi().model_info(repo, revision=revision)
        files = [sibling.rfilename for sibling in info.siblings or []]
        if not any(name.endswith(".safetensors") for name in files):
            raise CheckpointError("it has no safetensors weights", where=where, hint="take a revision that has them")
        commit = str(info.sha)
        snapshot_download(repo, revision=commit, local_dir=out, allow_patterns=[*ALLOWED, *(["*.py"] if code else [])])
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
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"the hub cannot be reached or refused: {first}",
            where=where,
            hint="check the network, or take a local folder: 'model=[local]' model.local.path=DIR",
        ) from None
    return commit
