"""A recipe is checked as a whole before anything runs; the command line can change any setting of it."""

from __future__ import annotations

import json

import pytest

from hf_afro.evaluation.presets import preset
from hf_afro.recipes import load_recipe, shipped_recipes
from hf_afro.recipes.runner import plan_recipe
from hf_afro.steps.distill import parse_sizes
from hf_afro.steps.parsing import SettingError
from hf_afro.steps.records import Record

TEXT = """\
name: mine
description: a test
prepare:
  text: ${data}/text
pretrain:
  max_steps: 10
  max_length: 32
maft:
  max_steps: 5
  max_length: 32
maft-again:
  model: pretrain
  num_train_epochs: 2
evaluate:
  models: {first: maft, second: maft-again}
  text: prepare
report:
card:
  model: maft
"""


@pytest.fixture
def recipe_file(tmp_path):
    def write(text=TEXT, **replaced):
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "mine.yaml"
        path.write_text(text, "utf-8")
        return str(path)

    return write


def test_stages_come_in_order_and_read_the_last_before_them_that_gives_what_they_need(recipe_file):
    recipe = load_recipe(recipe_file())
    assert (recipe.name, recipe.description, recipe.data) == ("mine", "a test", None)
    assert [(stage.name, stage.step.name) for stage in recipe.stages] == [
        ("prepare", "prepare"),
        ("pretrain", "pretrain"),
        ("maft", "maft"),
        ("maft-again", "maft"),
        ("evaluate", "evaluate"),
        ("report", "report"),
        ("card", "card"),
    ]
    assert recipe.stage("maft").inputs == {"text": ("prepare",), "model": ("pretrain",)}
    assert recipe.stage("maft").config.model == "pretrain"
    assert recipe.stage("evaluate").inputs == {"models": ("maft", "maft-again"), "text": ("prepare",)}
    assert recipe.stage("evaluate").needs == ("maft", "maft-again", "prepare")
    assert recipe.stage("report").inputs == {"reports": ("evaluate",)}
    assert recipe.stage("maft-again").place.endswith("mine.yaml, line 11")


def test_stages_are_read_from_the_folder_of_the_run(recipe_file, tmp_path):
    config = load_recipe(recipe_file()).stage("evaluate").config_in(tmp_path)
    assert config.text == str(tmp_path / "prepare")
    assert config.named_models == {"first": str(tmp_path / "maft"), "second": str(tmp_path / "maft-again")}


def test_every_setting_can_be_changed_on_the_command_line(recipe_file):
    words = ["--maft.learning_rate", "3e-5", "--maft.seed=7", "--prepare.languages", "swa, yo", "--data", "texts"]
    words += ["--evaluate.epochs", "3", "--maft.fp16", "true", "--maft-again.num_train_epochs", "0.5"]
    recipe = load_recipe(recipe_file(), words)
    arguments = {"max_steps": 5, "max_length": 32, "learning_rate": 3e-5, "seed": 7, "fp16": True}
    assert recipe.stage("maft").config.arguments == arguments
    assert recipe.stage("prepare").config.languages == ["swa", "yor"]
    assert recipe.stage("prepare").config.text == "texts/text"
    assert recipe.stage("evaluate").config.arguments == {"epochs": 3}
    assert recipe.stage("maft-again").config.arguments == {"num_train_epochs": 0.5}
    assert recipe.stage("evaluate").config.models == ["first=maft", "second=maft-again"]


def test_every_training_can_be_reported(recipe_file):
    for where in ("trackio", "none"):
        recipe = load_recipe(recipe_file(), ["--maft.report_to", where, "--evaluate.report_to", where])
        assert recipe.stage("maft").config.arguments["report_to"] == where
        assert preset("small", "ner").replace(**recipe.stage("evaluate").config.arguments).report_to == where


