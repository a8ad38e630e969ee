"""Content of the Hub on loopback: repositories whose blobs, trees and commits are named by their hashes.

Commits are atomic: the tree is built first, every file it names must exist, and only then does the branch move, under
the lock of the repository.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from typing import Any

ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


class Refused(Exception):
    """A refused request: the status, the message, and the error code for the client."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers
        self.body: dict[str, str] = {}  # further fields of the response


@dataclass(frozen=True)
class File:
    """A file of a tree.

    Attributes:
        size: The size in bytes.
        oid: The SHA-1 of its git blob, which is a pointer for a large file.
        sha256: The SHA-256 of a large file's content; None for a small file.
    """

    size: int
    oid: str
    sha256: str | None = None

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    """A commit: its parent, its message, and its files by path."""

    parent: str | None
    title: str
    description: str
    files: dict[str, File]

    @property
    def oid(self) -> str:
        tree = sorted((path, file.oid) for path, file in self.files.items())
        return hashlib.sha1(json.dumps([self.parent, self.title, self.description, tree]).encode()).hexdigest()


@dataclass
class Repository:
    """One repository; `refs` has full names, as in ``refs/heads/main``."""

    kind: str
    name: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def resolve(self, revision: str) -> str:
        """Return the commit of a branch, tag, pull request or commit id."""
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self.refs[ref]
        if revision in self.commits:
            return revision
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def files(self, revision: str) -> dict[str, File]:
        return self.commits[self.resolve(revision)].files

    def history(self, revision: str) -> list[str]:
        """Return the ids of the commits of a revision, the newest first."""
        found: list[str] = []
        commit: str | None = self.resolve(revision)
        while commit is not None:
            found.append(commit)
            commit = self.commits[commit].parent
        return found

    def add(self, commit: Commit) -> str:
        self.commits[commit.oid] = commit
        return commit.oid


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """Return the git pointer of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class Store:
    """All repositories and all content; `large` and `small` are keyed by SHA-256 and by git's SHA-1."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.small: dict[str, bytes] = {}
        self.lock = threading.RLock()

    def create(self, kind: str, name: str, *, private: bool) -> Repository:
        with self.lock:
            if (kind, name) in self.repositories:
                raise Refused(409, "You already created this model repo")
            made = self.repositories[kind, name] = Repository(kind, name, private)
        first = Commit(None, "initial commit", "", {".gitattributes": self.keep(ATTRIBUTES)})
        made.refs["refs/heads/main"] = made.add(first)
        return made

    def find(self, kind: str, name: str) -> Repository | None:
        return self.repositories.get((kind, name))

    def keep(self, content: bytes) -> File:
        """Store a small file."""
        file = File(len(content), git_oid(content))
        self.small[file.oid] = content
        return file

    def content(self, file: File) -> bytes:
        return self.small[file.oid] if file.sha256 is None else self.large[file.sha256]

    def commit(
        self, repository: Repository, revision: str, lines: list[dict[str, Any]], small: dict[str, bytes], *, pr: bool
    ) -> tuple[str, int | None]:
        """Make one commit of a request, or none.

        Args:
            repository: The repository.
            revision: The branch.
            lines: The request's objects, the header first.
            small: The content of the small files among them, by path.
            pr: Whether the commit goes to a new pull request instead.

        Returns:
            The id of the commit, and the number of the pull request.
        """
        header = lines[0]["value"]
        with repository.lock:
            parent = repository.resolve(revision)
            if header.get("parentCommit") not in (None, parent):
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            files = dict(repository.commits[parent].files)
            for line in lines[1:]:
                self._apply(files, line["key"], line["value"], small)
            commit = Commit(parent, header["summary"], header.get("description", ""), files)
            oid = repository.add(commit)
            if not pr:
                repository.refs[_branch(revision)] = oid
                return oid, None
            number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.refs)
            repository.refs[f"refs/pr/{number}"] = oid
            return oid, number

    def _apply(self, files: dict[str, File], key: str, value: dict[str, Any], small: dict[str, bytes]) -> None:
        path = value["path"]
        if key == "file":
            files[path] = self.keep(small[path])
        elif key == "lfsFile":
            if value["oid"] not in self.large:
                raise Refused(400, f"LFS pointer pointed to a file that does not exist: {path}")
            size = len(self.large[value["oid"]])
            files[path] = File(size, git_oid(pointer(value["oid"], size)), value["oid"])
        elif key == "deletedFile":
            if files.pop(path, None) is None:
                raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            for inside in [one for one in files if one.startswith(path.rstrip("/") + "/")]:
                del files[inside]
        else:
            raise Refused(400, f"unknown operation {key}")


def _branch(revision: str) -> str:
    return revision if revision.startswith("refs/") else f"refs/heads/{revision}"
