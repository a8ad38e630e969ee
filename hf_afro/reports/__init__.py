"""Evaluation reports, and the tables, plots and page made of them.

Tables, plots and the page have modules of their own, so that a report is read without matplotlib and Jinja.
"""

from __future__ import annotations

from hf_afro.reports.evaluation_report import (
    EvalReport as EvalReport,
    LoadedReport as LoadedReport,
    Score as Score,
    load_reports as load_reports,
)
