"""A Dagster project of a plant's own, with its PI system in it."""
