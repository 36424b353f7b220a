"""Facts that known defects ask for: what computes, in how many bits, split how."""

from __future__ import annotations

import pytest

from nanautopsy.facts import derive
from nanautopsy.model import ConfigRecord, EnvironmentRecord, Scalar, Source


def stated(
    values: dict[str, Scalar] | None = None,
    gpu: str | None = None,
    packages: dict[str, str] | None = None,
) -> dict[str, Scalar]:
    configs = [ConfigRecord("training", values, Source("args.json"))] if values else []
    machine = EnvironmentRecord(
        Source("env.json"), packages=packages or {}, facts={"gpu": gpu} if gpu else {}
    )
    return {name: fact.value for name, fact in derive(configs, [machine], (), ()).items()}


@pytest.mark.parametrize(
    ("values", "gpu", "packages", "device"),
    [
        ({"device": "cuda:0"}, None, None, "cuda"),
        ({"device": "mps"}, None, None, "mps"),
        ({"trainer.accelerator": "tpu"}, None, None, "tpu"),
        ({"device": "npu:3"}, None, None, "npu"),
        ({"use_mps_device": True}, None, None, "mps"),
        ({"use_mps_device": False}, None, None, None),
        ({"accelerator": "gpu"}, None, None, None),
        ({"zero_optimization.offload_optimizer.device": "cpu"}, None, None, None),
        ({"device": "cuda"}, None, {"torch": "2.4.0+rocm6.1"}, "rocm"),
        (None, None, {"torch": "2.4.0+cu121"}, None),
        (None, "AMD Instinct MI300X", None, "rocm"),
        (None, "Apple M2 Max", None, "mps"),
        (None, "Ascend910B3", None, "npu"),
        (None, "NVIDIA H100 80GB HBM3", None, None),
        (None, None, None, None),
    ],
)
def test_what_computes(
    values: dict[str, Scalar] | None,
    gpu: str | None,
    packages: dict[str, str] | None,
    device: str | None,
) -> None:
    assert stated(values, gpu, packages).get("device") == device


@pytest.mark.parametrize(
    ("values", "fact", "value"),
    [
        ({"load_in_4bit": True}, "quantization_bits", 4),
        ({"quantization_config.load_in_8bit": "true"}, "quantization_bits", 8),
        ({"load_in_4bit": False, "load_in_8bit": False}, "quantization_bits", None),
        ({"quantization_bit": 4}, "quantization_bits", 4),
        ({"fp8": "hybrid"}, "fp8", True),
        ({"fp8": False}, "fp8", False),
        ({"fp8": None}, "fp8", None),
        ({"fp8_format": "e4m3"}, "fp8", True),
        ({"tensor-model-parallel-size": 8}, "tensor_parallel", 8),
        ({"pipeline_model_parallel_size": "2"}, "pipeline_parallel", 2),
        ({"parallel.tensor_parallel_degree": 4}, "tensor_parallel", 4),
        ({"per_device_train_batch_size": 4}, "micro_batch_size", 4),
        ({"train_micro_batch_size_per_gpu": "auto"}, "micro_batch_size", None),
        ({"fsdp_config.cpu_ram_efficient_loading": True}, "ram_efficient_loading", True),
        ({"fsdp_cpu_ram_efficient_loading": "true"}, "ram_efficient_loading", True),
    ],
)
def test_how_it_is_split_and_stored(values: dict[str, Scalar], fact: str, value: Scalar) -> None:
    assert stated(values).get(fact) == value
