"""Models in forms for others: plain XLM-R, with their code, for ONNX Runtime, and for sentence-transformers."""

from __future__ import annotations

from hf_afro.export.folder import EXPORT_FILE as EXPORT_FILE
from hf_afro.export.onnx import Figures as Figures, OnnxExport as OnnxExport, export_onnx as export_onnx
from hf_afro.export.plain import export_plain as export_plain, plain_student as plain_student
from hf_afro.export.remote_code import add_remote_code as add_remote_code, export_with_code as export_with_code
from hf_afro.export.sentence_transformers import export_sentence_transformer as export_sentence_transformer
