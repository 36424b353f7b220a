"""What looks like a failure in a log, a table or a checkpoint of a sound run, and its failing
twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import tensor

from nanautopsy.autopsy import analyze
from nanautopsy.checkpoints.damage import damaged
from nanautopsy.model import Autopsy, Checkpoint
from nanautopsy.readers._filler_cells import without_fillers
from nanautopsy.readers.text.lines import strip_prefix
from nanautopsy.readers.text.tensor_flags import named_flags, without_denials


def judged(folder: Path, text: str, name: str = "train.log") -> Autopsy:
    (folder / name).write_text(text)
    return analyze(folder)


def rows(form: str, count: int = 30, dead: int | None = None) -> str:
    losses = [2 - 0.05 * n + 0.01 * (n % 3) for n in range(count)]
    told = ["nan" if dead is not None and n >= dead else f"{v:.4f}" for n, v in enumerate(losses)]
    return "".join(form.format(n=n, loss=loss) for n, loss in enumerate(told))


@pytest.mark.parametrize(
    "stamp", ["[10:00:15 INF]", "10:04AM INF", "2026-01-02 10:00:15.123 [INF]"]
)
def test_a_level_that_is_called_inf_is_no_number(tmp_path: Path, stamp: str) -> None:
    assert strip_prefix(f"{stamp} step 3".encode(), False)[0].strip() == b"step 3"
    form = f"{stamp} Iteration {{n}} loss {{loss}} acc 0.512 inf/s 812.1\n"
    assert judged(tmp_path, rows(form)).verdict == "healthy"
    onset = judged(tmp_path, rows(form, dead=20)).onset
    assert onset is not None and onset.step == 20


def test_tests_that_pass_print_what_they_expect(tmp_path: Path) -> None:
    session = (
        "===== test session starts =====\ntests/test_a.py::test_log_zero PASSED\n"
        "loss = tensor(nan), as expected\ngrad = tensor([nan, inf])\n"
        "===== 8 passed, 1 xfailed in 3.12s =====\n"
    )
    smoke = rows("smoke step {n} loss {loss}\n")
    assert judged(tmp_path, session + smoke).verdict == "healthy"
    broken = session.replace("8 passed, 1 xfailed", "1 failed, 7 passed")
    assert judged(tmp_path, broken).verdict == "non-finite"
    onset = judged(tmp_path, session + rows("smoke step {n} loss {loss}\n", dead=12)).onset
    assert onset is not None and onset.step == 12


QUOTED = (
    "<|user|> The loss became nan at step 12, what should I do?",
    "<|assistant|> nan, with RuntimeWarning: invalid value encountered in divide",
    "Generated: 'the loss: nan means that step 42 loss inf was reached'",
    "Completion: loss is nan because the gradient was inf at step 3",
)


@pytest.mark.parametrize("line", QUOTED)
def test_conversations_are_no_statements(tmp_path: Path, line: str) -> None:
    form = "step {n}/30 - loss {loss}\n"
    text = rows(form, 15)
    assert judged(tmp_path, text + line + "\n" + rows(form)[len(text) :]).verdict == "healthy"
    assert judged(tmp_path, text + line + "\nstep 15/30 - loss nan\n").verdict == "non-finite"


def test_what_is_said_of_changes_before_training_is_no_statement(tmp_path: Path) -> None:
    log = (
        "git: 9f31c2a NaN loss in attention found\ngit: 77ab01e sqrt gave NaN gradients, add eps\n"
    )
    form = "step {n} loss {loss}\n"
    assert judged(tmp_path, log + rows(form)).verdict == "healthy"
    assert judged(tmp_path, log + rows(form) + log).verdict == "non-finite"


def test_a_speed_without_a_time_is_no_value_of_the_model(tmp_path: Path) -> None:
    assert "nan" not in without_denials("out of memory; result: nan img/s")
    form = "step {n} loss {loss}\n"
    log = rows(form) + "CUDA out of memory; result: nan img/s\n"
    assert judged(tmp_path, log).verdict == "healthy"
    log = rows(form) + "result: nan logits\n"
    assert judged(tmp_path, log).verdict == "non-finite"


def test_a_name_of_two_words_between_numbers(tmp_path: Path) -> None:
    form = "step {n} shard 7 lr 0.01 loss {loss} input absmax 3.{n:02d}\n"
    dead = "step 30 shard 8 lr 0.01 loss nan input absmax inf\n"
    found = judged(tmp_path, rows(form) + dead)
    assert [cause.id for cause in found.causes[:1]] == ["bad-input-data"]


def test_parameters_that_are_told_behind_the_gradients_of_a_row(tmp_path: Path) -> None:
    form = "step {n} loss {loss} grad_norm 0.7{n:02d} params_finite True\n"
    died = (
        "step 30 loss 0.61 grad_norm 0.702 params_finite False "
        "(after optimizer.step: 1024 nan in fc1.weight)\nstep 31 loss nan grad_norm nan\n"
    )
    assert judged(tmp_path, rows(form)).verdict == "healthy"
    onset = judged(tmp_path, rows(form) + died).onset
    assert onset is not None
    assert (onset.step, onset.quantity, onset.layer) == (30, "parameters", "fc1.weight")


def test_flags_in_a_list_deny_or_name(tmp_path: Path) -> None:
    assert "nan" not in without_denials("loss 1.2 nan[emb,attn]=[False, False]")
    assert "nan" not in without_denials("any_nan: tensor(False)")
    assert named_flags("loss nan nan[emb,attn,head]=[False, True, True]") == ("attn", "head")
    assert named_flags("nan[a,b]=[0, 3]") == ("b",)
    flags = "step {n} loss {loss} nan[emb,attn,head]=[False, False, False]\n"
    assert judged(tmp_path, rows(flags)).verdict == "healthy"
    dead = "step 30 loss nan nan[emb,attn,head]=[False, True, True]\n"
    onset = judged(tmp_path, rows(flags) + dead).onset
    assert onset is not None and (onset.step, onset.layer) == (30, "attn")


@pytest.mark.parametrize("tag", ["total_losses", "zeroed_inf_losses", "loss_batches_left_out"])
def test_counts_with_loss_in_their_name_do_not_diverge(tmp_path: Path, tag: str) -> None:
    counts = np.cumsum([1, 0, 2, 1, 1, 3, 0, 1] * 5)
    head = f"step,{tag},reward\n"
    text = head + "".join(f"{n},{c},{n * 0.1:.2f}\n" for n, c in enumerate(counts))
    assert judged(tmp_path, text, "log.csv").verdict != "diverged"
    grown = f"step,{tag}\n" + "".join(f"{n},{1.4**n // 1:.0f}\n" for n in range(3, 40))
    assert judged(tmp_path, grown, "log.csv").verdict == "diverged"


def harder(path: float, name: str = "mask_ratio") -> str:
    noise = [1 + 0.1 * (n % 3) for n in range(60)]
    ratios = [0.05 + 0.9 * n / 60 for n in range(60)]
    told = enumerate(zip(ratios, noise, strict=True))
    return f"step,{name},loss\n" + "".join(f"{n},{r:.3f},{r**path * u:.4f}\n" for n, (r, u) in told)


def test_a_task_that_is_made_harder_lifts_the_loss(tmp_path: Path) -> None:
    assert judged(tmp_path, harder(0.8), "log.csv").verdict == "healthy"
    assert judged(tmp_path, harder(2.0), "log.csv").verdict == "diverged"
    assert judged(tmp_path, harder(0.8, "momentum"), "log.csv").verdict == "diverged"


def test_a_first_row_of_few_examples_beside_a_score_that_rises(tmp_path: Path) -> None:
    head = "E    #       LOSS NER   ENTS_F  SCORE \n---  ------  ---------  ------  ------\n"
    rows_ = "".join(
        f"  {n // 4}  {200 * n:>6}  {2600 / (n + 1) + 90 if n else 44.5:>9.2f}"
        f"  {min(97.0, 12.0 * n):>6.2f}  {min(0.97, 0.12 * n):>6.2f}\n"
        for n in range(16)
    )
    assert judged(tmp_path, head + rows_).verdict == "healthy"


def test_a_loss_that_leaps_at_once_and_scatters_far_above(tmp_path: Path) -> None:
    after = [200, 580, 90, 400, 41, 120, 27, 70, 18, 33, 9, 21, 6, 14, 7.5, 5.8] * 3
    text = "step,loss,lr\n0,1.39,3.0\n" + "".join(
        f"{n + 1},{value},3.0\n" for n, value in enumerate(after)
    )
    assert judged(tmp_path, text, "log.csv").verdict == "diverged"
    back = text + "".join(f"{n},{1.2 - n / 200},3.0\n" for n in range(50, 100))
    assert judged(tmp_path, back, "log.csv").verdict == "healthy"


def test_a_value_that_is_fitted_to_itself_blames_no_rate(tmp_path: Path) -> None:
    grown = "".join(f"{n},{0.7 * 1.15**n:.5g},{3 * 1.1**n:.5g},0.04\n" for n in range(400))
    for tag, first in (("td_loss", []), ("loss", ["lr-too-high"])):
        found = judged(tmp_path, f"step,{tag},grad_norm,lr\n{grown}", "log.csv")
        assert found.verdict == "diverged"
        assert [cause.id for cause in found.causes[:1]] == first


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "predictions.csv",
            "id,prediction,target,sample_loss\n1,0.2,0,0.3\n2,0.7,1,inf\n",
        ),
        ("sweep.csv", "trial,lr,width,final_loss\n0,0.1,32,0.3\n1,0.2,64,NaN\n2,0.1,64,0.2\n"),
        ("notes.txt", "- run 14: loss became NaN at step 300 with lr 3e-4\n"),
    ],
)
def test_files_beside_a_run_are_no_history_of_it(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert judged(tmp_path, rows("step {n} loss {loss}\n")).verdict == "healthy"


def test_a_term_that_never_was_a_number_is_not_added(tmp_path: Path) -> None:
    form = "epoch {n}: loss_ctc=nan, loss_att={loss}, loss={loss}, grad_norm=1.5\n"
    assert judged(tmp_path, rows(form)).verdict == "healthy"
    assert judged(tmp_path, rows(form, dead=10)).verdict == "non-finite"


def test_a_mean_of_no_losses_is_a_placeholder(tmp_path: Path) -> None:
    def epochs(tag: str) -> str:
        told = ["nan" if n % 40 == 0 else str(2 - n % 40 / 40) for n in range(0, 120, 4)]
        return "".join(f"step {4 * n} {tag}={loss}\n" for n, loss in enumerate(told))

    assert judged(tmp_path, epochs("avg_loss")).verdict == "healthy"
    assert judged(tmp_path, epochs("loss")).verdict == "non-finite"


def test_a_score_without_a_value_beside_those_that_move(tmp_path: Path) -> None:
    scores = "".join(f"{{'Train': 0.{50 + n}, 'Old': 0.{40 + n}, 'Rare': nan}}\n" for n in range(8))
    assert judged(tmp_path, scores).verdict != "non-finite"
    still = "".join(f"{{'Train': 0.50, 'time': 0.{40 + n}, 'Rare': nan}}\n" for n in range(8))
    assert judged(tmp_path, still).verdict == "non-finite"


def table(dead: int = 99) -> str:
    lines = ["step,train/loss,eval/loss"]
    for n in range(1, 31):
        loss = "NaN" if n >= dead else f"{2 - n / 20:.3f}"
        lines.append(f"{n},{loss},NaN")
        if n % 5 == 0:
            lines.append(f"{n},NaN,{loss}")
    return "\n".join(lines) + "\n"


def test_holes_that_a_table_writes_as_nan(tmp_path: Path) -> None:
    assert judged(tmp_path, table(), "history.csv").verdict == "healthy"
    onset = judged(tmp_path, table(dead=18), "history.csv").onset
    assert onset is not None and onset.step == 18
    assert without_fillers([]) == []


@pytest.mark.parametrize(
    ("name", "health", "sound"),
    [
        ("obs_normalizer.high", {"pos_inf": 12}, True),
        ("action_space.low", {"neg_inf": 12}, True),
        ("action_space.low", {"neg_inf": 11}, False),
        ("action_space.low", {"nan": 12}, False),
        ("layers.0.bias", {"pos_inf": 12}, False),
        ("obs_rms.running_min", {"pos_inf": 12}, True),
        ("lm_head.suppress_bias", {"neg_inf": 3}, True),
        ("lm_head.suppress_bias", {"neg_inf": 3, "nan": 1}, False),
        ("lm_head.bias", {"neg_inf": 3}, False),
        ("tracker.loss_history", {"nan": 5}, True),
        ("history_encoder.weight", {"nan": 5}, False),
    ],
)
def test_open_bounds_are_no_damage(name: str, health: dict[str, int], sound: bool) -> None:
    bound = tensor(name, (12,), **({"zero": 0} | health))
    checkpoint = Checkpoint("agent.pt", "torch", "model", tensors=(tensor("fc.weight"), bound))
    assert (damaged(checkpoint) == []) is sound


ASIDES = """\
FID is nan with fewer than 2 samples
trust ratio is nan for params with zero norm, using 1.0
timestamp column has NaN in 4 rows
lag features give NaN in the first 7 rows
sea surface temperature: land is NaN, masked
found 3 NaN in column age, imputed with median
NaNs are treated as missing
no non-finite values detected
AUC is nan because only one class is present
max_grad_norm = inf, gradients are not clipped
lr range test: loss is nan at lr 10, suggested lr 1e-3
previous run hit NaN at step 300; this one uses lr/2
Trial 4 returned nan and was pruned
tokenizer has 'nan' as id 4411
grad_norm (inf-norm) has max 0.3
invalid actions have logit -inf
loss did not become nan in 100 dry-run steps
Is there any NaN? no
NaN detected in 0 of 400 shards
worst group loss: nan (empty group)
WARNING: loss for group C is nan because it has no members
the plot of loss uses log scale; inf and nan are not drawn
update/weight ratio is inf for zero-initialised bias
loss for unlabeled samples is nan and masked out
param count 1.2M; none has nan
loss went from inf to 2.1 after the first epoch
target loss inf (no early stop)
aux loss: nan (disabled)
loss cap: inf
""".splitlines()
STATEMENTS = """\
Loss is nan, stopping training
NaN in logits!!!
NaN detected
skipping batch 212: non-finite loss (nan)
NaN gradient in backbone.0.weight at step 15
grad norm is inf
loss contains nan
parameters have NaN after the update
""".splitlines()


@pytest.mark.parametrize("line", ASIDES)
def test_asides_are_no_failure_of_a_sound_training(tmp_path: Path, line: str) -> None:
    form = "step {n} loss {loss} lr 0.003\n"
    told = rows(form).splitlines(keepends=True)
    assert judged(tmp_path, "".join([*told[:15], line, "\n", *told[15:]])).verdict == "healthy"
    assert judged(tmp_path, "".join([*told, line, "\n"])).verdict == "healthy"


@pytest.mark.parametrize("line", STATEMENTS)
def test_statements_are_failures(tmp_path: Path, line: str) -> None:
    form = "step {n} loss {loss} lr 0.003\n"
    told = rows(form, 15)
    assert judged(tmp_path, told + line + "\n").verdict == "non-finite"
