"""Distillation on a task: the loss by hand, unlabelled text, teachers, students made of layers, and reports."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, XLMRobertaForMaskedLM

from hf_afro.evaluation import evaluate_model, finetune, task_evaluation
from hf_afro.evaluation.comparison import difference_tables, kept_tables
from hf_afro.evaluation.data.tables import split_words
from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.distillation import (
    clean_unlabelled,
    folder_fingerprint,
    load_finetuned,
    sampled,
    teacher_folder,
    unlabelled_split,
)
from hf_afro.evaluation.encoding import encode, with_teacher_logits
from hf_afro.evaluation.finetuning import FineTuned, teacher_loss
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.models import save_finetuned
from hf_afro.evaluation.predictions import Predictions
from hf_afro.evaluation.presets import FineTuningSettings
from hf_afro.evaluation.runs import has_runs
from hf_afro.evaluation.significance import Interval, share_kept
from hf_afro.reports.evaluation_report import load_reports
from hf_afro.students.building import keep_layers
from tests.conftest import tiny_config
from tests.evaluation.conftest import EXAMPLES, LINES, PLACES, make, tagged
from tests.evaluation.distilled_gradients import gradients_of

SCRIPT = Path(__file__).with_name("distilled_gradients.py")
TEXTS = [" ".join(tokens) for tokens, _ in tagged(24, seed=9)]


@pytest.fixture
def deep(tokenizer):
    """A model of four layers."""
    torch.manual_seed(0)
    return XLMRobertaForMaskedLM(tiny_config(len(tokenizer), num_hidden_layers=4)).eval()


@pytest.fixture
def teacher(deep, tokenizer, ner, quick) -> FineTuned:
    return finetune(deep, tokenizer, ner, quick, seed=1)


def test_the_loss_by_hand_and_only_where_the_teacher_says_something():
    logits = torch.tensor([[[1.0, 3.0], [9.0, 9.0]]], requires_grad=True)
    taught = torch.tensor([[[2.0, 1.0], [math.nan, math.nan]]])
    loss = teacher_loss(logits, taught, FineTuningSettings())
    assert loss.item() == pytest.approx((1 + 4) / 2)
    loss.backward()
    assert logits.grad.flatten().tolist() == [-1.0, 2.0, 0.0, 0.0]
    # softmax(0, 2 ln 3 / 2) = (1/4, 3/4) against an even teacher, as in tests/losses/test_matching.py.
    soft = teacher_loss(
        torch.tensor([[0.0, 2 * math.log(3)]]), torch.ones(1, 2), FineTuningSettings(logit_loss="kl", temperature=2.0)
    )
    assert soft.item() == pytest.approx(2 * math.log(4 / 3), rel=1e-6)
    none = teacher_loss(
        torch.randn(1, 2, 3, requires_grad=True), torch.full((1, 2, 3), math.nan), FineTuningSettings()
    )
    none.backward()
    assert none.item() == 0


def test_logits_of_words_are_put_at_the_first_tokens(tokenizer, ner):
    row = encode("ner", ner.splits["train"], tokenizer, 32)[0]
    words = np.arange(2 * len(row["positions"]), dtype=np.float32).reshape(-1, 2)
    placed = with_teacher_logits(row, words)["teacher_logits"]
    assert np.array_equal(placed[row["positions"]], words)
    assert np.isnan(placed).all(-1).sum() == len(row["input_ids"]) - len(words)


def test_a_teacher_with_another_tokenizer_and_order_of_labels_says_the_same(teacher, ner, tokenizer, quick):
    """Words are matched, not tokens; columns by the names of labels."""
    turned = copy.copy(teacher)
    order = list(reversed(range(len(teacher.labels))))
    object.__setattr__(turned, "labels", tuple(teacher.labels[index] for index in order))
    model = copy.deepcopy(teacher.model)
    with torch.no_grad():
        model.classifier.weight.copy_(teacher.model.classifier.weight[order])
        model.classifier.bias.copy_(teacher.model.classifier.bias[order])
    object.__setattr__(turned, "model", model)
    short = quick.replace(epochs=1)
    torch.manual_seed(0)
    small = XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()
    one, other = (finetune(small, tokenizer, ner, short, 1, teacher=own).model for own in (teacher, turned))
    assert torch.equal(one.classifier.weight, other.classifier.weight)


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_step_is_the_same_for_any_split(processes, accumulation, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    whole = gradients_of(accumulation=1, processes=1, folder=tmp_path)
    if processes == 1:
        split = gradients_of(accumulation=accumulation, processes=1, folder=tmp_path)
    else:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(SCRIPT.parents[2]),
            "CUDA_VISIBLE_DEVICES": "",
        }
        run = subprocess.run(
            [*command, str(accumulation), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, run.stdout + run.stderr
        split = torch.load(tmp_path / "gradients.pt")
    assert max(gradient.abs().max() for gradient in whole.values()) > 1e-2
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_a_student_believes_the_logits_of_unlabelled_text_more_than_a_few_wrong_labels(tokenizer, quick):
    data = make("topic")
    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()
    teacher = finetune(model, tokenizer, data, quick, seed=1)
    few = data.splits["train"].select(range(6)).map(lambda row: {"label": (row["label"] + 1) % 3})
    wrong = dataclasses.replace(data, splits={**data.splits, "train": few})
    texts = unlabelled_split("topic", [line.format(place) for line in LINES.values() for place in PLACES])
    settings = quick.replace(epochs=60, patience=None, logit_weight=5.0)
    alone = finetune(model, tokenizer, wrong, settings, seed=2)
    taught = finetune(model, tokenizer, wrong, settings, seed=2, teacher=teacher, unlabelled=texts)
    scores = [task_scores("topic", data.labels, data.gold(), one.predict(data))["accuracy"] for one in (alone, taught)]
    assert scores[0] < 0.5
    assert scores[1] > 0.75


def test_a_student_of_all_layers_is_the_teacher_and_keeps_its_head(teacher, tokenizer, ner, quick):
    whole = keep_layers(teacher.model, 4)
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in teacher.model.state_dict().items())
    half = keep_layers(teacher.model, 2)
    assert half.config.num_hidden_layers == 2
    assert teacher.model.config.num_hidden_layers == 4
    for new, old in enumerate((1, 3)):
        own, its = half.base_model.encoder.layer[new], teacher.model.base_model.encoder.layer[old]
        assert all(torch.equal(tensor, its.state_dict()[name]) for name, tensor in own.state_dict().items())
    tuned = finetune(half, tokenizer, ner, quick.replace(epochs=1, learning_rate=1e-9), 1, keep_head=True)
    torch.testing.assert_close(tuned.model.classifier.weight, teacher.model.classifier.weight)


def test_more_layers_than_there_are_are_refused(teacher):
    with pytest.raises(ValueError, match="5 layers cannot be copied from a teacher with 4"):
        keep_layers(teacher.model, 5)


@pytest.mark.parametrize("task", ["emotion", "regression"])
def test_unlabelled_text_has_no_label_of_a_task_with_several_or_a_number(task, tokenizer, quick):
    """The teacher's logits alone are matched there."""
    data = make(task)
    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()
    teacher = finetune(model, tokenizer, data, quick.replace(epochs=5), seed=1)
    texts = unlabelled_split(task, [text for text, _ in EXAMPLES[task](24, seed=9)], len(data.labels))
    rows = encode(task, texts, tokenizer, 32)
    assert all(np.isnan(row["labels"]).all() for row in rows)
    settings = quick.replace(epochs=1, batch_size=8)
    taught, alone = (
        finetune(model, tokenizer, data, settings, seed=1, teacher=teacher, unlabelled=own).model.classifier
        for own in (texts, None)
    )
    # A label of NaN that counted would make every weight one.
    assert all(torch.isfinite(tensor).all() for tensor in taught.parameters())
    assert not torch.equal(taught.out_proj.weight, alone.out_proj.weight)
    with pytest.raises(ValueError, match=f"those of {task} do not; expected mse"):
        finetune(model, tokenizer, data, quick.replace(logit_loss="kl"), seed=1, teacher=teacher)


