"""Evaluates the tests' untrained model and its pruned form again, for model_cards/layout_example.

The scores mean nothing; the example shows the layout of a card. Run `python -m tests.cards.layout_example`, then
`python -m tests.cards.golden`.
"""

from __future__ import annotations

import dataclasses
import tempfile

import torch
from transformers import XLMRobertaForMaskedLM

from hf_afro import count_tokens, prune_vocabulary, select_tokens
from hf_afro.cards import CardFacts, TextSource
from hf_afro.evaluation import bits_per_byte_scores, evaluate_model
from hf_afro.reports import EvalReport
from tests.cards.golden import MODEL_CARDS
from tests.conftest import _tokenizer, tiny_config
from tests.evaluation.conftest import make, quick as quick_settings
from tests.texts import SENTENCES

LANGUAGES = ("hau", "swa", "yor")
SEEDS = (1, 2)
NOTICE = (
    "This card only illustrates the layout. The model is the untrained one of two layers that the tests of this "
    "project use; its figures were measured on a few made sentences and mean nothing."
)


def measure(model, tokenizer, name: str, folder: str) -> EvalReport:
    text = {language: SENTENCES[language] for language in LANGUAGES}
    bits = bits_per_byte_scores(model, tokenizer, text, dataset="sentences-of-the-tests")
    return evaluate_model(
        model,
        tokenizer,
        [make("ner"), make("topic")],
        name=name,
        settings=dataclasses.replace(quick_settings.__wrapped__(), epochs=3),
        seeds=SEEDS,
        output_dir=folder,
        extra_scores=bits,
    )


def main() -> None:
    torch.set_num_threads(1)
    tokenizer = _tokenizer.__wrapped__()
    torch.manual_seed(0)
    whole = XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()
    keep = select_tokens(count_tokens({language: SENTENCES[language] for language in LANGUAGES}, tokenizer))
    pruned = prune_vocabulary(whole, tokenizer, keep)
    models = {"pruned": (pruned.model, pruned.tokenizer), "whole": (whole, tokenizer)}
    folder = MODEL_CARDS / "layout_example"
    for number, (name, (model, own)) in enumerate(models.items()):
        with tempfile.TemporaryDirectory() as scratch:
            report = measure(model, own, name, scratch)
        saved = dataclasses.replace(report, predictions={}).save(folder)
        saved.rename(folder / f"report-{number}-{name}.json")
    CardFacts(
        model_name="layout-example",
        languages=(*LANGUAGES, "amh"),
        licence="apache-2.0",
        text=(TextSource("none, since the model is untrained", licence="none"),),
        methods=("pruning",),
        head="untrained",
        limits=("It is no model to be used.",),
        notice=NOTICE,
    ).save(folder)


if __name__ == "__main__":
    main()
