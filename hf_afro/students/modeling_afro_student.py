"""Student models: XLM-R with narrower word embeddings, and a forward pass that leaves padding out.

A student that is not factorised has the parameters of its XLM-R counterpart under the same names and computes the same
numbers. Constructors repeat those of XLM-R instead of calling them, which would allocate and initialise the wide
embedding table that a factorised student avoids.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import gelu
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions, QuestionAnsweringModelOutput
from transformers.models.xlm_roberta.modeling_xlm_roberta import (
    XLMRobertaClassificationHead,
    XLMRobertaEmbeddings,
    XLMRobertaEncoder,
    XLMRobertaForMaskedLM,
    XLMRobertaForMultipleChoice,
    XLMRobertaForQuestionAnswering,
    XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification,
    XLMRobertaModel,
    XLMRobertaPooler,
    XLMRobertaPreTrainedModel,
)
from transformers.utils.generic import can_return_tuple

from .configuration_afro_student import AfroStudentConfig
from .unpadding_afro_student import AfroStudentSelfAttention, Packing, can_leave_out_padding

# Arguments that require padded batches: their shapes are those of the padded batch, or they set the layout themselves.
_PADDED_ONLY = (
    "encoder_hidden_states",
    "encoder_attention_mask",
    "cache",
    "past_key_values",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
)


class AfroStudentEmbeddings(nn.Module):
    """Sum word, position and token type embeddings, then normalise; narrow word embeddings are projected first.

    Args:
        config: The model's configuration. Without factorisation the parameters are those of XLM-R.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super().__init__()
        width, hidden_size = config.word_embedding_width, config.hidden_size
        self.padding_idx = config.pad_token_id
        self.word_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=self.padding_idx)
        self.projection = nn.Linear(width, hidden_size, bias=False) if config.is_factorised else None
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.position_embeddings = nn.Embedding(
            config.max_position_embeddings, hidden_size, padding_idx=self.padding_idx
        )

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        cache_length: int = 0,
        past_key_values_length: int = 0,
    ) -> torch.Tensor:
        """Embed tokens, given as ids or as rows of the word embeddings.

        Args:
            input_ids: ``[batch, length]``.
            token_type_ids: ``[batch, length]``; default: type 0.
            position_ids: ``[batch or 1, length]``; default: `number_positions`.
            inputs_embeds: ``[batch, length, word_embedding_width]``, as `get_input_embeddings()` returns them:
                before the projection.
            cache_length: Positions already in a cache.
            past_key_values_length: The same under its name before transformers 5.23.

        Returns:
            ``[batch, length, hidden_size]``.
        """
        if position_ids is None:
            position_ids = self.number_positions(input_ids, inputs_embeds, cache_length + past_key_values_length)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(position_ids)
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if self.projection is not None:
            words = self.projection(words)
        summed = words + self.token_type_embeddings(token_type_ids) + self.position_embeddings(position_ids)
        return self.dropout(self.LayerNorm(summed))

    def number_positions(
        self, input_ids: torch.LongTensor | None, inputs_embeds: torch.Tensor | None, cache_length: int = 0
    ) -> torch.LongTensor:
        """Return positions ``[batch, length]`` counted from the padding id, as XLM-R does.

        Padding ids keep the padding position; of embeddings, every row counts as a token.
        """
        if input_ids is None:
            return XLMRobertaEmbeddings.create_position_ids_from_inputs_embeds(inputs_embeds, self.padding_idx)
        return XLMRobertaEmbeddings.create_position_ids_from_input_ids(input_ids, self.padding_idx, cache_length)


class AfroStudentLMHead(nn.Module):
    """Predict tokens from hidden states at the width of the word embeddings, as in ALBERT.

    Args:
        config: The model's configuration. Without factorisation, this is XLM-R's head.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super().__init__()
        width = config.word_embedding_width
        self.dense = nn.Linear(config.hidden_size, width)
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(width, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, features: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Return logits ``[..., vocab_size]`` of hidden states ``[..., hidden_size]``."""
        return self.decoder(self.layer_norm(gelu(self.dense(features))))


class AfroStudentPreTrainedModel(XLMRobertaPreTrainedModel):
    """Base class of the students: XLM-R's, with their configuration and head."""

    config: AfroStudentConfig
    config_class = AfroStudentConfig

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, AfroStudentLMHead):
            init.zeros_(module.bias)


