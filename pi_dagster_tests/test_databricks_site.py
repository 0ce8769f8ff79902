"""The settings of `engine: databricks`, what the job is submitted with, and the Asset Bundle, by the vendor's types."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError

from pi_dagster.ingest.errors import IngestError, NoTagsError, RemotePartitionError, TagsFailedError
from pi_dagster.ingest.outcomes import outcome_message, outcome_of
from pi_dagster.ingest.report import FailedTag, TagErrorKind, WindowReport
from pi_dagster.ingest.window import Window
from pi_dagster.piwebapi.errors import BrokenAnswerError, LoginRefusedError
from pi_dagster.site import Site
from pi_dagster.site.databricks import NewCluster
from pi_dagster_tests.logged_in_plant import DAY, plant, server
from pi_dagster_tests.test_unity_catalog import load_locally

BUNDLE = Path(__file__).parents[1] / "databricks"
WHEEL = "/Volumes/main/pi/dagster/pi_dagster-0.1.0-py3-none-any.whl"
NEW_CLUSTER = {
    "kind": "new_cluster",
    "spark_version": "18.x-scala2.13",
    "node_type_id": "Standard_D4ds_v5",
    "secrets": {"PI_PASSWORD": "pi/password"},
}
EXISTING_CLUSTER = {"kind": "existing_cluster", "cluster_id": "1102-060000-boiler12"}
SERVERLESS = {"kind": "serverless", "environment_version": "5", "secrets": {"PI_PASSWORD": "pi/password"}}


def settings(
    compute: dict[str, Any] | None = None, of_databricks: dict[str, Any] | None = None, **changed: Any
) -> Site:
    """A site whose settings are right, but for what is changed; `compute` is of the new cluster, or of another kind."""
    compute = compute or {}
    site = {
        "server": {
            "url": "https://pi.example.com/piwebapi",
            "login": {"kind": "basic", "username": "svc", "password_env": "PI_PASSWORD"},
        },
        "lake": {"uri": "abfss://lake@plant.dfs.core.windows.net/pi"},
        "start_date": "2026-01-01",
        "tag_groups": [{"name": "all", "tag_filter": "*"}],
        "engine": "databricks",
        "databricks": {
            "compute": compute if "kind" in compute else {**NEW_CLUSTER, **compute},
            "volume_path": "/Volumes/main/pi/dagster",
            "libraries": [WHEEL],
            **(of_databricks or {}),
        },
    }
    return Site.model_validate({**site, **changed})


@pytest.mark.parametrize("version", ["17.3.x-scala2.13", "18.x-scala2.13"])
def test_a_runtime_with_spark_4_is_accepted(version: str) -> None:
    cluster = NewCluster.model_validate({**NEW_CLUSTER, "spark_version": version})
    assert cluster.spark_version == version


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"databricks": None}, "needs the section `databricks`"),
        ({"lake": {"uri": "/data/pi"}}, "needs an object store"),
        ({"spark": {"settings": {"spark.executor.memory": "4g"}}, "compute": EXISTING_CLUSTER}, "cannot be given to"),
        ({"compute": {"secrets": {}}}, r"will not have the environment variable PI_PASSWORD"),
        ({"compute": {"secrets": {"PI_PASSWORD": "geheim"}}}, "match pattern"),
        ({"compute": {"spark_version": "17.2.x-scala2.13"}}, r"too old a Spark; use 17\.3 LTS"),
        ({"compute": {"workers": 0}}, "greater than or equal to 1"),
        ({"compute": {"kind": "existing_cluster", "cluster_id": "my cluster"}}, "match pattern"),
        ({"of_databricks": {"volume_path": "dbfs:/tmp"}}, "match pattern"),
        ({"of_databricks": {"libraries": []}}, "has to name the wheel"),
        ({"of_databricks": {"libraries": ["dist/pi_dagster.whl"]}}, "no file that Databricks can see"),
        ({"of_databricks": {"libraries": ["pi-dagster[spark]==0.1.0"]}}, "leave the extra `spark` out"),
        ({"of_databricks": {"poll_interval_seconds": 0}}, "greater than or equal to 0.1"),
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any], reason: str) -> None:
    changed = dict(wrong)
    with pytest.raises(ValidationError, match=reason):
        settings(changed.pop("compute", None), changed.pop("of_databricks", None), **changed)


@pytest.mark.parametrize("compute", [NEW_CLUSTER, EXISTING_CLUSTER, SERVERLESS], ids=lambda compute: compute["kind"])
def test_the_task_names_its_compute_and_holds_references_instead_of_secrets(
    compute: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_databricks", reason="the extra `databricks` is not installed")
    from databricks.sdk.service import jobs

    from pi_dagster.assets.databricks import job_environments, submit_task

    monkeypatch.setenv("PI_PASSWORD", "geheim-Ω")
    site = settings(compute)
    assert site.databricks is not None
    task = submit_task(site, ["--dagster-pipes-context", "x"]).as_dict()
    assert jobs.SubmitTask.from_dict(task).as_dict() == task
    environments = job_environments(site.databricks)
    assert "geheim" not in json.dumps(task)
    assert task["python_wheel_task"]["parameters"] == ["--dagster-pipes-context", "x"]
    if compute is SERVERLESS:
        assert environments is not None
        [environment] = environments
        assert task["environment_key"] == environment.environment_key
        assert environment.spec is not None
        assert environment.spec.dependencies == [WHEEL]
        return
    assert environments is None
    assert task["libraries"] == [{"whl": WHEEL}]
    if compute is EXISTING_CLUSTER:
        assert task["existing_cluster_id"] == "1102-060000-boiler12"
    else:
        assert task["new_cluster"]["spark_env_vars"] == {"PI_PASSWORD": "{{secrets/pi/password}}"}


def test_a_site_survives_the_way_to_the_job() -> None:
    unity_catalog = {"url": "https://uc.example.com"}
    site = settings(SERVERLESS, lake={"uri": "s3://b/pi", "catalog_schema": "main.pi", "unity_catalog": unity_catalog})
    assert Site.model_validate(json.loads(json.dumps(site.describe()))) == site


def test_a_report_survives_the_way_from_the_job(tmp_path: Path) -> None:
    with plant() as running:
        report = load_locally(server(running, kind="anonymous"), tmp_path)
    partition = (DAY.date(), "all")
    told, back = outcome_of(json.loads(json.dumps(outcome_message(partition, report))))
    assert told == partition
    assert isinstance(back, WindowReport)
    for name in WindowReport.__dataclass_fields__:
        old, new = getattr(report, name), getattr(back, name)
        assert (
            new.equals(old)
            if isinstance(old, pa.Table)
            else list(new) == list(old)
            if isinstance(old, list)
            else new == old
        )


def test_an_error_comes_back_as_what_the_asset_makes_the_same_of() -> None:
    partition = (DAY.date(), "all")

    def back(error: Exception) -> Exception:
        _, outcome = outcome_of(json.loads(json.dumps(outcome_message(partition, error))))
        assert isinstance(outcome, Exception)
        assert str(outcome) == str(error)
        return outcome

    failed = (FailedTag(tag_webid="F1", tag_name="A", error="no", kind=TagErrorKind.REFUSED),)
    window = Window.of_day(DAY.date())
    told = back(TagsFailedError(f"all on {DAY.date()}", failed, window=window, gone_tags=failed))
    assert isinstance(told, TagsFailedError)
    assert (told.failed_tags, told.gone_tags, told.window) == (failed, failed, window)
    assert type(back(NoTagsError("none"))) is RemotePartitionError
    assert type(back(BrokenAnswerError("cut"))) is RemotePartitionError
    assert type(back(LoginRefusedError("wrong password"))) is IngestError


def documents() -> dict[str, Any]:
    files = [BUNDLE / "databricks.yml", *(BUNDLE / "resources").glob("*.yml")]
    assert len(files) == 3
    return {file.name: yaml.safe_load(file.read_text()) for file in files}


def test_the_bundle_is_what_databricks_types_of_jobs_and_pipelines_take() -> None:
    pytest.importorskip("databricks.bundles", reason="the package databricks-bundles is not installed")
    from databricks.bundles.jobs import Job
    from databricks.bundles.pipelines import Pipeline

    resources = [document["resources"] for document in documents().values() if "resources" in document]
    kinds = [
        (kind, settings) for of_file in resources for kind, named in of_file.items() for settings in named.values()
    ]
    types: dict[str, Any] = {"jobs": Job, "pipelines": Pipeline}
    assert sorted(kind for kind, _ in kinds) == ["jobs", "pipelines"]
    for kind, settings_of_it in kinds:
        assert types[kind].from_dict(settings_of_it).as_dict() == settings_of_it


def test_what_the_bundle_names_is_there() -> None:
    named = documents()
    variables = named["databricks.yml"]["variables"]
    text = "".join(file.read_text() for file in (BUNDLE / "resources").glob("*.yml"))
    used = {part.split("}")[0] for part in text.split("${var.")[1:]}
    assert used == set(variables)
    [pipeline] = named["pi_follow.pipeline.yml"]["resources"]["pipelines"].values()
    source = (BUNDLE / "resources" / pipeline["libraries"][0]["file"]["path"]).resolve()
    ast.parse(source.read_text())
    site = Site.model_validate(yaml.safe_load((BUNDLE / "site.yaml").read_text()))
    assert site.variables_of_secrets() == {"PI_PASSWORD"}
    assert 'pi-dagster-job = "pi_dagster.spark.job:main"' in (BUNDLE.parent / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tag_groupes: []", "{file}:2:1: there is no setting `tag_groupes`; did you mean `tag_groups`?"),
        ("lag_seconds: [", "{file}:3:1: this is not valid YAML"),
        ("server: {url: other}", "{file}:2:1: `server` stands in line 1 already"),
    ],
)
def test_the_job_tells_the_line_of_a_mistake_in_its_site_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    from pi_dagster.spark import job

    file = tmp_path / "site.yaml"
    file.write_text(f"server: {{url: https://pi.example.com/piwebapi}}\n{line}\n")
    monkeypatch.setattr("sys.argv", ["pi-dagster-job", "--site", str(file)])
    with pytest.raises(SystemExit) as ended:
        job.main()
    assert ended.value.code == 2
    assert told.format(file=file) in capsys.readouterr().err
