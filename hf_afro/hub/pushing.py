"""Publish a folder on the Hub in one commit or not at all, from a command, from Python or from a trainer.

`HfApi.create_commit` makes the commit, after `preupload_lfs_files` has sent the large files. `HfApi.upload_folder` is
not used: with hf_xet it splits a folder into several commits. huggingface_hub retries uploads and listings, but not
the commit or requests about repositories, branches and tags; those are retried here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id

from hf_afro.hub.contents import CARD_FILE, Contents, gather
from hf_afro.hub.scan import without_secrets
from hf_afro.messages import filtered_log

if TYPE_CHECKING:
    from transformers import Trainer

Result = TypeVar("Result")

# Files of a previous model that may be loaded together with the new ones.
_LOADED = (".safetensors", ".bin", ".safetensors.index.json", "tokenizer.json", ".model", "vocab.txt", "merges.txt")
_WAITS, _LONGEST_WAIT = (1, 2, 4, 8), 300  # seconds; the Hub's rate limits are per 300 seconds
_TRANSIENT = (408, 409, 412, 429, 500, 502, 503, 504)  # 409 and 412: a concurrent change
# Errors of the client: HTTP, hf_xet, failed uploads, unreadable responses.
_CLIENT_ERRORS = (HTTPError, OSError, RuntimeError, json.JSONDecodeError, KeyError)
_LOGGERS = ("huggingface_hub.utils._http", "httpx", "httpcore.http11", "httpx2", "httpcore2.http11")  # all log URLs

_LOG_IN = "run `hf auth login`, or set HF_TOKEN to a token with write permission"
_NOTHING, _MOVED = "Nothing was published", "somebody else changed the repository: review their change and push again"
_HINTS = {
    401: f"the Hub does not know the token: {_LOG_IN} (https://huggingface.co/settings/tokens)",
    403: "the token may not write there: use one with write permission, your own repository, or a pull request",
    404: "the repository or branch does not exist, or the token may not see it",
    409: _MOVED,
    412: _MOVED,
    413: "the commit is too large: publish fewer files",
    429: "too many requests: wait a few minutes and push again",
}


class PushRefused(ValueError):
    """The Hub refused the push; retrying would not help."""


class PushFailed(RuntimeError):
    """The Hub or the connection failed; the same push may work later."""


@dataclass(frozen=True)
class PushReport:
    """The result of a push or a dry run.

    Attributes:
        repo_id: ``owner/name``.
        kind: `model` or `dataset`.
        contents: The published files.
        revision: The branch.
        tag: The tag of the commit, if any.
        notes: Notes for the publisher.
        url: The URL of the commit or pull request; of the repository after a dry run.
        commit: The id of the commit; None after a dry run.
        changed: Whether the commit changed anything; None after a dry run.
        deleted: Files that the commit removed.
    """

    repo_id: str
    kind: str
    contents: Contents
    revision: str
    tag: str | None
    notes: tuple[str, ...]
    url: str
    commit: str | None = None
    changed: bool | None = None
    deleted: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON, without the content and the local paths of the files."""
        report = {name: value for name, value in dataclasses.asdict(self).items() if name != "contents"}
        files = [{"path": one.path, "size": one.size, "taken_out": one.taken_out} for one in self.contents.files]
        return {**report, "files": files, "left_out": self.contents.left_out}