def test_a_teacher_of_another_problem_type_is_refused(tokenizer, quick, tmp_path):
    data = make("emotion")
    model = XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()
    tuned = finetune(model, tokenizer, data, quick.replace(epochs=1), seed=1)
    tuned.model.config.problem_type = "single_label_classification"
    save_finetuned(tuned.model, tokenizer, tmp_path)
    with pytest.raises(ValueError, match="'single_label_classification'; expected 'multi_label_classification'"):
        load_finetuned(tmp_path, data, quick)


def test_a_teacher_from_elsewhere_need_not_name_its_problem_type(deep, tokenizer, quick, tmp_path):
    """Its student predicts lists of labels and is saved as a model of several."""
    data = make("emotion")
    tuned = finetune(deep, tokenizer, data, quick.replace(epochs=1), seed=1)
    tuned.model.config.problem_type = None
    save_finetuned(tuned.model, tokenizer, tmp_path)
    student = keep_layers(load_finetuned(tmp_path, data, quick).model, 2)
    learnt = finetune(student, tokenizer, data, quick, seed=1, teacher=tuned, keep_head=True)
    assert task_scores("emotion", data.labels, data.gold(), learnt.predict(data))["macro_f1"] > 0.9
    assert learnt.model.config.problem_type == "multi_label_classification"


