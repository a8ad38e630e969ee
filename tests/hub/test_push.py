"""A push makes one commit of the right files, in the requested branch, tag or pull request."""

from __future__ import annotations

import json
import logging

import huggingface_hub.constants
import pytest
import yaml
from huggingface_hub import CommitOperationAdd, EvalResultEntry, eval_result_entries_to_yaml

from hf_afro.hub import PushFailed, PushRefused, push
from tests.hub.faults import Fault
from tests.hub.folders import CARD, counts, held, here, small_model, trained_model
from tests.hub.server import Hub

NAME = "ama/model"


@pytest.fixture
def model(tmp_path):
    return small_model(tmp_path / "model")


@pytest.fixture
def send(hub):
    """Push to the Hub on loopback."""

    def run(folder, name=NAME, **settings):
        return push(folder, name, endpoint=hub.url, **{"token": hub.token, **settings})

    return run


def commits(hub, name=NAME, kind="model"):
    return len(hub.store.find(kind, name).history("main"))


def test_a_dry_run_asks_nobody(hub, send, model):
    report = send(model, dry_run=True, tag="v1")
    assert [file.path for file in report.contents.files] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (report.commit, report.changed, report.url) == (None, None, f"{hub.url}/{NAME}")
    assert hub.requests == []


def test_everything_goes_in_one_commit(hub, send, tmp_path, model):
    trained = trained_model(tmp_path / "trained", hub.token)
    report = send(trained, message="one")
    assert held(hub, NAME) == here(model)
    assert commits(hub) == 2
    repository = hub.store.find("model", NAME)
    assert repository.commits[report.commit].title == "one"
    assert report.changed
    assert report.url == f"{hub.url}/{NAME}/commit/{report.commit}"
    assert json.loads(json.dumps(report.as_dict()))["files"][0]["path"] == "README.md"


def test_the_same_again_changes_nothing(hub, send, model):
    first = send(model)
    again = send(model)
    assert (again.commit, again.changed) == (first.commit, False)
    assert commits(hub) == 2
    assert hub.asked("put") == 1


def test_what_has_arrived_is_not_sent_again(hub, send, tmp_path):
    folder = small_model(tmp_path / "m", shards=3)
    hub.faults.on(Fault("403", "commit"))
    with pytest.raises(PushRefused):
        send(folder)
    assert (hub.asked("put"), held(hub, NAME)) == (3, {})
    send(folder)
    assert hub.asked("put") == 3
    assert held(hub, NAME) == here(folder)


def test_large_files_go_in_parts(online, tmp_path):
    folder = small_model(tmp_path / "m")
    with Hub(part_size=3000) as hub:
        push(folder, NAME, endpoint=hub.url, token=hub.token)
        assert (hub.asked("put"), hub.asked("complete")) == (3, 1)
        assert held(hub, NAME) == here(folder)


def test_a_private_repository_is_made_and_a_public_one_is_not_taken_for_one(hub, send, model):
    send(model, "lab/secret", private=True)
    assert hub.store.find("model", "lab/secret").private
    send(model)
    assert not hub.store.find("model", NAME).private
    before = commits(hub)
    with pytest.raises(PushRefused, match="ama/model is public, but private was requested"):
        send(model, private=True)
    with pytest.raises(PushRefused, match="ama/model is public, but private was requested"):
        send(model, "model", private=True)  # a name without its owner
    assert commits(hub) == before


def test_branches_and_tags(hub, send, model):
    send(model, revision="dev", tag="v1")
    repository = hub.store.find("model", NAME)
    assert held(hub, NAME) == {}
    assert held(hub, NAME, "dev") == held(hub, NAME, "v1") == here(model)
    before = dict(repository.refs)
    with pytest.raises(PushRefused, match="already has a tag v1"):
        send(model, tag="v1")
    assert repository.refs == before


def test_a_new_branch_holds_what_main_holds_until_the_commit(hub, send, model):
    hub.faults.on(Fault("403", "commit"))
    with pytest.raises(PushRefused):
        send(model, revision="dev")
    assert held(hub, NAME, "dev") == held(hub, NAME) == {}
    send(model, revision="dev")
    assert (held(hub, NAME), held(hub, NAME, "dev")) == ({}, here(model))


def test_pull_requests(hub, send, api, model):
    api.create_repo("lab/model")
    report = push(model, "lab/model", create_pr=True, endpoint=hub.url, token=hub.other_token)
    assert report.url.endswith("/lab/model/discussions/1")
    assert held(hub, "lab/model") == {}
    assert held(hub, "lab/model", "refs/pr/1") == here(model)
    with pytest.raises(ValueError, match="A pull request goes to main of owner/name"):
        send(model, create_pr=True, tag="v1")
    with pytest.raises(ValueError, match="A pull request goes to main of owner/name"):
        send(model, "own", create_pr=True)
    with pytest.raises(
        PushRefused, match=r"lab/none refused \(404\): the repository or branch does not exist, or the tok"
    ):
        send(model, "lab/none", create_pr=True)


def test_what_else_is_there_stays_and_is_told_or_goes(hub, send, api, tmp_path, model):
    shards = small_model(tmp_path / "shards", shards=2)
    (shards / "notes.txt").write_text("notes", "utf-8")
    send(shards)
    report = send(model)
    assert "model-00001-of-00002.safetensors" in report.notes[0]
    assert set(held(hub, NAME)) == {*here(shards), *here(model)}
    report = send(model, replace=True)
    assert held(hub, NAME) == here(model)
    assert set(report.deleted) == set(here(shards)) - set(here(model))
    assert commits(hub) == 4


