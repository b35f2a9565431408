"""The report: one self-contained page, tables and figures of the paper, metrics in git."""
