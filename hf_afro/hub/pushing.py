"""`push`: a folder to a repository of the Hub, shown before, in one commit or not at all."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hf_afro.hub.contents import Contents, gather
from hf_afro.hub.repository import ATTRIBUTES, MAIN, Repository, secrets_kept
from hf_afro.hub.trouble import Patience, PushFailed, PushRefused

# Of a model that was there before; a loader may take them for parts of the new one.
_LOADED = (".safetensors", ".bin", ".safetensors.index.json", "tokenizer.json", ".model", "vocab.txt", "merges.txt")


@dataclass(frozen=True)
class PushReport:
    """What a push sent, or would send.

    Attributes:
        repo_id: ``owner/name``.
        kind: `model` or `dataset`.
        contents: What is sent.
        revision: The branch.
        commit: Its id; None after a dry run.
        url: The address of the commit or pull request; of the repository after a dry run.
        changed: Whether the repository held something else before; None after a dry run.
        tag: The tag on the commit, if any.
        deleted: Files that the commit took away.
        notes: What somebody should know: those of the contents, and what was found at the Hub.
    """

    repo_id: str
    kind: str
    contents: Contents
    revision: str
    commit: str | None
    url: str
    changed: bool | None
    tag: str | None
    deleted: tuple[str, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON, without what the files hold and where they lie."""
        report = {name: value for name, value in asdict(self).items() if name != "contents"}
        files = [
            {"path": file.path, "size": file.size, "taken_out": list(file.taken_out)} for file in self.contents.files
        ]
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
    patience: Patience | None = None,
) -> PushReport:
    """Publish a folder: what belongs to it and nothing else, in one commit, or leave the repository as it was.

    Large files are sent first and show only with the commit; those that arrived before a push broke off are not sent
    again. What can pass is tried again, as long as the Hub asks where it says so.

    Args:
        folder: A model, an adapter, or with ``kind="dataset"`` a folder of counts or other data; see `gather`.
        repo_id: ``owner/name``; a name alone is one's own.
        kind: `model` or `dataset`.
        dry_run: Only look and return what would be sent; nobody is asked.
        private: Whether a new repository is to be private; None leaves it to the Hub, where it is public unless the
            organisation says otherwise. True is refused for a repository that is there and public.
        revision: The branch; made where there is none. By default `main`.
        create_pr: Propose the commit as a pull request to `main`, which whoever may read the repository can.
        tag: A new tag for the commit.
        message: What the commit says.
        replace: Also take away, in the same commit, what the repository holds beside the folder's files.
        card: See `gather`.
        base_model: See `gather`.
        token: By default the one the machine is logged in with, or HF_TOKEN; it is written nowhere.
        endpoint: By default the Hub's, or HF_ENDPOINT.
        patience: How often and how long is tried again.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If the folder cannot be published, see `gather`, or names and settings do not fit.
        PushRefused: A ValueError too: if the Hub does not let it be done; the message says what to do.
        PushFailed: If the Hub or the way to it failed, and still did after several tries.
    """
    if create_pr and (revision not in (None, MAIN) or tag is not None):
        raise ValueError("a pull request goes to main and has no tag before it is merged; leave revision and tag out")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"repo_id {repo_id!r} cannot be: {error}") from error
    token = token or get_token()
    contents = gather(folder, kind=kind, card=card, base_model=base_model, token=token)
    repository = Repository(HfApi(endpoint=endpoint, token=token), repo_id, kind, patience or Patience())
    if dry_run:
        return PushReport(
            repo_id, kind, contents, revision or MAIN, None, repository.url, None, tag, (), contents.notes
        )
    if token is None:
        raise PushRefused(
            "nobody is logged in to the Hub: run `hf auth login`, or set HF_TOKEN to a token that may write "
            "(https://huggingface.co/settings/tokens); nothing was sent"
        )
    with secrets_kept(token):
        if create_pr:  # a repository that is to be made tells its owner then; one that is proposed to has to be found
            repository.with_owner()
        return _send(
            repository, contents, private, revision or MAIN, tag, replace, message or _message(kind), create_pr
        )


def _message(kind: str) -> str:
    return f"Publish the {kind} with hf_afro"


def _send(
    repository: Repository,
    contents: Contents,
    private: bool | None,
    branch: str,
    tag: str | None,
    replace: bool,
    message: str,
    create_pr: bool,
) -> PushReport:
    notes = list(contents.notes)
    there = repository.is_private()
    if there is None:
        if create_pr:
            raise PushRefused(f"{repository.name} does not exist, or the token may not see it; nothing to propose to")
        repository.create(private=private)
        # A name without its owner is not found before, and may be of a repository that is there.
        if private and repository.is_private() is False:
            raise PushRefused(
                f"{repository.name} is public, and private was asked for; make it private at the Hub first"
            )
    elif private and not there:
        raise PushRefused(f"{repository.name} is public, and private was asked for; make it private at the Hub first")
    refs = repository.refs()
    if tag is not None and f"refs/tags/{tag}" in refs:
        raise PushRefused(f"{repository.name} has a tag {tag} already; name another, or take it away at the Hub")
    new = f"refs/heads/{branch}" not in refs
    parent = refs[f"refs/heads/{MAIN if new else branch}"]
    additions = [CommitOperationAdd(file.path, file.data) for file in contents.files]
    others = sorted({*repository.paths(parent)} - {file.path for file in contents.files} - {ATTRIBUTES})
    deletions = [CommitOperationDelete(path, is_folder=False) for path in others] if replace else []
    stale = [path for path in others if path.endswith(_LOADED)]
    if stale and not replace:
        notes.append(f"{', '.join(stale)} stays there and may be loaded with the rest; `replace` takes it away")
    # The new branch is made only when all large files are there; until then they are sent for the one it starts from.
    repository.upload(additions, MAIN if new else branch, create_pr=create_pr)
    with repository.branch_made(branch, parent, new=new):
        change = repository.commit(
            additions, deletions, message=message, branch=branch, parent=parent, create_pr=create_pr
        )
    if not repository.holds(change.commit, additions, deletions):
        raise PushFailed(
            f"commit {change.commit} of {repository.name} does not hold what was sent: look at {change.url}, and give "
            "the command again"
        )
    if tag is not None:
        repository.tag(tag, change.commit)
    return PushReport(
        repository.name,
        repository.kind,
        contents,
        branch,
        change.commit,
        change.url,
        change.made,
        tag,
        tuple(others) if replace else (),
        tuple(notes),
    )
