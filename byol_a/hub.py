"""The Hugging Face hub: fetching a model folder and uploading one. Its client is imported by who uses it only."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from byol_a.errors import ByolaError, UsageError
from byol_a.words import one_line


def fetch(
    repo_id: str,
    files: Sequence[str],
    *,
    force_download: bool,
    token: str | bool | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
    revision: str | None,
) -> Path:
    """A folder with those `files` of a repository, from the client's cache if they are there; options are the client's.

    Raises:
        ByolaError: if the hub does not give them.
    """
    from huggingface_hub import snapshot_download

    try:
        fetched: str = snapshot_download(
            repo_id,
            allow_patterns=list(files),
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision,
        )
    except Exception as error:  # the hub's client raises its own, its HTTP library's and OS errors
        raise ByolaError(
            f"{repo_id} is no folder here, and the Hugging Face hub did not give a model of that "
            f"name ({type(error).__name__}: {one_line(error)[:200]})"
        ) from error
    return Path(fetched)


def refuse_unknown(options: Iterable[str], taker: str) -> None:
    """Raise `UsageError` for options that `upload` does not take; `taker` is the function that was given them."""
    known = list(inspect.signature(upload).parameters)[2:]  # without save and repo_id
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"{taker} has no option {', '.join(unknown)}; those for the hub are {', '.join(known)}")


def upload(
    save: Callable[[Path], object],
    repo_id: str,
    *,
    commit_message: str = "Upload a byol-a model",
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool | None = None,
    allow_patterns: list[str] | str | None = None,
    ignore_patterns: list[str] | str | None = None,
    delete_patterns: list[str] | str | None = None,
) -> str:
    """Make a repository if there is none, and commit to it the folder that `save` writes; options are the client's.

    Args:
        save: writes the model to the path that it is called with, where nothing is yet.
        private: whether a new repository is.
        branch: to commit to; the main one by default.
        delete_patterns: what to delete of the repository in the same commit.

    Returns:
        The commit's address.
    """
    from huggingface_hub import HfApi

    client = HfApi(token=token)
    repo_id = client.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        saved = Path(folder) / "model"
        save(saved)
        commit: str = client.upload_folder(
            repo_id=repo_id,
            repo_type="model",
            folder_path=saved,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
            allow_patterns=allow_patterns,
            ignore_patterns=ignore_patterns,
            delete_patterns=delete_patterns,
        )
    return commit
