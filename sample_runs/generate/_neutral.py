"""Run a training script where nothing of the machine can enter its artifacts.

A sample run is committed as the training libraries wrote it, never edited afterwards. So the
surroundings are made neutral before: a fresh directory under ``/tmp/run``, the host ``localhost``,
the user ``trainer``, one thread and fixed seeds. ``publish`` then copies the result into
``sample_runs/`` and refuses it if a name of this machine is still in there.

Import this module before torch or jax: thread counts are read when those are loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import os
import platform
import random
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

HOST = "localhost"
USER = "trainer"
BASE = Path("/tmp/run")
SAMPLES = Path(__file__).resolve().parents[1]
MAX_BYTES = 1_000_000
_CLONE_NEWUTS = 0x04000000  # a host name of its own (Linux, where the user may)

_REAL_HOSTS = {socket.gethostname(), platform.node(), os.uname().nodename} - {"", HOST}
_REAL_HOME = os.path.expanduser("~")

_NEUTRAL_ENV = {
    "HOSTNAME": HOST,
    "USER": USER,
    "LOGNAME": USER,
    "USERNAME": USER,
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_HOST": HOST,
    "WANDB_USERNAME": USER,
}
os.environ.update(_NEUTRAL_ENV)


def neutral_run(name: str, *, seed: int = 0) -> Path:
    """Make ``/tmp/run/<name>`` afresh, enter it, hide the machine, fix the seeds; return it."""
    directory = BASE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    os.chdir(directory)
    home = BASE / "home"
    home.mkdir(exist_ok=True)
    os.environ["HOME"] = str(home)
    os.environ["PWD"] = str(directory)
    _hide_host()
    _fix_seeds(seed)
    return directory


def publish(src: Path, sample_name: str, *, max_bytes: int = MAX_BYTES) -> Path:
    """Replace ``sample_runs/<sample_name>`` by ``src``, unless it names this machine or is big."""
    files = sorted(path for path in src.rglob("*") if path.is_file())
    if not files:
        raise SystemExit(f"{src}: the run left nothing behind")
    size = sum(path.stat().st_size for path in files)
    if size > max_bytes:
        raise SystemExit(f"{src}: {size:,} bytes, allowed are {max_bytes:,}")
    traces = [trace for path in files for trace in _machine_traces(path, src)]
    if traces:
        raise SystemExit("the run names this machine:\n  " + "\n  ".join(traces))
    target = SAMPLES / sample_name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(src, target)
    print(f"{sample_name}: {len(files)} files, {size:,} bytes", file=sys.stderr)
    return target


@contextlib.contextmanager
def stdout_to(path: Path) -> Iterator[None]:
    """Send what is printed to ``path``, as ``python train.py > train.log`` would."""
    with path.open("w", encoding="utf-8", buffering=1) as log, contextlib.redirect_stdout(log):
        yield


def _hide_host() -> None:
    """Answer ``localhost`` and ``trainer`` to whoever asks, child processes included if allowed."""
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).unshare(_CLONE_NEWUTS) == 0:
            socket.sethostname(HOST)
    uname = platform.uname()._replace(node=HOST)
    socket.gethostname = lambda: HOST
    socket.getfqdn = lambda name="": HOST
    platform.node = lambda: HOST
    platform.uname = lambda: uname
    getpass.getuser = lambda: USER


def _fix_seeds(seed: int) -> None:
    """Seed Python, NumPy and, where they are installed, torch; one torch thread."""
    random.seed(seed)
    with contextlib.suppress(ImportError):
        import numpy as np

        np.random.seed(seed)
    with contextlib.suppress(ImportError):
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)


def _machine_traces(path: Path, root: Path) -> Iterator[str]:
    """Places in one file, its name included, that give away where it was made."""
    name = path.relative_to(root).as_posix()
    homes = {_REAL_HOME, "/root", sys.prefix, sys.base_prefix, str(SAMPLES.parent)} - {"/", ""}
    places = "|".join(re.escape(home) for home in sorted(homes))
    hosts = "|".join(re.escape(host) for host in sorted(_REAL_HOSTS))
    place = re.compile(rf"(?:{places})(?![A-Za-z])".encode())
    host = re.compile(rf"(?<![A-Za-z0-9])(?:{hosts})(?![A-Za-z0-9])".encode()) if hosts else None
    # A short host name occurs by chance in weights: it is looked for in stretches of text only.
    text = re.compile(rb"[\x20-\x7e]{8,}")
    for where, content in (("name", name.encode()), ("content", path.read_bytes())):
        for match in place.finditer(content):
            yield f"{name} ({where}): {match.group().decode()}"
        for stretch in text.finditer(content):
            if host and host.search(stretch.group()):
                yield f"{name} ({where}): {stretch.group()[:120].decode()}"
