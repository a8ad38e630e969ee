"""What was measured, and how it is shown: evaluation reports, and the tables, plots and page made of them."""

from __future__ import annotations

from hf_afro.reports.evaluation_report import EvalReport, Score

__all__ = ["EvalReport", "Score"]
