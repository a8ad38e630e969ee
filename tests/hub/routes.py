"""Routes of the Hub on loopback: the endpoints that `huggingface_hub` 1 and 2 request, except xet."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode

from tests.hub.store import File, Refused, Repository, pointer

if TYPE_CHECKING:
    from tests.hub.server import Hub

LARGE_NAMES = (".safetensors", ".bin", ".onnx", ".npz", ".model", ".parquet")
DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Request:
    """A request: the user, the parameters of the path, the query and the body."""

    hub: Hub
    user: tuple[str, tuple[str, ...]] | None
    words: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def known(self) -> str:
        """Return the user, or refuse the request."""
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        return self.user[0]

    def may_write(self, owner: str) -> bool:
        return self.user is not None and owner in (self.user[0], *self.user[1])

    def repository(self, *, write: bool = False) -> Repository:
        """Return the repository of the path; a private one exists only for those who may see it."""
        kind, name = self.words.get("kind") or "models", self.words["name"]
        found = self.hub.store.find(kind.removesuffix("s"), name)
        owner = name.split("/")[0]
        if found is None or (found.private and not self.may_write(owner)):
            raise Refused(404 if self.user else 401, "Repository not found", "RepoNotFound")
        if write:
            self.known()
            if not self.may_write(owner):
                raise Refused(403, "You don't have the rights to write to this repository")
        return found


@dataclass(frozen=True)
class Answer:
    """A response."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200, **headers: str) -> Answer:
        return cls(json.dumps(value).encode(), status, headers)

    @classmethod
    def refusal(cls, refused: Refused) -> Answer:
        headers = {"X-Error-Message": str(refused), **refused.headers}
        if refused.code is not None:
            headers["X-Error-Code"] = refused.code
        return cls(json.dumps({"error": str(refused), **refused.body}).encode(), refused.status, headers)


@dataclass(frozen=True)
class Route:
    """A route: its method, its pattern, the name of its endpoint for faults, and its handler."""

    methods: tuple[str, ...]
    pattern: re.Pattern[str]
    endpoint: str
    do: Callable[[Request], Answer]


_ROUTES: list[Route] = []
_API = "/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
_OWN = "/(?:(?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+?)"


