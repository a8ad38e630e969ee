"""`hf-afro distill`: a student by sizes or by name, a pruned one under a full teacher, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, ModernBertForMaskedLM

import hf_afro
from hf_afro.cli.main import main
from hf_afro.evaluation import sentence_vectors
from hf_afro.sentence_modules import sentence_modules_of
from hf_afro.steps.distill import STEP, Config, parse_sizes
from hf_afro.steps.running import check_inputs
from hf_afro.training.projection import PROJECTION_FILE
from tests.texts import SENTENCES
from tests.tiny_families import tiny

SETTINGS = ("--use_cpu", "--per_device_train_batch_size", 4, "--max_length", 32, "--disable_tqdm", "True")


def words_of(teacher, text, out, *more) -> list[str]:
    fixed = ["--teacher", teacher, "--text", text, "--output_dir", out, "--num_relation_heads", 4, *SETTINGS]
    return ["distill", *[str(word) for word in (*fixed, *more)]]


def test_sizes_become_arguments_of_build_student():
    assert parse_sizes("layers=6, hidden_size=384,embedding_size=128") == {
        "num_hidden_layers": 6,
        "hidden_size": 384,
        "embedding_size": 128,
    }
    assert parse_sizes("num_hidden_layers=1,hidden_size=64,heads=2")["num_attention_heads"] == 2
    assert parse_sizes("layers=6") == {"num_hidden_layers": 6}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden_size=384", "expected at least layers, as in layers=6,hidden_size=384"),
        ("layers=6,hiden_size=384", "'hiden_size' is not a size; did you mean 'hidden_size'"),
        ("layers=six,hidden_size=384", "layers is 'six'; expected a whole number"),
        ("layers=0,hidden_size=384", "layers is '0'; expected a whole number, 1 or more"),
    ],
)
def test_sizes_that_cannot_be_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_sizes(text)


def test_a_student_by_sizes_learns_and_loads(model_folder, text_folder, tmp_path, capsys):
    out = tmp_path / "student"
    more = ("--student", "layers=1,hidden_size=16,heads=2,embedding_size=8", "--eval_lines", 4)
    training = ("--max_steps", 20, "--learning_rate", 1e-2, "--save_strategy", "no")
    assert main(words_of(model_folder, text_folder, out, *more, *training)) == 0
    student = AutoModelForMaskedLM.from_pretrained(out)
    assert isinstance(student, hf_afro.AfroStudentForMaskedLM)
    assert (student.config.num_hidden_layers, student.config.embedding_size) == (1, 8)
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    assert metrics["after"]["eval_swa_loss"] < metrics["before"]["eval_swa_loss"]
    assert metrics["unknown_share"] == {"swa": 0.0, "yor": 0.0}
    assert f"student of {student.num_parameters():,} parameters" in capsys.readouterr().out


def test_hidden_states_and_sentences_are_learnt_through_a_projection_that_stays_behind(
    model_folder, text_folder, tmp_path
):
    out = tmp_path / "student"
    more = ("--student", "layers=1,hidden_size=16,heads=2", "--eval_lines", 4)
    training = ("--max_steps", 20, "--learning_rate", 1e-2, "--save_steps", 10)
    terms = ("--relation_weights", 0, 0, 0, "--hidden_weight", 1, "--pooled_weight", 0.5, "--no_packing")
    layers = ("--hidden_teacher_layers", 1, 2, "--hidden_student_layers", 1)
    assert main(words_of(model_folder, text_folder, out, *more, *training, *terms, *layers)) == 0
    student, info = AutoModelForMaskedLM.from_pretrained(out, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert student.config.hidden_size == 16
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    for figure in ("eval_loss", "eval_hidden_loss", "eval_pooled_loss"):
        assert metrics["after"][figure] < metrics["before"][figure]
    assert [path.parent.name for path in sorted(out.rglob(PROJECTION_FILE))] == ["checkpoint-10", "checkpoint-20"]


def test_a_full_teacher_teaches_a_pruned_student(refused, model_folder, counts_folder, text_folder, tmp_path):
    pruned, built, taught = (str(tmp_path / name) for name in ("pruned", "built", "taught"))
    words = ["prune", "--model", model_folder, "--counts", counts_folder, "--budget", "300", "--output_dir", pruned]
    assert main(words) == 0
    more = ("--vocabulary_map", pruned, "--eval_lines", 0, "--max_steps", 1)
    sizes = ("--student", "layers=1,hidden_size=16,heads=2")
    assert main(words_of(model_folder, text_folder, built, *sizes, *more)) == 0
    assert len(AutoTokenizer.from_pretrained(built)) == 300
    assert AutoModelForMaskedLM.from_pretrained(built).config.vocab_size == 300
    assert main(words_of(model_folder, text_folder, taught, "--student_model", pruned, *more)) == 0
    assert AutoModelForMaskedLM.from_pretrained(taught).config.vocab_size == 300
    line = refused(*words_of(pruned, text_folder, tmp_path / "again", *sizes, *more))
    assert "the teacher is pruned already; leave --vocabulary_map out" in line


def test_a_map_that_an_earlier_stage_will_write_is_not_missed(model_folder, text_folder, tmp_path):
    settings = {"teacher": model_folder, "text": str(text_folder), "student": "layers=1"}
    config = Config(**settings, vocabulary_map=str(tmp_path / "prune"))
    check_inputs(STEP, config, made_here=(str(tmp_path / "prune"),))
    (tmp_path / "prune").mkdir()
    with pytest.raises(FileNotFoundError, match="vocabulary_map.json does not exist"):
        check_inputs(STEP, config)


def built_from(folder) -> dict:
    return AutoModelForMaskedLM.from_pretrained(folder).config.built_from


def test_counts_before_pruning_weigh_the_tokens_that_are_left(
    refused, model_folder, counts_folder, text_folder, tmp_path
):
    """Under a pruned teacher, and under a full one with the map: the student is the same to begin with."""
    pruned = str(tmp_path / "pruned")
    assert (
        main(["prune", "--model", model_folder, "--counts", counts_folder, "--budget", "300", "--output_dir", pruned])
        == 0
    )
    more = ("--eval_lines", 0, "--max_steps", 1, "--student", "layers=1,hidden_size=16,heads=2,embedding_size=4")
    weighed = (*more, "--counts", counts_folder)
    found = []
    for name, teacher, own in (("a", pruned, ()), ("b", model_folder, ("--vocabulary_map", pruned))):
        assert main(words_of(teacher, text_folder, tmp_path / name, *weighed, *own)) == 0
        found.append(built_from(tmp_path / name))
    energies = [{name: one[name] for name in one if "energy" in name} for one in found]
    assert energies[0] == energies[1]
    assert energies[0]["embedding_energy_of_running_tokens"] > energies[0]["embedding_energy"]
    assert main(words_of(pruned, text_folder, tmp_path / "c", *more)) == 0
    assert "embedding_energy_of_running_tokens" not in built_from(tmp_path / "c")

    counted = str(tmp_path / "counted")
    text = ("--text", str(text_folder), "--tokenizer", pruned)
    assert main(["count", *text, "--output_dir", counted]) == 0
    line = refused(*words_of(model_folder, text_folder, tmp_path / "d", *more, "--counts", counted))
    assert "--counts has no counts of " in line
    assert "count with that of the teacher, or with the one it was pruned from" in line


def test_a_student_of_another_family_has_fewer_layers(refused, tokenizer, text_folder, tmp_path):
    teacher = str(tmp_path / "teacher")
    tiny("modernbert", vocab_size=len(tokenizer)).save_pretrained(teacher)
    tokenizer.save_pretrained(teacher)
    more = ("--eval_lines", 0, "--max_steps", 1)
    assert main(words_of(teacher, text_folder, tmp_path / "student", "--student", "layers=2", *more)) == 0
    student = AutoModelForMaskedLM.from_pretrained(tmp_path / "student")
    assert isinstance(student, ModernBertForMaskedLM)
    assert student.config.layer_types == ["full_attention", "full_attention"]
    assert student.config.built_from["layers"] == [0, 3]
    line = refused(*words_of(teacher, text_folder, tmp_path / "out", "--student", "layers=2,hidden_size=16", *more))
    assert "was given hidden_size=16; leave that out, so that the student has the teacher's full width, 32" in line


@pytest.fixture
def embedder(model_folder, tmp_path):
    """A function that saves a sentence-transformers model like E5, or with a dense layer, and returns its folder."""
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs the extra `sentence`")
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    def made(*, dense: bool) -> str:
        modules = [Transformer(model_folder), Pooling(32, "mean"), *([Dense(32, 32)] if dense else []), Normalize()]
        whole = sentence_transformers.SentenceTransformer(modules=modules, prompts={"query": "Mvua "}, device="cpu")
        whole.save_pretrained(str(tmp_path / "embedder"), create_model_card=False)
        return str(tmp_path / "embedder")

    return made


@pytest.mark.parametrize("width", [16, 32])
def test_a_student_of_an_embedder_is_one(embedder, counts_folder, text_folder, tmp_path, capsys, width):
    from sentence_transformers import SentenceTransformer

    pruned, student, exported = (str(tmp_path / name) for name in ("pruned", "student", "exported"))
    words = ["prune", "--model", embedder(dense=False), "--counts", counts_folder, "--budget", "300"]
    assert main([*words, "--output_dir", pruned]) == 0
    more = ("--student", f"layers=1,hidden_size={width},heads=2,embedding_size=8", "--eval_lines", 0, "--max_steps", 1)
    assert main(words_of(pruned, text_folder, student, *more)) == 0
    assert "modules of sentence-transformers carried: Transformer, Pooling, Normalize" in capsys.readouterr().out
    assert main(["export", student, "--to", "sentence-transformers", "--output_dir", exported]) == 0
    encoder, tokenizer = AutoModel.from_pretrained(student), AutoTokenizer.from_pretrained(student)
    expected = sentence_vectors(encoder, tokenizer, SENTENCES["swa"], prompt="Mvua ")
    assert expected.shape == (8, width)
    for folder in (student, exported):
        loaded = SentenceTransformer(folder, device="cpu")
        assert [type(module).__name__ for module in loaded] == ["Transformer", "Pooling", "Normalize"]
        found = loaded.encode(SENTENCES["swa"], prompt_name="query")
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_dense_layer_of_the_teacher_is_for_its_own_width(embedder, text_folder, tmp_path, capsys):
    teacher, more = embedder(dense=True), ("--eval_lines", 0, "--max_steps", 1)
    for width, names in ((16, None), (32, ("Transformer", "Pooling", "Dense", "Normalize"))):
        out = tmp_path / str(width)
        sizes = ("--student", f"layers=1,hidden_size={width},heads=2")
        assert main(words_of(teacher, text_folder, out, *sizes, *more)) == 0
        modules = sentence_modules_of(out)
        assert (None if modules is None else modules.names) == names
        told = "carried: the weights of Dense do not take the student's vectors of width 16" in capsys.readouterr().out
        assert told == (names is None)


def test_an_existing_student_keeps_its_own_modules(embedder, model_folder, text_folder, tmp_path):
    student = embedder(dense=True)
    more = ("--student_model", student, "--eval_lines", 0, "--max_steps", 1)
    assert main(words_of(model_folder, text_folder, tmp_path / "out", *more)) == 0
    assert sentence_modules_of(tmp_path / "out").names == ("Transformer", "Pooling", "Dense", "Normalize")


def test_a_file_that_holds_no_map_is_refused(refused, model_folder, counts_folder, text_folder, tmp_path):
    more = ("--student", "layers=1,hidden_size=16,heads=2", "--vocabulary_map", f"{counts_folder}/counts.npz")
    line = refused(*words_of(model_folder, text_folder, tmp_path / "out", *more))
    assert "counts.npz holds no vocabulary map of format 1; give the vocabulary_map.json that prune wrote" in line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "expected either --student, the sizes of a new one, or --student_model"),
        (("--student", "hidden_size=16"), "expected at least layers"),
        (
            ("--student", "layers=1,hidden_size=16", "--whole_word_masking", "1"),
            "unknown setting --whole_word_masking",
        ),
        (("--student", "layers=1,hidden_size=64,heads=2"), "hidden_size 64 is wider than the teacher's 32"),
        (("--student", "layers=1,hidden_size=16,heads=2", "--vocabulary_map", "nowhere.json"), "nowhere.json"),
        (("--student", "layers=1,hidden_size=16,heads=2", "--num_relation_heads", "5"), "5"),
        (("--student", "layers=1,hidden_size=16,heads=2", "--counts", "nowhere"), "--counts nowhere does not exist"),
        (("--student_model", "some/student", "--counts", "nowhere"), "leave it out with --student_model"),
        (
            ("--student", "layers=1,hidden_size=16,heads=2", "--pooled_weight", 1),
            "packing=True puts several sentences into a row; set packing=False (--no_packing)",
        ),
    ],
)
def test_mistakes_leave_nothing(refused, model_folder, text_folder, tmp_path, more, message):
    assert message in refused(*words_of(model_folder, text_folder, tmp_path / "out", *more))
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
