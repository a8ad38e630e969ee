"""A recipe of all trained stages that runs in seconds."""

from __future__ import annotations

TINY = """\
name: tiny
description: all trained stages in seconds
prepare:
  text: ${data}/text
  eval_lines: 3
pretrain:
  tokenizer_size: 300
  hidden_size: 32
  num_hidden_layers: 2
  num_attention_heads: 2
  intermediate_size: 64
  max_length: 32
  max_steps: 4
  learning_rate: 1e-3
  per_device_train_batch_size: 4
  save_steps: 2
  no_checkpoints: true
count:
prune:
  budget: 250
maft:
  max_steps: 4
  max_length: 32
  learning_rate: 1e-3
  per_device_train_batch_size: 4
  save_steps: 2
  no_checkpoints: true
distill:
  student: {layers: 1, hidden_size: 16, embedding_size: 8}
  counts: count
  max_steps: 2
  max_length: 32
  per_device_train_batch_size: 4
  no_checkpoints: true
maft-fit:
  max_steps: 2
  max_length: 32
  learning_rate: 1e-3
  per_device_train_batch_size: 4
  no_checkpoints: true
evaluate:
  models: {teacher: pretrain, pruned: prune, adapted: maft, student: maft-fit}
  text: prepare
report:
  title: tiny
card:
  model: maft-fit
  model_name: tiny
"""
