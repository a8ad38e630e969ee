"""One repository of the Hub and one change to it, made in a single commit or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hf_afro.hub.traces import without_secrets
from hf_afro.hub.trouble import Patience, PushFailed, PushRefused, Trouble, told, trouble_of

Result = TypeVar("Result")

MAIN = "main"
# Files that belong to the Hub itself.
ATTRIBUTES = ".gitattributes"
_PATHS_AT_ONCE = 500
_LARGE = "sha256:"
# Of the client and the two libraries that its versions speak HTTP with; each logs addresses, the last also headers.
_LOGS = (
    "huggingface_hub.utils._http",
    "httpx",
    "httpcore.http11",
    "httpx2",
    "httpcore2.http11",
)
_UNCHANGED = "The repository is as it was"


@dataclass(frozen=True)
class Change:
    """A commit that was made, or found to be needless.

    Attributes:
        commit: Its id.
        url: Its address, or that of the pull request.
        made: Whether there was anything to change.
    """

    commit: str
    url: str
    made: bool


@dataclass
class Repository:
    """A repository as a push sees it.

    Attributes:
        api: The client, with token and endpoint.
        name: ``owner/name``.
        kind: `model` or `dataset`.
        patience: How often things are tried.
        state: What is said of the repository when something goes wrong.
    """

    api: HfApi
    name: str
    kind: str
    patience: Patience = field(default_factory=Patience)
    state: str = _UNCHANGED

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.api.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def tried(self, act: Callable[[], Result], what: str) -> Result:
        """Do something that may be done twice; see `Patience.tried`."""
        return self.patience.tried(act, f"{what} of {self.name}", self.state, self.api.token)

    def is_private(self) -> bool | None:
        """Say whether the repository is private; None where there is none, or none that the token may see."""
        try:
            info = self.tried(lambda: self._found(), "looking at the state")
        except PushRefused:
            return None
        return None if info is None else bool(info.private)

    def _found(self) -> Any:
        try:
            return self.api.repo_info(self.name, repo_type=self.kind)
        except HfHubHTTPError as error:
            # A token that is not known gets the same answer; the next request, which has to write, tells them apart.
            if error.response is not None and error.response.status_code in (401, 404):
                return None
            raise

    def with_owner(self) -> None:
        """Put one's own name before that of the repository where it has no owner: the Hub finds none without."""
        if "/" not in self.name:
            self.name = f"{self.tried(self.api.whoami, 'asking for the owner')['name']}/{self.name}"

    def create(self, *, private: bool | None) -> None:
        """Make the repository; that it is there already, as after an answer that was lost, is no fault."""

        def make() -> str:
            return self.api.create_repo(self.name, repo_type=self.kind, private=private, exist_ok=True).repo_id

        self.state = "Nothing was sent; a new repository may be there, empty"
        self.name = self.tried(make, "the making")
        self.state = "The new repository is there, and empty"

    def refs(self) -> dict[str, str]:
        """Return the commit of every branch, tag and pull request, by its full name."""
        found = self.tried(
            lambda: self.api.list_repo_refs(self.name, repo_type=self.kind, include_pull_requests=True),
            "listing branches and tags",
        )
        every = (*found.branches, *found.tags, *(found.pull_requests or ()))
        return {one.ref: one.target_commit for one in every}

    def paths(self, commit: str) -> list[str]:
        """Return all files of a commit."""
        return self.tried(
            lambda: self.api.list_repo_files(self.name, revision=commit, repo_type=self.kind), "listing the files"
        )

    def ids(self, commit: str, paths: Sequence[str]) -> dict[str, str]:
        """Return what a commit holds of some paths: git's SHA-1, or of large files `_LARGE` and the SHA-256."""
        held: dict[str, str] = {}
        for start in range(0, len(paths), _PATHS_AT_ONCE):
            some = list(paths[start : start + _PATHS_AT_ONCE])

            def ask(some: list[str] = some) -> list[Any]:
                return self.api.get_paths_info(self.name, some, revision=commit, repo_type=self.kind)

            for one in self.tried(ask, "looking at the files"):
                lfs = getattr(one, "lfs", None)
                held[one.path] = one.blob_id if lfs is None else f"{_LARGE}{lfs.sha256}"
        return held

    def upload(self, additions: list[CommitOperationAdd], revision: str, *, create_pr: bool) -> None:
        """Send the large files; none of them shows before the commit, and those that are there are not sent again."""
        self.tried(
            lambda: self.api.preupload_lfs_files(
                self.name,
                additions,
                repo_type=self.kind,
                revision=revision,
                create_pr=create_pr,
                free_memory=False,
            ),
            "sending the large files",
        )

    def commit(
        self,
        additions: list[CommitOperationAdd],
        deletions: list[CommitOperationDelete],
        *,
        message: str,
        branch: str,
        parent: str,
        create_pr: bool,
    ) -> Change:
        """Make one commit of everything, on what the branch held when the push began.

        Where an answer is lost the branch is looked at before anything is tried again, so that no commit is made
        twice. Where somebody else has pushed meanwhile, the commit goes on top of theirs if they have left these files
        alone, and is refused if not.

        Raises:
            PushRefused: If it cannot be made.
            PushFailed: If it could not be made, or it is not known whether it was.
        """
        attempt, before = 0, self.refs() if create_pr else None
        while True:
            attempt += 1
            try:
                info = self.api.create_commit(
                    self.name,
                    [*additions, *deletions],
                    commit_message=message,
                    repo_type=self.kind,
                    revision=branch,
                    parent_commit=parent,
                    create_pr=create_pr,
                )
                return Change(info.oid, info.pr_url or str(info.commit_url), info.oid != parent)
            except Exception as error:
                trouble = trouble_of(error, self.api.token)
                if trouble is None:
                    raise
                if trouble.open or trouble.moved:
                    made, parent = self._after(trouble, additions, deletions, branch, parent, before)
                    if made is not None:
                        return made
                if not self.patience.wait(_tried_again(trouble), attempt):
                    raise told(trouble, f"the commit to {self.name}", self.state) from None

    def _after(
        self,
        trouble: Trouble,
        additions: list[CommitOperationAdd],
        deletions: list[CommitOperationDelete],
        branch: str,
        parent: str,
        before: dict[str, str] | None,
    ) -> tuple[Change | None, str]:
        """Look what has become of a commit whose answer was lost, or that met another one.

        Returns:
            The commit where it was made after all, and the commit to try again on.
        """
        try:
            refs = self.refs()
            for ref, commit in refs.items():
                new = before is not None and ref.startswith("refs/pr/") and ref not in before
                if new and self.holds(commit, additions, deletions):
                    return Change(commit, f"{self.url}/discussions/{ref.rpartition('/')[2]}", True), parent
            head = refs.get(f"refs/heads/{branch}", parent)
            if head == parent:
                return None, parent
            if before is None and self.holds(head, additions, deletions):
                return Change(head, f"{self.url}/commit/{head}", True), parent
            ours = [*(one.path_in_repo for one in additions), *(one.path_in_repo for one in deletions)]
            then, now = self.ids(parent, ours), self.ids(head, ours)
        except PushFailed as error:
            raise PushFailed(
                f"the answer to the commit to {self.name} was lost ({trouble.says}), and the Hub could not be asked "
                f"what has become of it: look at {self.url}/commits/{branch}. It was made whole or not at all"
            ) from error
        theirs = sorted(path for path in ours if then.get(path) != now.get(path))
        if theirs:
            raise PushRefused(
                f"somebody else has pushed to {branch} of {self.name} meanwhile and changed {', '.join(theirs[:5])}; "
                f"look at {self.url}/commit/{head}, and give the command again if yours is to replace it. {self.state}"
            )
        return None, head

    def holds(
        self, commit: str, additions: list[CommitOperationAdd], deletions: Sequence[CommitOperationDelete] = ()
    ) -> bool:
        """Say whether a commit holds every file, with every byte, and none that was to go."""
        gone = [one.path_in_repo for one in deletions]
        held = self.ids(commit, [*(one.path_in_repo for one in additions), *gone])
        if any(path in held for path in gone):
            return False
        return all(_is(one, held.get(one.path_in_repo, "")) for one in additions)

    @contextlib.contextmanager
    def branch_made(self, branch: str, start: str, *, new: bool) -> Iterator[None]:
        """Make a branch for what the block does, where it is new; it is taken away again if the block fails."""
        if not new:
            yield
            return
        self.tried(
            lambda: self.api.create_branch(
                self.name, branch=branch, revision=start, repo_type=self.kind, exist_ok=True
            ),
            f"making the branch {branch}",
        )
        try:
            yield
        except (PushRefused, PushFailed) as error:
            try:
                if self.refs().get(f"refs/heads/{branch}") == start:
                    self._delete_branch(branch)
            except (PushRefused, PushFailed):
                error.add_note(f"the new branch {branch} is left behind, and holds what {start} holds")
            raise

    def _delete_branch(self, branch: str) -> None:
        self.tried(
            lambda: self.api.delete_branch(self.name, branch=branch, repo_type=self.kind),
            f"taking away the branch {branch}",
        )

    def tag(self, tag: str, commit: str) -> None:
        """Tag a commit; that the tag is there on the same commit is no fault."""
        self.state = f"The files are there whole, as commit {commit}; only the tag is missing"
        self.tried(
            lambda: self.api.create_tag(self.name, tag=tag, revision=commit, repo_type=self.kind, exist_ok=True),
            f"the tag {tag}",
        )


def _is(addition: CommitOperationAdd, oid: str) -> bool:
    """Say whether a file here is what the Hub has under an id."""
    if oid.startswith(_LARGE):
        return addition.upload_info.sha256.hex() == oid.removeprefix(_LARGE)
    with addition.as_file() as file:
        content = file.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == oid


def _tried_again(trouble: Trouble) -> Trouble:
    """Return the trouble of a commit as one that may pass: what met another commit has a new one to stand on."""
    return Trouble(trouble.status, trouble.passing or trouble.moved, trouble.open, trouble.wait, trouble.says)


@contextlib.contextmanager
def secrets_kept(token: str | None) -> Iterator[None]:
    """Keep the token and signed addresses out of what the client logs while the block runs."""

    def kept(record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage(), [token]), ()
        return True

    logs = [logging.getLogger(name) for name in _LOGS]
    for log in logs:
        log.addFilter(kept)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(kept)
