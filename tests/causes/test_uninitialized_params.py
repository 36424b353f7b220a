"""Memory that nothing filled: new rows of an embedding, read when their token first appears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from builders import NAN, checkpoint, event, named_cause, series, tensor

from nanautopsy import analyze
from nanautopsy.model import BadRows, LogEvent, Source, TensorHealth


def cause_of(text: str) -> str | None:
    """The first cause of a log."""
    with TemporaryDirectory() as folder:
        Path(folder, "train.log").write_text(text)
        causes = analyze(folder).causes
    return causes[0].id if causes else None


def embedding(*rows: int) -> TensorHealth:
    bad = BadRows(len(rows), ((rows[0], rows[-1] + 1),), True)
    return tensor(
        "tok.weight", (108, 4), nan=4 * len(rows), bad_rows=bad, first_nonfinite=4 * rows[0]
    )


def test_new_rows_that_are_read_late() -> None:
    loss = series("loss", [2.3] * 11 + [NAN] * 20)
    parts = checkpoint(0, embedding(*range(100, 108)), tensor("head.weight", (4, 4)))
    assert named_cause(loss, parts) == "uninitialized-params"


def test_rows_of_a_trained_checkpoint_are_no_such_sign() -> None:
    loss = series("loss", [2.3] * 11 + [NAN] * 20)
    parts = checkpoint(12, embedding(*range(100, 108)), tensor("head.weight", (4, 4)))
    assert named_cause(loss, parts) != "uninitialized-params"


def garbage(name: str, largest: float = 3e30) -> TensorHealth:
    """A table of which 128 elements hold what the memory held."""
    return tensor(name, (512, 32), max_abs=largest, rms=largest * (128 / (512 * 32)) ** 0.5)


def test_absurd_rows_of_a_table_that_are_read_late() -> None:
    loss = series("loss", [2.3] * 11 + [NAN] * 20)
    rest = [tensor(f"h.{i}.weight", (32, 32)) for i in range(3)]
    assert named_cause(loss, checkpoint(0, garbage("tok_emb.weight"), *rest)) == (
        "uninitialized-params"
    )
    assert named_cause(loss, checkpoint(0, garbage("tok_emb.weight", 2.0), *rest)) is None
    block = checkpoint(0, garbage("h.9.weight"), *rest)
    assert named_cause(loss, block) != "uninitialized-params"


def test_a_head_that_grew_in_the_middle_of_a_run() -> None:
    """The smaller one was ordinary: what is absurd are its new columns."""
    loss = series("loss", [2.3] * 11 + [NAN] * 20)
    rest = [tensor(f"h.{i}.weight", (32, 32)) for i in range(3)]
    before = checkpoint(None, tensor("intents.w", (512, 24)), *rest)
    after = checkpoint(0, garbage("intents.w"), *rest)
    assert named_cause(loss, before, after) == "uninitialized-params"
    same = checkpoint(None, tensor("intents.w", (512, 32)), *rest)
    assert named_cause(loss, same, after) != "uninitialized-params"


def test_a_table_and_a_head_that_gained_the_same_rows() -> None:
    rest = [tensor(f"h.{i}.weight", (32, 32)) for i in range(5)]
    both = checkpoint(0, garbage("a.weight"), garbage("z.weight"), *rest)
    dead = checkpoint(9, *(tensor(t.name, t.shape, nan=t.numel) for t in both.tensors))
    assert named_cause(both, dead) == "uninitialized-params"


def test_huge_numbers_beside_tiny_ones_are_memory() -> None:
    rest = [tensor(f"h.{i}.weight", (32, 32)) for i in range(3)]
    filled = replace(garbage("rel.weight", 3e8), min_abs=3e-37, subnormal=12)
    dead = checkpoint(9, *(tensor(t.name, t.shape, nan=t.numel) for t in (filled, *rest)))
    assert named_cause(checkpoint(0, filled, *rest), dead) == "uninitialized-params"
    plain = replace(filled, min_abs=1e-4, subnormal=0)
    assert named_cause(checkpoint(0, plain, *rest), dead) != "uninitialized-params"
    # No scale that was left out gives such a number.
    far = replace(plain, max_abs=3e30, rms=3e29)
    assert named_cause(checkpoint(0, far, *rest), dead) == "uninitialized-params"


def test_whole_tensors_before_training() -> None:
    loss = series("loss", [NAN] * 20)
    rows = BadRows(32, ((0, 32),), True)
    new = tensor("connector.weight", (32, 32), nan=1024, first_nonfinite=0, bad_rows=rows)
    parts = checkpoint(0, new, *(tensor(f"layers.{i}.weight") for i in range(6)))
    assert named_cause(loss, parts) == "uninitialized-params"
    some = tensor("connector.weight", (32, 32), nan=700, first_nonfinite=0)
    parts = checkpoint(0, some, *(tensor(f"layers.{i}.weight") for i in range(6)))
    assert named_cause(loss, parts) != "uninitialized-params"


def test_a_parameter_that_stayed_on_the_meta_device() -> None:
    said = event(
        "weights-newly-initialized", "for a.weight: copying", keys=("a.weight",), meta=True
    )
    assert named_cause(series("loss", [NAN] * 20), said) == "uninitialized-params"
    late = series("loss", [2.0] * 40 + [NAN] * 20)
    assert named_cause(late, said) != "uninitialized-params"


def test_a_parameter_that_the_program_found_non_finite_before_training() -> None:
    """A new one was never initialized; one that was loaded may be damaged as well."""

    def told(*more: LogEvent) -> str | None:
        said = event(
            "nonfinite-text", "non-finite parameters: pooler.weight (96 of 256)",
            value="nan", quantity="parameters", layer="pooler.weight",
        )  # fmt: skip
        loss = series("loss", [NAN] * 10)
        loss = replace(loss, source=Source("train.log"), lines=np.arange(20, 30))
        return named_cause(loss, said, *more)

    new = event("weights-newly-initialized", keys=("pooler.weight", "pooler.bias"), count=2)
    assert told(new) == "uninitialized-params"
    assert told() == "uninitialized-params"
    assert told(event("weights-loaded", "loaded base.pt", checkpoint="base.pt")) is None


def test_ranks_that_were_never_filled_from_the_first() -> None:
    text = "rank {}: param norm {} (before first step)\n"
    parts = [text.format(0, "14.2213"), *(text.format(r, "nan") for r in (1, 2, 3))]
    rows = [f"step {s} loss nan grad_norm nan\n" for s in range(10)]
    assert cause_of("".join(parts + rows)) == "uninitialized-params"
    assert cause_of(text.format(0, "14.2213") + "".join(rows)) is None


def test_last_rows_that_training_had_not_read_yet() -> None:
    """They were non-finite all along: the loss went on finite behind the checkpoint."""
    grown, head = embedding(*range(100, 108)), tensor("head.weight", (4, 4))
    loss = series("loss", [2.3] * 31 + [NAN] * 20)
    assert named_cause(loss, checkpoint(12, grown, head)) == "uninitialized-params"
    middle = embedding(*range(40, 48))
    assert named_cause(loss, checkpoint(12, middle, head)) != "uninitialized-params"


def test_a_parameter_of_its_own_that_the_checkpoint_lacks() -> None:
    """From transformers 5 on it has no memory until the model fills it."""

    def named(loss: list[float], *keys: str, table: bool = True) -> str | None:
        data = {"keys": keys, "count": len(keys), "model_class": "Scorer"}
        if table:
            data["table"] = True
        return named_cause(series("loss", loss), event("weights-newly-initialized", **data))

    assert named([NAN] * 10, "temperature", "out_proj.weight") == "uninitialized-params"
    assert named([NAN] * 10, "out_proj.bias", "out_proj.weight") is None
    assert named([NAN] * 10, "crf.transitions", "classifier.weight", table=False) is None
    assert named([2.0] * 5 + [NAN] * 10, "temperature") is None
    assert named([2.0] * 30, "temperature") is None


def test_rows_that_are_said_to_hold_nothing() -> None:
    """They show when their token appears."""
    loss = series("loss", [1.8] * 30 + [NAN] * 5)
    said = event("embeddings-resized", "embedding 48 -> 54, 6 new (torch.empty)", unfilled=True)
    assert named_cause(loss, said) == "uninitialized-params"
    filled = event("embeddings-resized", "embedding 48 -> 54")
    assert named_cause(loss, filled) != "uninitialized-params"


def test_an_adapter_of_which_every_matrix_is_garbage() -> None:
    """There are no others to compare with: its other half is 0."""

    def named(step: int, largest: float) -> str | None:
        new = [tensor(f"h.{i}.lora_A", (4, 32), max_abs=largest, rms=largest / 5) for i in range(4)]
        zero = [tensor(f"h.{i}.lora_B", (32, 4), zero=128) for i in range(4)]
        return named_cause(series("loss", [NAN] * 20), checkpoint(step, *new, *zero))

    assert named(0, 3e38) == "uninitialized-params"
    assert named(0, 3.0) is None
    assert named(40, 3e38) != "uninitialized-params"


def test_a_table_of_parameters_whose_heading_names_its_columns() -> None:
    table = (
        "parameter                    shape         mean       absmax\n"
        "----------------------------------------------------------\n"
        "transformer.wte.weight    (80, 32)   -0.0007351      0.07682\n"
        "v_head.weight              (1, 32)    {:>9}    {:>9}\n"
        "v_head.bias                   (1,)      0.07565      0.07565\n"
    )
    dead = "".join(f"step {s} loss nan grad_norm nan\n" for s in range(1, 9))
    assert cause_of(table.format("1.323e+34", "4.234e+35") + dead) == "uninitialized-params"
    assert cause_of(table.format("nan", "nan") + dead) == "uninitialized-params"
    assert cause_of(table.format("0.0123", "0.0912") + dead) is None
    gradients = table.replace("parameter", "gradients", 1)
    assert cause_of(gradients.format("nan", "nan") + dead) != "uninitialized-params"
