"""Reports of models that do not exist; none of their scores was measured."""

from __future__ import annotations

import dataclasses

from hf_afro.reports import EvalReport, Score

F1 = {
    "teacher": {"amh": (0.701, 0.712, 0.705), "hau": (0.914, 0.911, 0.92), "swa": (0.887, 0.89, 0.88)},
    "pruned": {"amh": (0.70, 0.711, 0.70), "hau": (0.912, 0.91, 0.918), "swa": (0.886, 0.889, 0.882)},
    "student": {"amh": (0.6, 0.63, 0.61), "hau": (0.871, 0.86, 0.88), "swa": (0.0, 0.85, 0.86)},
}
BITS = {
    "teacher": {"amh": 1.61, "hau": 1.12, "swa": 1.02},
    "pruned": {"amh": 1.63, "hau": 1.13, "swa": 1.04},
    "student": {"amh": 2.2, "hau": 1.71},
}
PARAMETERS = {"teacher": 278_295_186, "pruned": 140_301_266, "student": 23_012_345}
LAYERS = {"teacher": 12, "pruned": 12, "student": 6}


def score(language: str = "swa", values: tuple[float, ...] = (0.5, 0.6), **more: object) -> Score:
    """Return a score of named entities over two seeds; any field can be replaced."""
    facts = {
        "task": "ner",
        "language": language,
        "metric": "entity_f1",
        "values": values,
        "seeds": tuple(range(1, len(values) + 1)),
        "n": 605,
        "split": "test",
        "dataset": f"example/{language}",
        "fingerprint": f"ner-{language}",
    }
    return Score(**{**facts, **more})


def report(name: str) -> EvalReport:
    """Return the report of a teacher, its pruned form or a student, which has no bits per byte in Swahili."""
    scores = [
        score(language, values, note="seed 1 collapsed" if min(values) == 0 else "")
        for language, values in F1[name].items()
    ]
    scores += [
        score(
            language,
            (bits,),
            task="bits_per_byte",
            metric="bits_per_byte",
            seeds=(),
            n=1_234,
            split="held out",
            fingerprint=f"bits-{language}",
        )
        for language, bits in BITS[name].items()
    ]
    scores += [score("hau", (0.5, 0.75), task="topic", metric=metric, n=637) for metric in ("macro_f1", "weighted_f1")]
    return EvalReport(
        name,
        {
            "model_type": "xlm-roberta",
            "parameters": PARAMETERS[name],
            "bytes_on_disk": 4 * PARAMETERS[name],
            "vocab_size": 250_002 if name == "teacher" else 70_609,
            "layers": LAYERS[name],
        },
        tuple(scores),
        {"ner": {"learning_rate": 5e-5, "epochs": 20}},
        {"command": "hf-afro evaluate <models>", "languages": ["amh", "hau", "swa"]},
        {"hf_afro": "0.1.0", "torch": "2.13.0"},
    )


def three() -> tuple[EvalReport, EvalReport, EvalReport]:
    """Return the reports of the teacher, its pruned form and the student."""
    return report("teacher"), report("pruned"), report("student")


def crossed() -> EvalReport:
    """Return the teacher with transfer scores: trained on Amharic and Swahili, measured on three languages."""
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
