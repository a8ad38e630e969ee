"""Models as others take them: plain XLM-R, with their code beside them, ONNX, and sentence-transformers."""

from __future__ import annotations

from hf_afro.export.onnx_folder import OnnxExport, export_onnx
from hf_afro.export.plain import plain_student
from hf_afro.export.remote_code import add_remote_code
from hf_afro.export.sentence_transformer import export_sentence_transformer

__all__ = ["OnnxExport", "add_remote_code", "export_onnx", "export_sentence_transformer", "plain_student"]
