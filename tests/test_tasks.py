"""The table of tasks: every task is complete, and unknown ones are named."""

from __future__ import annotations

import pytest

from hf_afro.tasks import BITEXT, BITS_PER_BYTE, KINDS, MEASURED, TASKS, kind_of, metrics_of


def test_every_task_has_a_title_of_its_own_and_a_main_metric():
    assert len({kind.title for kind in KINDS.values()}) == len(TASKS)
    assert {task: kind.main_metric for task, kind in KINDS.items()} == {
        **dict.fromkeys(("ner", "spans", "slots"), "entity_f1"),
        **dict.fromkeys(("hate", "emotion", "multi_label"), "macro_f1"),
        **dict.fromkeys(("relatedness", "pair_regression"), "spearman"),
        "regression": "pearson",
        **dict.fromkeys(("topic", "sentiment", "texts"), "weighted_f1"),
        **dict.fromkeys(("pos", "nli", "tags", "pairs", "intent"), "accuracy"),
    }
    assert kind_of("pos").pipeline == "token-classification"
    assert kind_of("nli").pipeline == kind_of("emotion").pipeline == "text-classification"
    lists = {task for task, kind in KINDS.items() if kind.lists_labels}
    assert lists == {"ner", "spans", "slots", "pos", "tags", "emotion", "multi_label"}


def test_tables_show_the_main_metric_first():
    assert metrics_of("ner") == ("entity_f1", "entity_precision", "entity_recall")
    assert metrics_of(BITS_PER_BYTE) == (BITS_PER_BYTE,)
    assert metrics_of(BITEXT)[0] == "accuracy_at_1"
    assert not set(MEASURED) & set(KINDS)
    with pytest.raises(ValueError, match="unknown task 'nre'"):
        metrics_of("nre")
