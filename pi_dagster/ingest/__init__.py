"""What to read from PI and what to commit to the lake: tags, windows, partitions. Knows no Dagster."""