def test_lora_learns_from_a_teacher_too(teacher, deep, tokenizer, ner, quick):
    settings = quick.replace(adaptation="lora", epochs=8, learning_rate=2e-2)
    texts = unlabelled_split("ner", TEXTS)
    tuned = finetune(deep, tokenizer, ner, settings, 1, teacher=teacher, unlabelled=texts)
    assert task_scores("ner", ner.labels, ner.gold(), tuned.predict(ner))["entity_f1"] > 0.8


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_the_teacher_computes_in_the_precision_of_training(teacher, tokenizer, ner, quick, bf16, dtype):
    seen = set()
    teacher.model.classifier.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    student = keep_layers(teacher.model, 2)
    settings = quick.replace(epochs=1, bf16=bf16)
    finetune(student, tokenizer, ner, settings, 1, teacher=teacher, unlabelled=unlabelled_split("ner", TEXTS))
    assert seen == {dtype}


def test_words_of_running_text_are_split_as_the_sets_are():
    assert split_words("“Ng'ombe” (wa Kano), dị-iche: አበበ። 50%") == [
        "“", "Ng'ombe", "”", "(", "wa", "Kano", ")", ",", "dị-iche", ":", "አበበ", "።", "50", "%",
    ]  # fmt: skip
    assert split_words("Ọ̀rúnmìlà ... !") == ["Ọ̀rúnmìlà", ".", ".", ".", "!"]
    split = unlabelled_split("ner", ["Amina aliondoka."])
    assert split[0] == {"tokens": ["Amina", "aliondoka", "."], "tags": [-100] * 3}


def test_unlabelled_pairs_have_a_tab():
    split = unlabelled_split("nli", ["Mvua inanyesha\tNi mvua", "a\tb"])
    assert split[0] == {"text": "Mvua inanyesha", "text_pair": "Ni mvua", "label": -100}
    with pytest.raises(ValueError, match="1 lines of unlabelled text for nli are no pairs, such as 'bila'"):
        unlabelled_split("nli", ["a\tb", "bila"])


