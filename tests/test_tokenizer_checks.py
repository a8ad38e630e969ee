"""A tokenizer that is not built as its tokenizer.json says is refused by every way of loading."""

from __future__ import annotations

import json
import shutil

import pytest
import sentencepiece
import transformers as hf
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from hf_afro.evaluation.models import load_encoder
from hf_afro.pretrained.loading import load_tokenizer
from hf_afro.tokenizer_checks import check_built_as_written, check_built_from, differing_steps
from hf_afro.vocabulary import (
    VerificationError,
    count_tokens,
    prune_checkpoint,
    prune_vocabulary,
    select_tokens,
    verify,
)
from tests.conftest import trained_tokenizer
from tests.texts import AFRICAN, SENTENCES
from tests.vocabulary.kinds import EXAMPLES, bert, bert_model, byte_level, roberta

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁a", "b", "<mask>"]
UNIGRAM = [(piece, -float(rank) if 3 < rank < 7 else 0.0) for rank, piece in enumerate(PIECES)]
MERGED = ({piece: rank for rank, piece in enumerate([*PIECES, "a"])}, [("▁", "a")])
YORUBA = "Ọjọ́ Àìkú ni Ìbàdàn"


def of_pieces(name, pieces=UNIGRAM):
    return lambda: getattr(hf, name)(vocab=list(pieces))


def of_merges(name, vocab=None):
    def make():
        model = json.loads(byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]).to_str())["model"]
        own, merges = MERGED if vocab is None else (model["vocab"], map(tuple, model["merges"]))
        return getattr(hf, name)(vocab=dict(own), merges=list(merges))

    return make


MAKERS = {
    **{name: example.make for name, example in EXAMPLES.items()},
    "xlm-roberta": trained_tokenizer,
    "albert": lambda: hf.AlbertTokenizer(
        vocab=UNIGRAM, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", mask_token="<mask>"
    ),
    "t5": of_pieces("T5Tokenizer", [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *UNIGRAM[4:7]]),
    **{
        name: of_pieces(f"{name}Tokenizer")
        for name in ("Camembert", "MBart", "MBart50", "DebertaV2", "BigBird", "XLNet", "RemBert", "XGLM")
    },
    **{name: of_merges(f"{name}Tokenizer") for name in ("Nllb", "Gemma", "Llama")},
    **{name: of_merges(f"{name}Tokenizer", "bytes") for name in ("GPT2", "Deberta", "Qwen2")},
}


def set_settings(folder, **changed):
    """Change tokenizer_config.json; None takes a setting out."""
    path = folder / "tokenizer_config.json"
    settings = {**json.loads(path.read_text("utf-8")), **changed}
    path.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}), "utf-8")


def edit(folder, change):
    """Change tokenizer.json."""
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text("utf-8"))
    change(state)
    path.write_text(json.dumps(state), "utf-8")


@pytest.fixture(scope="module")
def cased(tmp_path_factory):
    """A cased BERT whose settings do not say so, as a trainer's own tokenizer is saved, and its tokenizer.json."""
    folder = tmp_path_factory.mktemp("cased")
    tokenizer = bert(lower=False)
    bert_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    set_settings(folder, do_lower_case=None, strip_accents=None, tokenize_chinese_chars=None)
    return folder


@pytest.mark.parametrize("name", MAKERS)
def test_what_transformers_saves_it_reads_again(name, tmp_path):
    MAKERS[name]().save_pretrained(tmp_path)
    assert len(load_tokenizer(str(tmp_path))) > 5


def test_a_cased_model_that_would_be_lower_cased_is_refused(cased):
    written = Tokenizer.from_file(str(cased / "tokenizer.json")).encode(YORUBA, add_special_tokens=False).tokens
    assert hf.AutoTokenizer.from_pretrained(cased).tokenize(YORUBA) != written
    with pytest.raises(ValueError, match=r"its normalizer differs: .*lowercase is false in tokenizer\.json, true"):
        load_tokenizer(str(cased))


@pytest.mark.parametrize("fix", [{"do_lower_case": False}, {"tokenizer_class": "PreTrainedTokenizerFast"}])
def test_the_refusal_names_what_mends_it(cased, fix, tmp_path):
    folder = shutil.copytree(cased, tmp_path / "mended")
    ((name, value),) = fix.items()
    with pytest.raises(ValueError, match=f'"{name}": {json.dumps(value)}'):
        load_tokenizer(str(folder))
    set_settings(folder, **fix)
    written = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(YORUBA, add_special_tokens=False).tokens
    assert load_tokenizer(str(folder)).tokenize(YORUBA) == written


def test_every_way_of_loading_refuses_it(cased, tmp_path):
    rebuilt = hf.AutoTokenizer.from_pretrained(cased)
    keep = select_tokens(count_tokens(AFRICAN, rebuilt), scripts=["Latin"], coverage=0.5)
    with pytest.raises(ValueError, match="its normalizer differs"):
        prune_checkpoint(cased, keep, tmp_path / "pruned")
    assert not (tmp_path / "pruned").exists()
    with pytest.raises(ValueError, match="its normalizer differs"):
        load_encoder(cased, None)


