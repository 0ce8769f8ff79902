"""Delta's jars: Spark's Ivy fetches them from Maven Central once, and later sessions take the files that it left.

Ivy resolves anew at each start, which costs seconds and needs Maven Central, though versions are pinned and the files
are there. So the paths of what it has resolved are kept, in a small file of the user's cache folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from pyspark.sql import SparkSession

PACKAGES = "spark.jars.packages"
JARS = "spark.jars"


def delta_package() -> str:
    """The Maven coordinates of Delta for the Spark and the delta-spark that are installed."""
    spark = ".".join(version("pyspark").split(".")[:2])
    return f"io.delta:delta-spark_{spark}_2.13:{version('delta-spark')}"


def with_jars(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings of a session that make Delta's jars part of it, besides those that they name themselves."""
    packages = _packages(settings)
    known = [Path(path) for path in _known().get(_key(packages), ())]
    if known and all(path.is_file() for path in known):
        jars = [*_split(settings.get(JARS)), *map(str, known)]
        return {**{name: text for name, text in settings.items() if name != PACKAGES}, JARS: ",".join(jars)}
    return {**settings, PACKAGES: ",".join(packages)}


def remember_jars(session: SparkSession, settings: Mapping[str, str]) -> None:
    """Keep the paths of the jars that a session has resolved; one that resolved none changes nothing.

    Args:
        session: made with what `with_jars` gave.
        settings: what `with_jars` was given.
    """
    packages = _packages(settings)
    conf = session.sparkContext.getConf()
    if _split(conf.get(PACKAGES)) != packages:
        return
    own = {_path(jar) for jar in _split(settings.get(JARS))}
    resolved = [path for jar in _split(conf.get(JARS)) if (path := _path(jar)) not in own]
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps({**_known(), _key(packages): resolved}, indent=1), encoding="utf-8")
        beside.replace(file)
    except OSError:
        # A home that cannot be written, such as a service's: Ivy resolves them again.
        return


def _packages(settings: Mapping[str, str]) -> list[str]:
    return [delta_package(), *_split(settings.get(PACKAGES))]


def _file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pi_dagster" / "spark_jars.json"


def _known() -> dict[str, list[str]]:
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(packages: Sequence[str]) -> str:
    return ",".join(packages)


def _split(text: str | None) -> list[str]:
    return [part for part in (text or "").split(",") if part]


def _path(jar: str) -> str:
    return "/" + jar.removeprefix("file:").lstrip("/")
