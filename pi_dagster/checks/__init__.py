"""Asset checks: whether what is in the tables can be trusted, and what to do where not; a file a concern.

Each judges data that it is given and comes to a `Verdict` (`verdict.py`). `look.py` gathers that data, `definitions.py`
says which check an asset has, and `running.py` hands verdicts to Dagster. Checks that a load makes itself are with the
assets: `every_tag_read`, the comparison of counts, and the rules of the site.
"""
