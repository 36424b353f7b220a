"""Statements that name several layers: which of them is the first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nanautopsy.autopsy import analyze
from nanautopsy.layers import from_the_loss
from nanautopsy.model import Onset
from nanautopsy.readers.text.module_calls import ModuleCalls
from nanautopsy.readers.text.named_layer import layer
from nanautopsy.readers.text.named_list import alone, layers_of
from nanautopsy.readers.text.nonfinite_text import said_value

DEAD = 9
FORWARD = ["stem.weight", "stem.bias", "fc.0.weight", "fc.0.bias", "fc.1.weight", "fc.1.bias"]
REST = ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("bad leaves: p/Dense_1/kernel, p/mu/bias", ("p/Dense_1/kernel", "p/mu/bias")),
        ("NaN grads in ['a.0.bias', 'a.0.weight']", ("a.0.bias", "a.0.weight")),
        ("nan: fc1 fc2", ("fc1", "fc2")),
        ("['params']['l1'], ['params']['l2']", ("params/l1", "params/l2")),
        ("see train.py, model.py: loss is nan", ()),
        ("NaN in fc1.weight", ()),
    ],
)  # fmt: skip
def test_lists(text: str, names: tuple[str, ...]) -> None:
    assert layers_of(text) == (names, False)


def test_a_list_that_was_cut() -> None:
    assert layers_of("fc1.weight, fc1.bias, ... (6 more)") == (("fc1.weight", "fc1.bias"), True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  - layers.0.weight (nan=3)", "layers.0.weight"),
        ("[check]   .embed.weight", "embed.weight"),
        ("    model.layers.1.bias torch.Size([3])", "model.layers.1.bias"),
        ("Traceback (most recent call last):", None),
        ("step 3 loss 2.0", None),
        ("loss is nan", None),
    ],
)
def test_a_line_of_a_list(text: str, name: str | None) -> None:
    assert alone(text) == name


@pytest.mark.parametrize(
    ("listed", "first"),
    [
        (FORWARD, "fc.1.bias"),
        (FORWARD[::-1], "fc.1.bias"),
        (["enc.bias", "enc.weight", "a.bias", "a.weight"], "enc.bias"),
        (["z.weight", "z.bias", "b.weight", "b.bias"], "b.bias"),
        (["p/Dense_0/bias", "p/Dense_10/bias", "p/Dense_2/bias"], "p/Dense_10/bias"),
    ],
    ids=["defined", "reached", "reached, without numbers", "defined, without numbers", "sorted"],
)  # fmt: skip
def test_the_first_of_a_backward_pass(listed: list[str], first: str) -> None:
    assert from_the_loss(listed)[0] == first


def onset_of(tmp_path: Path, said: Callable[[list[str]], str], above: bool) -> Onset:
    """Gradients of all but the head turn at a step whose loss is finite, then everything."""
    lines = []
    for step in range(1, DEAD + 3):
        names = FORWARD if step == DEAD else FORWARD + REST
        row = f"step {step} loss {'nan' if step > DEAD else f'{2 - 0.1 * step:.3f}'}\n"
        told = said(names) if step >= DEAD else ""
        lines.append(told + row if above else row + told)
    (tmp_path / "train.log").write_text("".join(lines))
    onset = analyze(tmp_path).onset
    assert onset is not None
    return onset


@pytest.mark.parametrize(
    "said",
    [
        lambda names: f"non-finite gradients: {', '.join(names)}\n",
        lambda names: f"!! NaN grads in {names[::-1]}\n",
        lambda names: (
            f"gradient check: {len(names)}/8 tensors not finite\n"
            + "".join(f"    {name}\n" for name in names)
        ),
        lambda names: "".join(f"NaN gradient in {name}\n" for name in names),
    ],
)
def test_a_partial_backward_pass_is_of_the_row_above(
    tmp_path: Path, said: Callable[[list[str]], str]
) -> None:
    onset = onset_of(tmp_path, said, above=False)
    assert onset.step == DEAD
    assert onset.layers[0] == "fc.1.bias"


def test_the_line_of_a_function_that_logs_is_no_step(tmp_path: Path) -> None:
    def row(n: int, line: int, said: str) -> str:
        return f"2026-01-03 11:22:{n:02d}.123 | WARNING  | __main__:step:{line} - {said}\n"

    rows = [row(n, 77, f"iter {n} loss {2 - 0.1 * n:.3f}") for n in range(1, 8)]
    rows += [row(8, 42, f"grad of {name} has NaN at iter 8") for name in FORWARD[::-1]]
    rows += [row(8, 77, "iter 8 loss 1.2"), row(9, 77, "iter 9 loss nan")]
    (tmp_path / "train.log").write_text("".join(rows))
    onset = analyze(tmp_path).onset
    assert onset is not None and onset.step == 8
    assert onset.layers[0] == "fc.1.bias"


def test_gradients_beside_a_lost_loss_tell_nothing(tmp_path: Path) -> None:
    rows = [f"step {n} loss {2 - 0.1 * n:.3f}\n" for n in range(1, 9)]
    rows += [f"step {n} loss nan\nnon-finite gradients: {', '.join(FORWARD)}\n" for n in (9, 10)]
    (tmp_path / "train.log").write_text("".join(rows))
    onset = analyze(tmp_path).onset
    assert onset is not None and onset.step == 9
    assert onset.layers == ()


@pytest.mark.parametrize(
    ("text", "value", "name"),
    [
        ("[hook] to_scale (Exp): output has 0 NaN / 1 Inf", "inf", "to_scale"),
        ("NaN gradient reached fc1 Linear", "nan", "fc1"),
        ("ffn_norm (RMSNorm): output has 3 NaN", "nan", "ffn_norm"),
        ("NaN gradient flowing out of fc1 Linear -> [(4, 96)]", "nan", "fc1"),
        ("layers.1.ffn has_nan=True has_inf=False", "nan", "layers.1.ffn"),
        ("Layer: encoder.0 | NaN: True | Inf: False", "nan", "encoder.0"),
        ("encoder.block.3 output: 12 NaNs, 0 Infs out of 4096", "nan", "encoder.block.3"),
        ("NaN in output of layers.3.dropout", "nan", "layers.3.dropout"),
        ("not all finite: encoder.2.attn (min=nan max=nan)", "nan", "encoder.2.attn"),
        ("non-finite leaf at ['decoder']['layers_1']['kernel']", "nan", "decoder/layers_1/kernel"),
        ("first NaN appears in layer 7 (mlp.down_proj)", "nan", "layer 7 (mlp.down_proj)"),
        ("check layers.1.attn.wq: in=ok out=NaN/Inf", "nan", "layers.1.attn.wq"),
        ("bn3: NaN output (input ok)", "nan", "bn3"),
        ("Layer conv3: output NaN!", "nan", "conv3"),
        ("activation overflow at blocks.7.mlp.act: max=inf", "inf", "blocks.7.mlp.act"),
        ("Step 3/10, loss: 2.1, grad_norm: nan, lr: 0.001", None, None),
        ("0 of 48 layers have NaN gradients", None, None),
        ("no layer has NaN gradients", None, None),
        ("layers.1.ffn has_nan=False has_inf=False", None, "layers.1.ffn"),
        ("check layers.1.attn.wq: in=ok out=ok", None, "layers.1.attn.wq"),
        ("encoder.block.3 output: 0 NaNs, 0 Infs out of 4096", None, "encoder.block.3"),
        ("trainer.detect_nan=True", None, None),
        ("monitor.layers.skip_nan: True", None, None),
    ],
)
def test_flags_and_counts(text: str, value: str | None, name: str | None) -> None:
    assert said_value(text) == value
    assert name is None or layer(text) == name


def test_the_module_of_a_forward_trace() -> None:
    calls = ModuleCalls()
    library = "/env/site-packages/torch/nn/modules/module.py"
    for path, code in [
        ("/a/train.py", "loss = criterion(model(x), y)"),
        (library, "return self._call_impl(*args, **kwargs)"),
        (library, "return forward_call(*args, **kwargs)"),
        ("/a/net.py", "x = self.encoder.layers[2](x)"),
        (library, "return self._call_impl(*args, **kwargs)"),
        ("/a/net.py", "return self.pool(h)"),
        (library, "return self._call_impl(*args, **kwargs)"),
        ("/a/net.py", "return h.pow(2).sum(1).sqrt()"),
    ]:
        calls.frame(path)
        calls.source(code)
    assert calls.module == "encoder.layers[2].pool"
