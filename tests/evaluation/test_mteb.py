"""mteb runs the folders of this library as they are, and finds what bitext retrieval finds."""

from __future__ import annotations

import pytest

from hf_afro.evaluation import bitext_retrieval
from hf_afro.evaluation.data.parallel import ParallelText
from hf_afro.export import export_sentence_transformer
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import make
from tests.texts import SENTENCES

mteb = pytest.importorskip("mteb", reason="needs the extra `mteb`")
from datasets import Dataset, DatasetDict  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining  # noqa: E402
from mteb.benchmarks.benchmarks.benchmarks import MTEB_AFRICA_LITE  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402

ONE = SENTENCES["swa"]
OTHER = [*ONE[:5], ONE[6], ONE[7], ONE[5]]  # the translation of five is the sentence itself, three are mixed up


class MadeBitext(AbsTaskBitextMining):
    """Sentences of the tests as a task of mteb."""

    metadata = TaskMetadata(
        name="MadeBitext",
        description="Sentences and themselves.",
        type="BitextMining",
        main_score="accuracy",
        eval_splits=["test"],
        eval_langs=["swh-Latn"],
        dataset={"path": "made", "revision": "1"},
    )

    def load_data(self, **settings) -> None:
        self.dataset = DatasetDict({"test": Dataset.from_dict({"sentence1": ONE, "sentence2": OTHER})})
        self.data_loaded = True


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of what mteb itself calls
def test_a_student_is_a_model_of_mteb(tokenizer, tmp_path):
    student = make("ForMaskedLM", student_config(len(tokenizer), embedding_size=8))
    export_sentence_transformer(student, tokenizer, tmp_path / "embedder")
    model = SentenceTransformer(str(tmp_path / "embedder"), prompts={"BitextMining": "Mvua "}, device="cpu")
    results = mteb.evaluate(model, MadeBitext(), cache=None, co2_tracker=False, show_progress_bar=False)
    (scores,) = results[0].scores["test"]
    text = ParallelText("swa", "swa", "made/swa-swa", list(zip(ONE, OTHER, strict=True)), range(len(ONE)))
    _, own, _ = bitext_retrieval(student, tokenizer, text, prompt="Mvua ").scores()
    assert scores["accuracy"] == own.mean == 5 / 8


def test_the_african_benchmark_is_where_the_guide_says():
    assert MTEB_AFRICA_LITE.name == "MTEB(Africa, v1, lite)"
    assert "BitextMining" in {task.metadata.type for task in MTEB_AFRICA_LITE.tasks}