def push(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    kind: str = "model",
    dry_run: bool = False,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    tag: str | None = None,
    message: str | None = None,
    replace: bool = False,
    card: str | os.PathLike[str] | None = None,
    base_model: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> PushReport:
    """Publish a folder in one commit, or leave the repository unchanged.

    Large files are uploaded first and become visible with the commit. After a failure, push again: uploaded files are
    not sent twice.

    Args:
        folder: A model, an adapter, or with ``kind="dataset"`` a folder of counts or other data; see `gather`.
        repo_id: ``owner/name``, or the name of a repository of your own. The repository is created if needed.
        kind: `model` or `dataset`.
        dry_run: Return what would be published, without contacting the Hub.
        private: Whether a new repository is private; by default the Hub decides. True is refused for a public one.
        revision: The branch, `main` by default; created if needed.
        create_pr: Propose the commit as a pull request to `main`.
        tag: A new tag for the commit.
        message: The message of the commit.
        replace: Also delete, in the same commit, all other files of the repository.
        card: See `gather`.
        base_model: See `gather`.
        token: By default HF_TOKEN or the one this machine is logged in with. It is never written or logged.
        endpoint: By default HF_ENDPOINT or the Hub's.

    Raises:
        ValueError: If the folder cannot be published, see `gather`, or the settings are incompatible.
        PushRefused: A ValueError: if the Hub refuses; the message says what to do.
        PushFailed: If the Hub or the connection failed after several tries.
    """
    if create_pr and (revision not in (None, "main") or tag is not None or "/" not in repo_id):
        raise ValueError("A pull request goes to main of owner/name and has no tag: omit revision and tag")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"Invalid repo_id {repo_id!r}: {error}") from error
    token = token or get_token()
    contents = gather(folder, kind=kind, card=card, base_model=base_model, token=token)
    hub = _Repository(HfApi(endpoint=endpoint, token=token), repo_id, kind)
    planned = PushReport(repo_id, kind, contents, revision or "main", tag, contents.notes, hub.url)
    if dry_run:
        return planned
    if token is None:
        raise PushRefused(f"Not logged in to the Hub: {_LOG_IN}. {_NOTHING}")
    with hub.errors_explained():
        return _send(hub, planned, private, create_pr, message or f"Publish the {kind} with hf_afro", replace)


def name_repository(trainer: Trainer) -> None:
    """Set the repository of a trainer, instead of `init_hf_repo`, which creates it immediately.

    Raises:
        ValueError: If the trainer would publish during training, which sends checkpoints and pickled arguments.
    """
    args = trainer.args
    if args.push_to_hub and args.hub_strategy != "end":
        raise ValueError(
            f"hub_strategy={args.hub_strategy.value} sends checkpoints and the pickled arguments while training; set "
            "hub_strategy='end' to publish the model at the end"
        )
    trainer.hub_model_id = args.hub_model_id or Path(args.output_dir).absolute().name
    trainer.push_in_progress = None


def push_trainer(
    trainer: Trainer,
    *,
    message: str | None,
    blocking: bool,
    token: str | None,
    revision: str | None,
    private: bool | None,
    **card: Any,
) -> PushReport | None:
    """Save and publish a trainer's model, called by all processes; the main one publishes and returns a report.

    The arguments are those of `Trainer.push_to_hub`; their defaults are `hub_token`, `hub_revision` and
    `hub_private_repo` of the training arguments. `card` is passed to `create_model_card`, unless the folder has a card
    by hf_afro.
    """
    if not blocking:
        raise ValueError("blocking=False is not supported, since errors would be lost; omit it")
    args = trainer.args
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:
        name_repository(trainer)
    trainer.save_model(_internal_call=True)  # otherwise it publishes again, recursively, if args.push_to_hub is set
    if not trainer.is_world_process_zero():
        return None
    own = Path(args.output_dir, CARD_FILE)
    if not own.is_file() or "\n- hf_afro\n" not in own.read_text("utf-8"):  # libraries write a template there
        name = card.pop("model_name", None) or trainer.hub_model_id.rpartition("/")[2]
        trainer.create_model_card(model_name=name, **card)
    return push(
        args.output_dir,
        trainer.hub_model_id,
        message=message,
        token=token or args.hub_token,
        revision=revision or args.hub_revision,
        private=args.hub_private_repo if private is None else private,
    )


