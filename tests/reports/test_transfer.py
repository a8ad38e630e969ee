"""Transfer: the matrix as a table and as a heat map, and where it stands in the page."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from hf_afro.reports import EvalReport
from hf_afro.reports.page import render_page
from hf_afro.reports.transfer import transfer_matrix, transfer_plot, transfer_table, transfer_tasks
from tests.reports.examples import report, score


@pytest.fixture
def crossed() -> EvalReport:
    """The teacher, trained on Amharic and Swahili, measured on three languages."""
    values = {
        ("amh", "hau"): (0.3, 0.4),
        ("amh", "swa"): (0.5, 0.5),
        ("swa", "amh"): (0.0, 0.6),
        ("swa", "hau"): (0.7, 0.7),
    }
    transfer = tuple(
        score(
            target,
            own,
            source=source,
            metric=metric,
            collapsed=(1,) if 0.0 in own else (),
            note="seed 1" if 0.0 in own else "",
        )
        for metric in ("entity_precision", "entity_f1")
        for (source, target), own in values.items()
    )
    return dataclasses.replace(report("teacher"), transfer=transfer)


def test_the_table(crossed):
    assert transfer_tasks(crossed) == (("ner", "entity_f1"),)
    table = transfer_table(crossed, "ner", "entity_f1")
    assert table.header == ("trained on", "amh", "swa", "hau", "mean of the others")
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows[0] == ["Amharic (amh)", "70.6 ± 0.6", "50.0 ± 0.0", "35.0 ± 7.1", "42.5"]
    assert rows[1][1] == "30.0 ± 42.4 [1]"
    assert table.notes[1] == "[1] Swahili (swa) to Amharic (amh): seed 1"


def test_the_heat_map(crossed):
    figure = transfer_plot(crossed, "ner", "entity_f1")
    tree = ElementTree.fromstring(figure.svg)
    paths = [one for one in tree.iter() if one.tag.endswith("}path") and "opacity" in one.get("style", "")]
    strengths = [float(re.search(r"opacity: ([\d.]+)", one.get("style"))[1]) for one in paths]
    scores = [score.mean for score in transfer_matrix(crossed, "ner", "entity_f1").values()]
    assert len(strengths) == len(scores) == 6
    assert sorted(range(6), key=strengths.__getitem__) == sorted(range(6), key=scores.__getitem__)
    assert (min(strengths), max(strengths)) == (0.06, 0.56)
    assert "best Swahili (swa) to Hausa (hau), 70.0" in tree.get("aria-label")


def test_scores_on_other_languages_stand_apart(crossed):
    assert crossed.mean("ner", "entity_f1") == report("teacher").mean("ner", "entity_f1")
    page = render_page([crossed, report("student")])
    assert "trained on (down), measured on (across)" in page
    assert "mean of the others" in page
    with pytest.raises(ValueError, match="belong into `transfer`"):
        dataclasses.replace(crossed, scores=crossed.transfer)


def test_a_report_with_transfer_is_read_as_it_was_written(crossed, tmp_path):
    crossed.save(tmp_path)
    assert EvalReport.load(tmp_path) == crossed
