"""A MAFT step's forward and backward: logits at masked positions only against the stock head, XLM-R-base's shape.

python -m benchmarks.maft_step [--small] [--vocabulary 250002] [--length 128]
"""

from __future__ import annotations

import argparse

import torch
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from benchmarks.timing import in_turn, print_ratios
from hf_afro.objectives import masked_lm_loss
from hf_afro.training.masked_only import MaskedOnlyHead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tiny model, one repeat: only shows that it runs")
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[250_002, 70_000])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    args = parser.parse_args()
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    for vocabulary in [1000] if args.small else args.vocabulary:
        config = XLMRobertaConfig(vocab_size=vocabulary, max_position_embeddings=514, **(shape if args.small else {}))
        model = XLMRobertaForMaskedLM(config).train()
        head = MaskedOnlyHead(model)
        generator = torch.Generator().manual_seed(0)
        input_ids = torch.randint(5, vocabulary, (args.batch, args.length), generator=generator)
        labels = input_ids.masked_fill(torch.rand(input_ids.shape, generator=generator) >= 0.15, -100)

        def stock(model=model, input_ids=input_ids, labels=labels):
            model.zero_grad()
            model(input_ids=input_ids, labels=labels).loss.backward()

        def masked_only(model=model, head=head, input_ids=input_ids, labels=labels):
            model.zero_grad()
            flat = labels.flatten()
            positions = (flat != -100).nonzero().squeeze(1)
            with head.at(positions):
                logits = model(input_ids=input_ids).logits
            (masked_lm_loss(head.select(logits, positions), flat[positions]) / len(positions)).backward()

        title = f"{args.batch} x {args.length}, vocabulary of {vocabulary:,}"
        print_ratios(title, in_turn({"stock head": stock, "masked only": masked_only}, 1 if args.small else 3))


if __name__ == "__main__":
    main()
