"""The component: how a `defs.yaml` becomes Dagster definitions, here and in other people's projects."""

from __future__ import annotations

from pi_dagster.components.pi_system import PISystemComponent

__all__ = ["PISystemComponent"]
