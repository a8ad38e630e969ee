"""Models of all shapes are pruned exactly: encoders, decoders, encoder-decoders, tied or not, padded or not."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
import transformers as hf
from torch import nn

from hf_afro.vocabulary import VerificationError, VocabularyMap, prune_vocabulary, verify
from hf_afro.vocabulary.configuration import check_padding
from hf_afro.vocabulary.tensors import PADDING_BIAS, find_vocabulary_tensors, named_tensors, row_axis
from hf_afro.vocabulary.verify import compare_outputs
from tests.tiny_families import tiny
from tests.vocabulary.models import CAUSAL, ENCODER_DECODER, MASKED_LM, MODELS, bert, llama, make, mbart


@pytest.fixture(params=MODELS)
def any_model(request, tokenizer):
    return make(request.param, len(tokenizer))


def fingerprint(model, tokenizer):
    """Hash all that a caller handed in: tensors, flags, modes, configurations, the tokenizer."""
    digest = hashlib.sha256()
    for name, tensor in named_tensors(model).items():
        facts = (name, tensor.requires_grad, tensor.dtype, id(tensor), tuple(tensor.shape))
        digest.update(repr(facts).encode() + tensor.detach().float().numpy().tobytes())
    for name, module in model.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, (int, float, str, list))}
        digest.update(repr((name, type(module), plain)).encode())
        for held in ("config", "generation_config"):
            if hasattr(getattr(module, held, None), "to_dict"):
                digest.update(repr(sorted(getattr(module, held).to_dict().items(), key=str)).encode())
    held = {key: value for key, value in vars(tokenizer).items() if key != "_tokenizer"}
    digest.update((tokenizer.backend_tokenizer.to_str() + repr(sorted(held.items(), key=str))).encode())
    return digest.hexdigest()


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_folder_is_the_original_cut(name, tokenizer, keep, tmp_path):
    model = make(name, len(tokenizer))
    before = fingerprint(model, tokenizer)
    pruned = prune_vocabulary(model, tokenizer, keep)
    report = pruned.save_pretrained(tmp_path / "pruned")
    assert fingerprint(model, tokenizer) == before
    assert report.hidden_difference == 0.0
    with_head = name in MASKED_LM | ENCODER_DECODER | CAUSAL
    assert (report.logit_difference is not None) == with_head
    old, new = named_tensors(model), named_tensors(pruned.model)
    kept = torch.from_numpy(keep.old_ids.copy())
    for tensor_name, tensor in old.items():
        if tensor_name in pruned.report.tensors:
            axis = row_axis(tensor.shape, len(tokenizer))
            assert torch.equal(new[tensor_name], tensor.index_select(axis, kept)), tensor_name
        else:
            assert torch.equal(new[tensor_name], tensor), tensor_name
    for first in old:
        for second in old:
            assert (old[first] is old[second]) == (new[first] is new[second]), (first, second)


@pytest.mark.parametrize("name", MODELS)
def test_the_tensors_are_found_without_their_values(name, tokenizer):
    with torch.device("meta"):
        empty = MODELS[name](len(tokenizer))
    assert set(find_vocabulary_tensors(empty).names) == set(find_vocabulary_tensors(make(name, len(tokenizer))).names)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["t5", "mbart", "gpt2", "distilbert"])
def test_other_types_go_through_the_disk(name, dtype, tokenizer, keep, tmp_path):
    model = make(name, len(tokenizer)).to(dtype)
    pruned = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=64)
    assert all(one.dtype == dtype for one in pruned.model.parameters())
    assert pruned.save_pretrained(tmp_path / "pruned").hidden_difference == 0.0


@pytest.mark.parametrize(
    "name", ["distilbert", "albert", "deberta-v2, newer head", "t5", "mbart", "two berts", "gpt2"]
)
def test_rows_of_padding_are_never_predicted(name, tokenizer, keep, tmp_path):
    model = make(name, len(tokenizer))
    pruned = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=64)
    rows = -(-len(keep) // 64) * 64
    assert rows > len(keep) == len(pruned.tokenizer)
    assert pruned.report.padding_rows == rows - len(keep)
    assert pruned.model.get_input_embeddings().weight.shape[0] == rows
    assert {
        getattr(part.config, "vocab_size", rows) for part in pruned.model.modules() if hasattr(part, "config")
    } == {rows}
    pruned.save_pretrained(tmp_path / "pruned")
    read = type(model).from_pretrained(tmp_path / "pruned").eval()
    assert len(hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")) == len(keep)
    biases = [one for one in pruned.report.tensors if one.endswith("bias")]
    tensors = named_tensors(read)
    for tensor_name in pruned.report.tensors:
        tensor = tensors[tensor_name]
        padding = tensor.movedim(row_axis(tensor.shape, rows), 0)[len(keep) :]
        assert (padding == (PADDING_BIAS if tensor_name in biases else 0.0)).all(), tensor_name
    assert bool(biases) == (name not in ("t5", "gpt2"))
    ids = torch.arange(4, 44).view(2, 20)
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})
    with torch.inference_mode():
        logits = read(**inputs).logits
    assert logits.shape[-1] == rows
    assert logits.isfinite().all()
    if biases:
        assert logits.argmax(-1).max() < len(keep)
        assert (logits.softmax(-1)[..., len(keep) :] == 0).all()
        assert logits.half().log_softmax(-1).isfinite().all()


def test_a_changed_row_of_padding_is_found(model, tokenizer, keep, tmp_path):
    pruned = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=64)
    pruned.save_pretrained(tmp_path / "pruned")
    with torch.no_grad():
        pruned.model.lm_head.bias[-1] = 0.0
    pruned.model.save_pretrained(tmp_path / "pruned")
    with pytest.raises(VerificationError, match=r"lm_head.*bias is not what the original has"):
        verify(tmp_path / "pruned", model, tokenizer)


@pytest.mark.parametrize("multiple", [0, -8])
def test_no_multiple_of_nothing(model, tokenizer, keep, multiple):
    with pytest.raises(ValueError, match=f"pad_to_multiple_of is {multiple}; expected 1 or more"):
        prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=multiple)


def test_spare_rows_go_and_padding_comes(tokenizer, keep, tmp_path):
    model = make("mbart", len(tokenizer) + 10)
    pruned = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=8)
    assert (pruned.report.spare_rows, pruned.report.padding_rows) == (10, -len(keep) % 8)
    pruned.save_pretrained(tmp_path / "pruned")


def test_an_untied_head_is_read_from_the_weights(tokenizer, keep, tmp_path):
    model = make("mt5, untied", len(tokenizer))
    assert model.config.tie_word_embeddings  # transformers 5 says so of every mT5
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    read = hf.MT5ForConditionalGeneration.from_pretrained(tmp_path / "pruned")
    assert read.lm_head.weight is not read.shared.weight
    assert torch.equal(read.lm_head.weight, model.lm_head.weight[torch.from_numpy(keep.old_ids.copy())])
    assert read.encoder.embed_tokens.weight is read.decoder.embed_tokens.weight is read.shared.weight


def test_a_tied_head_stays_tied_where_the_flag_denies_it(tokenizer, keep, tmp_path):
    model = make("llama", len(tokenizer))
    model.lm_head.weight = model.get_input_embeddings().weight
    assert not model.config.tie_word_embeddings
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    read = hf.LlamaForCausalLM.from_pretrained(tmp_path / "pruned")
    assert read.lm_head.weight is read.get_input_embeddings().weight
    assert not model.config.tie_word_embeddings


def test_ids_of_all_configurations_move(tokenizer, keep, tmp_path):
    mask, new_mask = len(tokenizer) - 1, len(keep) - 1
    model = hf.MBartForConditionalGeneration(
        mbart(
            len(tokenizer),
            decoder_start_token_id=mask,
            task_specific_params={"translation": {"forced_bos_token_id": mask, "max_length": mask}},
        )
    ).eval()
    model.generation_config = hf.GenerationConfig(
        decoder_start_token_id=mask,
        forced_bos_token_id=mask,
        eos_token_id=[2, mask],
        bad_words_ids=[[mask, 2], [3]],
        suppress_tokens=[int(keep.old_ids[50])],
        sequence_bias=[[[mask], -1.0]],
        forced_decoder_ids=[[1, mask]],
    )
    model.generation_config.lang_to_id = {"<|sw|>": mask}
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    read = hf.MBartForConditionalGeneration.from_pretrained(tmp_path / "pruned")
    assert read.config.vocab_size == len(keep)
    assert read.config.decoder_start_token_id == new_mask
    assert read.config.task_specific_params == {"translation": {"forced_bos_token_id": new_mask, "max_length": mask}}
    generation = read.generation_config
    assert generation.decoder_start_token_id == generation.forced_bos_token_id == new_mask
    assert generation.eos_token_id == [2, new_mask]
    assert generation.bad_words_ids == [[new_mask, 2], [3]]
    assert generation.suppress_tokens == [50]
    assert generation.sequence_bias == [[[new_mask], -1.0]]
    assert generation.forced_decoder_ids == [[1, new_mask]]
    assert generation.lang_to_id == {"<|sw|>": new_mask}


def test_configurations_inside_configurations_move(tokenizer, keep, tmp_path):
    mask, new_mask = len(tokenizer) - 1, len(keep) - 1
    decoder = bert(len(tokenizer), is_decoder=True, add_cross_attention=True, eos_token_id=mask)
    model = hf.EncoderDecoderModel(hf.EncoderDecoderConfig.from_encoder_decoder_configs(bert(len(tokenizer)), decoder))
    model.config.decoder_start_token_id = mask
    model.config.pad_token_id = 1
    prune_vocabulary(model.eval(), tokenizer, keep).save_pretrained(tmp_path / "pruned")
    read = hf.EncoderDecoderModel.from_pretrained(tmp_path / "pruned")
    assert read.config.encoder.vocab_size == read.config.decoder.vocab_size == len(keep)
    assert read.config.decoder.eos_token_id == read.config.decoder_start_token_id == new_mask
    assert decoder.eos_token_id == mask


def test_the_ids_of_xlm_move_under_their_older_names(tokenizer, keep, tmp_path):
    mask, unknown = len(tokenizer) - 1, 3
    config = hf.XLMConfig(
        vocab_size=len(tokenizer),
        emb_dim=32,
        n_layers=2,
        n_heads=4,
        bos_index=0,
        eos_index=mask,  # one that moves
        pad_index=1,
        unk_index=unknown,
        mask_index=mask,
        mask_token_id=mask,
        max_position_embeddings=64,
    )
    model = hf.XLMWithLMHeadModel(config).eval()
    pruned = prune_vocabulary(model, tokenizer, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    for one in (pruned.model, hf.XLMWithLMHeadModel.from_pretrained(tmp_path / "pruned")):
        moved = one.config
        assert (moved.bos_index, moved.pad_index, moved.unk_index) == (0, 1, unknown)
        assert (moved.eos_index, moved.mask_index, moved.mask_token_id) == (len(keep) - 1,) * 3
        assert moved.n_words == one.transformer.n_words == one.pred_layer.n_words == len(keep)
        assert (one.transformer.eos_index, one.pred_layer.pad_index) == (len(keep) - 1, 1)
        labels = torch.tensor([[4, 5, 6]])
        assert torch.isfinite(one(labels, labels=labels).loss)
    assert model.transformer.eos_index == mask


def test_a_model_of_two_heads_is_compared_by_that_of_the_tokens(tokenizer, keep, tmp_path):
    torch.manual_seed(0)
    model = hf.BertForPreTraining(bert(len(tokenizer))).eval()
    report = prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    assert report.hidden_difference == 0.0
    assert report.logit_difference <= 1e-6


def test_logits_that_cannot_be_told_are_refused_by_name(tokenizer, keep, tmp_path, monkeypatch):
    forward = hf.BertForMaskedLM.forward
    monkeypatch.setattr(hf.BertForMaskedLM, "forward", lambda *args, **kwargs: {"scores": forward(*args, **kwargs)[0]})
    pruned = prune_vocabulary(hf.BertForMaskedLM(bert(len(tokenizer))).eval(), tokenizer, keep)
    with pytest.raises(ValueError, match="BertForMaskedLM has an output embedding and gives scores; expected logits"):
        pruned.save_pretrained(tmp_path / "pruned")
    assert list(tmp_path.iterdir()) == []


def test_what_modules_write_down_moves(tokenizer, keep):
    model = make("llama", len(tokenizer))
    pruned = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=8).model
    rows = pruned.config.vocab_size
    assert pruned.vocab_size == pruned.model.vocab_size == rows
    assert pruned.lm_head.out_features == pruned.model.embed_tokens.num_embeddings == rows
    assert pruned.loss_function(
        logits=torch.zeros(1, 3, rows), labels=torch.tensor([[1, 2, 3]]), vocab_size=pruned.vocab_size
    )


def test_a_padding_id_that_moves_moves_everywhere(tokenizer, keep):
    mask, new_mask = len(tokenizer) - 1, len(keep) - 1
    model = hf.LlamaForCausalLM(llama(len(tokenizer), pad_token_id=mask))
    pruned = prune_vocabulary(model, tokenizer, keep).model
    assert pruned.config.pad_token_id == pruned.model.padding_idx == pruned.model.embed_tokens.padding_idx == new_mask
    assert model.model.padding_idx == mask


def test_a_padding_id_that_positions_count_from_may_not_move(tokenizer, keep):
    model = make("m2m100", len(tokenizer))
    model.config.pad_token_id = len(tokenizer) - 1
    with pytest.raises(ValueError, match="m2m_100 counts positions from the padding id 517"):
        prune_vocabulary(model, tokenizer, keep)


def test_the_padding_id_that_mpnet_counts_from_is_no_matter_of_its_configuration(tokenizer):
    model = tiny("mpnet", vocab_size=len(tokenizer), pad_token_id=0)
    without_1 = VocabularyMap([0, *range(2, len(tokenizer))], len(tokenizer), tokenizer.unk_token_id, "")
    with pytest.raises(ValueError, match="mpnet counts positions from the padding id 1, which the map would move"):
        check_padding(model, without_1)


def test_two_vocabularies_in_one_model_are_refused(tokenizer, keep):
    model = hf.EncoderDecoderModel(
        encoder=hf.BertModel(bert(len(tokenizer))),
        decoder=hf.BertLMHeadModel(bert(600, is_decoder=True, add_cross_attention=True)),
    )
    with pytest.raises(ValueError, match=r"decoder\.bert\.embeddings\.word_embeddings\.weight .* is \[600, 32\]"):
        prune_vocabulary(model, tokenizer, keep)


def test_a_tensor_of_the_vocabulary_s_size_that_nobody_knows_is_refused(tokenizer, keep):
    model = make("gpt2", len(tokenizer))
    model.transformer.token_prior = nn.Parameter(torch.zeros(len(tokenizer)))
    with pytest.raises(ValueError, match=r"transformer\.token_prior \(518,\)"):
        prune_vocabulary(model, tokenizer, keep)


def test_an_embedding_that_is_replaced_is_refused(tokenizer, keep):
    model = make("gpt2", len(tokenizer))
    model.set_input_embeddings(nn.Sequential(model.get_input_embeddings()))
    with pytest.raises(ValueError, match="the word embedding of GPT2LMHeadModel is Sequential"):
        prune_vocabulary(model, tokenizer, keep)


@pytest.mark.parametrize("name", ["t5", "mbart", "gpt2", "two berts"])
def test_outputs_are_compared_on_decoders_too(name, tokenizer, keep):
    model = make(name, len(tokenizer))
    pruned = prune_vocabulary(model, tokenizer, keep).model
    assert compare_outputs(model, pruned, keep, seed=1)[0] == 0.0
    deep = [one for tensor, one in pruned.named_parameters() if ".1." in tensor and tensor.endswith("weight")][-1]
    with torch.no_grad():
        deep.mul_(1.5)  # in the last layer, of the decoder where there is one
    hidden, logits = compare_outputs(model, pruned, keep, seed=1)
    assert hidden > 0
    assert logits > 1e-6


def test_generation_goes_on_as_before(tokenizer, keep, tmp_path):
    """Greedy search over the kept ids equals that of the original with the other ids suppressed."""
    for name in ("mbart", "gpt2"):
        model = make(name, len(tokenizer))
        prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / name)
        read = type(model).from_pretrained(tmp_path / name).eval()
        new_ids = torch.arange(5, 13).view(1, 8)
        dropped = np.setdiff1d(np.arange(len(tokenizer)), keep.old_ids).tolist()
        settings = {"max_new_tokens": 8, "do_sample": False}
        before = model.generate(keep.to_old(new_ids), suppress_tokens=dropped, **settings)
        after = read.generate(new_ids, **settings)
        assert torch.equal(keep.to_old(after), before)
