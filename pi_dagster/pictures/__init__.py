"""What is in the lake, as numbers and pictures for people; knows no Dagster and asks no PI server."""
