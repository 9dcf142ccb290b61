"""Sending to the Hugging Face hub, and what went wrong there, in plain words.

``push`` is what ``push_to_hub`` of models and of tasks share: a way to save in, the address of a
commit out. How a hub id becomes a folder is in ``checkpoints.py`` (``resolve``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = "FOLDER"
"""Stands in a card for the place that the model is loaded from."""

_TOKEN = "pass token=, set HF_TOKEN, or run `hf auth login`"

# Left over from an earlier push, they would change what the repository is loaded as.
_LEFT_OVER = ["vectors.safetensors", "task.json", "head.safetensors"]


def push(
    save: Callable[[Path], None],
    repo_id: str,
    *,
    private: bool | None,
    token: str | None,
    revision: str | None,
    commit_message: str | None,
) -> str:
    """Upload what ``save`` writes into a folder; the repository and branch are made if need be.

    Args:
        save: given a folder, writes the files, README.md among them.
        repo_id: "user/name"; a bare name is the token's user's.
        private: whether a new repository is; None for the default of the account.
        token: with the right to write; by default HF_TOKEN or what `hf auth login` kept.
        revision: branch; None for main.
        commit_message: None for "Upload with polyseme".

    Returns:
        The URL of the commit.

    Raises:
        ValueError: the repository's name is malformed, or what ``save`` raises.
        PermissionError: there is no token, or it doesn't allow this.
        ConnectionError: the hub can't be reached, or HF_HUB_OFFLINE is set.
        OSError: the hub refuses for another reason.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    validate_repo_id(repo_id)
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(f"{repo_id}: nothing is sent to the hub while HF_HUB_OFFLINE is set")
    if not token and not get_token():
        raise PermissionError(f"{repo_id}: the hub takes nothing without a token: {_TOKEN}")
    with TemporaryDirectory() as name:
        folder = Path(name)
        save(folder)
        card = folder / "README.md"
        text = card.read_text(encoding="utf-8").replace(f'"{FOLDER}"', f'"{repo_id}"')
        card.write_text(text, encoding="utf-8")
        api = HfApi(token=token, library_name="polyseme")
        try:
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if revision is not None and not revision.startswith("refs/"):
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message or "Upload with polyseme",
                delete_patterns=list(_LEFT_OVER),
            )
        except (HTTPError, OSError, RuntimeError) as error:
            raise _failure(repo_id, error) from error
    return str(commit.commit_url)


def reason(error: BaseException) -> str:
    """Why the hub didn't do what it was asked for, and what would help."""
    from huggingface_hub import errors

    if isinstance(error.__cause__, errors.OfflineModeIsEnabled):
        return "it is not asked while HF_HUB_OFFLINE is set"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, errors.GatedRepoError):
        return f"access is granted on its page; then {_TOKEN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"it has none of this name, or a private one: {_TOKEN}"
    if _status(error) in (401, 403):
        said = getattr(error, "server_message", None)
        return f"the token does not allow it{f' ({said})' if said else ''}: {_TOKEN}"
    return " ".join(str(error).split()) or type(error).__name__


def _failure(repo_id: str, error: BaseException) -> OSError:
    """The exception for what went wrong in an upload."""
    if isinstance(error, RuntimeError) and error.__cause__:
        # An upload in a thread of its own: what happened there is the cause.
        error = error.__cause__
    status = _status(error)
    if status is None:
        return ConnectionError(f"{repo_id}: the way to the hub is broken ({reason(error)})")
    kind = PermissionError if status in (401, 403) else OSError
    return kind(f"{repo_id}: the hub did not take it: {reason(error)}")


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    return None if response is None else int(response.status_code)
