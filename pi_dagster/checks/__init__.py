"""Asset checks: whether what is in the tables can be trusted, and what to do where not; a file a concern.

Each file judges data that it is given, without Dagster, and comes to a `Verdict`. `definitions.py` gathers that data and
hands verdicts to Dagster. The checks that a load makes itself are with the assets: `every_tag_read`, the comparison of
counts, and the rules of the site.
"""
