"""Is a Delta table as it was designed: its columns, their types, its partitioning, its Delta features?"""

from __future__ import annotations

from collections.abc import Sequence

from pi_dagster.checks.verdict import Verdict, counted

NAME = "columns_as_designed"

DESCRIPTION = """
`{table}` has the columns, types, partitioning and Delta features that it was made with. Another tool, or a version of
pi_dagster that is not this one, may have changed them; then loads refuse to write.
"""


def judge_columns(table: str, columns: int, differences: Sequence[str]) -> Verdict:
    """Whether nothing about a table is different.

    Args:
        table: its name.
        columns: how many it should have.
        differences: what is different, in words.
    """
    return Verdict(
        passed=not differences,
        said=f"{table} differs from its design in {counted(len(differences), 'point')}; loads refuse to write to it."
        if differences
        else f"{table} has its {columns} columns, of the types that it should have.",
        numbers={"pi/differences": len(differences)},
        offenders=[
            {
                "difference": difference[:1].upper() + difference[1:],
                "what to do": "Find out by the table's history (DESCRIBE HISTORY) who changed it. Undo that, or "
                "RESTORE the version before; or move the table away and load it again.",
            }
            for difference in differences
        ],
    )
