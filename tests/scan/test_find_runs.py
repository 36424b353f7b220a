"""Archives are split into runs as a person would."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from scan.archives import (
    CONFIG,
    EVENTS,
    FINITE_METRICS,
    LOG,
    SAMPLES,
    TRAINER,
    WANDB,
    WEIGHTS,
    found,
    lay,
)

from nanautopsy.read import load_readers
from nanautopsy.scan.find_runs import find_runs
from nanautopsy.scan.kinds import Kinds
from nanautopsy.scan.one_folder import stem_of
from nanautopsy.scan.tree import open_tree

CORPUS = Path(__file__).resolve().parents[1] / "corpus" / "runs"


def test_sample_runs_are_a_run_each() -> None:
    names = {path.name for path in SAMPLES.iterdir()} - {"generate"}
    assert found(SAMPLES).keys() == names


def test_a_run_alone_is_the_archive_itself() -> None:
    (run,) = found(SAMPLES / "lr-spike").values()
    assert run.root == "."
    assert len(run.files) == 6


def test_every_run_of_the_corpus_is_one_run() -> None:
    by_name: dict[str, list[str]] = {}
    for root in found(CORPUS):
        by_name.setdefault(root.partition("/")[0], []).append(root)
    assert by_name.keys() == {path.name for path in CORPUS.iterdir()}
    # A Lightning version is a run of its own, also where a training went on in the next one.
    several = [
        root for roots in by_name.values() if len(roots) > 1 for root in roots if "/" in root
    ]
    assert all("/lightning_logs/version_" in root for root in several)


@pytest.mark.real
def test_public_artifacts(real: Path) -> None:
    runs = found(real)
    counts: dict[str, int] = {}
    for root in runs:
        counts[root.partition("/")[0]] = counts.get(root.partition("/")[0], 0) + 1
    several = {name: count for name, count in counts.items() if count > 1}
    assert several == {
        "autotrainer-case26": 5,
        "bigscience-out": 7,
        "caffe-bad-div": 4,
        "cs6910-ok": 6,
        "d2-gdp": 4,
        "dsx-randomltd-ok": 2,
        "lf-ok-glm2": 2,
        "llava-pbs": 8,
        "megatron-tb": 3,
        "mup-csv": 60,
        "nanogpt-csv": 4,
        "pinn-ok": 7,
        "tensorboard-testdata": 3,
        "wandb-fixtures": 10,
    }
    astra = next(run for root, run in runs.items() if root.startswith("astra"))
    assert len(astra.files) == 12, "the writers of four ranks are one run"
    assert counts.keys() >= {"orbax-ckpt", "resnet-th", "safetensors-samples"}


# --- layouts --------------------------------------------------------------------------------------


def version(metrics: str = FINITE_METRICS) -> dict[str, str]:
    return {"metrics.csv": metrics, "hparams.yaml": "lr: 0.1\n"}


def under(folder: str, files: dict[str, str]) -> dict[str, Path | str]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def test_lightning_versions_below_experiment_and_seed(tmp_path: Path) -> None:
    folders = ["a/seed0/version_0", "a/seed1/version_0", "b/lightning_logs/version_0"]
    folders.append("b/lightning_logs/version_1")
    for folder in folders:
        lay(tmp_path, under(folder, version()))
    assert list(found(tmp_path)) == folders


def test_a_hydra_job_is_one_run_with_all_that_lies_in_it(tmp_path: Path) -> None:
    for time in ("12-00-00", "12-30-00"):
        job = f"outputs/2025-01-01/{time}"
        lay(tmp_path, {f"{job}/.hydra/config.yaml": CONFIG, f"{job}/train.log": LOG})
        lay(tmp_path, under(f"{job}/lightning_logs/version_0", version()))
    runs = found(tmp_path)
    assert list(runs) == ["outputs/2025-01-01/12-00-00", "outputs/2025-01-01/12-30-00"]
    assert all(len(run.files) == 4 and "Hydra" in run.why for run in runs.values())


def test_hydra_multirun(tmp_path: Path) -> None:
    for number in range(3):
        job = f"multirun/2025-01-01/12-00-00/{number}"
        lay(tmp_path, {f"{job}/.hydra/overrides.yaml": "[]\n", f"{job}/main.log": LOG})
    assert [root[-2:] for root in found(tmp_path)] == ["/0", "/1", "/2"]


def test_wandb_runs_beside_each_other(tmp_path: Path) -> None:
    names = ["offline-run-20250101_000000-aaaaaaaa", "run-20250102_000000-bbbbbbbb"]
    lay(tmp_path, {f"project/wandb/{name}": WANDB for name in names})
    lay(tmp_path, {"project/train.py": "print()\n", "project/README.md": "# x\n"})
    os.symlink(names[1], tmp_path / "project/wandb/latest-run")
    tree = open_tree(str(tmp_path))
    runs = list(find_runs(Kinds(tree, load_readers().parts)))
    assert [run.root for run in runs] == [f"project/wandb/{name}" for name in names]
    assert tree.problems == []


def test_wandb_inside_a_run_belongs_to_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lay(tmp_path, {f"{name}/wandb/run-20250101_000000-{name}": WANDB, f"{name}/train.log": LOG})
    assert list(found(tmp_path)) == ["a", "b"]


def test_mlflow(tmp_path: Path) -> None:
    for run in ("0a1b", "2c3d"):
        folder = f"mlruns/1/{run}"
        lay(tmp_path, {f"{folder}/meta.yaml": "artifact_uri: x\nlifecycle_stage: active\n"})
        lay(
            tmp_path,
            {f"{folder}/metrics/loss": "1700000000000 2.5 0\n", f"{folder}/params/lr": "1"},
        )
    lay(tmp_path, {"mlruns/1/meta.yaml": "artifact_location: x\n"})
    assert list(found(tmp_path)) == ["mlruns/1/0a1b", "mlruns/1/2c3d"]


def test_a_trainers_output_with_attempts_in_runs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lay(
            tmp_path,
            {f"{name}/output": TRAINER, f"{name}/output/runs/Jan01_h/{EVENTS.name}": EVENTS},
        )
        lay(tmp_path, {f"{name}/output/runs/Jan02_h/{EVENTS.name}": EVENTS})
    runs = found(tmp_path)
    assert list(runs) == ["a/output", "b/output"]
    assert sum("tfevents" in file.name for file in runs["a/output"].files) == 2


def test_an_output_inside_another_is_a_run_of_its_own(tmp_path: Path) -> None:
    lay(tmp_path, {"output": TRAINER, "output/second": TRAINER})
    runs = found(tmp_path)
    assert set(runs) == {"output", "output/second"}
    assert not any("second" in file.path for file in runs["output"].files)


def test_many_logs_in_one_folder(tmp_path: Path) -> None:
    lay(tmp_path, {"run1.log": LOG, "run2.log": LOG, "run2.yaml": CONFIG, "notes.txt": "hello\n"})
    lay(tmp_path, {"run1/model.safetensors": WEIGHTS})
    runs = found(tmp_path)
    assert list(runs) == ["run1.log", "run2.log"]
    assert [f.path for f in runs["run1.log"].files] == ["run1.log", "run1/model.safetensors"]
    assert [f.path for f in runs["run2.log"].files] == ["run2.log", "run2.yaml"]


def test_jobs_of_a_scheduler(tmp_path: Path) -> None:
    lay(tmp_path, {f"logs/slurm-{job}.{end}": LOG for job in (41, 42) for end in ("out", "err")})
    runs = found(tmp_path)
    assert list(runs) == ["logs/slurm-41.err", "logs/slurm-42.err"]
    assert all(len(run.files) == 2 for run in runs.values())


def test_requeued_jobs_in_the_folder_of_their_checkpoints_are_attempts(tmp_path: Path) -> None:
    for step in (50, 100):
        lay(tmp_path, {f"run/checkpoint-{step}/model.safetensors": WEIGHTS})
    lay(tmp_path, {"run/slurm-41.out": LOG, "run/slurm-42.out": LOG})
    (run,) = found(tmp_path).values()
    assert run.root == "run"
    assert len(run.files) == 4


def test_streams_ranks_and_rotations_are_one_run(tmp_path: Path) -> None:
    names = ["train.log", "train.log.1", "stderr.log", "log.txt.rank1", "train_rank_2.log"]
    lay(tmp_path, {f"run/{name}": LOG for name in names})
    lay(tmp_path, {"run/metrics.csv": FINITE_METRICS})
    (run,) = found(tmp_path).values()
    assert len(run.files) == 6


def test_metrics_in_a_file_each_are_one_run(tmp_path: Path) -> None:
    lay(tmp_path, {"run/loss.csv": "step,loss\n0,2.5\n1,2.4\n", "run/lr.csv": "step,lr\n0,1e-3\n"})
    (run,) = found(tmp_path).values()
    assert run.root == "run"


@pytest.mark.parametrize("inside", ["a", "a/seed0"])
def test_checkpoints_apart_from_logs(tmp_path: Path, inside: str) -> None:
    other = inside.replace("a", "b", 1)
    for name in (inside, other):
        lay(tmp_path, {f"logs/{name}/train.log": LOG})
        lay(tmp_path, {f"checkpoints/{name}/step_50.safetensors": WEIGHTS})
    lay(tmp_path, {"checkpoints/c/step_50.safetensors": WEIGHTS})
    runs = found(tmp_path)
    assert set(runs) == {f"logs/{inside}", f"logs/{other}", "checkpoints/c"}
    assert len(runs[f"logs/{inside}"].files) == 2
    assert "checkpoints" in runs[f"logs/{inside}"].why


def test_checkpoint_files_apart_from_log_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lay(tmp_path, {f"logs/{name}.log": LOG, f"checkpoints/{name}.safetensors": WEIGHTS})
    runs = found(tmp_path)
    assert set(runs) == {"logs/a.log", "logs/b.log"}
    assert all(len(run.files) == 2 for run in runs.values())


def test_folders_of_different_records_are_one_run(tmp_path: Path) -> None:
    for name in ("x", "y"):
        lay(tmp_path, {f"{name}/logs/out.log": LOG, f"{name}/tb/{EVENTS.name}": EVENTS})
        lay(tmp_path, {f"{name}/checkpoints/step_50.safetensors": WEIGHTS})
    runs = found(tmp_path)
    assert list(runs) == ["x", "y"]
    assert all(len(run.files) == 3 for run in runs.values())


def test_two_runs_of_different_records_are_not_one(tmp_path: Path) -> None:
    lay(tmp_path, {"x/out.log": LOG, f"y/{EVENTS.name}": EVENTS})
    assert list(found(tmp_path)) == ["x", "y"]


def test_writers_below_a_writer_and_counterparts_are_one_run(tmp_path: Path) -> None:
    for name in ("m", "n"):
        lay(tmp_path, {f"{name}/{EVENTS.name}": EVENTS, f"{name}/loss_train/{EVENTS.name}": EVENTS})
        lay(tmp_path, {f"{name}/loss_val/{EVENTS.name}": EVENTS})
    for name in ("train", "validation"):
        lay(tmp_path, {f"keras/{name}/{EVENTS.name}": EVENTS})
    assert list(found(tmp_path)) == ["keras", "m", "n"]


def test_runs_in_the_folder_of_a_writer(tmp_path: Path) -> None:
    lay(tmp_path, {f"runs/{name}/{EVENTS.name}": EVENTS for name in ("x", "y", "z")})
    assert list(found(tmp_path)) == ["runs/x", "runs/y", "runs/z"]


def test_checkpoints_without_records(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lay(tmp_path, {f"{name}/step_{n}.safetensors": WEIGHTS for n in (50, 100)})
    assert list(found(tmp_path)) == ["a", "b"]


def test_nothing_to_find(tmp_path: Path) -> None:
    lay(tmp_path, {"src/main.py": "print()\n", "README.md": "# x\n", "data.csv": "a,b\n1,2\n"})
    assert found(tmp_path) == {}


# --- narrowing ------------------------------------------------------------------------------------


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for name in ("exp1/seed0", "exp1/seed1", "exp2/seed0"):
        lay(tmp_path, {f"{name}/train.log": LOG, f"{name}/tb/{EVENTS.name}": EVENTS})
    return tmp_path


@pytest.mark.parametrize(
    ("limits", "roots"),
    [
        ({}, ["exp1/seed0", "exp1/seed1", "exp2/seed0"]),
        ({"run_glob": "exp*"}, ["exp1", "exp2"]),
        ({"run_glob": "exp1/*"}, ["exp1/seed0", "exp1/seed1"]),
        ({"run_glob": "seed0"}, ["exp1/seed0", "exp2/seed0"]),
        ({"run_glob": "tb"}, ["exp1/seed0/tb", "exp1/seed1/tb", "exp2/seed0/tb"]),
        ({"exclude": ("exp1",)}, ["exp2/seed0"]),
        ({"exclude": ("*/seed0",)}, ["exp1/seed1"]),
        ({"max_depth": 1}, ["exp1", "exp2"]),
        ({"max_depth": 0}, ["."]),
    ],
)
def test_the_search_is_narrowed(sweep: Path, limits: dict[str, object], roots: list[str]) -> None:
    assert list(found(sweep, **limits)) == roots


def test_excluded_files_do_not_belong_to_a_run(sweep: Path) -> None:
    assert all(len(run.files) == 1 for run in found(sweep, exclude=("*tfevents*",)).values())


# --- what cannot be looked into -------------------------------------------------------------------


def test_loops_and_links_out_are_told(
    sweep: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    os.symlink(sweep, sweep / "exp1" / "loop")
    os.symlink(outside, sweep / "exp2" / "out")
    tree = open_tree(str(sweep))
    assert len(list(find_runs(Kinds(tree, load_readers().parts)))) == 3
    told = {str(problem.source): problem.text for problem in tree.problems}
    assert told == {
        "exp1/loop": "a link loop; not followed",
        "exp2/out": "a link out of the archive; not followed",
    }


def test_a_folder_that_may_not_be_read_is_told(
    open_folder: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    lay(open_folder, {"a/train.log": LOG, "b/train.log": LOG})
    (open_folder / "b").chmod(0)
    with unprivileged():
        tree = open_tree(str(open_folder))
        roots = [run.root for run in find_runs(Kinds(tree, load_readers().parts))]
    assert roots == ["a"]
    assert [str(p.source) for p in tree.problems] == ["b"]
    assert "Permission denied" in tree.problems[0].text


def test_a_file_that_may_not_be_read_is_told(
    open_folder: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    lay(open_folder, {f"{name}/train.log": LOG for name in "abc"})
    (open_folder / "b" / "train.log").chmod(0)
    with unprivileged():
        tree = open_tree(str(open_folder))
        roots = [run.root for run in find_runs(Kinds(tree, load_readers().parts))]
    assert roots == ["a", "c"]
    (problem,) = tree.problems
    assert str(problem.source) == "b/train.log"
    assert problem.text == "cannot be read, so not taken for a run: Permission denied"


def test_folders_without_end(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(150):
        deep = deep / "d"
    lay(deep, {"train.log": LOG})
    lay(tmp_path, {"train.log": LOG})
    assert len(found(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("train.log", ""),
        ("train.log.3", ""),
        ("stdout.log.gz", ""),
        ("log.txt.rank1", ""),
        ("train_rank_0.log", ""),
        ("slurm-123.out", "slurm-123"),
        ("job.sh.o6879377", "job-sh-6879377"),
        ("job.sh.e6879377", "job-sh-6879377"),
        ("run-exp-tag-loss.csv", "run-exp"),
        ("lr1e-4_train.log", "lr1e-4"),
    ],
)
def test_what_remains_of_a_name(name: str, stem: str) -> None:
    assert stem_of(name) == stem