def _send(
    hub: _Repository, planned: PushReport, private: bool | None, create_pr: bool, message: str, replace: bool
) -> PushReport:
    """Create the repository, upload large files, create the branch, commit, check the commit, tag it."""
    branch, tag, notes = f"refs/heads/{planned.revision}", planned.tag, planned.notes
    own = "/" not in hub.name  # the Hub completes such a name on creation only
    if not create_pr and (own or not hub.ask(hub.api.repo_exists)):
        hub.name = hub.ask(hub.api.create_repo, private=private, exist_ok=True).repo_id
    if private and not hub.ask(hub.api.repo_info).private:
        raise PushRefused(f"{hub.name} is public, but private was requested: make it private on the Hub first")
    refs = hub.refs()
    if f"refs/tags/{tag}" in refs:
        raise PushRefused(f"{hub.name} already has a tag {tag}: choose another, or delete it on the Hub")
    parent = refs.get(branch) or refs["refs/heads/main"]
    additions = [CommitOperationAdd(file.path, file.data) for file in planned.contents.files]
    others = sorted(hub.files(parent).keys() - {one.path_in_repo for one in additions} - {".gitattributes"})
    deletions = [CommitOperationDelete(path, is_folder=False) for path in others if replace]
    stale = [path for path in others if path.endswith(_LOADED) and not replace]
    if stale:
        notes = (*notes, f"{', '.join(stale)} remains there and may be loaded too; `replace` removes it")
    start = planned.revision if branch in refs else "main"
    hub.ask(hub.api.preupload_lfs_files, additions=additions, revision=start, create_pr=create_pr, free_memory=False)
    if branch not in refs:
        hub.ask(hub.api.create_branch, branch=planned.revision, revision=parent, exist_ok=True)
    operations = [*additions, *deletions]
    commit, url = hub.commit(operations, message, planned.revision, {**refs, branch: parent}, create_pr)
    hub.outcome = f"Commit {commit} was made" + (f", without the tag {tag}" if tag else "")
    if not hub.holds(commit, operations):
        raise PushFailed(f"Commit {commit} of {hub.name} differs from what was sent: check {url} and push again")
    if tag is not None:
        hub.ask(hub.api.create_tag, tag=tag, revision=commit, exist_ok=True)
    deleted, changed = tuple(others) if replace else (), commit != parent
    done = {"repo_id": hub.name, "notes": notes, "url": url, "commit": commit, "changed": changed, "deleted": deleted}
    return dataclasses.replace(planned, **done)  # type: ignore[arg-type]


