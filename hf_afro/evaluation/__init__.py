"""Evaluation on tasks: data, fine-tuning, probes, metrics, significance, bits per byte and bitext retrieval."""

from __future__ import annotations

from hf_afro.evaluation.bitext import BitextRetrieval as BitextRetrieval, bitext_retrieval as bitext_retrieval
from hf_afro.evaluation.bits_per_byte import bits_per_byte_scores as bits_per_byte_scores
from hf_afro.evaluation.data.descriptions import SetDescription as SetDescription, read_description as read_description
from hf_afro.evaluation.data.loading import (
    languages_of as languages_of,
    load_described as load_described,
    load_task as load_task,
)
from hf_afro.evaluation.data.parallel import ParallelText as ParallelText, read_parallel as read_parallel
from hf_afro.evaluation.data.published import load_hub_task as load_hub_task
from hf_afro.evaluation.data.task_data import TaskData as TaskData, make_task_data as make_task_data
from hf_afro.evaluation.finetuning import FineTuned as FineTuned, finetune as finetune
from hf_afro.evaluation.metrics import (
    ClassificationScores as ClassificationScores,
    EntityF1 as EntityF1,
    TagScores as TagScores,
)
from hf_afro.evaluation.models import model_facts as model_facts, save_finetuned as save_finetuned
from hf_afro.evaluation.presets import FineTuningSettings as FineTuningSettings, preset as preset
from hf_afro.evaluation.probe import Probe as Probe, fit_probe as fit_probe
from hf_afro.evaluation.sentence_vectors import sentence_vectors as sentence_vectors
from hf_afro.evaluation.significance import (
    approximate_randomisation as approximate_randomisation,
    bootstrap_interval as bootstrap_interval,
    paired_bootstrap as paired_bootstrap,
    task_counts as task_counts,
)
from hf_afro.evaluation.task_evaluation import evaluate_model as evaluate_model