def test_none_takes_a_limit_of_fine_tuning_away(recipe_file):
    text = TEXT.replace("  text: prepare\n", "  text: prepare\n  preset: small\n  max_dev: 9\n  epochs: 2\n")
    words = ["--evaluate.max_train", "none", "--evaluate.max_dev", "none"]
    recipe, unchanged = load_recipe(recipe_file(text), words), load_recipe(recipe_file(text))
    found = preset("small", "ner").replace(**recipe.stage("evaluate").config.arguments)
    assert (found.max_train, found.max_dev, found.epochs) == (None, None, 2)
    assert unchanged.stage("evaluate").config.arguments == {"max_dev": 9, "epochs": 2}
    in_file = load_recipe(recipe_file(text.replace("max_dev: 9", "max_dev: null")))
    assert in_file.stage("evaluate").config.arguments == {"max_dev": None, "epochs": 2}


def test_a_change_is_of_its_stage_and_not_of_one_that_shares_its_yaml(recipe_file):
    shared = "maft: &short\n  max_steps: 5\n  max_length: 32\nmaft-again: *short\n"
    text = TEXT.partition("maft:")[0] + shared
    recipe = load_recipe(recipe_file(text), ["--maft.max_steps", "7", "--maft-again.fp16", "true"])
    first, second = (recipe.stage(name).config.arguments for name in ("maft", "maft-again"))
    assert first == {"max_steps": 7, "max_length": 32}
    assert second == {"max_steps": 5, "max_length": 32, "fp16": True}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("  learning_rate: 1e-3\n", 1e-3),  # text to YAML 1.1
        ("  learning_rate: 3E-5\n", 3e-5),
        ("  learning_rate: 1\n", 1.0),
        ("  max_steps: 70_000\n", 70_000),
        ("  seed: 010\n", 10),  # 8 to YAML 1.1
        ("  bf16: yes\n", True),
        ("  packing: false\n", False),
        ("  languages: [no, swa]\n", ["nor", "swa"]),  # false to YAML 1.1
        ("  languages: no\n", ["nor"]),
        ("  languages: swa, yor\n", ["swa", "yor"]),
        ("  lr_scheduler_kwargs: {lr_end: 1e-7, power: 2}\n", {"lr_end": 1e-7, "power": 2}),
    ],
)
def test_values_are_read_as_their_setting_says(recipe_file, written, value):
    text = TEXT.replace("  max_steps: 5\n  max_length: 32\n", written)
    config = load_recipe(recipe_file(text)).stage("maft").config
    name = written.strip().partition(":")[0]
    found = config.arguments[name] if name in config.arguments else getattr(config, name)
    if isinstance(found, str):
        found = json.loads(found)
    assert found == value
    assert type(found) is type(value)


def test_every_task_and_any_described_set_may_be_named(recipe_file, tmp_path):
    tasks = (
        "tasks:\n  data:\n    pos: sets/pos\n    nli: ${data}/entailment.yaml\n    ner: hub\n"
        "  languages: {nli: [no, swa], ner: swa}\n"
    )
    text = TEXT.replace("prepare:", f"{tasks}prepare:", 1).replace("_epochs: 2\n", "_epochs: 2\n  max_length: 32\n")
    recipe = load_recipe(recipe_file(text), ["--data", str(tmp_path)])
    config = recipe.stage("tasks").config
    assert config.places == {"pos": "sets/pos", "nli": f"{tmp_path}/entailment.yaml", "ner": "hub"}
    assert [config.languages_of(task) for task in config.places] == [None, ["nor", "swa"], ["swa"]]
    assert "nli in 2 languages" in plan_recipe(recipe)["tasks"].note
    assert recipe.stage("prepare").inputs == {"exclude": ("tasks",)}
    assert recipe.stage("evaluate").inputs["data"] == ("tasks",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--maft.learning_rat", "3"], r"^--maft\.learning_rat: maft: unknown setting .*did you mean 'learning_ra"),
        (["--matf.seed", "3"], r"^--matf\.seed: the recipe has no stage 'matf'; did you mean 'maft'"),
        (["--seed", "3"], r"^--seed names no setting; expected --stage\.setting"),
        (["--maft.seed"], r"^--maft\.seed: maft: .*expected one argument"),
        (["maft.seed", "3"], r"^'maft\.seed' stands alone"),
        (["--maft.seed", "two"], r"^--maft\.seed: maft: --seed: expected a whole number, received 'two'"),
        (["--maft.seed.low", "2"], r"^--maft\.seed\.low: maft: unknown setting --seed\.low"),
        (["--maft.output_dir", "x"], r"unknown setting --output_dir of maft"),
        (["--data.x", "2"], r"has no stage 'data'"),
        (["--data"], r"^--data has no value"),
    ],
)
def test_a_wrong_change_is_named(recipe_file, words, message):
    with pytest.raises(SettingError, match=message):
        load_recipe(recipe_file(), words)


