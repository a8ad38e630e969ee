"""Reports of one model are one where they agree, and stay two where they do not."""

from __future__ import annotations

import dataclasses

from hf_afro.reports import EvalReport
from hf_afro.reports.joining import are_of_one_model, join_reports
from tests.reports.examples import score

NER = EvalReport(
    "student",
    {"parameters": 5},
    (score("swa"), score("yor")),
    settings={"ner/swa": {"epochs": 5}},
    provenance={"encoder_fingerprint": "e", "data": {"ner/swa": {"sizes": 1}}, "command": "a"},
    versions={"hf_afro": "1", "torch": "2"},
    predictions={"ner/swa": "predictions/ner-swa.jsonl"},
)
TOPIC = dataclasses.replace(
    NER,
    model={"parameters": 5, "latency_ms": 2.5},
    scores=(score("swa", task="topic"), score("swa")),
    settings={"topic/swa": {"epochs": 9}},
    provenance={"encoder_fingerprint": "e", "data": {"topic/swa": {"sizes": 2}}, "command": "b"},
    versions={"hf_afro": "1", "torch": "3"},
)


def with_provenance(report: EvalReport, **facts) -> EvalReport:
    return dataclasses.replace(report, provenance={**report.provenance, **facts})


def test_a_report_is_of_one_model_by_name_and_encoder():
    assert are_of_one_model(NER, TOPIC)
    assert not are_of_one_model(NER, with_provenance(TOPIC, encoder_fingerprint="f"))
    assert not are_of_one_model(NER, with_provenance(TOPIC, language_adapters={"swa": "x"}))
    assert not are_of_one_model(NER, dataclasses.replace(TOPIC, name="student with LoRA"))
    unknown = dataclasses.replace(NER, provenance={})
    assert not are_of_one_model(unknown, unknown)


def test_what_was_measured_in_both_is_in_one():
    joined = join_reports(NER, TOPIC)
    assert joined.scores == (score("swa"), score("yor"), score("swa", task="topic"))
    assert joined.model == {"parameters": 5, "latency_ms": 2.5}
    assert joined.settings == {"ner/swa": {"epochs": 5}, "topic/swa": {"epochs": 9}}
    assert joined.provenance == {
        "encoder_fingerprint": "e",
        "data": {"ner/swa": {"sizes": 1}, "topic/swa": {"sizes": 2}},
        "command": "a",
    }
    assert joined.versions == {"hf_afro": "1", "torch": "2 and 3"}
    assert joined.predictions == {}


def test_the_same_figure_with_two_values_keeps_them_apart():
    other = dataclasses.replace(TOPIC, scores=(score("swa", values=(0.5, 0.61)),))
    assert join_reports(NER, other) is None
    together = dataclasses.replace(TOPIC, scores=(score("swa", together=("swa", "yor")),))
    assert join_reports(NER, together) is None
    transfer = dataclasses.replace(NER, transfer=(score("swa", source="yor"),))
    changed = dataclasses.replace(NER, transfer=(score("swa", values=(0.1,), source="yor"),))
    assert join_reports(transfer, changed) is None
    assert join_reports(transfer, NER).transfer == transfer.transfer


def test_two_sets_of_one_task_keep_their_settings():
    other = dataclasses.replace(
        NER, scores=(score("swa", values=(0.9,), dataset="masakhaner2/swa"),), settings={"ner/swa": {"epochs": 7}}
    )
    joined = join_reports(NER, other)
    assert [one.dataset for one in joined.select(task="ner", language="swa")] == ["example/swa", "masakhaner2/swa"]
    assert joined.settings == {"ner/swa": {"epochs": 5}, "ner/swa, MasakhaNER 2.0": {"epochs": 7}}
