"""Unknown tokens are not covered; their share is counted per language, reported and warned about."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertTokenizer

from hf_afro import MAFTTrainer, MAFTTrainingArguments, RelationDistillTrainer, RelationDistillTrainingArguments
from hf_afro.batching.streaming import LanguageStream
from hf_afro.tokenizer_checks import HIGH_UNKNOWN_SHARE, warn_of_unknown
from hf_afro.training.training_data import unknown_shares
from hf_afro.vocabulary import count_tokens, count_with_cache, select_tokens
from tests.texts import SENTENCES
from tests.vocabulary.kinds import BERT_SPECIALS, bert_model, roberta

TEXT = {"amh": SENTENCES["amh"], "swa": SENTENCES["swa"]}


@pytest.fixture(scope="module")
def tokenizer():
    """WordPiece of Swahili text, which makes one unknown token of each word of Amharic."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=BERT_SPECIALS, show_progress=False)
    backend.train_from_iterator(SENTENCES["swa"], trainer)
    return BertTokenizer(vocab=backend.get_vocab(), do_lower_case=False, model_max_length=64)


def by_hand(tokenizer, lines):
    ids = [one for line in lines for one in tokenizer(line, add_special_tokens=False)["input_ids"]]
    return ids.count(tokenizer.unk_token_id) / len(ids)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_the_share_is_that_of_all_lines(tokenizer, caplog):
    counts = count_tokens(TEXT, tokenizer)
    shares = counts.unknown_share
    assert shares == {language: pytest.approx(by_hand(tokenizer, lines)) for language, lines in TEXT.items()}
    assert shares["amh"] > 0.7
    assert shares["swa"] == 0.0
    (message,) = warnings(caplog)
    assert f"amh {shares['amh']:.2%}" in message
    assert "swa" not in message


def test_the_cache_warns_too(tokenizer, tmp_path, caplog):
    class Text(list):
        fingerprint = "never written"

    for _ in range(2):
        count_with_cache({"amh": Text(TEXT["amh"])}, tokenizer, tmp_path)
    assert sum("amh" in message and "unknown" in message for message in warnings(caplog)) == 2


def test_unknown_tokens_are_not_covered_and_the_floor_is_reached(tokenizer, caplog):
    counts = count_tokens(TEXT, tokenizer)
    caplog.clear()
    keep = select_tokens(counts, coverage=0.9995, strict=True)
    own = keep.provenance["coverage"]["amh"]
    assert own["unknown_rate"] == counts.unknown_share["amh"]
    assert own["coverage"] == pytest.approx(1 - own["unknown_rate"])
    assert own["reaches_floor"]
    assert keep.provenance["below_floor"] == []
    assert keep.provenance["curve"]["coverage"]["amh"][-1] == pytest.approx(own["coverage"], abs=1e-6)
    assert keep.provenance["coverage"]["swa"]["coverage"] >= 0.9995
    assert sum("amh" in message for message in warnings(caplog)) == 1


def test_a_language_that_is_all_unknown_is_not_covered_at_all(tokenizer):
    counts = count_tokens({"amh": ["ሰላም ነው"], "swa": TEXT["swa"]}, tokenizer)
    own = select_tokens(counts).provenance["coverage"]["amh"]
    assert (own["coverage"], own["unknown_rate"], own["reaches_floor"]) == (0.0, 1.0, True)


def test_an_unknown_token_that_bytes_never_need_is_no_lost_text():
    counts = count_tokens({"swa": ["kitabu<unk>kipya"]}, roberta())
    assert counts.of("swa")[counts.table.unknown_id] == 1
    assert counts.unknown_share == {"swa": 0.0}


def test_the_warning_begins_above_the_threshold(caplog):
    warn_of_unknown({"swa": HIGH_UNKNOWN_SHARE, "yor": 0.0})
    assert warnings(caplog) == []
    warn_of_unknown({"swa": HIGH_UNKNOWN_SHARE + 1e-6, "yor": 0.0})
    assert len(warnings(caplog)) == 1


def adapting(tokenizer, folder, text, **more):
    args = MAFTTrainingArguments(output_dir=str(folder), **SETTINGS, **more)
    return MAFTTrainer(bert_model(tokenizer), args, text, processing_class=tokenizer)


def distilling(tokenizer, folder, text, **more):
    args = RelationDistillTrainingArguments(output_dir=str(folder), **SETTINGS, **more)
    return RelationDistillTrainer(bert_model(tokenizer), bert_model(tokenizer), args, text, processing_class=tokenizer)


SETTINGS = {"max_steps": 1, "max_length": 32, "report_to": "none", "use_cpu": True, "save_strategy": "no"}
STREAMED = {"streaming": True, "language_alpha": 0.0}
TRAINERS = pytest.mark.parametrize("trainer_of", [adapting, distilling])


@TRAINERS
@pytest.mark.parametrize("streaming", [False, True])
def test_training_text_is_looked_at_before_training(streaming, trainer_of, tokenizer, tmp_path, caplog):
    text = {language: Dataset.from_dict({"text": lines}) for language, lines in TEXT.items()}
    trainer = trainer_of(tokenizer, tmp_path, text, **(STREAMED if streaming else {}))
    if streaming:
        assert trainer.unknown_shares == {}
        trainer.train()
    expected = {language: by_hand(tokenizer, lines) for language, lines in TEXT.items()}
    assert trainer.unknown_shares == {code: pytest.approx(share, abs=0.05) for code, share in expected.items()}
    if not streaming:
        assert trainer.unknown_shares == pytest.approx(expected)
    said = [message for message in warnings(caplog) if "does not know much" in message]
    assert len(said) == 1
    assert "amh" in said[0]
    assert "swa" not in said[0]


@TRAINERS
def test_a_stream_is_read_by_the_main_process_alone_and_as_training_starts(
    trainer_of, tokenizer, tmp_path, monkeypatch
):
    begun, whole = [], LanguageStream.samples_from
    monkeypatch.setattr(LanguageStream, "samples_from", lambda one, place: begun.append(one) or whole(one, place))
    text = {language: Dataset.from_dict({"text": lines}) for language, lines in TEXT.items()}
    trainer = trainer_of(tokenizer, tmp_path, text, **STREAMED)
    assert begun == []
    monkeypatch.setattr(trainer, "is_world_process_zero", lambda: False)
    trainer.train()
    assert len(begun) == len(text)  # for training itself
    assert trainer.unknown_shares == {}


@TRAINERS
def test_a_stream_without_text_is_named(trainer_of, tokenizer, tmp_path):
    text = {"hau": Dataset.from_dict({"text": ["", ""]}), "swa": Dataset.from_dict({"text": TEXT["swa"]})}
    trainer = trainer_of(tokenizer, tmp_path, text, **STREAMED)
    with pytest.raises(ValueError, match="^hau: "):
        trainer.train()


def test_a_token_that_separates_documents_is_not_unknown(tokenizer):
    """As GPT-2's, whose end of text is named as the unknown token."""

    class Separates:
        unk_token_id = eos_token_id = sep_token_id = 3
        bos_token_id = cls_token_id = None

    @dataclasses.dataclass
    class Samples:
        languages: tuple = ("swa",)

    assert unknown_shares(Samples(), Separates()) == {"swa": 0.0}
