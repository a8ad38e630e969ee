"""Every Python and shell snippet of the pages runs, in order and unchanged but for the size of trainings.

A page runs in a folder of its own that holds small text and tasks, and a small model in the place of the names the
pages use: a folder that is there is read before the Hub is asked.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import XLMRobertaForMaskedLM

from hf_afro.cli.main import main
from hf_afro.recipes import load_recipe
from hf_afro.sample import write_tasks
from tests.conftest import tiny_config
from tests.texts import SENTENCES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
SNIPPETS = 39
"""Python and shell snippets of all pages together; that none has dropped out of what is run."""

# Trainings of the pages take hours; here each takes a step or two. A student is built at the width of the small model.
SMALLER = (
    (r"max_steps([ =])\d+", r"max_steps\g<1>2"),
    (r"layers=6,hidden_size=384,embedding_size=128", "layers=1,hidden_size=32,embedding_size=16"),
    (
        r"num_hidden_layers=6, hidden_size=384, embedding_size=128",
        "num_hidden_layers=1, hidden_size=32, embedding_size=16",
    ),
    (r"layers=6,hidden_size=384", "layers=1,hidden_size=32"),
    (r"--max_train \d+", "--max_train 8"),
    (r"--student_layers 6", "--student_layers 1"),
    (r"--epochs \d+", "--epochs 1"),
    (r"--preset small", "--preset small --max_train 8 --max_dev 4 --max_test 4 --epochs 1"),
)
LANGUAGES = ("amh", "hau", "swa", "yor")
NOT_RUN = {"text", "js", "yaml"}
EXPORTS = ("onnx", "onnxscript", "onnxruntime")


def snippets(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of every fenced block."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def run_shell(text: str) -> None:
    for line in text.replace("\\\n", " ").strip().splitlines():
        words = shlex.split(line)
        assert words[0] == "hf-afro", f"a snippet in bash is of our command alone, not {line!r}; others are text"
        assert main(words[1:]) == 0, line


def as_embedder(folder: Path) -> None:
    """Add the modules that multilingual-e5-small has: the mean over the tokens, and a normalisation."""
    base = "sentence_transformers.base.modules"
    kinds = {
        "": f"{base}.transformer.Transformer",
        "1_Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        "2_Normalize": f"{base}.normalize.Normalize",
    }
    (folder / "modules.json").write_text(
        json.dumps(
            [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds.items())]
        )
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 32, "pooling_mode": "mean"}')


@pytest.fixture
def place(tmp_path, monkeypatch, tokenizer):
    """The folder that a page runs in."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(tiny_config(len(tokenizer), max_position_embeddings=514))
    tokenizer.model_max_length = 512
    for name in ("FacebookAI/xlm-roberta-base", "intfloat/multilingual-e5-small"):
        for part in (model, tokenizer):
            part.save_pretrained(name)
    as_embedder(Path("intfloat/multilingual-e5-small"))
    Path("texts").mkdir()
    Path("held_out").mkdir()
    for code in LANGUAGES:
        Path(f"texts/{code}.txt").write_text("\n".join(SENTENCES[code]), "utf-8")
        Path(f"held_out/{code}.txt").write_text("\n".join(SENTENCES[code][::-1]), "utf-8")
    Path("prompts.txt").write_text("query: \npassage: \n", "utf-8")
    Path("test_sentences.txt").write_text("Sentensi ambayo haipo popote katika matini.\n", "utf-8")
    write_tasks("sets", sizes={"train": 40, "dev": 8, "test": 8}, languages=LANGUAGES)
    Path("sets/ner").rename("masakhaner1")
    Path("sets/topic").rename("masakhanews")
    for code in ("swa", "yor"):  # the sentences of the tests have the same meaning in every language
        Path(f"mafand/{code}").mkdir(parents=True)
        for suffix, lines in ((code, SENTENCES[code]), ("hau", SENTENCES["hau"])):
            Path(f"mafand/{code}/test.{suffix}").write_text("\n".join(lines), "utf-8")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_snippets_of_a_page_run_in_order(page, place, capsys):
    found = list(snippets(page))
    if any("--to onnx" in text for _, text in found):
        for package in EXPORTS:
            pytest.importorskip(package, reason="needs the extra `onnx`")
    if any("sentence_transformers" in text for _, text in found):
        pytest.importorskip("sentence_transformers", reason="needs the extra `sentence`")
    names: dict[str, object] = {"__name__": "snippet"}
    for language, text in found:
        for pattern, smaller in SMALLER:
            text = re.sub(pattern, smaller, text)
        if language == "bash":
            run_shell(text)
        elif language == "python":
            exec(compile(text, page.name, "exec"), names)
        elif language == "yaml":
            Path("mine.yaml").write_text(text, "utf-8")
            load_recipe("mine.yaml")
        else:
            assert language in NOT_RUN, f"a snippet of {page.name} says it is {language!r}"


def test_how_many_snippets_run():
    assert sum(language in ("bash", "python") for page in PAGES for language, _ in snippets(page)) == SNIPPETS


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert all(f": {page.relative_to(ROOT / 'docs')}\n" in menu for page in PAGES)
