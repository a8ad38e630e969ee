r"""The whole core on real text: prune a real tokenizer, train a teacher from scratch, distil students, compare.

    python -m benchmarks.real_text --tokenizer xlm-roberta-base --text corpora --exclude ner --output_dir runs/real
        [--objectives minilmv2 minilm hybrid] [--ner ner/masakhaner1 --ner_languages hau swa]

Compared in bits a byte of held-out sentences, by language, and, with `--ner`, in entity F1 on test by language and
seed: the teacher, trained by MAFT from random weights; students half as deep and half as wide, distilled from it by
each objective for the same steps; the same student untaught; and the same trained by MAFT alone for as many steps as
distillation and fit take together. All students start from the same weights (the teacher's embeddings, projected), and
all but the last end with the same short fit, MAFT on all weights, since distillation trains no head. The student has
as many heads as the teacher, which `minilm` asks for. `--small` shows in minutes that it runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import torch
from datasets import Dataset
from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForMaskedLM

from hf_afro import (
    MAFTTrainer,
    MAFTTrainingArguments,
    RelationDistillTrainer,
    RelationDistillTrainingArguments,
    build_student,
    count_tokens,
    prune_vocabulary,
    select_tokens,
)
from hf_afro.corpora import prepare_corpora, read_corpora
from hf_afro.evaluation import evaluate_model, load_task, preset
from hf_afro.vocabulary import PrunedModel

logger = logging.getLogger("real_text")

LANGUAGES = "afr amh ara eng fra hau ibo kin mlg nya orm pcm run sna som sot swa xho yor zul".split()
TEACHER = {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="the tokenizer to prune, XLM-R's")
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--exclude", help="folder of named-entity files (token SPACE tag) to take out of the text")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--budget", type=int, default=50_000)
    parser.add_argument("--teacher_steps", type=int, default=2500)
    parser.add_argument("--distill_steps", type=int, default=1000)
    parser.add_argument("--fit_steps", type=int, default=300)
    parser.add_argument(
        "--objectives",
        nargs="+",
        default=["minilmv2"],
        choices=["minilmv2", "minilm", "hybrid"],
        help="a student each",
    )
    parser.add_argument("--ner", help="folder of a named-entity set, a folder a language, to fine-tune every model on")
    parser.add_argument("--ner_languages", nargs="+", default=["hau", "swa"])
    parser.add_argument("--ner_seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--held_out", type=int, default=200, help="sentences a language that are evaluated on")
    parser.add_argument("--small", action="store_true", help="a few steps on a little text")
    args = parser.parse_args()
    if args.small:
        args.teacher_steps = args.distill_steps = args.fit_steps = 5
        args.held_out = 5
    return args


def entity_sentences(folder: str | None) -> Iterator[str]:
    """Yield the sentences of every file below a folder of CoNLL files, tokens joined by spaces."""
    for file in sorted(Path(folder).rglob("*.txt")) if folder else ():
        tokens: list[str] = []
        for line in [*file.read_text("utf-8-sig").split("\n"), ""]:
            if line.strip():
                tokens.append(line.rsplit(" ", 1)[0])
            elif tokens:
                yield " ".join(tokens)
                tokens = []


def common(args: argparse.Namespace, name: str, steps: int, learning_rate: float, language_alpha: float = 0.5) -> dict:
    """The settings that all runs share: batches of 2,048 tokens, and as much of small languages as alpha 0.5 gives."""
    return {
        "output_dir": str(Path(args.output_dir) / name),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "warmup_steps": 0.05,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.01,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 32,
        "max_length": 128,
        "language_alpha": language_alpha,
        "logging_steps": max(1, steps // 20),
        "save_strategy": "no",
        "seed": 0,
        "use_cpu": not torch.cuda.is_available(),
    }


def adapt(args, name, steps, learning_rate, model, pruned, train, held_out, **settings) -> dict[str, float]:
    """Train a model by MAFT and return what it measures on the held-out sentences."""
    trainer = MAFTTrainer(
        model=model,
        args=MAFTTrainingArguments(**common(args, name, steps, learning_rate, **settings)),
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=pruned.tokenizer,
    )
    if steps:
        trainer.train()
        trainer.save_model()
    return trainer.evaluate()


def prune(args: argparse.Namespace, lines: dict[str, list[str]]) -> PrunedModel:
    """Return a teacher of random weights and the full vocabulary, pruned to what the text needs."""
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    keep = select_tokens(count_tokens(lines, tokenizer), args.budget)
    full = XLMRobertaForMaskedLM(
        XLMRobertaConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=130,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **TEACHER,
        )
    )
    return prune_vocabulary(full, tokenizer, keep)


def distil(args, objective, pruned, student, train) -> XLMRobertaForMaskedLM:
    """Return the student, taught the teacher's attention by one objective."""
    RelationDistillTrainer(
        model=student,
        teacher_model=pruned.model,
        args=RelationDistillTrainingArguments(
            objective=objective, **common(args, f"{objective}-taught", args.distill_steps, 1e-3)
        ),
        train_dataset=train,
        processing_class=pruned.tokenizer,
    ).train()
    return student


