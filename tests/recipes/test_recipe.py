"""A recipe is checked as a whole before anything runs; the command line can change any setting of it."""

from __future__ import annotations

import pytest

from hf_afro.evaluation.presets import preset
from hf_afro.recipes import RecipeError, load_recipe, shipped_recipes
from hf_afro.recipes.manifest import key_of

TEXT = """\
name: mine
description: a test
corpora:
  text: ${data}/text
teacher:
  max_steps: 10
  max_length: 32
maft:
  max_steps: 5
  max_length: 32
maft-again:
  model: teacher
  num_train_epochs: 2
evaluate:
  models: {first: maft, second: maft-again}
  text: corpora
report:
card:
  model: maft
"""


@pytest.fixture
def recipe_file(tmp_path):
    def write(text=TEXT, **replaced):
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = tmp_path / "mine.yaml"
        path.write_text(text, "utf-8")
        return str(path)

    return write


def test_stages_come_in_order_and_read_the_last_before_them_that_gives_what_they_need(recipe_file):
    recipe = load_recipe(recipe_file())
    assert (recipe.name, recipe.description, recipe.data) == ("mine", "a test", None)
    assert [(stage.name, stage.kind) for stage in recipe.stages] == [
        ("corpora", "corpora"),
        ("teacher", "teacher"),
        ("maft", "maft"),
        ("maft-again", "maft"),
        ("evaluate", "evaluate"),
        ("report", "report"),
        ("card", "card"),
    ]
    assert recipe.stage("maft").inputs == {"text": ("corpora",), "model": ("teacher",)}
    assert recipe.stage("maft").settings.model == "teacher"
    assert recipe.stage("evaluate").inputs == {"models": ("maft", "maft-again"), "text": ("corpora",)}
    assert recipe.stage("evaluate").needs == ("maft", "maft-again", "corpora")
    assert recipe.stage("maft-again").place.endswith("mine.yaml, line 11")


def test_every_setting_can_be_changed_on_the_command_line(recipe_file):
    words = ["--maft.learning_rate", "3e-5", "--maft.seed=7", "--corpora.languages", "swa, yo", "--data", "texts"]
    words += ["--evaluate.ner.epochs", "3", "--maft.arguments.fp16", "true", "--maft-again.num_train_epochs", "0.5"]
    recipe = load_recipe(recipe_file(), words)
    maft = recipe.stage("maft").settings
    assert (maft.learning_rate, maft.seed, maft.arguments) == (3e-5, 7, {"fp16": True})
    assert recipe.stage("corpora").settings.languages == ("swa", "yo")
    assert recipe.stage("corpora").settings.text == "texts/text"
    assert recipe.stage("evaluate").settings.ner.given == {"epochs": 3}
    assert recipe.stage("maft-again").settings.num_train_epochs == 0.5
    assert recipe.stage("evaluate").settings.models == {"first": "maft", "second": "maft-again"}


def test_null_takes_a_limit_of_fine_tuning_away(recipe_file):
    text = TEXT.replace("  text: corpora\n", "  text: corpora\n  preset: small\n  ner: {max_dev: 9, epochs: 2}\n")
    words = ["--evaluate.ner.max_train", "null", "--evaluate.ner.max_dev", "null", "--evaluate.ner.epochs", "null"]
    recipe, unchanged = load_recipe(recipe_file(text), words), load_recipe(recipe_file(text))
    evaluate = recipe.stage("evaluate")
    found = preset("small", "ner").replace(**evaluate.settings.ner.given)
    assert (found.max_train, found.max_dev) == (None, None)
    assert (found.epochs, found.patience) == (preset("small", "ner").epochs, preset("small", "ner").patience)
    assert unchanged.stage("evaluate").settings.ner.given == {"max_dev": 9, "epochs": 2}
    inputs = dict.fromkeys(evaluate.needs, "")
    assert key_of(recipe, evaluate, inputs, {}) != key_of(unchanged, unchanged.stage("evaluate"), inputs, {})


