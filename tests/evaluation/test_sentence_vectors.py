"""Vectors of sentences: pooled by hand, equal to those of sentence-transformers, in any order and any batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel

from hf_afro.evaluation.sentence_vectors import pool, sentence_vectors
from hf_afro.sentence_modules import POOLINGS, sentence_modules_of
from tests.texts import SENTENCES

PROMPT = "Mvua kubwa: "
TEXTS = [*SENTENCES["swa"], *SENTENCES["amh"][:2], "a", " ".join(SENTENCES["yor"]), SENTENCES["swa"][0]]
"""Of many lengths; one is longer than the model takes, and one occurs twice."""


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[3.0, 4.0], [1.0, -2.0]]),
        ("cls", [[1.0, 8.0], [1.0, -2.0]]),
        ("max", [[5.0, 8.0], [1.0, -2.0]]),
        ("lasttoken", [[5.0, 0.0], [1.0, -2.0]]),
    ],
)
def test_padding_never_counts(pooling, expected):
    states = torch.tensor([[[1.0, 8.0], [3.0, 4.0], [5.0, 0.0]], [[1.0, -2.0], [9.0, 9.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert pool(states, mask, pooling).tolist() == expected


def test_a_vector_is_the_mean_of_the_tokens_at_length_1(model, tokenizer):
    ids = torch.tensor([tokenizer(PROMPT + TEXTS[0])["input_ids"]])
    with torch.no_grad():
        mean = model.base_model(input_ids=ids)[0][0].mean(0)
    (vector,) = sentence_vectors(model, tokenizer, TEXTS[:1], prompt=PROMPT)
    np.testing.assert_allclose(vector, mean / mean.norm(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_they_depend_neither_on_the_order_nor_on_the_batch(model, tokenizer, pooling):
    vectors = sentence_vectors(model, tokenizer, TEXTS, pooling=pooling, batch_size=3)
    alone = np.concatenate([sentence_vectors(model, tokenizer, [text], pooling=pooling) for text in TEXTS])
    np.testing.assert_allclose(vectors, alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 32), np.float32)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_they_are_those_of_sentence_transformers(model, tokenizer, tmp_path, pooling):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs the extra `sentence`")
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    model.base_model.save_pretrained(tmp_path / "body")
    tokenizer.save_pretrained(tmp_path / "body")
    modules = [Transformer(str(tmp_path / "body")), Pooling(32, pooling), Normalize()]
    made = sentence_transformers.SentenceTransformer(
        modules=modules, prompts={"query": PROMPT}, default_prompt_name="query", device="cpu"
    )
    made.save_pretrained(str(tmp_path / "e5"), create_model_card=False)
    loaded = sentence_transformers.SentenceTransformer(str(tmp_path / "e5"), device="cpu")
    own = sentence_modules_of(tmp_path / "e5")
    assert (own.pooling, own.default_prompt) == (pooling, PROMPT)
    encoder = AutoModel.from_pretrained(tmp_path / "e5")
    for prompt in (PROMPT, ""):
        vectors = sentence_vectors(encoder, tokenizer, TEXTS, pooling=own.pooling, prompt=prompt, batch_size=4)
        np.testing.assert_allclose(vectors, loaded.encode(TEXTS, prompt=prompt), rtol=0, atol=1e-5)


def test_the_model_is_left_as_it_was(model, tokenizer):
    model.train()
    sentence_vectors(model, tokenizer, TEXTS[:2])
    assert all(module.training for module in model.modules())


def test_what_gives_no_vectors_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="pooling is 'sum'; expected one of mean, cls, max, lasttoken"):
        sentence_vectors(model, tokenizer, TEXTS, pooling="sum")
    with pytest.raises(ValueError, match="there are no texts"):
        sentence_vectors(model, tokenizer, [])
    with torch.no_grad():
        model.base_model.encoder.layer[0].output.dense.bias[0] = torch.nan
    with pytest.raises(FloatingPointError, match="are not finite"):
        sentence_vectors(model, tokenizer, TEXTS)
