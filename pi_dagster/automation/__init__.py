"""When things run: partitions and schedules."""
