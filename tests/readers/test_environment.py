"""Package lists, locks and environment reports: exact versions, and what a machine is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, read_file

from nanautopsy.model import EnvironmentRecord, FileHead, Record, Skipped
from nanautopsy.readers.environment import READER

FREEZE = """# a comment
absl-py==2.1.0
Jinja2==3.1.4
ruamel.yaml.clib==0.2.8 ; python_version < "3.13"
torch==2.1.0+cu118
flash-attn @ https://example.org/whl/flash_attn-2.5.8+cu122torch2.1-cp310-cp310-linux_x86_64.whl
-e git+https://example.org/repo.git@0123abc#egg=mine
local @ file:///build/local
numpy>=1.20
scipy
transformers[torch]==4.39.3 \\
    --hash=sha256:00
"""
PIP_LIST = """Package      Version      Editable project location
------------ ------------ -------------------------
accelerate   0.28.0
deepspeed    0.14.2+f0    /somewhere
"""
CONDA_LIST = """# packages in environment at /opt/conda/envs/x:
#
# Name                    Version                   Build  Channel
python                    3.10.13         h955ad1f_0    conda-forge
pytorch                   2.1.0           py3.10_cuda11.8_cudnn8.7.0_0    pytorch
pytorch-cuda              11.8                 h7e8668a_5    pytorch
numpy                     1.25.0          py310_0
numpy                     1.26.4                   pypi_0    pypi
"""
CONDA_EXPLICIT = """# This file may be used to create an environment using:
@EXPLICIT
https://repo.example.org/pkgs/main/linux-64/ld_impl_linux-64-2.38-h1181459_1.conda
https://repo.example.org/pkgs/main/linux-64/numpy-1.26.4-py310h5f9d8c6_0.tar.bz2#ab
"""
CONDA_YAML = """name: x
channels: [defaults]
dependencies:
  - python=3.10.13=h955ad1f_0
  - conda-forge::numpy=1.25.0
  - scipy>=1.0
  - pip
  - pip:
      - numpy==1.26.4
      - torch==2.1.0+cu118
prefix: /opt/x
"""
UV_LOCK = """version = 1
requires-python = ">=3.10"

[[package]]
name = "Torch"
version = "2.4.0"
source = { registry = "https://example.org/simple" }

[[package]]
name = "numpy"
version = "1.26.4"

[[package]]
name = "numpy"
version = "2.1.0"
"""
COLLECT_ENV = """Collecting environment information...
PyTorch version: 2.1.0+cu118
Is debug build: False
CUDA used to build PyTorch: 11.8
ROCM used to build PyTorch: N/A

OS: Ubuntu 22.04.3 LTS (x86_64)
Python version: 3.10.13 (main, Sep 11 2023, 13:44:35) [GCC 11.2.0] (64-bit runtime)
CUDA runtime version: 11.8.89
GPU models and configuration: GPU 0: NVIDIA A100-SXM4-80GB
GPU 1: NVIDIA A100-SXM4-80GB
Nvidia driver version: 535.104.05
cuDNN version: Could not collect

Versions of relevant libraries:
[pip3] numpy==1.26.4
[pip3] torch==2.1.0+cu118
[conda] numpy                     1.26.4                   pypi_0    pypi
"""
TRANSFORMERS_ENV = """Copy-and-paste the text below in your GitHub issue and FILL OUT

