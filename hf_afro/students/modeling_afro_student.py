"""The student models: XLM-R's classes with word embeddings that may be narrower than the layers.

With `config.is_factorised` false, each model has the parameters of its XLM-R counterpart, under the same names, and
gives the same numbers. The constructors repeat XLM-R's instead of calling them: those would first build, and fill
with random numbers, the wide table that a factorised student is made to do without.
"""

from __future__ import annotations

import torch
from torch import nn
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

from .configuration_afro_student import AfroStudentConfig


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
    """

    _no_split_modules = ["AfroStudentEmbeddings", "XLMRobertaEmbeddings", "XLMRobertaLayer"]

    def __init__(self, config: AfroStudentConfig, add_pooling_layer: bool = True) -> None:
        super(XLMRobertaModel, self).__init__(config)
        self.gradient_checkpointing = False
        self.embeddings = AfroStudentEmbeddings(config) if config.is_factorised else XLMRobertaEmbeddings(config)
        self.encoder = XLMRobertaEncoder(config)
        self.pooler = XLMRobertaPooler(config) if add_pooling_layer else None
        self.post_init()


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
        self.roberta = AfroStudentModel(config, add_pooling_layer=False)
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