def test_evaluation_sentences_are_taken_out_and_counted(ner):
    """Tokens joined by spaces are not running text: the comparison ignores spaces and punctuation."""
    held = " ".join(ner.texts("test")[0])
    dev = ner.texts("dev")[1]
    lines = [
        f"{held}.",
        "Wakulima wanauza mahindi na maharage sokoni Kano",
        "  ",
        f"{' '.join(dev)}",
        "Mvua jana",
        "Mvua jana",
    ]
    text = clean_unlabelled({"swa": lines}, [ner])
    assert text.train == {"swa": ["Wakulima wanauza mahindi na maharage sokoni Kano", "Mvua jana"]}
    assert text.report.read == {"swa": 6}
    dropped = dict(text.report.dropped["swa"])
    assert sum(dropped.values()) == 4
    assert sum(count for reason, count in dropped.items() if "evaluation" in reason or "equal" in reason) == 2, dropped


def test_parts_of_articles_and_whole_pairs_are_taken_out(ner):
    article = "Simba ashinda kombe. Yanga wapoteza mechi yao ya mwisho jana usiku."
    rows = dict.fromkeys(("train", "dev", "test"), [(article, "sport"), ("Bei ya mahindi", "trade")])
    topic = make_task_data("topic", "swa", "news/swa", rows)
    text = clean_unlabelled({"swa": ["Simba ashinda kombe.", "Mvua jana"]}, [topic])
    assert text.train == {"swa": ["Mvua jana"]}
    pair = (("Jua kali", "Ni baridi"), "no")
    nli = make_task_data("nli", "swa", "nli/swa", dict.fromkeys(("train", "dev", "test"), [pair, (("a", "b"), "yes")]))
    text = clean_unlabelled({"swa": ["Jua kali\tNi baridi", "Jua kali\tNi usiku"]}, [nli])
    assert text.train == {"swa": ["Jua kali\tNi usiku"]}


def test_text_in_other_languages_is_left_out_or_refused(ner, caplog):
    data = [ner, make("ner", "yor")]
    assert list(clean_unlabelled({"hau": [], "swa": ["Mvua jana"]}, data).train) == ["swa"]
    assert "There is no unlabelled text in yor." in caplog.text
    with pytest.raises(ValueError, match="unlabelled text is in hau, and the tasks are in swa, yor"):
        clean_unlabelled({"hau": ["Ruwan sama"]}, data)


def test_labels_in_another_order_are_put_in_that_of_the_task(teacher, tokenizer, ner, quick, tmp_path):
    """The student made of the teacher's layers then predicts by the numbers of the task."""
    order = list(reversed(range(len(teacher.labels))))
    turned = copy.deepcopy(teacher.model)
    with torch.no_grad():
        turned.classifier.weight.copy_(teacher.model.classifier.weight[order])
        turned.classifier.bias.copy_(teacher.model.classifier.bias[order])
    turned.config.id2label = {number: teacher.labels[index] for number, index in enumerate(order)}
    turned.config.label2id = {name: number for number, name in turned.config.id2label.items()}
    save_finetuned(turned, tokenizer, tmp_path)
    loaded = load_finetuned(tmp_path, ner, quick)
    assert loaded.labels == ner.labels
    assert loaded.predict(ner) == teacher.predict(ner)
    assert loaded.model.config.id2label == dict(enumerate(ner.labels))


def test_a_fingerprint_changes_with_any_file_that_is_loaded(teacher, tokenizer, tmp_path):
    save_finetuned(teacher.model, tokenizer, tmp_path)
    known = {folder_fingerprint(tmp_path)}
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "sentencepiece.model"):
        with (tmp_path / name).open("ab") as file:
            file.write(b" ")
        known.add(folder_fingerprint(tmp_path))
    assert len(known) == 6
    (tmp_path / "README.md").write_text("a card")
    assert folder_fingerprint(tmp_path) in known


def predictions(gold: list[str], answers: list[list[str]]) -> Predictions:
    return Predictions(gold, {str(seed): own for seed, own in enumerate(answers)})


