"""The Hub on loopback answers the requests of the real client."""

from __future__ import annotations

import threading

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from tests.hub.faults import Fault
from tests.hub.server import Hub

LARGE = bytes(range(256)) * 40


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


@pytest.fixture
def filled(api):
    """A repository with a small file, a large file and one in a folder."""
    api.create_repo("ama/model")
    operations = [add("config.json", b"{}"), add("model.safetensors", LARGE), add("in/side.txt", b"inside")]
    return api.create_commit("ama/model", operations, commit_message="first")


def test_whoami_and_existing_repositories(api, hub):
    assert api.whoami()["name"] == "ama"
    assert api.create_repo("ama/model").repo_id == "ama/model"
    assert api.create_repo("ama/model", exist_ok=True).repo_id == "ama/model"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("ama/model")
    with pytest.raises(HfHubHTTPError, match="rights to create"):
        api.create_repo("kofi/model")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("ama/other")


def test_a_commit_can_be_read_back(api, hub, filled, tmp_path):
    info = api.model_info("ama/model")
    assert info.sha == filled.oid
    names = {"config.json", "model.safetensors", "in/side.txt", ".gitattributes"}
    assert {one.rfilename for one in info.siblings} == names
    folder = snapshot_download("ama/model", endpoint=hub.url, token=hub.token, cache_dir=tmp_path)
    assert {str(path) for path in names} == set(api.list_repo_files("ama/model"))
    assert (tmp_path / folder / "model.safetensors").read_bytes() == LARGE
    sizes = {one.path: one.lfs.size for one in api.list_repo_tree("ama/model") if getattr(one, "lfs", None)}
    assert sizes == {"model.safetensors": len(LARGE)}


def test_large_files_are_sent_once(api, hub, filled):
    api.create_commit("ama/model", [add("again.safetensors", LARGE)], commit_message="again")
    assert hub.asked("put") == hub.asked("verify") == 1


def test_parts(online, tmp_path):
    with Hub(part_size=4096, page=2) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        api.create_repo("ama/data", repo_type="dataset")
        operations = [add("x.npz", LARGE), add("b.txt", b"b"), add("c.txt", b"c")]
        api.create_commit("ama/data", operations, commit_message="m", repo_type="dataset")
        assert (hub.asked("put"), hub.asked("complete")) == (3, 1)
        assert len(api.list_repo_files("ama/data", repo_type="dataset")) == 4  # read page by page
        assert hub.asked("tree") == 2
        path = hf_hub_download(
            "ama/data", "x.npz", repo_type="dataset", endpoint=hub.url, token=hub.token, cache_dir=tmp_path
        )
        with open(path, "rb") as file:
            assert file.read() == LARGE


def test_branches_tags_and_pull_requests(api, filled):
    api.create_branch("ama/model", branch="dev")
    api.create_tag("ama/model", tag="v1")
    change = api.create_commit("ama/model", [add("a.txt", b"a")], commit_message="m", revision="dev")
    request = api.create_commit("ama/model", [add("b.txt", b"b")], commit_message="m", create_pr=True)
    assert request.pr_num == 1
    refs = api.list_repo_refs("ama/model", include_pull_requests=True)
    assert {one.name: one.target_commit for one in refs.branches} == {"main": filled.oid, "dev": change.oid}
    assert [one.target_commit for one in refs.tags] == [filled.oid]
    assert [one.ref for one in refs.pull_requests] == ["refs/pr/1"]
    assert api.file_exists("ama/model", "b.txt", revision="refs/pr/1")
    assert not api.file_exists("ama/model", "b.txt")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("ama/model", revision="absent")


def test_a_commit_is_whole_or_not_at_all(api, hub, filled):
    wrong = [add("new.txt", b"new"), CommitOperationDelete("absent.txt")]
    with pytest.raises(HfHubHTTPError):
        api.create_commit("ama/model", wrong, commit_message="m")
    assert api.model_info("ama/model").sha == filled.oid
    behind = hub.store.find("model", "ama/model").history("main")[-1]
    with pytest.raises(HfHubHTTPError, match="has happened since"):
        api.create_commit("ama/model", [add("new.txt", b"new")], commit_message="m", parent_commit=behind)
    assert "new.txt" not in hub.store.find("model", "ama/model").files("main")


def test_who_may_see_and_write(api, hub):
    api.create_repo("lab/secret", private=True)
    other, nobody = HfApi(endpoint=hub.url, token=hub.other_token), HfApi(endpoint=hub.url, token=False)
    for one in (other, nobody):
        with pytest.raises(RepositoryNotFoundError):
            one.model_info("lab/secret")
    api.create_repo("lab/open")
    assert nobody.model_info("lab/open").private is False
    with pytest.raises(HfHubHTTPError, match="403"):
        other.create_commit("lab/open", [add("a", b"a")], commit_message="m")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.url, token="hf_wrong").whoami()


@pytest.mark.parametrize("kind", ["truncated", "slow", "429"])
def test_reading_goes_on_after_a_fault(api, hub, filled, tmp_path, kind):
    hub.faults.on(Fault(kind, "resolve", skip=1, retry_after=0))
    path = hf_hub_download("ama/model", "model.safetensors", endpoint=hub.url, token=hub.token, cache_dir=tmp_path)
    with open(path, "rb") as file:
        assert file.read() == LARGE
    assert hub.faults.struck == [("resolve", kind)]


def test_nothing_is_left(online):
    before = threading.active_count()
    with Hub() as hub:
        HfApi(endpoint=hub.url, token=hub.token).whoami()
    deadline = 200
    while threading.active_count() > before and deadline:
        threading.Event().wait(0.01)
        deadline -= 1
    assert threading.active_count() <= before
