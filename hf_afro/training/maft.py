"""`MAFTTrainer`: multilingual adaptive fine-tuning, masked language modelling on many languages at once."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from hf_afro.batching.collators import IGNORED, MaskingCollator
from hf_afro.batching.masking import MaskedSentence, WordsOfPieces
from hf_afro.losses import MaskedWordTotals
from hf_afro.training.adapters import with_adapter
from hf_afro.training.arguments import MAFTTrainingArguments, check_settings
from hf_afro.training.base import Batch, LanguageTrainer
from hf_afro.training.finite import check_evaluated
from hf_afro.training.gradients import warm_up_embeddings
from hf_afro.training.masked_only import accept_run, masked_lm_sum, runs_masked_only
from hf_afro.training.masked_words import masked_sentences, masked_word_totals, means_of_sets
from hf_afro.training.model_checks import (
    check_bidirectional,
    check_length,
    check_masked_lm,
    fit_padding,
    train_in_float32,
)
from hf_afro.training.processes import warning_level
from hf_afro.training.training_data import LanguageDatasets, by_language, data_seed, samples_of
from hf_afro.vocabulary.tokenizers import read_table
from hf_afro.vocabulary.tokenizers.backend import piece_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from peft import PeftConfig
    from transformers import PreTrainedTokenizerBase

    from hf_afro.vocabulary import VocabularyMap

logger = logging.getLogger(__name__)

_BY_LANGUAGE = ("loss", "perplexity", "bits_per_byte", "unknown_share", "cut_share")


class MAFTTrainer(LanguageTrainer):
    """Adapts a masked language model to the languages of its text, all at once.

    The head runs at masked positions only. The loss is divided by the masked tokens of the whole optimizer step on all
    processes, so a step is the same for any split into processes and accumulation steps. Masks and order are functions
    of (seed, pass, sample), so a resumed run ends in the weights of an unbroken one.

    Adapting to a single language is LAFT: pass one language.

    Args:
        model: A `...ForMaskedLM` model. Families not in `hf_afro.families` run their full head. Half-precision weights
            are trained, and saved, in float32.
        args: See `MAFTTrainingArguments`.
        train_dataset: ``{language: dataset}``, or one dataset with a column `language`; with `text`, tokenized here,
            or `input_ids`, rows with their special tokens.
        eval_dataset: The same form, with `text`, one sentence per row; languages outside the mix are welcome, to see
            what is forgotten.
        processing_class: The model's tokenizer.
        data_collator: In place of `hf_afro.batching.MaskingCollator`, to mask in another way. It takes samples with
            `input_ids` and their places, and returns `input_ids`, `attention_mask`, `labels` and those places.
        peft_config: A PEFT adapter (LoRA and others) to put into `model` and train in place of the model's own
            weights; those that would merge wrongly are refused, see `hf_afro.training.adapters`. Checkpoints and
            `save_model` then hold the adapter alone. Its random weights come from ``args.seed``.
        restrict_to: For a full-vocabulary model that is compared with its pruned form: evaluation then also gives the
            metrics of the model restricted to the tokens that this map keeps.
        **trainer_settings: Passed to `transformers.Trainer`: callbacks, optimizers and so on.

    Raises:
        TypeError: If an argument replaces a part that the trainer makes itself, or data has another form.
        ValueError: If tokenizer, model, padding ids, lengths or settings do not fit, or a dataset lacks a column.
        FloatingPointError: From `train` and `evaluate`, if a loss or a weight is not finite.

    References:
        Alabi et al., "Adapting Pre-trained Language Models to African Languages via Multilingual Adaptive
        Fine-Tuning", COLING 2022.
    """

    name = "MAFT"

    def __init__(
        self,
        model: PreTrainedModel,
        args: MAFTTrainingArguments | None = None,
        train_dataset: LanguageDatasets | None = None,
        eval_dataset: LanguageDatasets | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        data_collator: Callable[[list[dict[str, Any]]], dict[str, Any]] | None = None,
        peft_config: PeftConfig | None = None,
        restrict_to: VocabularyMap | None = None,
        **trainer_settings: Any,
    ) -> None:
        args = MAFTTrainingArguments() if args is None else args
        check_settings(args, trainer_settings)
        check_masked_lm(model, processing_class)
        check_bidirectional(model)
        check_length(model, args.max_length)
        fit_padding(model, processing_class, warning_level(args))
        if peft_config is not None:
            # devices=[] and the CPU's own generator: `torch.manual_seed` would reseed the accelerators for good.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(args.seed)
                model = with_adapter(model, peft_config)
        train_in_float32(model, warning_level(args))
        if not runs_masked_only(model):
            logger.warning(
                "model_type %r is not in the table of families: the head makes logits for every position, which takes "
                "the memory and time of the stock model.",
                model.config.model_type,
            )
        accept_run(model)
        self.restrict_to = restrict_to
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator
            or MaskingCollator.from_tokenizer(
                processing_class,
                seed=data_seed(args),
                probability=args.mlm_probability,
                words_of=words_of_pieces(processing_class) if args.whole_word_masking else None,
                keep_place=True,
            ),
            train_dataset=None if train_dataset is None else samples_of(train_dataset, processing_class, args),
            eval_dataset=None
            if eval_dataset is None
            else masked_sentences(by_language(eval_dataset), processing_class, args.max_length),
            processing_class=processing_class,
            **trainer_settings,
        )
        assert not isinstance(args.language_sets, str)  # TrainingArguments has read the JSON
        if self.eval_dataset is not None:
            _check_evaluated_languages(args.language_sets or {}, self.eval_dataset)
        if args.embedding_warmup_steps:
            self.add_callback(warm_up_embeddings(self.model, args.embedding_warmup_steps))

    def count_items(self, batch: Batch) -> torch.Tensor:
        """Return the number of masked tokens of a micro-batch."""
        return (batch["labels"] != IGNORED).sum()

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of one micro-batch as its part of the step's loss.

        Args:
            model: The model as it was wrapped.
            inputs: `input_ids`, `attention_mask` and `labels`, ``[batch, length]``, -100 where nothing is masked.
            return_outputs: Whether to return ``{"loss": loss}`` too; there are no logits to return.
            num_items_in_batch: Masked tokens of the whole step; without it the loss is the mean of this batch.
        """
        labels = inputs["labels"].flatten()
        positions = (labels != IGNORED).nonzero().squeeze(1)
        total = model(
            run=masked_lm_sum,
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            positions=positions,
            labels=labels[positions],
        )
        loss = self.part_of_step(total, len(positions), num_items_in_batch)
        if num_items_in_batch is not None:
            self.stay_finite.add(loss)
        return (loss, {"loss": loss}) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: LanguageDatasets | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Measure how well masked words are predicted, by language, on masks that never change.

        15 % of the white-space words of each sentence are masked, chosen from the text alone, so that models with
        different vocabularies are measured on the same words.

        Args:
            eval_dataset: In place of the one given to the trainer.
            ignore_keys: Not used; part of the Trainer's signature.
            metric_key_prefix: Prefix of the names.

        Returns:
            For each language `<prefix>_<language>_loss` (nats per subword), `_perplexity`, `_bits_per_byte`,
            `_unknown_share` and `_cut_share` (of the chosen words: with `<unk>`, and beyond `max_length`);
            `<prefix>_loss` over the subwords of all languages, and `<prefix>_bits_per_byte`, the mean over languages;
            the means over languages in and out of the training mix as `_in_mix_` and `_out_of_mix_`, and over each of
            `language_sets` by its name. With `restrict_to`, also `_restricted_bits_per_byte`. The same for any number
            of processes and any batch size, up to rounding.
        """
        sentences = self.eval_dataset
        if eval_dataset is not None:
            sentences = masked_sentences(by_language(eval_dataset), self.processing_class, self.args.max_length)
        if sentences is None:
            raise ValueError("evaluate needs an eval_dataset; pass {language: dataset} with 'text'")
        totals = {language: self._totals(examples) for language, examples in sentences.items()}
        check_evaluated({language: own.nats for language, own in totals.items()})
        metrics = {
            f"{metric_key_prefix}_{language}_{name}": getattr(own, name)
            for language, own in totals.items()
            for name in _BY_LANGUAGE
        }
        metrics[f"{metric_key_prefix}_loss"] = sum(totals.values(), MaskedWordTotals()).loss
        bits = {language: own.bits_per_byte for language, own in totals.items()}
        for name, mean in means_of_sets(bits, self._language_sets(bits)).items():
            metrics[f"{metric_key_prefix}_{name}bits_per_byte"] = mean
        if self.restrict_to is not None:
            restricted = {code: self._totals(own, self.restrict_to).bits_per_byte for code, own in sentences.items()}
            for language, value in restricted.items():
                metrics[f"{metric_key_prefix}_{language}_restricted_bits_per_byte"] = value
            metrics[f"{metric_key_prefix}_restricted_bits_per_byte"] = math.fsum(restricted.values()) / len(restricted)
        return self._report(metrics)

    def metric_names(self) -> list[str]:
        """Return the names, without prefix, of the metrics that `evaluate` gives for the trainer's `eval_dataset`."""
        languages = list(self.eval_dataset or ())
        if not languages:
            return []
        names = [f"{language}_{name}" for language in languages for name in _BY_LANGUAGE]
        means = means_of_sets(dict.fromkeys(languages, 0.0), self._language_sets(languages))
        names += ["loss", *(f"{name}bits_per_byte" for name in means)]
        if self.restrict_to is not None:
            names += ["restricted_bits_per_byte", *(f"{code}_restricted_bits_per_byte" for code in languages)]
        return names

    def _language_sets(self, languages: Iterable[str]) -> dict[str, list[str]]:
        """Return the sets whose means are reported: `language_sets`, and the languages in and out of the mix."""
        sets = {name: list(codes) for name, codes in (self.args.language_sets or {}).items()}
        if self.train_dataset is not None:
            in_mix = set(self.train_dataset.languages)
            sets["in_mix"] = [code for code in languages if code in in_mix]
            sets["out_of_mix"] = [code for code in languages if code not in in_mix]
        return sets

    def _totals(self, sentences: list[MaskedSentence], restrict_to: VocabularyMap | None = None) -> MaskedWordTotals:
        """Return the sums over the masked words of one language, over all processes."""
        own = sentences[self.args.process_index :: self.args.world_size]
        pad_id, batch_size = self.processing_class.pad_token_id, self.args.eval_batch_size
        self.model.eval()
        forwards = math.ceil(len(sentences) / (self.args.world_size * batch_size))
        with self.accelerator.autocast():
            totals = masked_word_totals(
                self.model, own, pad_id, batch_size, restrict_to, through_forward=True, forwards=forwards
            )
        sums = torch.tensor(dataclasses.astuple(totals), dtype=torch.float64, device=self.args.device)
        return MaskedWordTotals(*self.accelerator.reduce(sums, reduction="sum").tolist())


def words_of_pieces(tokenizer: PreTrainedTokenizerBase) -> WordsOfPieces:
    """Return a function that finds the words in a row of a tokenizer's subwords, for whole-word masking.

    Raises:
        ValueError: If the tokenizer is of a kind whose spelling is not known.
    """
    return WordsOfPieces(piece_bytes(read_table(tokenizer), tokenizer.all_special_ids))


def _check_evaluated_languages(sets: Mapping[str, Sequence[str]], languages: Collection[str]) -> None:
    """Raise a ValueError if a set names a language that is not evaluated, or has the name of one that is."""
    for name, codes in sets.items():
        if missing := sorted(set(codes) - set(languages)):
            raise ValueError(
                f"language_sets has {', '.join(missing)} in {name!r}, but the eval_dataset has only "
                f"{', '.join(sorted(languages))}; add text of every language of the set"
            )
        if name in languages:
            raise ValueError(f"language_sets names a set {name!r} like a language that is evaluated; rename the set")