class AfroStudentModel(AfroStudentPreTrainedModel, XLMRobertaModel):
    """Student encoder without a task head.

    Args:
        config: The model's configuration.
        add_pooling_layer: Whether to pool the state of the first token.
        reads_first_position: Whether a task head reads the state of the first position. A batch in which that position
            is padding is then run padded, so that the head gets what it would get in XLM-R.
    """

    _no_split_modules = ["AfroStudentEmbeddings", "XLMRobertaLayer"]

    def __init__(
        self, config: AfroStudentConfig, add_pooling_layer: bool = True, reads_first_position: bool = False
    ) -> None:
        super(XLMRobertaModel, self).__init__(config)
        self.gradient_checkpointing = False
        self.embeddings = AfroStudentEmbeddings(config)
        self.encoder = XLMRobertaEncoder(config)
        for index, layer in enumerate(self.encoder.layer):
            layer.attention.self = AfroStudentSelfAttention(config, is_causal=config.is_decoder, layer_idx=index)
        self.pooler = XLMRobertaPooler(config) if add_pooling_layer else None
        self.reads_first_position = add_pooling_layer or reads_first_position
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        unpad: bool | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | BaseModelOutputWithPoolingAndCrossAttentions:
        """Encode a batch, leaving padding out where the configuration or `unpad` allows it and nothing prevents it.

        The batch is run padded when the model is compiled, exported or traced, is a decoder, or is asked for hidden
        states or attention weights; when the attention mask has more than two dimensions; and on other devices than
        the CPU, unless flash attention is used.

        Args:
            input_ids: ``[batch, length]``.
            attention_mask: ``[batch, length]``, 0 at padding.
            token_type_ids: ``[batch, length]``.
            position_ids: ``[batch or 1, length]``; default: counted from the padding id.
            inputs_embeds: ``[batch, length, word_embedding_width]``, in place of `input_ids`.
            unpad: Overrides the configuration for this call. Without padding, modules inside the model see
                ``[1, tokens, ...]``; pass False for hooks that expect ``[batch, length, ...]``.
            **kwargs: As for `XLMRobertaModel`.

        Returns:
            As for `XLMRobertaModel`. States at padding are zeros if padding was left out, otherwise undefined.
        """
        batch = {"token_type_ids": token_type_ids, "position_ids": position_ids, "inputs_embeds": inputs_embeds}
        may_unpad = self.config.unpad if unpad is None else unpad
        if may_unpad and (input_ids is None) != (inputs_embeds is None):
            given = input_ids if inputs_embeds is None else inputs_embeds
            if self._can_unpad(given, attention_mask, kwargs):
                packing = Packing.of(self.config._attn_implementation, given, attention_mask)
                if packing.lengths:
                    return self._unpadded(packing, input_ids, **batch, **kwargs)
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, **batch, **kwargs)

    def _can_unpad(self, given: torch.Tensor, attention_mask: torch.Tensor | None, kwargs: dict[str, Any]) -> bool:
        def requested(name: str) -> bool:
            value = kwargs.get(name)
            return getattr(self.config, name) if value is None else value is not False

        if (
            torch.compiler.is_compiling()
            or torch.jit.is_tracing()
            or self.config.is_decoder
            or not can_leave_out_padding(self.config._attn_implementation, given.device)
            or requested("output_hidden_states")
            or requested("output_attentions")
            or any(kwargs.get(name) is not None for name in _PADDED_ONLY)
        ):
            return False
        if attention_mask is None:
            return True
        if attention_mask.shape != given.shape[:2]:
            return False
        return not self.reads_first_position or bool((attention_mask[:, 0] != 0).all())

    @can_return_tuple
    def _unpadded(
        self,
        packing: Packing,
        input_ids: torch.Tensor | None,
        token_type_ids: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions:
        if position_ids is None:  # counted in the padded batch, where a padding id that is attended to counts too
            position_ids = self.embeddings.number_positions(input_ids, inputs_embeds)

        def packed(given: torch.Tensor | None) -> torch.Tensor | None:
            return None if given is None else packing.pack(given.expand(*packing.shape, *given.shape[2:]))

        embedded = self.embeddings(
            input_ids=packed(input_ids),
            token_type_ids=packed(token_type_ids),
            position_ids=packed(position_ids),
            inputs_embeds=packed(inputs_embeds),
        )  # [1, tokens, hidden_size]
        encoded = packing.unpack(self.encoder(embedded, packing=packing, **kwargs).last_hidden_state)
        pooled = None if self.pooler is None else self.pooler(encoded)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=encoded, pooler_output=pooled)


class AfroStudentForMaskedLM(AfroStudentPreTrainedModel, XLMRobertaForMaskedLM):
    """Student with a masked-LM head, its decoder tied to the word embeddings.

    Args:
        config: The model's configuration.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super(XLMRobertaForMaskedLM, self).__init__(config)
        self.lm_head = AfroStudentLMHead(config)
        self.roberta = AfroStudentModel(config, add_pooling_layer=False)
        self.post_init()


class AfroStudentForSequenceClassification(AfroStudentPreTrainedModel, XLMRobertaForSequenceClassification):
    """Student with a head for sequence classification or regression.

    Args:
        config: The model's configuration; `num_labels` is the number of classes.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super(XLMRobertaForSequenceClassification, self).__init__(config)
        self.num_labels = config.num_labels
        self.classifier = XLMRobertaClassificationHead(config)
        self.roberta = AfroStudentModel(config, add_pooling_layer=False, reads_first_position=True)
        self.post_init()


class AfroStudentForMultipleChoice(AfroStudentPreTrainedModel, XLMRobertaForMultipleChoice):
    """Student with a head for multiple choice.

    Args:
        config: The model's configuration.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super(XLMRobertaForMultipleChoice, self).__init__(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.roberta = AfroStudentModel(config, add_pooling_layer=True)
        self.post_init()


class AfroStudentForTokenClassification(AfroStudentPreTrainedModel, XLMRobertaForTokenClassification):
    """Student with a head for token classification, such as named entity recognition.

    Args:
        config: The model's configuration; `num_labels` is the number of classes.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super(XLMRobertaForTokenClassification, self).__init__(config)
        self.num_labels = config.num_labels
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.roberta = AfroStudentModel(config, add_pooling_layer=False)
        self.post_init()


class AfroStudentForQuestionAnswering(AfroStudentPreTrainedModel, XLMRobertaForQuestionAnswering):
    """Student with a head for extractive question answering.

    Args:
        config: The model's configuration.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super(XLMRobertaForQuestionAnswering, self).__init__(config)
        self.num_labels = config.num_labels
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.roberta = AfroStudentModel(config, add_pooling_layer=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...] | QuestionAnsweringModelOutput:
        """Score every token as start and end of the answer.

        With labels, the batch is run padded: the softmax of the loss includes padding, as in XLM-R.
        """
        if start_positions is not None:
            kwargs["unpad"] = False
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            start_positions=start_positions,
            end_positions=end_positions,
            **kwargs,
        )
