"""AVEVA PI (OSIsoft PI) data in Delta Lake with Dagster: every recorded value, exactly as it is in the archive.

What other code may rely on: `pi_dagster.site.Site`, `pi_dagster.factory.build_pi_definitions` and
`pi_dagster.components.PISystemComponent`; the tables, in `pi_dagster.lake.schemas`; and the command line. Nothing is
imported here, so that each of them costs only what it needs.
"""