def entities(args, models: dict[str, XLMRobertaForMaskedLM], tokenizer) -> dict[str, dict[str, list[float]]]:
    """Return entity F1 on test, in per cent: by model and language, a figure a seed."""
    tasks = [load_task("ner", args.ner, language) for language in args.ner_languages]
    settings = preset("small", "ner", tasks[0].dataset).replace(learning_rate=1e-3, epochs=8, max_train=500)
    if args.small:
        settings = settings.replace(epochs=1, max_train=16, max_dev=8, max_test=8)
    found = {}
    for name, model in models.items():
        folder = Path(args.output_dir) / "ner" / name.replace(" ", "-")
        report = evaluate_model(
            model, tokenizer, tasks, name=name, output_dir=folder, settings=settings, seeds=args.ner_seeds
        )
        found[name] = {
            one.language: [100 * value for value in one.values]
            for one in report.select(task="ner", metric="entity_f1")
        }
        logger.info("%s: %s", name, found[name])
    return found


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    start = time.monotonic()
    torch.manual_seed(0)

    corpora = prepare_corpora(
        read_corpora(args.text, LANGUAGES),
        held_out_lines=args.held_out,
        excluded=entity_sentences(args.exclude),
        drop_duplicates=True,
    )
    lines = {code: own[:100] if args.small else own for code, own in corpora.train.items()}
    train, held_out = (
        {code: Dataset.from_dict({"text": own}) for code, own in part.items()} for part in (lines, corpora.evaluation)
    )
    pruned = prune(args, lines)
    logger.info("%d tokens kept of %d", len(pruned.vocabulary_map), pruned.vocabulary_map.old_size)

    teacher = pruned.model
    models = {"teacher": teacher}
    figures = {"teacher": adapt(args, "teacher", args.teacher_steps, 1e-3, teacher, pruned, train, held_out)}
    untaught = build_student(
        teacher,
        tokenizer=pruned.tokenizer,
        num_hidden_layers=TEACHER["num_hidden_layers"] // 2,
        hidden_size=TEACHER["hidden_size"] // 2,
        num_attention_heads=TEACHER["num_attention_heads"],
    )
    for name in (*args.objectives, "untaught", "mlm alone"):
        model = copy.deepcopy(untaught)
        if name in args.objectives:
            model = distil(args, name, pruned, model, train)
        steps = args.fit_steps + (args.distill_steps if name == "mlm alone" else 0)
        figures[name] = adapt(args, f"{name.replace(' ', '-')}-fitted", steps, 1e-3, model, pruned, train, held_out)
        models[name] = model
    scores = entities(args, models, pruned.tokenizer) if args.ner else {}

    minutes = (time.monotonic() - start) / 60
    facts = {"minutes": minutes, "settings": vars(args), "cleaning": corpora.report.dropped, "ner": scores, **figures}
    (Path(args.output_dir) / "figures.json").write_text(json.dumps(facts, indent=1))
    print_bits(figures, teacher.num_parameters(), untaught.num_parameters())
    print_entities(scores)
    print(f"{minutes:.1f} minutes")


def print_bits(figures: dict[str, dict[str, float]], teacher_size: int, student_size: int) -> None:
    names = list(figures)
    print(f"bits a byte of held-out sentences; teacher {teacher_size:,} parameters, students {student_size:,}")
    print(f"{'':9}" + "".join(f"{name:>10}" for name in names))
    for key in figures["teacher"]:
        if key.endswith("_bits_per_byte"):
            language = key.removeprefix("eval_").removesuffix("bits_per_byte").rstrip("_") or "mean"
            print(f"{language:9}" + "".join(f"{figures[name][key]:10.3f}" for name in names))


def print_entities(scores: dict[str, dict[str, list[float]]]) -> None:
    """Print mean and standard deviation over seeds."""
    for name, by_language in scores.items():
        cells = (f"{code} {mean(own):5.1f} +- {stdev(own):4.1f}" for code, own in by_language.items())
        print(f"entity F1  {name:10}" + "   ".join(cells))


if __name__ == "__main__":
    main()
