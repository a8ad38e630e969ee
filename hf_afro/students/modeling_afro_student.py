"""The student models: XLM-R's classes with narrower word embeddings, and a forward that leaves padding out.

With `config.is_factorised` false, each model has the parameters of its XLM-R counterpart, under the same names, and
gives the same numbers. The constructors repeat XLM-R's instead of calling them: those would first build, and fill
with random numbers, the wide table that a factorised student is made to do without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
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
    XLMRobertaLMHead,
    XLMRobertaModel,
    XLMRobertaPooler,
    XLMRobertaPreTrainedModel,
)
from transformers.utils.generic import can_return_tuple

from .configuration_afro_student import AfroStudentConfig
from .unpadding_afro_student import AfroStudentSelfAttention, Packing, can_leave_out_padding

# With any of these a forward is padded: they are shaped by the padded batch, or lay out the batch themselves.
_PADDED_ONLY = (
    "encoder_hidden_states",
    "encoder_attention_mask",
    "cache",
    "past_key_values",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
)


class AfroStudentEmbeddings(XLMRobertaEmbeddings):
    """Sum token, position and type embeddings, where the token's are narrower and projected first.

    Args:
        config: A factorised configuration.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        nn.Module.__init__(self)
        hidden_size, padding_idx = config.hidden_size, config.pad_token_id
        self.word_embeddings = nn.Embedding(config.vocab_size, config.word_embedding_width, padding_idx=padding_idx)
        self.projection = nn.Linear(config.word_embedding_width, hidden_size, bias=False)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        position_ids = torch.arange(config.max_position_embeddings).expand((1, -1))
        self.register_buffer("position_ids", position_ids, persistent=False)
        self.register_buffer("token_type_ids", torch.zeros(position_ids.size(), dtype=torch.long), persistent=False)
        self.padding_idx = padding_idx
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, hidden_size, padding_idx=padding_idx)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **cached: int,
    ) -> torch.Tensor:
        """Embed tokens, given as ids or as rows of the narrow table.

        Args:
            input_ids: ``[batch, length]``.
            token_type_ids: ``[batch, length]``; type 0 where left out.
            position_ids: ``[batch, length]``; counted from the padding id on where left out.
            inputs_embeds: ``[batch, length, embedding_size]``, as `get_input_embeddings()` gives them: before the
                projection, not after it.
            **cached: Positions already in a cache, handed on under whatever name the installed transformers has for
                them: `past_key_values_length` until 5.23, `cache_length` since.

        Returns:
            ``[batch, length, hidden_size]``.
        """
        if inputs_embeds is None:
            inputs_embeds = self.word_embeddings(input_ids)  # [batch, length, embedding_size]
        return super().forward(
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=self.projection(inputs_embeds),
            **cached,
        )


