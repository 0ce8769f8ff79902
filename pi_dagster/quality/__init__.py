"""Judging what is in the lake by the rules of the site. Knows no Dagster and asks no PI server."""
