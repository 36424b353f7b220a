"""What a driver says of broken memory counts; a counter that stands at zero does not."""

from __future__ import annotations

import pytest
from builders import NAN, event, named_cause, series

LOSS = series("loss", [2.0, 1.9, 1.8, 1.9, 1.8, NAN, NAN])


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: Xid (PCI:0000:3b:00): 48, DBE (double bit error) 0x2",
        "EDAC MC0: 1 UE uncorrectable error on CPU_SrcID#0",
    ],
)
def test_broken_memory(text: str) -> None:
    assert named_cause(LOSS, event("hardware-error", text, 5)) == "hardware-fault"


@pytest.mark.parametrize(
    "text",
    [
        "Uncorrectable ECC errors: 0",
        "GPU 0: double bit ECC error count 0, XID none",
        "ECC Errors: volatile double bit: 0",
        "0 uncorrectable errors",
        "dcgm: Uncorrectable ECC errors since boot: 0",
    ],
)
def test_a_counter_at_zero(text: str) -> None:
    assert named_cause(LOSS, event("hardware-error", text, 1)) is None
