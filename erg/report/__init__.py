"""The report of a run: one self-contained page made from the files of its folder."""

from erg.report.page import write_report

__all__ = ["write_report"]
