"""What most tests share: a small XLM-R with a Unigram tokenizer of its own, built in memory; no network."""

from __future__ import annotations

import copy
import importlib.util
import os
import socket
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before any Hugging Face library is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if importlib.util.find_spec("triton") and not Path("/dev/nvidiactl").exists():
    # Without a GPU the kernels run in Triton's interpreter, which has to be on before anything imports triton.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest  # noqa: E402
import torch  # noqa: E402
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers  # noqa: E402
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaTokenizer  # noqa: E402

from tests.texts import SENTENCES  # noqa: E402

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Refuse every connection that leaves this machine, so that no test comes to lean on the network."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family == socket.AF_UNIX or str(address[0]).startswith(LOOPBACK):
            return connect(self, address)
        raise RuntimeError(f"a test tried to reach {address}; tests run offline")

    monkeypatch.setattr(socket.socket, "connect", guarded)


def trained_tokenizer() -> XLMRobertaTokenizer:
    """Train a Unigram tokenizer of XLM-R's class over the sentences of tests/texts.py."""
    trainer = trainers.UnigramTrainer(
        vocab_size=600,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    sentences = [sentence for language in SENTENCES.values() for sentence in language]
    backend.train_from_iterator(sentences, trainer)
    pieces = sorted(backend.get_vocab(), key=backend.token_to_id)
    # Scores only have to be distinct and ordered here; the trainer's own are not reachable from Python.
    vocab = [(piece, 0.0 if rank < 4 else -3.0 - rank / 100) for rank, piece in enumerate(pieces)]
    return XLMRobertaTokenizer(vocab=[*vocab, ("<mask>", 0.0)], model_max_length=64)


@pytest.fixture(scope="session")
def _tokenizer():
    return trained_tokenizer()


@pytest.fixture
def tokenizer(_tokenizer):
    """A Unigram tokenizer of XLM-R's class over the sentences of tests/texts.py."""
    return copy.deepcopy(_tokenizer)


def tiny_config(vocab_size: int, **overrides) -> XLMRobertaConfig:
    """Configuration of an XLM-R of two layers and width 32, dropout off."""
    settings = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
        "type_vocab_size": 1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-5,
    }
    return XLMRobertaConfig(**{**settings, **overrides})


@pytest.fixture
def model(tokenizer):
    """An untrained XLM-R masked language model of two layers, width 32, that fits the tokenizer."""
    torch.manual_seed(0)
    return XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text, tasks and the real XLM-R vocabulary; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs real text and the real XLM-R tokenizer, which are not part of the project: {SHARED_DATA}")
    return SHARED_DATA