def _at(methods: str, pattern: str, endpoint: str) -> Callable[[Callable[[Request], Answer]], Callable]:
    def add(do: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
        _ROUTES.append(Route(tuple(methods.split()), re.compile(pattern), endpoint, do))
        return do

    return add


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """Return the route of a path, and the parameters in it."""
    for route in _ROUTES:
        match = route.pattern.fullmatch(path)
        if match and method in route.methods:
            return route, {name: unquote(word) for name, word in match.groupdict().items() if word is not None}
    return None


@_at("GET", "/api/whoami-v2", "whoami")
def whoami(request: Request) -> Answer:
    name = request.known()
    return Answer.of({"type": "user", "name": name, "orgs": [{"name": one} for one in request.user[1]]})


@_at("POST", "/api/repos/create", "create")
def create(request: Request) -> Answer:
    asked = request.json
    owner = asked.get("organization") or request.known()
    kind, name = asked.get("type") or "model", f"{owner}/{asked['name']}"
    request.known()
    if not request.may_write(owner):
        raise Refused(403, f"You don't have the rights to create a model under the namespace {owner!r}")
    url = request.hub.url + ("/datasets/" if kind == "dataset" else "/") + name
    try:
        request.hub.store.create(kind, name, private=asked.get("visibility") == "private")
    except Refused as refused:
        refused.body["url"] = url  # the client reads it even if the repository existed
        raise
    return Answer.of({"url": url, "name": name})


@_at("POST", "/api/validate-yaml", "yaml")
def validate(request: Request) -> Answer:
    import yaml

    match = re.match(r"---\n(.*?)\n---\n", request.json["content"], re.S)
    try:
        yaml.safe_load(match[1] if match else "")
    except yaml.YAMLError as error:
        return Answer.of({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return Answer.of({"errors": [], "warnings": []})


@_at("POST", f"{_API}/preupload/(?P<revision>[^/]+)", "preupload")
def preupload(request: Request) -> Answer:
    pr = "create_pr" in request.query
    files = request.repository(write=not pr).files(request.words["revision"])
    request.known()
    told = []
    for one in request.json["files"]:
        path = one["path"]
        large = path.endswith(LARGE_NAMES) or one["size"] >= request.hub.large_from
        known = {"oid": files[path].etag} if path in files else {}
        told.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **known})
    return Answer.of({"files": told})


@_at("POST", f"{_OWN}\\.git/info/lfs/objects/batch", "batch")
def batch(request: Request) -> Answer:
    request.repository()
    request.known()
    hub = request.hub
    objects = []
    for one in request.json["objects"]:
        oid, size = one["oid"], one["size"]
        if oid in hub.store.large:
            objects.append({"oid": oid, "size": size})
            continue
        # Like a signed URL of a storage server, it grants write access.
        key = secrets.token_hex(8)
        hub.uploads[key] = (oid, size, {})
        signed = urlencode({"X-Amz-Signature": secrets.token_hex(16)})
        if size > hub.part_size:
            parts = range(1, 1 + -(-size // hub.part_size))
            header = {str(part): f"{hub.url}/lfs/{key}/{part}?{signed}" for part in parts}
            upload = {"href": f"{hub.url}/lfs/{key}/complete?{signed}", "header": header}
            header["chunk_size"] = str(hub.part_size)
        else:
            upload = {"href": f"{hub.url}/lfs/{key}/0?{signed}"}
        verify = {"href": f"{hub.url}/lfs/{key}/verify"}
        objects.append({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
    return Answer.of({"transfer": "basic", "objects": objects})


@_at("PUT", r"/lfs/(?P<key>\w+)/(?P<part>\d+)", "put")
def put(request: Request) -> Answer:
    oid, size, parts = _upload(request)
    number = int(request.words["part"])
    parts[number] = request.body
    if number == 0:
        _keep_large(request.hub, oid, size, request.body)
    return Answer(headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


@_at("POST", r"/lfs/(?P<key>\w+)/complete", "complete")
def complete(request: Request) -> Answer:
    oid, size, parts = _upload(request)
    asked = request.json["parts"]
    for one in asked:
        if hashlib.md5(parts.get(one["partNumber"], b"")).hexdigest() != one["etag"].strip('"'):
            raise Refused(400, f"part {one['partNumber']} is not the one that was sent")
    _keep_large(request.hub, oid, size, b"".join(parts[one["partNumber"]] for one in asked))
    return Answer.of({})


@_at("POST", r"/lfs/(?P<key>\w+)/verify", "verify")
def verify(request: Request) -> Answer:
    oid, size, _ = _upload(request)
    if len(request.hub.store.large.get(oid, b"")) != size or oid not in request.hub.store.large:
        raise Refused(400, "wrong checksum: what has arrived is not what was announced")
    return Answer.of({})


def _upload(request: Request) -> tuple[str, int, dict[int, bytes]]:
    if request.words["key"] not in request.hub.uploads:
        raise Refused(403, "the address has expired")
    return request.hub.uploads[request.words["key"]]


def _keep_large(hub: Hub, oid: str, size: int, content: bytes) -> None:
    """Store content only if it matches its hash."""
    if hashlib.sha256(content).hexdigest() == oid and len(content) == size:
        hub.store.large[oid] = content


@_at("POST", f"{_API}/commit/(?P<revision>[^/]+)", "commit")
def commit(request: Request) -> Answer:
    pr = "create_pr" in request.query
    repository = request.repository(write=not pr)
    request.known()
    lines = [json.loads(line) for line in request.body.splitlines() if line]
    small = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    oid, number = request.hub.store.commit(repository, request.words["revision"], lines, small, pr=pr)
    url = _url(request, repository)
    told = {"success": True, "commitOid": oid, "commitUrl": f"{url}/commit/{oid}"}
    return Answer.of({**told, "pullRequestUrl": f"{url}/discussions/{number}"} if pr else told)


def _url(request: Request, repository: Repository) -> str:
    return request.hub.url + ("/datasets/" if repository.kind == "dataset" else "/") + repository.name


@_at("GET", _API, "info")
@_at("GET", f"{_API}/revision/(?P<revision>[^/]+)", "info")
def info(request: Request) -> Answer:
    repository = request.repository()
    oid = repository.resolve(request.words.get("revision", "main"))
    siblings = [{"rfilename": path} for path in sorted(repository.commits[oid].files)]
    about = {"id": repository.name, "sha": oid, "private": repository.private, "siblings": siblings}
    return Answer.of({**about, "lastModified": DATE, "createdAt": DATE, "tags": [], "downloads": 0, "likes": 0})


def _described(path: str, file: File) -> dict[str, Any]:
    told = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
    if file.sha256 is None:
        return told
    size = len(pointer(file.sha256, file.size))
    return {**told, "lfs": {"oid": file.sha256, "size": file.size, "pointerSize": size}}


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


@_at("GET", f"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", "tree")
def tree(request: Request) -> Answer:
    files = request.repository().files(request.words["revision"])
    folder = f"{request.words['path']}/" if request.words.get("path") else ""
    inside = {path: file for path, file in files.items() if path.startswith(folder)}
    if folder and not inside:
        raise Refused(404, f"{folder} does not exist", "EntryNotFound")
    folders = sorted({path.rpartition("/")[0] for path in inside if "/" in path.removeprefix(folder)})
    entries = [*map(_folder, folders), *(_described(path, inside[path]) for path in sorted(inside))]
    if request.query.get("recursive", ["false"])[0].lower() != "true":
        entries = [one for one in entries if "/" not in one["path"].removeprefix(folder)]
    start = int(request.query.get("cursor", ["0"])[0])
    page = entries[start : start + request.hub.page]
    if start + len(page) == len(entries):
        return Answer.of(page)
    query = urlencode({**{name: value[0] for name, value in request.query.items()}, "cursor": start + len(page)})
    kind, name, revision = (request.words[word] for word in ("kind", "name", "revision"))
    path = f"{request.hub.url}/api/{kind}/{name}/tree/{revision}/{folder}".rstrip("/")
    return Answer.of(page, **{"Link": f'<{path}?{query}>; rel="next"'})


@_at("GET", f"{_API}/refs", "refs")
def refs(request: Request) -> Answer:
    own = sorted(request.repository().refs.items())
    told = {
        name: [
            {"name": ref.removeprefix(start), "ref": ref, "targetCommit": oid}
            for ref, oid in own
            if ref.startswith(start)
        ]
        for name, start in (("branches", "refs/heads/"), ("tags", "refs/tags/"), ("pullRequests", "refs/pr/"))
    }
    return Answer.of({**told, "converts": []})


@_at("POST", f"{_API}/branch/(?P<ref>[^/]+)", "branch")
def branch(request: Request) -> Answer:
    start = request.json.get("startingPoint", "main")
    return _make_ref(request.repository(write=True), f"refs/heads/{request.words['ref']}", start)


@_at("POST", f"{_API}/tag/(?P<revision>[^/]+)", "tag")
def tag(request: Request) -> Answer:
    return _make_ref(request.repository(write=True), f"refs/tags/{request.json['tag']}", request.words["revision"])


def _make_ref(repository: Repository, ref: str, start: str) -> Answer:
    with repository.lock:
        if ref in repository.refs:
            raise Refused(409, f"{ref} exists already")
        repository.refs[ref] = repository.resolve(start)
    return Answer()


@_at("GET HEAD", f"{_OWN}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve")
def resolve(request: Request) -> Answer:
    repository = request.repository()
    oid = repository.resolve(request.words["revision"])
    file = repository.commits[oid].files.get(request.words["path"])
    if file is None:
        raise Refused(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": oid})
    content = request.hub.store.content(file)
    headers = {"X-Repo-Commit": oid, "ETag": f'"{file.etag}"', "Content-Type": "application/octet-stream"}
    if file.sha256 is not None:
        headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if wanted is None:
        return Answer(content, 200, {**headers, "Accept-Ranges": "bytes", "Content-Length": str(len(content))})
    start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
    if start >= len(content):
        raise Refused(416, "range not satisfiable", **{"Content-Range": f"bytes */{len(content)}"})
    part = content[start : end + 1]
    span = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
    return Answer(part, 206, {**headers, "Content-Range": span, "Content-Length": str(len(part))})
