"""What was measured, and how it is shown: evaluation reports, and the tables, plots and page made of them.

The tables, plots and page have modules of their own, so that a report is read without them.
"""

from __future__ import annotations

from hf_afro.reports.evaluation_report import EvalReport as EvalReport, Score as Score