def test_scores_for_leaderboards_arrive(hub, send, tmp_path, model):
    (tmp_path / "card" / ".eval_results").mkdir(parents=True)
    (tmp_path / "card" / "README.md").write_text(CARD, "utf-8")
    entries = eval_result_entries_to_yaml([EvalResultEntry("masakhane/masakhaner2", "ner_swa", 0.55)])
    (tmp_path / "card" / ".eval_results" / "masakhaner2.yaml").write_text(yaml.safe_dump(entries), "utf-8")
    send(model, card=tmp_path / "card")
    (entry,) = yaml.safe_load(held(hub, NAME)[".eval_results/masakhaner2.yaml"])
    assert entry == {"dataset": {"id": "masakhane/masakhaner2", "task_id": "ner_swa"}, "value": 0.55}


def test_counts_go_to_a_dataset(hub, send, tmp_path):
    folder = counts(tmp_path / "counts")
    report = send(folder, "ama/counts", kind="dataset")
    assert held(hub, "ama/counts", kind="dataset") == here(folder)
    assert report.url.startswith(f"{hub.url}/datasets/ama/counts/commit/")


def test_without_a_token_nothing_begins(hub, model, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("hf_afro.hub.pushing.get_token", lambda: None)
    with pytest.raises(PushRefused, match="Not logged in to the Hub: run `hf auth login`, or set HF_TOKEN"):
        push(model, NAME, endpoint=hub.url)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["a/b/c", "../x", "ama/mo del", "ama/-model"])
def test_names_that_cannot_be_are_refused_before_anything(hub, send, model, name):
    with pytest.raises(ValueError, match="Invalid repo_id '.*': "):
        send(model, name)
    assert hub.requests == []


@pytest.mark.parametrize("path", ["README.md", "theirs.txt"])
def test_somebody_else_pushes_meanwhile(hub, send, api, model, monkeypatch, path):
    api.create_repo(NAME)
    create_commit = type(api).create_commit

    def after_theirs(self, *args, **settings):
        monkeypatch.setattr(type(api), "create_commit", create_commit)
        api.create_commit(NAME, [CommitOperationAdd(path, b"theirs")], commit_message="theirs")
        return create_commit(self, *args, **settings)

    monkeypatch.setattr(type(api), "create_commit", after_theirs)
    with pytest.raises(PushRefused, match="ama/model refused: main moved; somebody else changed the repository"):
        send(model)
    assert held(hub, NAME) == {path: b"theirs"}
    send(model)
    assert held(hub, NAME) == {path: b"theirs", **here(model)}


@pytest.mark.parametrize("create_pr", [False, True])
@pytest.mark.parametrize("kind", ["lost", "done-500", "truncated"])
def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub, send, api, model, kind, create_pr):
    api.create_repo(NAME)
    hub.faults.on(Fault(kind, "commit"))
    report = send(model, create_pr=create_pr)
    assert hub.faults.struck == [("commit", kind)]
    repository = hub.store.find("model", NAME)
    assert (commits(hub), len(repository.commits)) == (1 if create_pr else 2, 2)
    assert held(hub, NAME, report.commit) == here(model)
    assert report.url.endswith("/discussions/1" if create_pr else f"/commit/{report.commit}")


@pytest.mark.parametrize("fault", [Fault("403", "tree", skip=1), Fault("403", "tag")])
def test_a_failure_after_the_commit_says_that_it_was_made(hub, send, model, fault):
    hub.faults.on(fault)
    with pytest.raises(PushRefused, match=r"refused \(403\).*\. Commit [0-9a-f]{40} was made, without the tag v1$"):
        send(model, tag="v1")
    assert held(hub, NAME) == here(model)


def test_waiting_is_bounded_and_as_long_as_the_hub_asks(hub, send, model, monkeypatch):
    waited = []
    monkeypatch.setattr("hf_afro.hub.pushing.time.sleep", waited.append)
    hub.faults.on(Fault("429", "create", retry_after=7), Fault("503", "create", count=2))
    send(model)
    assert waited == [7, 2, 4]
    hub.faults.on(Fault("429", "refs", retry_after='"api";r=0;t=55'))
    send(model)
    assert waited.pop() == 55
    hub.faults.on(Fault("429", "refs", retry_after=3600))
    with pytest.raises(PushFailed, match=r"failed \(429\): too many requests: wait a few minutes"):
        send(model)
    assert len(waited) == 3


def test_an_upload_that_fails_in_xet_is_one_line(hub, send, model, monkeypatch):
    """The Hub on loopback does not speak xet, which huggingface_hub uses by default."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(
        PushFailed, match="^Push to ama/model failed: ConnectionError: .*Nothing was published"
    ) as caught:
        send(model)
    assert "\n" not in str(caught.value)
    assert held(hub, NAME) == {}


def test_nothing_that_is_told_or_logged_holds_a_secret(hub, send, tmp_path, model, caplog):
    """Even if the Hub repeats the token, and if signed URLs fail."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="huggingface_hub.utils._http")  # the commands of hf-afro silence it
    hub.faults.on(
        Fault("500", "put", count=2, says=f"not for Bearer {hub.token}"),
        Fault("403", "commit", says=f"{hub.token} may not; https://x.org/a?X-Amz-Signature=abc"),
    )
    with pytest.raises(PushRefused) as caught:
        send(model)
    text = str(caught.value)
    assert "hf_*** may not; https://x.org/a" in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "HTTP Error 500 thrown while requesting PUT" in caplog.text
    for told in (text, caplog.text):
        assert hub.token not in told
        assert "Signature" not in told
    assert not any(hub.token in path for _, _, path in hub.requests)
