"""Benchmarks: what the pipeline costs, measured against a simulator in a process of its own."""