def test_the_share_kept_by_hand():
    """Two languages: 3 of 4 and 1 of 2 by the student, 4 of 4 and 2 of 2 by the teacher."""
    gold, short = ["a", "b", "a", "b"], ["a", "b"]
    pairs = [
        (predictions(gold, [["a", "b", "a", "a"]]), predictions(gold, [gold])),
        (predictions(short, [["a", "a"]]), predictions(short, [short])),
    ]
    found = share_kept(pairs, "topic", "accuracy")
    assert found.score == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert 0 <= found.low < found.score < found.high <= 1
    nothing = predictions(gold, [["c", "c", "c", "c"]])
    assert share_kept([(pairs[0][0], nothing)], "topic", "accuracy") is None
    # One sentence of 40 is the teacher's only hit: most resamples have a share, and those without are left out.
    many = ["a"] * 39 + ["b"]
    hit = predictions(many, [["c"] * 39 + ["b"]])
    assert share_kept([(hit, hit)], "topic", "accuracy") == Interval(1.0, 1.0, 1.0, 0.95)


def test_languages_are_resampled_apart():
    """Eight languages of one size: their mean varies less than each of them."""
    draw = np.random.default_rng(0)
    gold = ["a"] * 60
    student = [predictions(gold, [["a" if right else "b" for right in draw.random(60) < 0.7]]) for _ in range(8)]
    pairs = [(own, predictions(gold, [gold])) for own in student]
    alone, together = (share_kept(own, "topic", "accuracy") for own in (pairs[:1], pairs))
    assert together.high - together.low < (alone.high - alone.low) / 2


def test_a_sample_is_the_same_every_time_and_in_order():
    lines = [str(number) for number in range(100)]
    chosen = sampled(lines, 10)
    assert chosen == sampled(lines, 10)
    assert len(chosen) == 10
    assert chosen == sorted(chosen, key=int)
    assert sampled(lines, None) == lines


def test_a_teacher_with_other_labels_is_refused(teacher, tokenizer, tmp_path, quick):
    save_finetuned(teacher.model, tokenizer, tmp_path)
    other = make_task_data(
        "ner", "swa", "x/swa", dict.fromkeys(("train", "dev", "test"), [(["A"], ["B-ORG"]), (["b"], ["O"])])
    )
    with pytest.raises(ValueError, match="has the labels .*B-LOC.*; fine-tune the teacher on the same data"):
        load_finetuned(tmp_path, other, quick)
    with pytest.raises(ValueError, match="expected a model fine-tuned on topic, a ForSequenceClassification"):
        load_finetuned(tmp_path, make("topic"), quick)
    loaded = load_finetuned(tmp_path, make("ner"), quick)
    assert loaded.labels == teacher.labels
    assert loaded.predict(make("ner")) == teacher.predict(make("ner"))


@pytest.fixture
def evaluated(deep, tokenizer, tmp_path, quick):
    """A folder of teachers for two languages, one seed."""
    data = [make("ner", code) for code in ("swa", "yor")]
    settings = quick.replace(epochs=6, patience=None)
    evaluate_model(
        deep,
        tokenizer,
        data,
        name="deep",
        output_dir=tmp_path / "deep",
        settings=settings,
        seeds=[1],
        save_models=True,
    )
    return tmp_path / "deep", data, settings