def test_a_change_is_of_its_stage_and_not_of_one_that_shares_its_yaml(recipe_file):
    shared = "maft: &short\n  arguments: &more {fp16: false}\n  max_steps: 5\n  max_length: 32\nmaft-again: *short\n"
    text = TEXT.partition("maft:")[0] + shared + "maft-more:\n  max_steps: 5\n  arguments: *more\n"
    recipe = load_recipe(recipe_file(text), ["--maft.max_steps", "7", "--maft-again.arguments.fp16", "true"])
    settings = [recipe.stage(name).settings for name in ("maft", "maft-again", "maft-more")]
    assert [own.max_steps for own in settings] == [7, 5, 5]
    assert [own.arguments for own in settings] == [{"fp16": False}, {"fp16": True}, {"fp16": False}]
    assert recipe.stage("maft-again").place.endswith("mine.yaml, line 12")


def test_what_holds_itself_is_refused_with_its_line(recipe_file):
    text = TEXT.replace("  max_steps: 5\n", "  max_steps: 5\n  arguments: &more\n    optim_args: {a: [*more]}\n")
    with pytest.raises(RecipeError, match=r"line 11: maft\.arguments\.optim_args\S* holds itself, by an alias"):
        load_recipe(recipe_file(text))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--maft.learning_rat", "3"], r"^--maft\.learning_rat: 'learning_rat' .* the nearest is 'learning_rate'"),
        (["--matf.seed", "3"], r"^--matf\.seed: the recipe has no stage 'matf'; the nearest is 'maft'"),
        (["--seed", "3"], r"^--seed names no setting; expected --stage\.setting"),
        (["--maft.seed"], r"^--maft\.seed has no value"),
        (["maft.seed", "3"], r"^'maft\.seed' stands alone"),
        (["--maft.seed", "[1"], r"^--maft\.seed: '\[1' cannot be read"),
        (["--maft.seed", "two"], r"^--maft\.seed: maft\.seed is 'two'; expected a whole number"),
        (["--maft.seed.low", "2"], r"maft\.seed is a mapping; expected a whole number"),
        (["--maft.max_steps.low", "2"], r"'max_steps' is '5' in the recipe and has no settings of its own"),
        (["--data.x", "2"], r"has no stage 'data'"),
    ],
)
def test_a_wrong_change_is_named(recipe_file, words, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file(), words)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  max_steps: 5", "  max_stepz: 5", r"mine\.yaml, line 9: 'max_stepz' is no setting of maft; .* 'max_steps'"),
        ("maft-again:", "matf-again:", r"line 11: 'matf-again' is no stage; the nearest is 'maft' of base, tasks"),
        ("maft-again:", "maft-../x:", r"line 11: 'maft-\.\./x' becomes a folder"),
        ("  model: teacher", "  model: teache", r"line 11: maft-again\.model is 'teache'; .* nearest is 'teacher'"),
        ("  model: teacher", "  model: corpora", r"expected a stage before it that gives model"),
        ("first: maft,", "../first: maft,", r"evaluate: models has '\.\./first', which becomes a folder; expected"),
        ("first: maft,", "models.json: maft,", r"evaluate: models has 'models\.json', which becomes a folder"),
        ("first: maft,", "first: report,", r"evaluate\.models is 'report'; expected a stage before it"),
        ("corpora:\n  text: ${data}/text\n", "", r"line 3: teacher needs a stage before it that gives text: corpora"),
        ("  num_train_epochs: 2", "", r"line 12: maft-again: give max_steps or num_train_epochs"),
        (
            "  num_train_epochs: 2",
            "  num_train_epochs: 2\n  languages: [swaa]",
            r"maft-again: unknown language 'swaa'; did you mean swa",
        ),
        ("  text: ${data}/text", "", r"corpora needs 'text'"),
        ("name: mine\n", "", r"has no `name`"),
        ("name: mine", "- name", r"cannot be read as YAML: .*line 2"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_line(recipe_file, old, new, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file(**{old: new}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: x\n# caf\xe9\n", r"mine\.yaml, line 2: not UTF-8 .*; convert the file to UTF-8"),
        (b"name: x\0\n", r"mine\.yaml cannot be read as YAML: unacceptable character"),
        (b"name: ../x\ncorpora:\n  text: sample\n", r"line 1: name is '\.\./x'; it becomes a folder"),
        (b"name: .x\ncorpora:\n  text: sample\n", r"name is '\.x'; it becomes a folder"),
        (b"name: x\nteacher:\n  seed: 4294967296\n", r"teacher\.seed is 4294967296; .* at most 4294967295"),
        (b"name: x\ncorpora:\n  text: a\n  errors: skipp\n", r"corpora\.errors is 'skipp'; the nearest is 'skip'"),
    ],
)
def test_what_stands_in_the_file_is_named(recipe_file, content, message):
    with open(path := recipe_file(), "wb") as file:
        file.write(content)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b"])
def test_what_is_no_recipe_is_refused(recipe_file, text):
    with pytest.raises(RecipeError, match="holds no recipe"):
        load_recipe(recipe_file(text))


def test_a_recipe_without_stages_is_refused(recipe_file):
    with pytest.raises(RecipeError, match="has no stage; expected some of base, tasks"):
        load_recipe(recipe_file("name: empty"))


def test_an_unknown_name_is_answered_with_the_nearest_and_a_missing_file_as_missing():
    with pytest.raises(RecipeError, match="'quikstart' is no recipe; the nearest is 'quickstart'"):
        load_recipe("quikstart")
    with pytest.raises(FileNotFoundError, match=r"mine\.yaml does not exist"):
        load_recipe("mine.yaml")


def test_the_papers_settings_are_those_of_the_papers():
    """The figures of the two papers' published recipes."""
    maft = load_recipe("afroxlmr-small").stage("maft").settings
    assert (maft.learning_rate, maft.max_length, maft.num_train_epochs, maft.seed) == (5e-5, 512, 3, 42)
    assert (maft.mlm_probability, maft.per_device_train_batch_size, maft.language_alpha) == (0.15, 10, 1)
    assert (maft.adam_beta1, maft.adam_beta2, maft.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert load_recipe("afroxlmr-small").stage("prune").settings.budget == 70_000
    recipe = load_recipe("afro-mini")
    for name, layers in (("distill-12x384", 12), ("distill-6x384", 6)):
        distill = recipe.stage(name).settings
        assert (distill.num_hidden_layers, distill.hidden_size) == (layers, 384)
        assert (distill.teacher_layer, distill.num_relation_heads) == (19, 64)
        batch = distill.per_device_train_batch_size * distill.gradient_accumulation_steps
        assert (batch, distill.learning_rate, distill.max_steps, distill.warmup_steps) == (256, 6e-4, 400_000, 4000)
        assert (distill.adam_epsilon, distill.weight_decay, distill.max_length) == (1e-6, 0.01, 512)
    comet = load_recipe("comet").stage("distill").settings
    assert (comet.objective, comet.num_hidden_layers, comet.hidden_size) == ("hybrid", 6, 256)
    assert (comet.num_attention_heads, comet.intermediate_size) == (8, 1024)
    assert comet.arguments == {"logit_weight": 0.5, "temperature": 2.0}
    chain = load_recipe("minilm-assistant")
    assistant, student = (chain.stage(f"distill-{name}").settings for name in ("assistant", "student"))
    assert (assistant.objective, student.objective, student.teacher) == ("minilm", "minilm", "distill-assistant")
    assert (assistant.num_hidden_layers, student.num_hidden_layers) == (12, 6)
    assert len(load_recipe("laft").stage("corpora").settings.languages) == 1


def test_the_recipes_that_ship():
    names = ["afro-mini", "afroxlmr-small", "comet", "laft", "minilm-assistant", "quickstart", "real-small"]
    assert sorted(shipped_recipes()) == names
    for name in shipped_recipes():
        assert load_recipe(name).name == name
