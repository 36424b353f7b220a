"""What programs say of their data and of the weights that they load, in their own words."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest
from textlogs import events_of, read_text

SAID = [
    ("example 812: prompt length 17 >= max_seq_length 16, response was truncated away", "labels-mismatch"),
    ("[warn] batch 12: no valid labels left", "labels-mismatch"),
    ("all target tokens are masked in sample 3", "labels-mismatch"),
    ("batch 41 contains 1 empty sequence (length 0 after tokenization)", "empty-sequence"),
    ("12 query rows have no visible key", "empty-sequence"),
    ("WARNING attention_mask of sample 7 is all zeros", "empty-sequence"),
    ("img_00231.png: constant image (std=0), normalizing anyway", "odd-sample"),
    ("graph #57: nodes 3 and 5 coincide", "odd-sample"),
    ("could not decode frame 0412.jpg, using zeros", "odd-sample"),
    ("  humidity      3 missing", "odd-sample"),
    ("WARNING: sha256 mismatch for model-00002-of-00003.safetensors", "checkpoint-damaged"),
    ("RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory", "checkpoint-damaged"),
    ("restored 0/38 parameters from /models/enc_base.pt", "weights-newly-initialized"),
    ("Loaded 12 of 291 tensors", "weights-newly-initialized"),
    ("missing keys: ['head.weight', 'head.bias']", "weights-newly-initialized"),
    ("38 keys in checkpoint not found in model, e.g. ['module.a.weight']", "weights-not-used"),
    ("skip loading layers.0.fc.weight: checkpoint shape (30, 24) vs model (30, 16)", "weights-mismatched"),
    ("loaded pretrained.safetensors (all keys matched)", "weights-loaded"),
]  # fmt: skip
DEALT_WITH = [
    "could not decode image img_00012.jpg (corrupt JPEG data), skipping sample",
    "WARNING: 59 missing values found in features; filled with column means",
    "sequences with length < 2 were filtered (17 removed)",
    "sample 2 has no labels left, dropped",
    "sha256 mismatch for model.safetensors, re-downloading",
    "Loaded 38/38 parameters",
    "missing keys: []",
    "feature 3: 0 missing",
    "num_labels: 3",
    "The response of the server was slow",
]


@pytest.mark.parametrize(("text", "kind"), SAID)
def test_what_is_said(tmp_path: Path, text: str, kind: str) -> None:
    assert len(events_of(read_text(tmp_path, text + "\n"), kind)) == 1


@pytest.mark.parametrize("text", DEALT_WITH)
def test_what_did_no_harm(tmp_path: Path, text: str) -> None:
    records = read_text(tmp_path, text + "\n")
    kinds = {kind for _, kind in SAID} - {"weights-loaded"}
    assert not [kind for kind in kinds if events_of(records, kind)]


def test_numbers_of_the_same_sentence_decide(tmp_path: Path) -> None:
    lines = "".join(f"batch {i}: {3 - i} valid labels\n" for i in range(4))
    (event,) = events_of(read_text(tmp_path, lines), "labels-mismatch")
    assert event.source.line == 4


def test_lines_of_skipped_tensors_are_one_report(tmp_path: Path) -> None:
    lines = "".join(f"skip loading layers.{i}.w: shape (2, 3) vs (2, 2)\n" for i in range(5))
    (event,) = events_of(read_text(tmp_path, lines + "ready\n"), "weights-mismatched")
    assert event.data["count"] == 5


def test_the_share_that_was_loaded(tmp_path: Path) -> None:
    (event,) = events_of(
        read_text(tmp_path, "restored 3/38 tensors\n"), "weights-newly-initialized"
    )
    assert (event.data["count"], event.data["total"]) == (35, 38)
