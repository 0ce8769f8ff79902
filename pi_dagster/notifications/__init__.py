"""Messages to people: which problems there are, what is told of them, and how it gets there. Knows no Dagster."""
