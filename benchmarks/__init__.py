"""Benchmarks: what the pipeline costs, each figure against something else measured in the same run.

    uv run python -m benchmarks [--quick] [--only NAME ...] [--json FILE] [--markdown FILE] [--plot FILE]
    uv run python -m benchmarks.sustained [--minutes 30] [--tags 30000]

One module is one benchmark and has a function `run(scale)`; `catalogue.py` lists them.
"""
