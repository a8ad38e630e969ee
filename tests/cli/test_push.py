"""`hf-afro push`: it shows first, sends only when told to, and takes no token from the command line."""

from __future__ import annotations

import json

import huggingface_hub.constants
import pytest

from hf_afro.cli.main import main
from tests.hub.faults import Fault
from tests.hub.folders import held, here, small_model, trained_model
from tests.hub.sequences import speaking_to_loopback
from tests.hub.server import Hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the client's HTTP library


@pytest.fixture
def hub(monkeypatch):
    with speaking_to_loopback(), Hub() as one:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", one.url)
        monkeypatch.setenv("HF_TOKEN", one.token)
        yield one


@pytest.fixture
def folder(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return trained_model(tmp_path / "model", hub.token)


def test_it_shows_and_sends_nothing(hub, folder, capsys):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_name_or_path": "/home/ama/base"}))
    assert main(["push", "model", "--repo_id", "ama/model", "--private"]) == 0
    out = capsys.readouterr().out
    assert f"model ama/model, main (private, if it is new): {hub.url}/ama/model" in out
    assert "model.safetensors  8,112" in out
    assert "taken out of config.json: _name_or_path '/home/ama/base'" in out
    assert "skipped: training_args.bin (a pickle of the trainer's arguments, which may hold a token)" in out
    assert "license: apache-2.0" in out, "the card"
    assert out.endswith("Nothing was sent. The same command with --yes sends it.\n")
    assert hub.requests == []


def test_it_sends_and_leaves_a_list(hub, folder, capsys):
    arguments = [
        "push",
        "model",
        "--repo_id",
        "lab/model",
        "--private",
        "--yes",
        "--tag",
        "v1",
        "--output_dir",
        "sent",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    repository = hub.store.find("model", "lab/model")
    commit = repository.refs["refs/heads/main"]
    assert out.endswith(f"published: {hub.url}/lab/model/commit/{commit}, tagged v1\nwritten to sent\n")
    assert held(hub, "lab/model") == here(small_model(folder.parent / "alone"))
    assert repository.private
    report = json.loads((folder.parent / "sent" / "push.json").read_text())
    assert (report["commit"], len(report["files"])) == (commit, 4)
    assert all(hub.token not in text for text in (out, *map(str, here(folder.parent / "sent").values())))


def test_what_cannot_be_published_is_the_users_mistake(hub, folder, refused):
    (folder / "more.pkl").write_bytes(b"")
    assert "more.pkl: is .pkl, which may run code" in refused("push", "model", "--repo_id", "ama/model", "--yes")
    assert "absent is not a folder" in refused("push", "absent", "--repo_id", "ama/model")
    assert "Invalid repo_id 'a/b/c'" in refused("push", "model", "--repo_id", "a/b/c")
    assert "would replace what --folder model reads" in refused(
        "push", "model", "--repo_id", "ama/model", "--output_dir", "model", "--overwrite"
    )
    assert hub.requests == []


def test_no_option_takes_a_token(hub, folder, refused):
    both = refused("push", "model", "--repo_id", "ama/model", "--yes", "--dry-run")
    assert "--yes sends and --dry_run does not; leave one of them out" in both
    line = refused("push", "model", "--repo_id", "ama/model", "--token", "hf_x")
    assert "unknown setting --token of push" in line
    assert "hf_x" not in line


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("401", 2, "push: error: Push to ama/model refused (401): the Hub does not know the token: run"),
        ("403", 2, "push: error: Push to ama/model refused (403): the token may not write there"),
        ("500", 1, "push: failed: PushFailed: Push to ama/model failed (500): push again later"),
    ],
)
def test_what_the_hub_refuses_is_a_line_and_an_exit_code(hub, folder, capsys, kind, code, told):
    hub.faults.on(Fault(kind, "commit", count=100))
    assert main(["push", "model", "--repo_id", "ama/model", "--yes"]) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hf-afro")]
    assert told in line
    assert hub.token not in line
    assert held(hub, "ama/model") == {}