- `transformers` version: 4.39.3
- Platform: Linux-5.15.0-x86_64-with-glibc2.35
- Python version: 3.10.13
- Huggingface_hub version: 0.22.2
- Safetensors version: 0.4.2
- Accelerate version: 0.28.0
- Accelerate config:    not found
- PyTorch version (GPU?): 2.1.0+cu118 (True)
- Tensorflow version (GPU?): not installed (NA)
- Using GPU in script?: <fill in>
"""
DS_REPORT = """--------------------------------------------------
op name ................ installed .. compatible
--------------------------------------------------
async_io ............... \x1b[93m[NO]\x1b[0m ....... \x1b[93m[NO]\x1b[0m
DeepSpeed general environment info:
torch install path ............... ['/x/torch']
torch version .................... 2.1.0+cu118
deepspeed install path ........... ['/x/deepspeed']
deepspeed info ................... 0.14.2, unknown, unknown
torch cuda version ............... 11.8
nvcc version ..................... 11.8
deepspeed wheel compiled w. ...... torch 2.1, cuda 11.8
"""
NVIDIA_SMI = """
| NVIDIA-SMI 535.104.05             Driver Version: 535.104.05   CUDA Version: 12.2     |
|-----------------------------------------+----------------------+----------------------+
|   0  Tesla V100-SXM2-32GB           On  | 00000000:00:1E.0 Off |                    0 |
|   1  Tesla V100-SXM2-32GB           On  | 00000000:00:1F.0 Off |                    0 |
"""


def read(text: str | bytes, tmp_path: Path, name: str) -> list[Record]:
    path = tmp_path / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(READER, path, name)


def record_of(text: str | bytes, tmp_path: Path, name: str) -> EnvironmentRecord:
    (record,) = of_type(read(text, tmp_path, name), EnvironmentRecord)
    return record


def claimed(text: str, name: str) -> bool:
    data = text.encode()
    return READER.claim(FileHead(name, len(data), data)) is not None


@pytest.mark.parametrize("name", ["requirements.txt", "pip_freeze.txt", "env.log"])
def test_pip_freeze(tmp_path: Path, name: str) -> None:
    text = FREEZE if name != "env.log" else "\n".join(FREEZE.splitlines()[:5])
    packages = record_of(text, tmp_path, name).packages
    assert packages["torch"] == "2.1.0+cu118" and packages["jinja2"] == "3.1.4"
    assert packages["ruamel-yaml-clib"] == "0.2.8"
    if name != "env.log":
        assert packages["flash-attn"] == "2.5.8+cu122torch2.1"
        assert packages["transformers"] == "4.39.3"
    assert not {"numpy", "scipy", "local", "mine"} & set(packages)


def test_ranges_alone_say_nothing(tmp_path: Path) -> None:
    records = read("torch>=2.0\nnumpy\n", tmp_path, "requirements.txt")
    assert of_type(records, Skipped)[0].reason == "no exact version in it"


@pytest.mark.parametrize(
    ("text", "name", "packages", "facts"),
    [
        (PIP_LIST, "pip_list.txt", {"accelerate": "0.28.0", "deepspeed": "0.14.2+f0"}, {}),
        (
            '[{"name": "Torch", "version": "2.1.0"}, {"name": 3}]',
            "packages.json",
            {"torch": "2.1.0"},
            {},
        ),
        (
            CONDA_LIST,
            "conda.txt",
            {"torch": "2.1.0", "pytorch-cuda": "11.8", "numpy": "1.26.4"},
            {"python": "3.10.13", "cuda": "11.8"},
        ),
        (
            CONDA_EXPLICIT,
            "spec-file.txt",
            {"ld-impl-linux-64": "2.38", "numpy": "1.26.4"},
            {},
        ),
        (
            CONDA_YAML,
            "conda-environment.yaml",
            {"numpy": "1.26.4", "torch": "2.1.0+cu118"},
            {"python": "3.10.13"},
        ),
        (
            UV_LOCK,
            "uv.lock",
            {"torch": "2.4.0"},
            {"packages_note": "locked versions, not necessarily the installed ones"},
        ),
        (
            '{"default": {"torch": {"version": "==2.1.0"}, "x": {}}}',
            "Pipfile.lock",
            {"torch": "2.1.0"},
            {"packages_note": "locked versions, not necessarily the installed ones"},
        ),
        (
            '{"python": "3.10.14", "packages": {"torch": "2.3.0", "deepspeed": "0.14.2"}}',
            "environment.json",
            {"torch": "2.3.0", "deepspeed": "0.14.2"},
            {"python": "3.10.14"},
        ),
        (
            COLLECT_ENV,
            "collect_env.txt",
            {"numpy": "1.26.4", "torch": "2.1.0+cu118"},
            {
                "python": "3.10.13",
                "os": "Ubuntu 22.04.3 LTS (x86_64)",
                "cuda": "11.8",
                "cuda_runtime": "11.8.89",
                "driver": "535.104.05",
                "gpu": "NVIDIA A100-SXM4-80GB",
                "gpu_count": "2",
            },
        ),
        (
            TRANSFORMERS_ENV,
            "env.txt",
            {
                "transformers": "4.39.3",
                "huggingface-hub": "0.22.2",
                "safetensors": "0.4.2",
                "accelerate": "0.28.0",
                "torch": "2.1.0+cu118",
            },
            {"python": "3.10.13", "os": "Linux-5.15.0-x86_64-with-glibc2.35"},
        ),
        (
            DS_REPORT,
            "ds_report.txt",
            {"torch": "2.1.0+cu118", "deepspeed": "0.14.2"},
            {"cuda": "11.8", "nvcc": "11.8"},
        ),
        (
            NVIDIA_SMI,
            "nvidia-smi.txt",
            {},
            {
                "driver": "535.104.05",
                "cuda_driver": "12.2",
                "gpu": "Tesla V100-SXM2-32GB",
                "gpu_count": "2",
            },
        ),
    ],
)
def test_formats(
    tmp_path: Path, text: str, name: str, packages: dict[str, str], facts: dict[str, str]
) -> None:
    record = record_of(text, tmp_path, name)
    assert dict(record.packages) == packages
    assert dict(record.facts) == facts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "requirements.txt"),
        ("hello world\nthis is text\n", "notes.txt"),
        ("a==b\nif x==1:\n", "code.py"),
        ("lr: 1\n", "environment.yaml"),
        (COLLECT_ENV + "step 1 loss: nan\n", "train.log"),
        ('{"loss": 1}\n', "log.jsonl"),
        ("step,loss\n1,2\n", "metrics.csv"),
        ("name: ci\njobs: x\n", "env.yml"),
        ('{"env": "CartPole-v1", "torch_compile": "2.0"}', "env.json"),
    ],
)
def test_not_claimed(text: str, name: str) -> None:
    assert not claimed(text, name)


def test_utf16_from_powershell(tmp_path: Path) -> None:
    data = "\ufefftorch==2.1.0\r\nnumpy==1.26.4\r\n".encode("utf-16-le")
    assert record_of(data, tmp_path, "requirements.txt").packages["torch"] == "2.1.0"


@given(st.data())
@settings(deadline=None)
def test_truncation_anywhere(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    texts = {"requirements.txt": FREEZE, "environment.yml": CONDA_YAML, "uv.lock": UV_LOCK}
    texts |= {"ce.txt": COLLECT_ENV, "conda.txt": CONDA_LIST, "p.json": '[{"name":"a","version":'}
    name = data.draw(st.sampled_from(sorted(texts)))
    size = data.draw(st.integers(0, len(texts[name])))
    path = tmp_path_factory.mktemp("cut") / name
    path.write_text(texts[name][:size] + data.draw(st.text(max_size=20)), errors="replace")
    if READER.claim(head_of(path)) is not None:
        for record in read_file(READER, path):
            assert isinstance(record, (EnvironmentRecord, Skipped))


@pytest.mark.real
@pytest.mark.skipif(not SHARED.exists(), reason="public artifacts are not here")
def test_public_requirements() -> None:
    (path,) = (SHARED / "cs6910-ok").rglob("requirements.txt")
    (record,) = of_type(read_file(READER, path), EnvironmentRecord)
    assert record.packages["certifi"] == "2022.12.7"
