"""What `autotune export` writes, read back by the programs that it is for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.storage import StudyDir

pytestmark = pytest.mark.filterwarnings("ignore")  # of other programs, which tests turn into errors

Export = Callable[..., Path]


@pytest.fixture
def export(cli: Callable[..., Any], store: StudyDir, tmp_path: Path) -> Export:
    """``export("csv", "--to", path)``: run the command, expect success, return where it wrote by default."""

    def run(name: str, *args: str) -> Path:
        done = cli("export", name, "--log-dir", store.root, *args)
        assert done.returncode == 0, done.stderr
        assert "open with: " in done.stdout
        return Path(store.root, "export")

    return run


def params_of(store: StudyDir, number: int) -> dict[str, Any]:
    return store.read_config(number).params


# TensorBoard


def test_tensorboard_reads_scalars(export: Export) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = export("tensorboard") / "tensorboard"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [f"trial_{n:05d}" for n in range(5)]
    events = accumulators.EventAccumulator(str(folder / "trial_00000")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(0, 2.0), (1, 1.0), (2, 0.75)]
    assert [(event.step, event.value) for event in events.Scalars("train/accuracy")] == [(2, 0.75)]
    assert [(event.step, event.value) for event in events.Scalars("autotune.loss")] == [(0, 0.5)]
    assert events.Scalars("autotune.time_ms")[0].wall_time == pytest.approx(1_700_000_001.75)


def test_tensorboard_shows_hyperparameters(export: Export, store: StudyDir) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard import context
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    runs = plugin_event_multiplexer.EventMultiplexer()
    runs.AddRunsFromDirectory(str(export("tensorboard") / "tensorboard"))
    runs.Reload()
    provider = data_provider.MultiplexerDataProvider(runs, "")
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = context.RequestContext()
    experiment = get_experiment.Handler(request, backend, "", api_pb2.GetExperimentRequest()).run()
    assert {info.name for info in experiment.hparam_infos} == set(store.read_study()["parameters"])
    assert [info.name.tag for info in experiment.metric_infos] == ["autotune.loss", "autotune.time_ms"]
    asked = api_pb2.ListSessionGroupsRequest(
        slice_size=100, allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]
    )
    groups = list_session_groups.Handler(request, backend, "", asked).run().session_groups
    by_name = {group.name: group for group in groups}
    assert len(by_name) == 5
    first, params = by_name["trial_00000"], params_of(store, 0)
    assert first.hparams["lr"].number_value == params["lr"]
    assert first.hparams["layers"].number_value == params["layers"]
    assert first.hparams["optimizer"].string_value == params["optimizer"]
    assert first.hparams["nesterov"].bool_value == params["nesterov"]
    assert {value.name.tag: value.value for value in first.metric_values} == {
        "autotune.loss": 0.5,
        "autotune.time_ms": 12.5,
    }
    states = {name: group.sessions[0].status for name, group in by_name.items()}
    failed = {name for name, status in states.items() if status == api_pb2.STATUS_FAILURE}
    assert failed == {"trial_00003", "trial_00004"}


def test_tensorboard_export_is_repeatable(export: Export, store: StudyDir, change_result: Callable[..., None]) -> None:
    pytest.importorskip("tensorboard")
    file = export("tensorboard") / "tensorboard" / "trial_00001" / "events.out.tfevents.0.autotune"
    before = file.read_bytes()
    export("tensorboard")
    assert file.read_bytes() == before
    change_result(store, 1, 0.125)
    export("tensorboard")
    assert file.read_bytes() != before


# MLflow


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow.db", "mlruns"])  # a SQLite file, MLflow's old store of plain files
def test_mlflow_reads_runs(
    export: Export,
    store: StudyDir,
    tmp_path: Path,
    change_result: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    entities = pytest.importorskip("mlflow.entities")
    target = tmp_path / name
    export("mlflow", "--to", str(target))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # for this reader; the export sees to itself
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{target}" if name.endswith(".db") else target.as_uri())
    experiment = client.get_experiment_by_name("demo")
    stranger = client.create_run(experiment.experiment_id, run_name="stranger").info.run_id

    def runs() -> dict[str, Any]:
        found = client.search_runs([experiment.experiment_id], run_view_type=entities.ViewType.ACTIVE_ONLY)
        assert len({run.info.run_name for run in found}) == len(found)
        return {run.info.run_name: run for run in found}

    first = runs()
    assert first.keys() == {"stranger", *(f"trial_{number:05d}" for number in range(5))}
    run, params = first["trial_00000"], params_of(store, 0)
    as_text = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
    assert run.data.params == as_text
    assert run.data.metrics == {"loss": 0.5, "time_ms": 12.5, "train/accuracy": 0.75, "duration_s": 1.5}
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(0, 2.0), (1, 1.0), (2, 0.5), (2, 0.75)]
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_250, 1_700_000_001_750)
    assert [first[f"trial_{n:05d}"].info.status for n in range(5)] == [
        *("FINISHED", "FINISHED", "KILLED", "FAILED", "FAILED")
    ]
    assert first["trial_00003"].data.tags["autotune.reason"] == "oom"

    change_result(store, 1, 0.125)
    export("mlflow", "--to", str(target))
    second = runs()
    assert second.keys() == first.keys()
    assert second["trial_00001"].data.metrics["loss"] == 0.125
    assert second["trial_00000"].info.run_id == run.info.run_id, "a run whose trial is the same stays as it is"
    assert second["stranger"].info.run_id == stranger


# W&B


def test_wandb_reads_offline_runs(export: Export, store: StudyDir) -> None:
    pytest.importorskip("wandb")
    folder = export("wandb") / "wandb" / "wandb"
    found = {}
    for run in folder.glob("offline-run-*"):
        done = subprocess.run(
            [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--summary", "--json", run],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        record = json.loads(done.stdout)
        found[record["name"]] = record
    assert found.keys() == {f"trial_{number:05d}" for number in range(5)}
    first = found["trial_00000"]
    assert first["config"] == params_of(store, 0)
    assert (first["project"], first["exit_code"], first["tags"]) == ("demo", 0, ["complete"])
    assert first["summary"]["loss"] == 0.5
    assert first["summary"]["time_ms"] == 12.5
    assert found["trial_00004"]["exit_code"] == 1
    assert found["trial_00004"]["summary"]["autotune"]["reason"] == "crash"


def test_wandb_history_has_the_steps(export: Export) -> None:
    pytest.importorskip("wandb")
    from autotune.integrations.wandb_log import read_history

    (first,) = (export("wandb") / "wandb" / "wandb").glob("offline-run-*-0")
    rows = [(key, step, value) for _, key, step, value in read_history(first).rows]
    assert [row for row in rows if row[0] == "loss"] == [("loss", 0, 2.0), ("loss", 1, 1.0), ("loss", 2, 0.75)]
    assert ("train/accuracy", 2, 0.75) in rows


# Optuna


def load_optuna(path: Path) -> Any:
    optuna = pytest.importorskip("optuna")
    journal = optuna.storages.journal.JournalFileBackend(str(path))
    return optuna.load_study(study_name="demo", storage=optuna.storages.JournalStorage(journal))


def test_optuna_loads_the_study(export: Export, store: StudyDir) -> None:
    optuna = pytest.importorskip("optuna")
    study = load_optuna(export("optuna") / "optuna.log")
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "FAIL", "WAITING"]
    assert [trial.params for trial in study.trials[:5]] == [params_of(store, number) for number in range(5)]
    assert study.trials[5].system_attrs["fixed_params"] == params_of(store, 5)
    assert (study.best_trial.number, study.best_value) == (1, 0.25)
    first = study.trials[0]
    assert first.intermediate_values == {0: 2.0, 1: 1.0, 2: 0.75}
    assert first.duration.total_seconds() == 1.5
    assert first.distributions["lr"] == optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)
    assert first.distributions["layers"] == optuna.distributions.IntDistribution(1, 4)
    assert first.distributions["mixed"] == optuna.distributions.CategoricalDistribution([1, "auto", None])
    assert study.trials[3].user_attrs["autotune_reason"] == "oom"
    assert study.trials[0].user_attrs["time_ms"] == 12.5


def test_optuna_goes_on_from_the_export(export: Export) -> None:
    pytest.importorskip("optuna")
    study = load_optuna(export("optuna") / "optuna.log")
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-5, 1e-1, log=True), n_trials=2)
    assert study.trials[5].state.name == "COMPLETE", "the trial that was not run yet came first"
    assert len(study.trials) == 7


def test_optuna_dashboard_opens_it(export: Export) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    testing = pytest.importorskip("werkzeug.test")
    optuna = pytest.importorskip("optuna")
    backend = optuna.storages.journal.JournalFileBackend(str(export("optuna") / "optuna.log"))
    client = testing.Client(dashboard.wsgi(optuna.storages.JournalStorage(backend)))
    (summary,) = client.get("/api/studies").json["study_summaries"]
    assert summary["study_name"] == "demo"
    detail = client.get(f"/api/studies/{summary['study_id']}?after=0").json
    assert [trial["state"] for trial in detail["trials"]] == [
        *("Complete", "Complete", "Pruned", "Fail", "Fail", "Waiting")
    ]


# Tables


def test_pandas_reads_csv(export: Export) -> None:
    import pandas as pd

    folder = export("csv") / "csv"
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["state"].tolist() == ["complete", "complete", "pruned", "infeasible", "failed"]
    scalars = pd.read_csv(folder / "scalars.csv")
    assert scalars[scalars["tag"] == "trial_00000/loss"]["value"].tolist() == [2.0, 1.0, 0.75]


def test_pandas_reads_parquet(export: Export, store: StudyDir) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    trials = pd.read_parquet(export("parquet") / "parquet" / "trials.parquet")
    assert trials["params.lr"].tolist() == [params_of(store, number)["lr"] for number in range(5)]
    assert trials["params.layers"].dtype == "int64"
    assert trials["params.nesterov"].dtype == "bool"
    mixed = [params_of(store, number)["mixed"] for number in range(5)]
    as_json = [None if value is None else json.dumps(value) for value in mixed]
    assert trials["params.mixed"].astype(object).where(trials["params.mixed"].notna(), None).tolist() == as_json


# Where it writes


def test_export_leaves_the_files_of_others_alone(cli: Callable[..., Any], store: StudyDir, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    done = cli("export", "csv", "--log-dir", store.root, "--to", "mine")
    assert done.returncode == 2
    assert "of something else" in done.stderr
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_export_replaces_its_own(export: Export, store: StudyDir, tmp_path: Path, change_result: Any) -> None:
    target = tmp_path / "tables"
    export("csv", "--to", str(target))
    change_result(store, 1, 0.125)
    export("csv", "--to", str(target))
    assert "0.125" in (target / "trials.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "tables"], "no temporary folder is left"


def test_a_missing_library_is_a_sentence(cli: Callable[..., Any], store: StudyDir, tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise ImportError('not here')")
    done = cli("export", "optuna", "--log-dir", store.root)  # `python -m` finds the file above first
    assert done.returncode == 2
    assert "pip install 'autotune[optuna]'" in done.stderr
    assert "Traceback" not in done.stderr