def test_reports_of_labels_alone_and_of_distillation_stand_beside_the_teacher(evaluated, tmp_path, monkeypatch):
    teacher, data, settings = evaluated
    common = {"seeds": [1], "teacher": teacher, "student_layers": 2, "transfer": None}
    alone = evaluate_model(
        None,
        None,
        data,
        name="alone",
        output_dir=tmp_path / "alone",
        settings=settings.replace(logit_weight=0.0),
        **common,
    )
    lines = {"swa": [*TEXTS, " ".join(data[0].texts("test")[0])], "yor": TEXTS[:5], "hau": TEXTS}
    report = evaluate_model(
        None, None, data, name="small", output_dir=tmp_path / "small", settings=settings, unlabelled=lines, **common
    )
    assert report.model["layers"] == 2
    assert alone.provenance["start"] == {"teacher": "deep", "student_layers": 2}
    assert "distillation" not in alone.provenance
    told = report.provenance["distillation"]
    assert (told["teacher"], told["student_layers"]) == ("deep", 2)
    assert told["lines_read"] == {"swa": 25, "yor": 5}
    assert told["evaluation_lines_dropped"] >= 1
    assert told["evaluation_sentences"] > 20
    loaded = load_reports([str(tmp_path / name) for name in ("alone", "small", "deep")])
    (table,) = kept_tables(loaded)
    assert table.header == ("language", "alone", "small")
    assert [row[0].text for row in table.rows] == ["Swahili (swa)", "Yoruba (yor)", "mean"]
    student, whole = (
        next(one.report for one in loaded if one.report.name == name).mean("ner", "entity_f1")
        for name in ("small", "deep")
    )
    assert table.rows[-1][2].text.startswith(f"{100 * student / whole:.1f} (")
    (differences,) = difference_tables(loaded)
    assert differences.header == ("language", "small", "deep")


def test_a_run_depends_on_teacher_and_text(evaluated, tmp_path, monkeypatch):
    teacher, data, settings = evaluated
    made = []
    monkeypatch.setattr(
        task_evaluation,
        "make_runs",
        lambda model, tokenizer, jobs, *more, **others: made.append([job.key for job in jobs]) or 1 / 0,
    )
    settings = settings.replace(max_unlabelled=3)
    softened = settings.replace(logit_loss="kl")
    for start, lines, own in (
        (2, TEXTS, settings),
        (2, TEXTS, settings),
        (2, TEXTS[::-1], settings),
        (3, TEXTS, settings),
        (2, None, settings),
        (2, TEXTS, softened),
    ):
        with pytest.raises(ZeroDivisionError):
            evaluate_model(
                None,
                None,
                data[:1],
                name="small",
                output_dir=tmp_path / "small",
                settings=own,
                seeds=[1],
                teacher=teacher,
                student_layers=start,
                unlabelled=None if lines is None else {"swa": lines},
            )
    keys = [one[0] for one in made]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 5


