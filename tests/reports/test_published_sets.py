"""Names of sets, also those of folders such as `data`."""

from __future__ import annotations

import pytest

from hf_afro.evaluation.data.published import HUB_SETS
from hf_afro.reports.published_sets import PUBLISHED_SETS, hub_id_of, key_of_folder, set_title


@pytest.mark.parametrize(
    ("folder", "key"),
    [
        ("masakhaner1", "masakhaner1"),
        ("masakhane-ner/data", "masakhaner1"),
        ("masakhane-ner/MasakhaNER2.0/data", "masakhaner2"),
        ("masakhane-news/data", "masakhanews"),
        ("SIB-200/data/annotated", "sib200"),
        ("afrisent-semeval-2023/data", "afrisenti"),
        ("council/Data/train", "council"),
        ("council", "council"),
        ("data/ner", "ner"),
    ],
)
def test_a_set_is_called_after_itself_or_the_first_folder_that_says_something(tmp_path, folder, key):
    assert key_of_folder(tmp_path / folder) == key


def test_no_set_is_called_after_somebodys_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key_of_folder(tmp_path / "data" / "train") == "train"


def test_names_and_ids_are_of_published_sets_only():
    assert (set_title("masakhaner1/swa"), hub_id_of("masakhaner1/swa")) == ("MasakhaNER 1.0", "masakhane/masakhaner")
    assert (set_title("council/swa"), hub_id_of("council/swa")) == ("council", "")
    assert all(hub_id_of(key) for key in HUB_SETS)
    assert set(HUB_SETS) <= set(PUBLISHED_SETS)
