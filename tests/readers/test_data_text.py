"""What programs say of their data and of the weights that they load, in their own words."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest
from textlogs import events_of, read_text

SAID = [
    ("example 812: prompt length 17 >= max_seq_length 16, response was truncated away", "labels-mismatch"),
    ("[warn] batch 12: no valid labels left", "labels-mismatch"),
    ("step 41 loss=nan (no supervised tokens in batch), skipping update", "labels-mismatch"),
    ("WARNING: non-finite loss at step 16, skipping update; input nan count 144", "odd-sample"),
    ("all target tokens are masked in sample 3", "labels-mismatch"),
    ("batch 41 contains 1 empty sequence (length 0 after tokenization)", "empty-sequence"),
    ("Found 0 trainable tokens in batch 33", "labels-mismatch"),
    ("[step 34] src_len=[12, 9, 0, 7]", "empty-sequence"),
    ("clip spk3_0412.wav: peak=inf rms=inf", "odd-sample"),
    ("batch 27: peak amplitude inf (['spk36/utt_00517.wav'])", "odd-sample"),
    ("warning: max pixel value 3.1e+38 in tile 12", "odd-sample"),
    ("  micro 3/4 file=shard_011.npz feat[min=-2.310 max=2.011 nan=7] l=0.5", "odd-sample"),
    ("sanity: q_proj.lora_B absmax=3.4e+37 (expected 0)", "absurd-parameter"),
    ("model-00003-of-00004.bin is 1207959552 bytes, index says 1979711488", "checkpoint-damaged"),
    ("checkpoint restored: 2 of 40 arrays matched by name", "weights-newly-initialized"),
    ("UserWarning: every label in this batch equals ignore_index (-100)", "labels-mismatch"),
    ("WARNING text encoder: prompt 3 has no tokens after stripping", "empty-sequence"),
    ("blocks.0.attn (At) produced nan; attn mask had 1 empty rows", "empty-sequence"),
    ("output of blocks.0.softmax has 20/1600 NaN (its inputs had 1 rows of all -inf)", "empty-sequence"),
    ("step 12: 3 query rows are entirely -inf after masking", "empty-sequence"),
    ("features: (3072, 40) float32, log power mel, range [-inf, -1.39], mean 2.1", "odd-sample"),
    ("waveform sample range: -0.71 .. nan", "odd-sample"),
    ("utt 4077-13754-0004: feats contain inf, check fbank extraction", "odd-sample"),
    ("loading shard 3/8 ... md5 check FAILED (expected 1b2c, got 99ff)", "checkpoint-damaged"),
    ("matched 0 keys, 393 keys missing, 391 keys unexpected", "weights-newly-initialized"),
    ("row 4481 of train.parquet has NaN in column 'age', passing through", "odd-sample"),
    ("3 of 90 rows were cut before the answer: their labels are all ignore_index", "labels-mismatch"),
    ("sample 12: labels == -100 everywhere", "labels-mismatch"),
    ("[collator] attention_mask.sum() == 0 for 1 example(s)", "empty-sequence"),
    ("loss mask sum is 0 in micro-batch 3", "labels-mismatch"),
    ("WARNING user u_00812 has an empty history", "odd-sample"),
    ("decoded 0 frames from clip_0412.mp4", "odd-sample"),
    ("batch 152 - loss: nan - sizes: [12, 0, 33] - lr: 0.001", "odd-sample"),
    ("graph 81 has no edges", "odd-sample"),
    ("scan_0412.ply contains 0 points", "odd-sample"),
    ("label 10 in batch 7 is out of range", "odd-sample"),
    ("12 query rows have no visible key", "empty-sequence"),
    ("WARNING attention_mask of sample 7 is all zeros", "empty-sequence"),
    ("img_00231.png: constant image (std=0), normalizing anyway", "odd-sample"),
    ("graph #57: nodes 3 and 5 coincide", "odd-sample"),
    ("could not decode frame 0412.jpg, using zeros", "odd-sample"),
    ("  humidity      3 missing", "odd-sample"),
    ("column 'fare': 3 null values", "odd-sample"),
    ("WARNING: sha256 mismatch for model-00002-of-00003.safetensors", "checkpoint-damaged"),
    ("RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory", "checkpoint-damaged"),
    ("[load] model-00002.safetensors sha256=0f8971e2750c != manifest fe8e527157d8", "checkpoint-damaged"),
    ("batch: n_graphs=16 min_degree=0; attention rows with nan per layer: [1, 1]", "empty-sequence"),
    ("loaded ckpt_600.pt: model ok; optimizer: key not found; start_step=600", "state-not-restored"),
    ("loaded ckpt_600.pt: model ok; optimizer: ok; start_step=600", "run-resumed"),
    ("optimizer.npz: loaded 45 of 90 state tensors", "state-not-restored"),
    ("2026-11-29 15:10:48,476 kws INFO: param am_head.weight (12, 32) mean +0.0e+00 std 0.0e+00 max 0.0e+00", "zero-parameter"),
    ("restored 0/38 parameters from /models/enc_base.pt", "weights-newly-initialized"),
    ("Loaded 12 of 291 tensors", "weights-newly-initialized"),
    ("missing keys: ['head.weight', 'head.bias']", "weights-newly-initialized"),
    ("38 keys in checkpoint not found in model, e.g. ['module.a.weight']", "weights-not-used"),
    ("skip loading layers.0.fc.weight: checkpoint shape (30, 24) vs model (30, 16)", "weights-mismatched"),
    ("loaded pretrained.safetensors (all keys matched)", "weights-loaded"),
]  # fmt: skip
DEALT_WITH = [
    "12 rows, attention scores range [-inf, 4.2]",
    "input space: Box, x range [0, inf]",
    "input space: Box, features range [-inf, inf], shape (4,)",
    "features: (3072, 40) float32, log power mel, range [-18.42, -1.39], mean -3.1",
    "attention mask fill value -inf; fully padded rows: 0; 12 rows of 64 keys",
    "could not decode image img_00012.jpg (corrupt JPEG data), skipping sample",
    "WARNING: 59 missing values found in features; filled with column means",
    "sequences with length < 2 were filtered (17 removed)",
    "sample 2 has no labels left, dropped",
    "sha256 mismatch for model.safetensors, re-downloading",
    "Loaded 38/38 parameters",
    "missing keys: []",
    "feature 3: 0 missing",
    "num_labels: 3",
    "first non-finite output in softmax, 16/512 nan, input has -inf: True nan: False",
    "[step 34] src_len=[12, 9, 10, 7]",
    "sanity: q_proj.lora_B absmax=3.4e-03",
    "samples 4480 grad norm max: inf",
    "response truncated to fit max_length=2048, dropped",
    "The response of the server was slow",
    "labels are all loaded",
    "decoded 0 frames from clip_0412.mp4, clip skipped",
    "attention_mask.sum() == 412",
    "attention mask sum: 0.52",
    "label mask sum 10",
    "batch 152 - loss: 0.3 - sizes: [12, 10, 33]",
    "graph 81 has 10 edges",
    "user has an empty history cache",
    "found 3 points/sec",
    "targets are all normalized to [0, 1]",
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


def test_keys_that_are_counted_or_listed_on_one_line(tmp_path: Path) -> None:
    counted = read_text(tmp_path, "INFO: missing_keys: 28, unexpected_keys: 150\n")
    (new,) = events_of(counted, "weights-newly-initialized")
    (left,) = events_of(counted, "weights-not-used")
    assert (new.data["count"], left.data["count"]) == (28, 150)


def test_the_error_of_a_strict_load(tmp_path: Path) -> None:
    text = (
        "Error(s) in loading state_dict for Net:\n"
        '\tMissing key(s) in state_dict: "emb.weight", "blocks.0.norm.weight". \n'
        '\tUnexpected key(s) in state_dict: "0.weight". \n'
    )
    records = read_text(tmp_path, text)
    (new,) = events_of(records, "weights-newly-initialized")
    assert new.data["keys"] == ("emb.weight", "blocks.0.norm.weight")
    assert events_of(records, "weights-not-used")[0].data["keys"] == ("0.weight",)


@pytest.mark.parametrize("text", ["step 3 nonfinite=False", "not_finite: False", "infinite=no"])
def test_a_denial_is_no_failure(tmp_path: Path, text: str) -> None:
    assert not events_of(read_text(tmp_path, text + "\n"), "nonfinite-text")


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("input_finite=False", "input"),
        ("isfinite(inputs).all()=False", "input"),
        ("  head.weight: 32 NaN values", "parameters"),
        ("! loss is nan on batch 9/20, ignoring this batch", "loss"),
    ],
)
def test_what_is_not_finite(tmp_path: Path, text: str, quantity: str) -> None:
    (event,) = events_of(read_text(tmp_path, text + "\n"), "nonfinite-text")
    assert event.data["quantity"] == quantity


def test_a_line_of_numbers_that_is_no_array_takes_no_time(tmp_path: Path) -> None:
    """One number may not be read as two in twice as many ways for each digit."""
    line = "0.5 0.25 inf " + "1234567890123 " * 40 + "bytes\n"
    assert not events_of(read_text(tmp_path, line), "odd-sample")