def test_a_value_the_trainer_refuses_is_named_where_the_last_one_stands(recipe_file):
    path = recipe_file(TEXT.replace("  max_steps: 5", "  seed: 1"))
    with pytest.raises(SettingError, match=r"^--maft\.seed: maft: seed=-1 is outside"):
        load_recipe(path, ["--maft.seed", "-1"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  max_steps: 5", "  max_stepz: 5", r"mine\.yaml, line 9: maft: unknown setting --max_stepz .*'max_steps'"),
        ("  max_steps: 5", "  max_steps: 2.5", r"line 9: maft: --max_steps: expected a whole number, received '2\.5'"),
        ("  max_steps: 5", "  seed: 1\n  seed: 2", r"line 10: 'seed' is given twice, first in .*line 9"),
        ("  max_steps: 5", "  learning_rate: nan", r"line 9: maft: learning_rate=nan; expected a finite number"),
        ("  max_steps: 5", "  seed: 4294967296", r"line 9: maft: seed=4294967296 is outside"),
        ("  max_steps: 5", "  languages: [[swa]]", r"line 9: languages holds a list; expected a word or a number"),
        ("  max_steps: 5", "  languages: []", r"line 9: languages is an empty list"),
        ("  max_steps: 5", "  <<: {seed: 1}", r"line 9: '<<' stands where maft has the name of a setting"),
        ("  max_steps: 5", "  mlm_probability: 2", r"line 9: maft: mlm_probability=2"),
        ("maft-again:\n", "maft-again: [1]\nmaft-more:\n", r"line 11: maft-again is a list; expected `name: value`"),
        (
            "maft-again:",
            "matf-again:",
            r"line 11: 'matf-again' is not a stage; did you mean 'maft'\? Expected one of prepare, count",
        ),
        ("maft-again:", "maft-../x:", r"line 11: 'maft-\.\./x' becomes a folder"),
        ("  model: pretrain", "  model: prepare", r"line 11: maft-again\.model is 'prepare', which gives text"),
        ("first: maft,", "../first: maft,", r"line 15: '\.\./first' becomes a folder; expected letters"),
        ("first: maft,", "first: report,", r"evaluate\.models is 'report', which is not an earlier stage"),
        (
            "  model: pretrain",
            "  model: pretrian",
            r"maft-again\.model is 'pretrian'.*; did you mean 'pretrain'\? A model",
        ),
        ("prepare:\n  text: ${data}/text\n", "", r"line 3: pretrain: .*required: --text"),
        ("  text: ${data}/text", "", r"line 3: prepare: .*required: --text"),
        (
            "  num_train_epochs: 2",
            "  num_train_epochs: 2\n  languages: [swaa]",
            r"maft-again: unknown language 'swaa'; did you mean swa",
        ),
        ("  text: ${data}/text", "  text: a\n  errors: skipp", r"line 5: prepare: .*'skipp' .*choose from"),
        (
            "  text: ${data}/text",
            "  text: a\n  near_duplicates: 2",
            r"near_duplicates is 2; expected at most 1",
        ),
        ("name: mine\n", "", r"has no `name`"),
        ("name: mine", "name: ../x", r"name is '\.\./x'; it becomes a folder"),
        ("name: mine", "name: .x", r"name is '\.x'; it becomes a folder"),
        ("name: mine", "- name", r"cannot be read as YAML: .*line 2"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_line(recipe_file, old, new, message):
    with pytest.raises(SettingError, match=message):
        load_recipe(recipe_file(**{old: new}))


def test_yaml_that_holds_itself_is_refused(recipe_file):
    with pytest.raises(SettingError, match="once its aliases are expanded"):
        load_recipe(recipe_file(TEXT.replace("  max_steps: 5", "  optim_args: &more {a: [*more]}")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: x\n# caf\xe9\n", r"mine\.yaml, line 2: not UTF-8 .*; convert the file to UTF-8"),
        (b"name: x\0\n", r"mine\.yaml cannot be read as YAML: unacceptable character"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingError, match=message):
        load_recipe(str(path))


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b"])
def test_what_is_no_recipe_is_refused(recipe_file, text):
    with pytest.raises(SettingError, match="holds no recipe"):
        load_recipe(recipe_file(text))


def test_a_recipe_without_stages_is_refused(recipe_file):
    with pytest.raises(SettingError, match="has no stage; expected some of prepare, count"):
        load_recipe(recipe_file("name: empty"))


def test_an_unknown_name_is_answered_with_the_nearest_and_a_missing_file_as_missing():
    with pytest.raises(SettingError, match="unknown recipe 'quikstart'; did you mean 'quickstart'"):
        load_recipe("quikstart")
    with pytest.raises(FileNotFoundError, match=r"mine\.yaml does not exist"):
        load_recipe("mine.yaml")


def test_the_name_of_a_stage_is_no_part_of_its_work(recipe_file, tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "swa.txt").write_text("Habari ya leo\n", "utf-8")
    keys = []
    for name in ("prepare", "prepare-more"):
        recipe = load_recipe(recipe_file(TEXT.replace("prepare", name)), ["--data", str(tmp_path)])
        keys.append(Record.begun(recipe.stage(name).step, recipe.stage(name).config).key)
    assert keys[0] == keys[1]


def test_the_settings_of_the_papers_are_those_of_the_papers():
    """The figures of the two papers' published recipes."""
    maft = load_recipe("afroxlmr-small").stage("maft")
    given = maft.step.arguments(**maft.config.arguments)
    assert (given.learning_rate, given.max_length, given.num_train_epochs, given.seed) == (5e-5, 512, 3, 42)
    assert (given.mlm_probability, given.per_device_train_batch_size, given.language_alpha) == (0.15, 10, 1)
    assert (given.adam_beta1, given.adam_beta2, given.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert load_recipe("afroxlmr-small").stage("prune").config.budget == 70_000
    recipe = load_recipe("afroxlmr-minilm")
    for name, layers in (("distill-12x384", 12), ("distill-6x384", 6)):
        config = recipe.stage(name).config
        sizes, given = parse_sizes(config.student), config.arguments
        assert (sizes["num_hidden_layers"], sizes["hidden_size"]) == (layers, 384)
        assert (given["teacher_layer"], given["num_relation_heads"]) == (19, 64)
        assert given["per_device_train_batch_size"] * given["gradient_accumulation_steps"] == 256
        assert (given["learning_rate"], given["max_steps"], given["warmup_steps"]) == (6e-4, 400_000, 4000)
        assert (given["adam_epsilon"], given["weight_decay"], given["max_length"]) == (1e-6, 0.01, 512)
    comet = load_recipe("comet").stage("distill").config
    assert parse_sizes(comet.student) == {
        "num_hidden_layers": 6,
        "hidden_size": 256,
        "num_attention_heads": 8,
        "intermediate_size": 1024,
    }
    wanted = {"objective": "hybrid", "logit_weight": 0.5, "temperature": 2.0}
    assert {name: comet.arguments[name] for name in wanted} == wanted
    chain = load_recipe("minilm-assistant")
    assistant, student = (chain.stage(f"distill-{name}").config for name in ("assistant", "student"))
    assert (assistant.arguments["objective"], student.arguments["objective"]) == ("minilm", "minilm")
    assert student.teacher == "distill-assistant"
    assert [parse_sizes(one.student)["num_hidden_layers"] for one in (assistant, student)] == [12, 6]
    assert len(load_recipe("laft").stage("prepare").config.languages) == 1


def test_the_recipes_that_ship():
    names = [
        "afro-mini",
        "afroxlmr-minilm",
        "afroxlmr-small",
        "comet",
        "embedder",
        "laft",
        "minilm-assistant",
        "quickstart",
        "real-small",
        "task-distil",
    ]
    assert sorted(shipped_recipes()) == names
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.stage("report").config.title == name
        cards = [stage for stage in recipe.stages if stage.step.name == "card"]
        assert [stage.config.model_name for stage in cards] == [stage.name.replace("card", name) for stage in cards]
