"""Tables of scores: every cell is a score of its report, and only comparable scores are ranked."""

from __future__ import annotations

import dataclasses

import pytest

from hf_afro.reports import EvalReport
from hf_afro.reports.formatting import format_score
from hf_afro.reports.score_tables import (
    common_mean,
    comparison_table,
    comparison_tables,
    language_table,
    other_tables,
    removed_table,
    size_table,
    transfer_table,
    transfer_tasks,
)
from hf_afro.reports.tables import Cell, Table
from tests.reports.examples import crossed, report, score, three


def cells(table: Table) -> dict[tuple[str, str], Cell]:
    return {
        (row[0].text, column): cell
        for row in table.rows
        for column, cell in zip(table.header[1:], row[1:], strict=True)
    }


def one_score(name: str, **more: object) -> EvalReport:
    return EvalReport(name, {}, (score(**more),))


def test_every_cell_is_the_score_of_its_report():
    table = cells(comparison_table(three(), "ner"))
    for one in three():
        for measured in one.select(task="ner"):
            names = {"amh": "Amharic (amh)", "hau": "Hausa (hau)", "swa": "Swahili (swa)"}
            assert table[names[measured.language], one.name].text.startswith(format_score(measured))


def test_the_best_is_the_highest_f1_and_the_lowest_bits():
    entities = cells(comparison_table(three(), "ner"))
    assert [name for name in ("teacher", "pruned", "student") if entities["Hausa (hau)", name].best] == ["teacher"]
    bits = cells(comparison_table(three(), "bits_per_byte"))
    assert [name for name in ("teacher", "pruned", "student") if bits["Amharic (amh)", name].best] == ["teacher"]


def test_figures_that_read_alike_are_marked_alike_and_not_at_all_where_all_do():
    reports = [one_score("a", values=(0.90001,)), one_score("b", values=(0.90002,)), one_score("c", values=(0.5,))]
    assert [cell.best for cell in comparison_table(reports, "ner").rows[0][2:]] == [True, True, False]
    assert [cell.best for cell in comparison_table(reports[:2], "ner").rows[0][2:]] == [False, False]


def test_what_was_not_measured_is_a_dash_and_left_out_of_the_mean_of_all():
    table = comparison_table(three(), "bits_per_byte")
    assert cells(table)["Swahili (swa)", "student"].text == "–"
    # Over Amharic and Hausa alone, which all three have: (1.61 + 1.12) / 2 and (2.2 + 1.71) / 2
    assert cells(table)["mean of 2", "teacher"].text == "1.365"
    assert cells(table)["mean of 2", "student"].text == "1.955"
    assert common_mean(three(), "bits_per_byte", "bits_per_byte") == (2, pytest.approx([1.365, 1.38, 1.955]))


def test_a_model_without_the_task_has_dashes_and_does_not_shrink_the_mean():
    without = EvalReport("bare", {}, ())
    table = cells(comparison_table([*three(), without], "ner"))
    assert table["Hausa (hau)", "bare"].text == "–"
    assert table["mean of 3", "bare"].text == "–"


def test_models_measured_on_other_examples_are_not_ranked():
    reports = [one_score("a", values=(0.9,)), one_score("b", values=(0.5,), fingerprint="other")]
    table = comparison_table(reports, "ner")
    assert not any(cell.best for cell in table.rows[0])
    assert any("measured on different examples" in note for note in table.notes)
    assert common_mean(reports, "ner", "entity_f1") == (0, [None, None])


def test_notes_of_scores_become_footnotes():
    table = comparison_table(three(), "ner")
    assert cells(table)["Swahili (swa)", "student"].text == "57.0 ± 49.4 [1]"
    assert table.notes[-1] == "[1] student, Swahili (swa): seed 1 collapsed"


def test_the_notes_say_over_what_the_figures_are():
    (note,) = comparison_table(three()[:2], "ner").notes
    assert note == "In percent. Mean ± standard deviation over 3 seeds. Split: test; n: examples."
    (note,) = comparison_table(three()[:2], "bits_per_byte").notes
    assert note == "Lower is better. Split: held out; n: masked words."
    found = EvalReport("a", {}, (score(task="bitext", metric="accuracy_at_1", values=(0.5,), seeds=()),))
    table = comparison_table([found], "bitext")
    assert (table.title, table.notes) == ("Bitext retrieval, accuracy at 1", ("In percent. Split: test; n: pairs.",))


def test_two_sets_of_a_language_have_a_row_each():
    both = EvalReport("a", {}, (score(dataset="one/swa"), score(dataset="two/swa", values=(0.9,), fingerprint="2")))
    labels = [row[0].text for row in comparison_table([both], "ner").rows]
    assert labels == ["Swahili (swa), one/swa test", "Swahili (swa), two/swa test", "mean of 2"]


def test_a_task_or_metric_nobody_measured_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no report has a score of 'sentiment'; expected one of 'entity_f1' of 'ner'"):
        comparison_table(three(), "sentiment")
    with pytest.raises(ValueError, match="no report has 'accuracy' of 'ner'"):
        comparison_table(three(), "ner", "accuracy")


def test_there_is_a_table_for_every_task_and_for_every_other_metric():
    assert [table.title for table in comparison_tables(three())] == [
        "Named entities, entity F1",
        "News topics, weighted F1",
        "Bits per byte",
    ]
    assert [table.title for table in other_tables(three())] == ["News topics, macro F1"]


def test_sizes():
    table = cells(size_table(three()))
    assert table["student", "parameters"].text == "23.0 M"
    assert table["teacher", "bytes on disk"].text == "1,113.2 MB"
    latency = dataclasses.replace(report("student"), model={"latency_ms": 4.25, "tied": True})
    table = cells(size_table([report("teacher"), latency]))
    assert table["student", "parameters"].text == table["teacher", "latency ms"].text == "–"
    assert ("student", "tied") not in table


def test_dropped_lines_and_their_sums():
    table = removed_table({"swa": {"read": 10_000, "duplicate": 7}, "yor": {"read": 5}})
    assert cells(table)["Swahili (swa)", "duplicate"].text == "7"
    assert cells(table)["Yoruba (yor)", "duplicate"].text == "–"
    assert cells(table)["all", "read"].text == "10,005"


def test_transfer():
    teacher = crossed()
    assert transfer_tasks(teacher) == (("ner", "entity_f1"),)
    table = transfer_table(teacher, "ner", "entity_f1")
    assert table.header == ("trained on", "amh", "swa", "hau", "mean of the others")
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows[0] == ["Amharic (amh)", "70.6 ± 0.6", "50.0 ± 0.0", "35.0 ± 7.1", "42.5"]
    assert rows[1][1] == "30.0 ± 42.4 [1]"
    assert table.notes[1] == "[1] Swahili (swa) to Amharic (amh): seed 1"


def test_languages_have_names_and_the_tasks_they_were_measured_on():
    rows = {row[1].text: [cell.text for cell in row] for row in language_table(three(), ["yor"]).rows}
    assert rows["hau"] == ["Hausa", "hau", "hau_Latn", "Latin, Arabic", "named entities, news topics, bits per byte"]
    assert rows["yor"][-1] == "not measured"