def test_a_repository_of_the_hub_is_read_from_the_cache(cased, tmp_path):
    commit = "0" * 40
    repository = tmp_path / "models--someone--cased"
    shutil.copytree(cased, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for settings in ({}, {"revision": commit}):
        with pytest.raises(ValueError, match=r"tokenizer\.json of someone/cased says"):
            load_tokenizer("someone/cased", cache_dir=tmp_path, local_files_only=True, **settings)


def test_bytes_that_a_class_forgets_are_a_difference(tmp_path):
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *UNIGRAM[4:7]]
    hf.T5Tokenizer(vocab=pieces).save_pretrained(tmp_path)
    edit(tmp_path, lambda state: state["model"].update(byte_fallback=True))
    with pytest.raises(ValueError, match=r"its model differs: byte_fallback is true in tokenizer\.json, false"):
        load_tokenizer(str(tmp_path))


def test_other_splits_are_a_difference(tmp_path):
    trained_tokenizer().save_pretrained(tmp_path)
    edit(tmp_path, lambda state: state.update(pre_tokenizer=state["pre_tokenizer"]["pretokenizers"][1]))
    with pytest.raises(ValueError, match=r"its pre_tokenizer differs: \[Metaspace\] in .*, \[WhitespaceSplit, Metasp"):
        load_tokenizer(str(tmp_path))


def test_other_pieces_and_merges_are_a_difference():
    tokenizer = roberta()
    for part, change in (
        ("vocabulary", lambda model: model["vocab"].update(more=len(model["vocab"]))),
        ("merges", lambda model: model["merges"].pop()),
    ):
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        change(state["model"])
        with pytest.raises(ValueError, match=f"its {part} differs"):
            check_built_from(tokenizer, state, "it")


def _one_step(state):
    state["normalizer"] = {"type": "Sequence", "normalizers": [state["normalizer"]]}


def _joined_merges(state):
    state["model"]["merges"] = [" ".join(merge) for merge in state["model"]["merges"]]


def _old_metaspace(state):
    state["pre_tokenizer"]["pretokenizers"][1] = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}


def _joined_spaces(state):
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    state["normalizer"] = {"type": "Sequence", "normalizers": [spaces]}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bert, cased", lambda state: state["normalizer"].update(strip_accents=False)),
        ("bert, lower", lambda state: state["normalizer"].update(strip_accents=True)),
        ("bert, cased", _one_step),
        ("roberta", _joined_merges),
        ("roberta", lambda state: state["pre_tokenizer"].update(trim_offsets=False)),
        ("roberta", lambda state: [state["model"].pop(one) for one in ("ignore_merges", "byte_fallback", "dropout")]),
        ("roberta", lambda state: state["model"].update(continuing_subword_prefix=None)),
        ("xlm-roberta", _old_metaspace),
        ("xlm-roberta", _joined_spaces),
    ],
)
def test_another_spelling_of_the_same_is_no_difference(name, change, tmp_path):
    MAKERS[name]().save_pretrained(tmp_path)
    edit(tmp_path, change)
    assert load_tokenizer(str(tmp_path)).tokenize("a")


def test_spaces_as_transformers_4_marked_them_are_no_difference(tmp_path):
    """XLM-R's tokenizer.json as the converter of transformers 4 wrote it, whose text is split alike."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES["swa"] * 9),
        model_prefix=str(tmp_path / "m"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString((tmp_path / "m.model").read_bytes())
    charsmap = model.normalizer_spec.precompiled_charsmap
    built = Tokenizer(models.Unigram([(piece.piece, piece.score) for piece in model.pieces], unk_id=0))
    built.normalizer = normalizers.Precompiled(charsmap)
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    built.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    written = Tokenizer.from_str(built.to_str())
    written.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap), normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), "▁")]
    )
    written.pre_tokenizer = metaspace
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=built)
    check_built_from(tokenizer, json.loads(written.to_str()), "it")
    for text in (*SENTENCES["swa"], "mvua  kubwa", " mvua\tkubwa ", "mvua\u3000kubwa\u00a0\n jana  "):
        assert written.encode(text).tokens == built.encode(text).tokens
    written.normalizer = normalizers.Sequence(
        [normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), "▁")]
    )
    with pytest.raises(ValueError, match="normalizer differs"):
        check_built_from(tokenizer, json.loads(written.to_str()), "it")


def test_without_the_file_there_is_nothing_to_compare(tmp_path):
    check_built_as_written(bert(lower=True), str(tmp_path))


def test_verify_refuses_a_pruned_folder_that_is_built_otherwise(tmp_path):
    tokenizer = bert(lower=False)
    model = bert_model(tokenizer).eval()
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), scripts=["Latin"], coverage=0.5)
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    set_settings(tmp_path / "pruned", do_lower_case=None)
    with pytest.raises(VerificationError, match="normalizer"):
        verify(tmp_path / "pruned", model, tokenizer)


def test_steps_that_differ_are_named_and_ids_do_not_count():
    cased, lower = (json.loads(bert(lower=one).backend_tokenizer.to_str()) for one in (False, True))
    assert differing_steps(cased, cased) == {}
    assert set(differing_steps(cased, lower)) == {"normalizer"}
    assert (
        "BertNormalizer.lowercase is false in the original, true in the cut"
        in differing_steps(cased, lower)["normalizer"]
    )
    unigram = json.loads(trained_tokenizer().backend_tokenizer.to_str())
    moved = {**unigram, "model": {**unigram["model"], "unk_id": 7}}
    assert differing_steps(unigram, moved) == {}
