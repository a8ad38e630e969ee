"""Cut a model with another tool, for `benchmarks.audit`; run it where that tool is installed, without hf_afro.

python benchmarks/cut_with_peers.py textpruner --model xlmr --text counted --output_dir cuts/textpruner-xlmr

`textpruner` 1.1 and `vocabtrimmer` 0.0.2 need transformers 4 and are given the text's tokens; `trimbed` 0.0.4 runs on
transformers 5. For `geotrend` --script names reduce_model.py of Geotrend-research/smaller-transformers, whose function
is called with the tokens in the order of `tokenizer.vocab`, as its own main does; its import of TensorFlow's classes,
which transformers 5 no longer has, is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from collections import Counter
from pathlib import Path


def lines_of(text: str) -> list[str]:
    return [line for path in sorted(Path(text).glob("*.txt")) for line in path.read_text("utf-8").splitlines() if line]


def textpruner(args: argparse.Namespace) -> None:
    from textpruner import GeneralConfig, VocabularyPruner
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(args.model)
    tokenizer = AutoTokenizer.from_pretrained(args.model, use_fast=False)
    folder = Path(args.output_dir)
    general = GeneralConfig(use_device="cpu", output_dir=str(folder.parent))
    pruner = VocabularyPruner(model, tokenizer, general_config=general)
    pruner.prune(dataiter=lines_of(args.text), save_model=False)
    pruner.save_model(folder.name)


def vocabtrimmer(args: argparse.Namespace) -> None:
    import huggingface_hub
    from transformers import AutoTokenizer

    huggingface_hub.Repository = getattr(huggingface_hub, "Repository", None)  # imported there for pushing only
    from vocabtrimmer import VocabTrimmer

    # Its miner reads data sets of the Hub, or the vocabulary from a file: {token: id}.
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    ids = Counter(one for ids in tokenizer(lines_of(args.text))["input_ids"] for one in ids)
    mined = Path(args.output_dir).parent / "mined.json"
    mined.parent.mkdir(parents=True, exist_ok=True)
    mined.write_text(json.dumps({tokenizer.convert_ids_to_tokens(one): one for one, _ in ids.most_common()}), "utf-8")
    trimmer = VocabTrimmer(args.model)
    trimmer.trim_vocab(language="any", path_to_save=args.output_dir, cache_file_vocab=str(mined))


def trimbed(args: argparse.Namespace) -> None:
    from trimbed import TrimConfig, TrimPipeline

    texts = Path(args.output_dir).parent / "texts.txt"
    texts.parent.mkdir(parents=True, exist_ok=True)
    texts.write_text("\n".join(lines_of(args.text)) + "\n", "utf-8")
    corpus = {"datasets": [{"path": "text", "data_files": str(texts), "streaming": False}]}
    settings = {
        **{"model": args.model, "output_dir": args.output_dir, "corpus": corpus},
        **{"selection": {"min_count": 1}, "verify_samples": 100},
    }
    TrimPipeline(TrimConfig(**settings)).run()


def geotrend(args: argparse.Namespace) -> None:
    import transformers
    from transformers import AutoModel, AutoTokenizer

    source = Path(args.script).read_text("utf-8").replace("from transformers import TFAutoModel", "")
    reduce_model = types.ModuleType("reduce_model")
    exec(compile(source, args.script, "exec"), reduce_model.__dict__)
    model = AutoModel.from_pretrained(args.model)
    # As in its `main`, with the class that transformers gives today, which is a fast one.
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    seen = {one for ids in AutoTokenizer.from_pretrained(args.model)(lines_of(args.text))["input_ids"] for one in ids}
    wanted = {*tokenizer.convert_ids_to_tokens(sorted(seen)), *tokenizer.all_special_tokens}
    reduce_model.select_embeddings(model, list(tokenizer.vocab), wanted, args.output_dir)


def main() -> None:
    tools = {one.__name__: one for one in (textpruner, vocabtrimmer, trimbed, geotrend)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=tools)
    parser.add_argument("--model", required=True, help="folder of the model to cut")
    parser.add_argument("--text", required=True, help="folder with one file per language, whose tokens are kept")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--script", help="reduce_model.py of Geotrend")
    args = parser.parse_args()
    tools[args.tool](args)


if __name__ == "__main__":
    sys.exit(main())
