"""Models as others take them: plain XLM-R, with their code beside them, ONNX, and sentence-transformers."""

from __future__ import annotations

from hf_afro.export.onnx_folder import OnnxExport as OnnxExport, export_onnx as export_onnx
from hf_afro.export.plain import plain_student as plain_student
from hf_afro.export.remote_code import add_remote_code as add_remote_code
from hf_afro.export.sentence_transformer import export_sentence_transformer as export_sentence_transformer