def test_a_killed_distillation_resumes_to_the_same_predictions(evaluated, tmp_path, monkeypatch):
    teacher, data, settings = evaluated
    more = {"seeds": [1], "teacher": teacher, "student_layers": 2, "unlabelled": {"swa": TEXTS}, "save_models": True}
    whole = evaluate_model(None, None, data, name="s", output_dir=tmp_path / "whole", settings=settings, **more)

    def stop(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_model(
            None, None, data, name="s", output_dir=tmp_path / "again", settings=settings, on_run=stop, **more
        )
    assert has_runs(tmp_path / "again")
    told = []
    again = evaluate_model(
        None,
        None,
        data,
        name="s",
        output_dir=tmp_path / "again",
        settings=settings,
        on_run=lambda *one: told.append(one[0]),
        **more,
    )
    assert [what.endswith("made before") for what in told] == [True, False]
    assert again.scores == whole.scores
    for name in ("ner-swa-1", "ner-yor-1"):
        one, other = (
            AutoModelForTokenClassification.from_pretrained(tmp_path / home / "models" / name).state_dict()
            for home in ("whole", "again")
        )
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_transfer_is_part_of_the_comparison(deep, tokenizer, tmp_path, quick):
    data, settings = [make("ner", code) for code in ("swa", "yor")], quick.replace(epochs=4, patience=None)
    common = {"settings": settings, "seeds": [1], "transfer": ["swa"]}
    evaluate_model(deep, tokenizer, data, name="deep", output_dir=tmp_path / "deep", save_models=True, **common)
    evaluate_model(
        None, None, data, name="s", output_dir=tmp_path / "s", teacher=tmp_path / "deep", student_layers=2, **common
    )
    loaded = load_reports([str(tmp_path / name) for name in ("s", "deep")])
    (kept,), (differences,) = kept_tables(loaded), difference_tables(loaded)
    assert [row[0].text for row in kept.rows] == ["Swahili (swa)", "Yoruba (yor) from swa", "mean"]
    assert [row[0].text for row in differences.rows] == ["Swahili (swa)", "Yoruba (yor) from swa"]


def test_each_distilled_student_is_compared_with_itself_from_labels_alone(evaluated, tmp_path):
    teacher, data, settings = evaluated
    common = {"seeds": [1], "teacher": teacher, "student_layers": 2}
    for name, weight in (("a", 1.0), ("a-labels", 0.0), ("b", 1.0), ("b-labels", 0.0)):
        own = settings.replace(epochs=1, logit_weight=weight)
        evaluate_model(None, None, data[:1], name=name, output_dir=tmp_path / name, settings=own, **common)
    loaded = load_reports([str(tmp_path / name) for name in ("a", "a-labels", "b", "b-labels", "deep")])
    titles = [table.title.partition(": ")[2] for table in difference_tables(loaded)]
    assert titles == ["difference from a", "difference from b"]
    assert difference_tables(loaded)[1].header == ("language", "b-labels")


def test_under_transfer_a_run_learns_from_text_of_the_languages_it_is_measured_on(evaluated, tmp_path, monkeypatch):
    teacher, data, settings = evaluated
    seen = {}

    def stop(model, tokenizer, jobs, *more, **others):
        seen.update({job.data.language: job.teaching.unlabelled for job in jobs})
        raise ZeroDivisionError

    monkeypatch.setattr(task_evaluation, "make_runs", stop)
    with pytest.raises(ZeroDivisionError):
        evaluate_model(
            None,
            None,
            data,
            name="s",
            output_dir=tmp_path / "s",
            settings=settings,
            seeds=[1],
            teacher=teacher,
            student_layers=2,
            transfer=["swa"],
            unlabelled={"swa": ["maji"], "yor": ["omi"], "hau": ["ruwa"]},
        )
    assert seen == {"swa": ("maji", "omi")}


def test_a_missing_teacher_and_parts_without_one_are_refused(evaluated, deep, tokenizer, tmp_path):
    teacher, data, settings = evaluated
    common = {"name": "s", "output_dir": tmp_path / "s", "settings": settings}
    with pytest.raises(FileNotFoundError, match=r"no fine-tuned model ner-swa-7 .*it has ner-swa-1, ner-yor-1"):
        evaluate_model(deep, tokenizer, data, seeds=[7], teacher=teacher, **common)
    with pytest.raises(ValueError, match="unlabelled need a teacher"):
        evaluate_model(deep, tokenizer, data, seeds=[1], unlabelled={"swa": TEXTS}, **common)
    with pytest.raises(ValueError, match="neither a model nor student_layers was given"):
        evaluate_model(None, None, data, seeds=[1], teacher=teacher, **common)
    with pytest.raises(ValueError, match="a model and student_layers were both given"):
        evaluate_model(deep, tokenizer, data, seeds=[1], teacher=teacher, student_layers=2, **common)
    assert teacher_folder(teacher, data[1], 1).name == "ner-yor-1"


def test_one_classifier_teaches_every_run(evaluated, deep, tokenizer, tmp_path):
    teacher, data, settings = evaluated
    one = teacher / "models" / "ner-swa-1"
    report = evaluate_model(
        deep,
        tokenizer,
        data[:1],
        name="s",
        output_dir=tmp_path / "s",
        settings=settings.replace(epochs=1),
        seeds=[5],
        teacher=one,
    )
    assert report.provenance["distillation"] == {"teacher": "ner-swa-1"}
    assert (
        json.loads((tmp_path / "s" / "evaluation_report.json").read_text())["settings"]["ner/swa"]["logit_weight"]
        == 1.0
    )
