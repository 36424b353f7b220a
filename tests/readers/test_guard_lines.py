"""What loops by hand say of steps that they skip, of gradients, and of parts with an index."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import of_type
from textlogs import events_of, points_of, read_text

from nanautopsy.model import ConfigRecord


@pytest.mark.parametrize(
    ("line", "scale"),
    [
        ("non-finite gradients at step 7, reducing loss scale to 8192", 8192.0),
        ("inf/nan in grads -> skip, scale 32768 -> 16384", 16384.0),
        ("[amp] overflow at iter 7: new loss scale = 4096.0", 4096.0),
        ("WARNING gradient overflow, loss scale reduced to 2048", 2048.0),
        ("amp: grads overflowed, step skipped, scale 65536.0 -> 32768.0", 32768.0),
        ("Gradient overflow at update 7 (scale was 4096, now 2048)", 2048.0),
        ("NaN detected in grads; backing off loss scale from 1024 to 512", 512.0),
    ],
)
def test_a_scaler_by_hand(tmp_path: Path, line: str, scale: float) -> None:
    records = read_text(tmp_path, f"step 7 loss 2.25\n{line}\nstep 8 loss 2.25\n")
    (skip,) = events_of(records, "overflow-skipped")
    assert (skip.step, skip.data["scale_after"]) == (7, scale)
    assert not events_of(records, "nonfinite-text")


@pytest.mark.parametrize(
    "line",
    ["Inf in logits after scaling by 0.125", "step 9 loss nan loss_scale 512", "new loss scale 64"],
)
def test_lines_that_skip_nothing(tmp_path: Path, line: str) -> None:
    records = read_text(tmp_path, f"step 7 loss 2.25\n{line}\n")
    assert not events_of(records, "overflow-skipped")


def test_a_gradient_that_is_counted_beside_its_loss(tmp_path: Path) -> None:
    line = "iter 230: gradient of 0.weight has 136 nan / 0 inf (loss=0.3303)\n"
    (said,) = events_of(read_text(tmp_path, line), "nonfinite-text")
    assert (said.step, said.data["quantity"], said.data["layer"]) == (230, "gradient", "0.weight")
    assert said.data["forward_sound"]
    assert said.step_exact
    assert not events_of(read_text(tmp_path, line.replace("136", "0")), "nonfinite-text")


def test_a_batch_that_is_dropped_for_its_gradient(tmp_path: Path) -> None:
    line = "bad gradient (norm=nan), loss was 0.0620 -> batch 140 dropped (1 so far)\n"
    records = read_text(tmp_path, "batch 139/300 loss=0.07 gnorm=0.5\n" + line)
    (said,) = events_of(records, "nonfinite-text")
    assert said.data["quantity"] == "gradient"
    assert ("gradient norm", "step") in points_of(records)


def test_a_guard_that_skips_an_optimizer_step_loses_no_state(tmp_path: Path) -> None:
    text = "step 3 loss 2.0\nWARNING grad norm is not finite, skipping optimizer step\n"
    records = read_text(tmp_path, text)
    assert not events_of(records, "state-not-restored")
    assert events_of(records, "nonfinite-text")
    assert events_of(read_text(tmp_path, "skipping optimizer state\n"), "state-not-restored")


def test_parts_with_an_index(tmp_path: Path) -> None:
    rows = [f"step {i} | critic {i}.5 | act[0]={i}.25 act[4]=2{i}.5\n" for i in range(3)]
    points = points_of(read_text(tmp_path, "".join(rows)))
    assert points["act/0", "step"] == ([0, 1, 2], [0.25, 1.25, 2.25])
    assert points["act/4", "step"] == ([0, 1, 2], [20.5, 21.5, 22.5])
    assert points["critic", "step"][1] == [0.5, 1.5, 2.5]


def test_one_index_may_be_another_on_the_next_line(tmp_path: Path) -> None:
    text = "step 1 loss 2.0 act[0]=1.5\nstep 1 loss 2.0 act[1]=7.5\n"
    assert not any(tag.startswith("act") for tag, _ in points_of(read_text(tmp_path, text)))


def test_a_cell_of_several_words(tmp_path: Path) -> None:
    text = "step 10  loss 2.33  tokens/expert [126, 143]  router max logit 41.7\n"
    assert points_of(read_text(tmp_path, text))["router max logit", "step"] == ([10], [41.7])


@pytest.mark.parametrize(
    ("line", "stated"),
    [
        ("dtype of weights: torch.float16", {"param_dtype": "float16"}),
        ("model loaded, dtype = torch.float16", {"param_dtype": "float16"}),
        ("Autoencoder in half precision", {"compute_dtype": "fp16"}),
        ("Using auto half precision backend", None),
        ("half precision: False", None),
        ("half precision is recommended on this GPU", None),
    ],
)
def test_the_format_of_a_model(tmp_path: Path, line: str, stated: dict[str, str] | None) -> None:
    found = [dict(r.values) for r in of_type(read_text(tmp_path, f"{line}\n"), ConfigRecord)]
    assert found == ([] if stated is None else [stated])


@pytest.mark.parametrize(
    ("line", "value", "layer"),
    [
        ("logit max 71234.0 exceeds fp16 range", 71234.0, None),
        ("absmax of layers.4.mlp output is 6.4e+04 (fp16 max 65504)", 6.4e4, "layers.4.mlp"),
        ("[act-watch] step 7 blocks.5.ffn peak=61216 limit=65504", 61216.0, "blocks.5.ffn"),
    ],
)
def test_a_magnitude_beside_the_limit(
    tmp_path: Path, line: str, value: float, layer: str | None
) -> None:
    records = read_text(tmp_path, f"step 7 loss 2.25\n{line}\n")
    (said,) = events_of(records, "magnitude-near-limit")
    assert (said.step, said.data["value"], said.data.get("layer")) == (7, value, layer)


@pytest.mark.parametrize(
    "line",
    [
        "mask value -65504 for padding of 20000 tokens",
        "step 20000 fp16 max 65504",
        "clamping hidden states of 64000 to the fp16 limit",
        "model in half precision, 124439808 parameters, 50257 tokens",
    ],
)
def test_the_limit_alone_says_nothing(tmp_path: Path, line: str) -> None:
    records = read_text(tmp_path, f"step 7 loss 2.25\n{line}\n")
    assert not events_of(records, "magnitude-near-limit")


def test_a_scaler_that_gives_up(tmp_path: Path) -> None:
    records = read_text(tmp_path, "step 7 loss 2.25\nloss scale hit minimum of 1.0, giving up\n")
    assert len(events_of(records, "loss-scale-minimum")) == 1


def test_a_log_that_is_called_potential(tmp_path: Path) -> None:
    """Its rows are no speculation."""
    rows = [f"I 15:23 potential: step {i} loss nan gnorm nan bad_updates={i}\n" for i in (1, 2, 3)]
    points = points_of(read_text(tmp_path, "".join(rows)))
    assert len(points["loss", "step"][1]) == 3


def test_a_loss_that_is_said_to_be_finite(tmp_path: Path) -> None:
    line = "iteration 300: loss finite (0.52) but grad has NaN in layers.2.fc.weight\n"
    (said,) = events_of(read_text(tmp_path, line), "nonfinite-text")
    assert said.data["forward_sound"]
    (other,) = events_of(
        read_text(tmp_path, line.replace("finite (", "not finite (")), "nonfinite-text"
    )
    assert "forward_sound" not in other.data


def test_a_table_in_markdown(tmp_path: Path) -> None:
    text = "| step | huber | total_norm |\n|---|---|---|\n| 0 | 0.25 | nan |\n| 10 | nan | nan |\n"
    assert points_of(read_text(tmp_path, text))["huber", "step"][0] == [0, 10]


def test_a_policy_of_keras(tmp_path: Path) -> None:
    text = "Policy: mixed_float16 compute dtype float16\n"
    (found,) = of_type(read_text(tmp_path, text), ConfigRecord)
    assert dict(found.values) == {"compute_dtype": "mixed_float16"}


@pytest.mark.parametrize(
    "line",
    [
        "step 500: nan check: grad nan 0, loss nan 0",
        "step 500 checking for loss nan",
    ],
)
def test_a_check_is_no_row(tmp_path: Path, line: str) -> None:
    points = points_of(read_text(tmp_path, f"step 499 loss 2.25\n{line}\n"))
    assert points["loss", "step"] == ([499], [2.25])


@pytest.mark.parametrize(
    "line",
    [
        "learning rate scale at minimum 1e-6, stopping early",
        "MinMaxScaler: min 0.0, stopping at 1.0",
        "saving in half precision",
    ],
)
def test_other_scales(tmp_path: Path, line: str) -> None:
    records = read_text(tmp_path, f"step 7 loss 2.25\n{line}\n")
    assert not events_of(records, "loss-scale-minimum")
    assert not of_type(records, ConfigRecord)


def test_scores_are_read_without_a_loss_beside_them(tmp_path: Path) -> None:
    rows = [f"it {i}: ce=1.4; qk max={10 * i + 1}.5; |Wq|=4.7; scaler=1024\n" for i in range(3)]
    assert points_of(read_text(tmp_path, "".join(rows)))["qk max", "step"][0] == [0, 1, 2]


def test_settings_that_pprint_breaks_over_lines(tmp_path: Path) -> None:
    text = "{'batch_size': 32,\n 'lr_max': 0.1,\n 'momentum': 0.9,\n 'optimizer': None}\nstep 1\n"
    (found,) = of_type(read_text(tmp_path, text), ConfigRecord)
    assert found.values["lr_max"] == 0.1 and found.values["batch_size"] == 32