class AfroStudentLMHead(XLMRobertaLMHead):
    """Turn hidden states into logits through the width of the word embeddings, as ALBERT's head does.

    Args:
        config: A factorised configuration.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        nn.Module.__init__(self)
        width = config.word_embedding_width
        self.dense = nn.Linear(config.hidden_size, width)
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(width, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))


class AfroStudentPreTrainedModel(XLMRobertaPreTrainedModel):
    """Give the student classes their configuration.

    Initialisation is XLM-R's: it knows the embeddings' buffers and the head's bias by the classes above, which are
    subclasses of its own, and every other parameter belongs to a module of torch.
    """

    config: AfroStudentConfig
    config_class = AfroStudentConfig


class AfroStudentModel(AfroStudentPreTrainedModel, XLMRobertaModel):
    """Run a student encoder without a head.

    Args:
        config: Its configuration.
        add_pooling_layer: Whether the first token's state is pooled too.
        reads_first_position: Whether a head reads the state of the first position, be it padding or not. A batch
            whose rows start with padding is then run padded, so that the head meets what it meets in XLM-R.
    """

    _no_split_modules = ["AfroStudentEmbeddings", "XLMRobertaEmbeddings", "XLMRobertaLayer"]

    def __init__(
        self, config: AfroStudentConfig, add_pooling_layer: bool = True, reads_first_position: bool = False
    ) -> None:
        super(XLMRobertaModel, self).__init__(config)
        self.gradient_checkpointing = False
        self.embeddings = AfroStudentEmbeddings(config) if config.is_factorised else XLMRobertaEmbeddings(config)
        self.encoder = XLMRobertaEncoder(config)
        for layer in self.encoder.layer:
            # XLM-R's own modules with another forward. New ones would draw random weights a second time, and no
            # weight of a seed would then be what it is in XLM-R.
            layer.attention.self.__class__ = AfroStudentSelfAttention
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
        """Encode a batch, without its padding where the configuration or `unpad` allows it and nothing forbids it.

        Padded all the same are: what is compiled, exported or traced; a call that asks for hidden states or attention
        weights; an attention mask of more than two dimensions; a decoder; and on anything but a CPU what has no flash
        attention.

        Args:
            input_ids: ``[batch, length]``.
            attention_mask: ``[batch, length]``, 0 at padding.
            token_type_ids: ``[batch, length]``.
            position_ids: ``[batch, length]``; counted from the padding id on where left out.
            inputs_embeds: ``[batch, length, embedding_size]``, in place of `input_ids`.
            unpad: For this call, in place of the configuration's. Modules inside see ``[1, tokens, ...]`` where
                padding is left out; False is for hooks that want ``[batch, length, ...]``.
            **kwargs: As XLM-R's.

        Returns:
            As XLM-R's. Without padding, states at padding are zeros; padded, they are whatever it came to.
        """
        batch = {"token_type_ids": token_type_ids, "position_ids": position_ids, "inputs_embeds": inputs_embeds}
        given = input_ids if inputs_embeds is None else inputs_embeds
        may = self.config.unpad if unpad is None else unpad
        if may and (input_ids is None or inputs_embeds is None) and self._can_unpad(given, attention_mask, kwargs):
            packing = Packing.of(self.config._attn_implementation, given, attention_mask)
            if packing.lengths:
                return self._unpadded(packing, input_ids, **batch, **kwargs)
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, **batch, **kwargs)

    def _can_unpad(
        self, given: torch.Tensor | None, attention_mask: torch.Tensor | None, kwargs: dict[str, Any]
    ) -> bool:
        def asked_for(name: str) -> bool:
            value = kwargs.get(name)
            return getattr(self.config, name) if value is None else value is not False

        if (
            given is None
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()
            or self.config.is_decoder
            or not can_leave_out_padding(self.config._attn_implementation, given.device)
            or asked_for("output_hidden_states")
            or asked_for("output_attentions")
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
        **kwargs: Any,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions:
        for name in ("output_hidden_states", "output_attentions"):
            kwargs.pop(name, None)
        if position_ids is None:  # counted in the padded batch, where a padding id that is attended to counts too
            if input_ids is not None:
                position_ids = self.embeddings.create_position_ids_from_input_ids(
                    input_ids, self.embeddings.padding_idx
                )
            else:
                position_ids = self.embeddings.create_position_ids_from_inputs_embeds(
                    inputs_embeds, self.embeddings.padding_idx
                )

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
    """Run a student with a masked-LM head, its decoder tied to the word embeddings.

    Args:
        config: Its configuration.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super(XLMRobertaForMaskedLM, self).__init__(config)
        self.lm_head = AfroStudentLMHead(config) if config.is_factorised else XLMRobertaLMHead(config)
        self.roberta = AfroStudentModel(config, add_pooling_layer=False)
        self.post_init()


class AfroStudentForSequenceClassification(AfroStudentPreTrainedModel, XLMRobertaForSequenceClassification):
    """Run a student with a head that classifies a sequence, or scores it.

    Args:
        config: Its configuration; `num_labels` is the number of classes.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super(XLMRobertaForSequenceClassification, self).__init__(config)
        self.num_labels = config.num_labels
        self.classifier = XLMRobertaClassificationHead(config)
        self.roberta = AfroStudentModel(config, add_pooling_layer=False, reads_first_position=True)
        self.post_init()


class AfroStudentForMultipleChoice(AfroStudentPreTrainedModel, XLMRobertaForMultipleChoice):
    """Run a student with a head that picks one of several continuations.

    Args:
        config: Its configuration.
    """

    def __init__(self, config: AfroStudentConfig) -> None:
        super(XLMRobertaForMultipleChoice, self).__init__(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.roberta = AfroStudentModel(config, add_pooling_layer=True)
        self.post_init()


class AfroStudentForTokenClassification(AfroStudentPreTrainedModel, XLMRobertaForTokenClassification):
    """Run a student with a head that classifies each token, for named entities and the like.

    Args:
        config: Its configuration; `num_labels` is the number of classes.
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
    """Run a student with a head that marks where an answer starts and ends.

    Args:
        config: Its configuration.
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
        """Score every token as start and as end, as XLM-R does.

        With positions to learn from, the batch is run padded: the loss's softmax runs over padding too, so that
        leaving it out would change the loss.
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
