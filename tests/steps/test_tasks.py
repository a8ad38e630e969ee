"""The sets to evaluate on: their languages, files under any code, and what makes a result out of date."""

from __future__ import annotations

import pytest

from hf_afro.steps import evaluate, tasks
from hf_afro.steps.records import Record
from hf_afro.steps.tasks import load_sets

DESCRIPTION = """\
name: council
task: topic
files: {train: "{language}/train.tsv", dev: "{language}/dev.tsv", test: "{language}/test.tsv"}
columns: {text: text, label: label}
"""


@pytest.fixture
def described(tmp_path):
    """A described set, whose files are under a code that only the request has: Swahili of Kenya."""
    (tmp_path / "sets" / "sw-KE").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        rows = f"text\tlabel\n{split} moja\tgood\n{split} mbili\tbad\n"
        (tmp_path / "sets" / "sw-KE" / f"{split}.tsv").write_text(rows, "utf-8")
    (tmp_path / "sets" / "council.yaml").write_text(DESCRIPTION, "utf-8")
    return tmp_path / "sets" / "council.yaml"


def test_the_languages_of_each_task_are_iso_codes():
    config = tasks.Config(
        data=["ner=a", "topic=b", "pos=c"], languages=["ner=sw,gaz_Latn", "yo", "pos=masakhaner1,sw"]
    )
    assert config.languages_of("ner") == ["swa", "orm"]
    assert config.languages_of("topic") == ["yor"]
    assert config.languages_of("pos").count("swa") == 1
    assert tasks.Config(data=["ner=a"]).languages_of("ner") is None
    with pytest.raises(ValueError, match="'sw' and 'swa' are one language"):
        tasks.Config(data=["ner=a"], languages=["sw", "swa"])


def test_the_languages_to_evaluate_on_and_to_train_on_are_iso_codes():
    config = evaluate.Config(models=["m"], languages=["sw,gaz_Latn"], transfer=["swh_Latn"])
    assert (config.languages, config.transfer) == (["swa", "orm"], ["swa"])
    assert evaluate.Config(models=["m"], transfer=["all"]).transfer == ["all"]
    with pytest.raises(ValueError, match="'sw' and 'swa' are one language"):
        evaluate.Config(models=["m"], transfer=["sw", "swa"])


def test_a_described_set_is_found_under_the_code_that_was_given(described):
    config = evaluate.Config(models=["m"], tasks=["topic"], data=[str(described)], languages=["sw-KE"])
    (data,) = load_sets(config.tasks, config.data, config.languages)
    assert (data.language, data.dataset) == ("swa", "council/swa")
    assert data.files["test"] == "sw-KE/test.tsv"
    assert data.texts("test")[0] == "test moja"


def test_data_may_name_its_task_itself(described):
    for given in (str(described), f"topic={described}"):
        (data,) = load_sets(None, [given], ["swa"])
        assert (data.task, data.dataset) == ("topic", "council/swa")
    both = [described.parent / f"{task}.yaml" for task in ("topic", "sentiment")]
    for path in both:
        text = described.read_text("utf-8").replace("topic", path.stem)
        path.write_text(f"{text}languages: [sw-KE]\n", "utf-8")
    found = load_sets(None, list(map(str, both)), ["swa"])
    assert [data.task for data in found] == ["topic", "sentiment"]
    with pytest.raises(ValueError, match="--tasks is missing, and --data .* does not name its task; expected TASK="):
        load_sets(None, [str(described.parent)], ["swa"])
    with pytest.raises(FileNotFoundError, match="--data nowhere does not exist"):
        load_sets(None, ["nowhere"], ["swa"])
    with pytest.raises(ValueError, match="expected one set for each task"):
        load_sets(None, [f"topic={described}", "topic=other"], ["swa"])
    with pytest.raises(ValueError, match="unknown task 'topics'"):
        load_sets(None, [f"topics={described}"], ["swa"])


@pytest.mark.parametrize("kind", [tasks.STEP, evaluate.STEP], ids=lambda step: step.name)
def test_a_changed_data_file_of_a_described_set_makes_the_result_out_of_date(described, kind):
    more = {} if kind is tasks.STEP else {"models": ["m"]}
    config = kind.config(data=[f"topic={described}"], **more)
    before = Record.begun(kind, config).key
    file = described.parent / "sw-KE" / "test.tsv"
    content = file.read_text("utf-8")
    file.write_text(content.replace("moja", "tatu"), "utf-8")
    assert Record.begun(kind, config).key != before
    file.write_text(content, "utf-8")
    assert Record.begun(kind, config).key == before
    (described.parent / "notes.txt").write_text("of no split", "utf-8")
    assert Record.begun(kind, config).key == before