@dataclass
class _Repository:
    """A repository on the Hub, and the outcome of the push for error messages."""

    api: HfApi
    name: str
    kind: str
    outcome: str = _NOTHING

    @property
    def url(self) -> str:
        return f"{self.api.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def ask(
        self, request: Callable[..., Result], find: Callable[[], Result | None] = lambda: None, **settings: Any
    ) -> Result:
        """Make a request, and retry it after a transient error.

        Args:
            request: A method of the client.
            find: For a request that must not be repeated: looks for its result, in case only the response was lost.
            **settings: Passed to the request.
        """
        for wait in (*_WAITS, None):
            try:
                return request(self.name, repo_type=self.kind, **settings)
            except _CLIENT_ERRORS as error:
                if not _may_pass(error):
                    raise
                if (found := find()) is not None:
                    return found
                if wait is None or not _waited(error, wait):
                    raise
        raise AssertionError("the last try returns or raises")

    def refs(self) -> dict[str, str]:
        """Return the commits of branches, tags and pull requests by ref."""
        found = self.ask(self.api.list_repo_refs, include_pull_requests=True)
        return {one.ref: one.target_commit for one in (*found.branches, *found.tags, *(found.pull_requests or ()))}

    def files(self, commit: str) -> dict[str, str]:
        """Return the SHA-256 of each large file of a commit, and the git SHA-1 of all others."""
        tree = self.api.list_repo_tree(self.name, recursive=True, revision=commit, repo_type=self.kind)
        return {one.path: one.lfs.sha256 if one.lfs else one.blob_id for one in tree if isinstance(one, RepoFile)}

    def holds(self, commit: str, operations: Sequence[CommitOperationAdd | CommitOperationDelete]) -> bool:
        """Check that a commit has every file that was sent, byte for byte, and none that was deleted."""
        files = self.files(commit)
        return all(_is_done(one, files.get(one.path_in_repo)) for one in operations)

    def commit(
        self,
        operations: Sequence[CommitOperationAdd | CommitOperationDelete],
        message: str,
        branch: str,
        refs: dict[str, str],
        create_pr: bool,
    ) -> tuple[str, str]:
        """Make one commit and return its id and URL. If the response is lost, look for the commit before retrying.

        Args:
            operations: The additions and deletions; large files are already uploaded.
            message: The message.
            branch: The branch, also of a pull request.
            refs: The refs before. The Hub refuses the commit if the branch has moved since.
            create_pr: Whether to open a pull request.
        """
        ref = f"refs/heads/{branch}"

        def find() -> tuple[str, str] | None:
            self.outcome = f"It is unknown whether the commit was made: check {self.url}"
            now = {one: commit for one, commit in self.refs().items() if refs.get(one) != commit}
            new = {one: now[one] for one in now if (one.startswith("refs/pr/") if create_pr else one == ref)}
            for one, commit in new.items():
                if self.holds(commit, operations):
                    place = f"discussions/{one.rpartition('/')[2]}" if create_pr else f"commit/{commit}"
                    return commit, f"{self.url}/{place}"
            self.outcome = _NOTHING
            if new and not create_pr:
                raise PushRefused(f"Push to {self.name} refused: {branch} moved; {_MOVED}. {_NOTHING}") from None
            return None

        def make(name: str, **settings: Any) -> tuple[str, str]:
            info = self.api.create_commit(name, operations, **settings)
            return info.oid, info.pr_url or str(info.commit_url)

        settings = {"commit_message": message, "revision": branch, "parent_commit": refs[ref], "create_pr": create_pr}
        return self.ask(make, find, **settings)

    @contextlib.contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn client errors into one line, and keep secrets out of it and out of the client's log."""

        def hide(record: logging.LogRecord) -> bool:
            record.msg, record.args = without_secrets(record.getMessage(), self.api.token), ()
            return True

        with contextlib.ExitStack() as stack:
            for name in _LOGGERS:
                stack.enter_context(filtered_log(name, hide))
            try:
                yield
            except (PushRefused, PushFailed):
                raise
            except _CLIENT_ERRORS as error:
                raise self._explained(error) from None  # the text of the error may hold signed URLs

    def _explained(self, error: Exception) -> PushRefused | PushFailed:
        cause, status = _cause(error), _status(error)
        says = getattr(cause, "server_message", None) or f"{type(cause).__name__}: {cause}"
        says = f"{without_secrets(says, self.api.token).rstrip('.')}. {self.outcome}"
        if status is None:
            return PushFailed(f"Push to {self.name} failed: {says}; push again later")
        if status == 429 or status >= 500:
            hint = _HINTS.get(status, "push again later")
            return PushFailed(f"Push to {self.name} failed ({status}): {hint}. The Hub says: {says}")
        hint = _HINTS.get(status, "the Hub does not accept it")
        return PushRefused(f"Push to {self.name} refused ({status}): {hint}. The Hub says: {says}")


def _is_done(operation: CommitOperationAdd | CommitOperationDelete, held: str | None) -> bool:
    """Check a deletion, or compare a file with its hash on the Hub: SHA-256 of large files, git's SHA-1 of others."""
    if held is None or isinstance(operation, CommitOperationDelete):
        return held is None and isinstance(operation, CommitOperationDelete)
    if len(held) == 64:
        return operation.upload_info.sha256.hex() == held
    with operation.as_file() as file:
        content = file.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == held


def _cause(error: BaseException) -> BaseException:
    """Return the HTTP error behind the RuntimeError that the client raises for uploads."""
    while not isinstance(error, HTTPError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _status(error: Exception) -> int | None:
    cause = _cause(error)
    return cause.response.status_code if isinstance(cause, HfHubHTTPError) else None


def _may_pass(error: Exception) -> bool:
    """Tell whether retrying may help."""
    cause, status = _cause(error), _status(error)
    if status is None:
        return isinstance(cause, HTTPError | json.JSONDecodeError | KeyError)
    # An upload was damaged in transit (400), or its signed URL has expired (403): the next try gets a new URL.
    return status in _TRANSIENT or (cause is not error and status in (400, 403))


def _waited(error: Exception, wait: float) -> bool:
    """Wait before the next try, longer if the Hub asks for it; return False if that would take too long."""
    if _status(error) == 429:
        headers = _cause(error).response.headers  # type: ignore[attr-defined]
        asked = re.search(r"^(\d+)$|\bt=(\d+)", headers.get("Retry-After") or headers.get("RateLimit") or "")
        wait = max(wait, float(asked[1] or asked[2])) if asked else wait
    if wait > _LONGEST_WAIT:
        return False
    time.sleep(wait)
    return True
