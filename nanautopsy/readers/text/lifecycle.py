"""Where a run begins, resumes, saves and ends, and what the machine says when it breaks.

Samples::

    ***** Running training *****                                            (transformers)
      Continuing training from global step 500                              (transformers)
    Saving model checkpoint to out/checkpoint-500                           (transformers)
    successfully loaded checkpoint from /ckpt at iteration 1000             (Megatron)
    successfully saved checkpoint at iteration 2000 to /ckpt                (Megatron)
    WARNING: sha256 mismatch for model-00002-of-00003.safetensors
    `Trainer.fit` stopped: `max_epochs=5` reached.                          (Lightning)
    torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
    NVRM: Xid (PCI:0000:07:00): 79, pid=1234, GPU has fallen off the bus.   (kernel)
    ===== Stage 2/3 =====                                                   (hand-written loops)
    Curriculum: switching to sequence length 1024
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_PATH = re.compile(
    r"(?:to|from|at|in|:|loaded|loading|restored|(?i:resum(?:e|ed|ing)))\s+[\"'`]?"
    r"((?:[\w.~-]*/)[^\s\"'`,;]+|[\w.-]+\.(?:pth?|ckpt|bin|safetensors))"
)
_STEP = re.compile(
    r"(?:global[_ ]?step|iter(?:ation)?|step[-_]?|checkpoint[-_])[ :=#]*(\d+)", re.IGNORECASE
)
_EPOCH = re.compile(r"\bepoch[ :=#]*(\d{1,9})\b(?!\s*%)", re.IGNORECASE)
_GOES_ON = re.compile(r"\btraining from iteration [1-9]", re.IGNORECASE)
"""detectron2, of a run that does not begin."""
_RANK = re.compile(r"\bRank (\d{1,6}),")
_XID = re.compile(r"\bXid \([^)]{0,60}\): (\d{1,4})\b", re.IGNORECASE)
"""The driver's number for what happened."""
_REPEAT_LINES = 200
"""Every rank says it: the same words within so many lines are one occurrence."""
_MEMORY = "lifecycle"
_WITH_PATH = frozenset({"checkpoint-saved", "run-resumed", "weights-loaded"})


@dataclass(frozen=True, slots=True)
class _Rule:
    """One kind of event and the lines that state it."""

    kind: str
    pattern: re.Pattern[str]
    names_step: bool = False
    """The line may name its step, which for a checkpoint is that of the checkpoint."""

    def __call__(self, log: Log, line: Line) -> None:
        text = line.text
        if self.pattern.search(text) is None or _is_repeated(log, line, self.kind):
            return
        goes_on = self.kind == "run-started" and _GOES_ON.search(text) is not None
        path = _PATH.search(text) if self.kind in _WITH_PATH else None
        step = _STEP.search(text) if self.names_step or goes_on else None
        number = int(step[1][:18]) if step else None
        epoch = _EPOCH.search(text) if self.kind == "run-resumed" else None
        rank = _RANK.search(text) if self.kind == "hardware-error" else None
        xid = _XID.search(text) if self.kind == "hardware-error" else None
        log.event(
            "run-resumed" if goes_on else self.kind,
            line,
            step=number,
            exact=number is not None,
            rank=int(rank[1]) if rank else None,
            checkpoint=path[1] if path else None,
            epoch=int(epoch[1]) if epoch else None,
            xid=int(xid[1]) if xid else None,
        )


def _is_repeated(log: Log, line: Line, kind: str) -> bool:
    last = log.memory.setdefault(f"{_MEMORY} {kind}", {})
    if not isinstance(last, dict):
        return False
    before = last.pop(line.raw, None)
    if len(last) > 64:
        last.clear()
    last[line.raw] = line.number
    return before is not None and line.number - before <= _REPEAT_LINES


_SUM = r"(?:sha-?\d*(?:sum)?|md5(?:sum)?|checksum|crc-?\d*c?|hash|digest)"
_DAMAGED = re.compile(
    rf"^(?!.*\b(?:re-?download|re-?try|re-?fetch|again|fetching|downloading)).*(?:"
    rf"\b{_SUM}\b.{{0,80}}\b(?:mismatch|(?:does|do|did) not match|differs?|failed|invalid)\b"
    rf"|\b{_SUM} mismatch\b)"
    r"|\b(?:file|checkpoint|shard|\w+\.(?:bin|safetensors|pth?|ckpt))\b.{0,80}\b(?:incomplete"
    r"|truncated"
    r"|cut short|bytes, (?:but )?(?:the )?index says)"
    r"|^(?=.*(?:\.(?:bin|safetensors|pth?|ckpt|npz|msgpack|h5)\b|\b(?:file|shard|checkpoint)\b))"
    rf".*\b{_SUM}\W{{1,3}}(?:0x)?[0-9a-f]{{4,64}}\b\W{{0,3}}(?:!=|<>|\u2260|instead of\b)"
    r"|PytorchStreamReader failed|MetadataIncompleteBuffer|incomplete metadata, file not fully"
    r"|\bshort read\b|\b\d[\d,]* of \d[\d,]* bytes\b.{0,40}\b(?:remain\w*|rest|only|missing"
    r"|padd\w+)\b"
    r"|\bexpected \d[\d,]* bytes\b.{0,20}\b(?:got|found|read|has|only)\b.{0,12}\d"
    r"|\b\d[\d,]* bytes\b.{0,20}\bexpected \d"
    r"|HeaderTooLarge|InvalidHeader|(?:pickle|checkpoint|safetensors|\.pt).{0,60}unexpected EOF",
    re.IGNORECASE,
)

_THING = (
    r"(?:stages?|phases?|curriculum|lessons?|data ?sets?|data mix\w*|mixture|corpus|task|domain"
    r"|seq(?:uence)?[ _]?len(?:gth)?|resolution|difficulty)"
)
_STAGE = re.compile(
    r"^[\W_]*(?:stage|phase|curriculum|lesson)\b[\W_]{0,4}(?:(?:stage|phase|lesson)\W{0,3})?"
    r"\d{1,3}(?:/\d{1,3})?[ \t]*(?:$|[^\w \t%|])"
    r"|\b(?:stage|phase|curriculum)\b.*\d[ \t]*(?:->|=>|\u2192)[ \t]*\d"
    rf"|\b(?:start(?:s|ed|ing)?|enter(?:s|ed|ing)?|begin(?:s|ning)?|began|advanc(?:e|es|ed|ing)"
    rf"|switch(?:es|ed|ing)?|mov(?:es|ed|ing)|chang(?:es|ed|ing)|now (?:using|training on)"
    rf"|continu(?:es|ed|ing))\b[\w \t:'\"-]{{0,24}}\b{_THING}\b"
    rf"|\b(?:stage|phase|curriculum)\b[\w \t:'\"#-]{{0,16}}"
    rf"\b(?:starts|started|begins|began|switch\w*|chang\w+|advanc\w+)\b",
    re.IGNORECASE,
)
"""A heading that numbers a stage, or a sentence with a verb of change."""

_SAVED = r"(?:[\w.~-]*/)*[\w.-]+\.(?:pth?|ckpt|bin|safetensors|npz|msgpack|h5|tar)"
"""A file of saved weights."""

_KEPT = (
    r"(?:the )?(?:full |whole |run )?(?:train[ _-]?state|state|params?|parameters|weights|opt_state"
    r"|optimizer(?: state)?)\b"
)
_AT_STEP = r"\b(?:step|iter(?:ation)?|update|epoch)s?\W{0,3}[1-9]\d*\b"
"""Not the first one: what is loaded at step 0 is where a run begins."""

_RULES: tuple[tuple[tuple[str, ...], _Rule], ...] = (
    (
        ("running training", "start training", "starting training", "start of training step"),
        _Rule(
            "run-started",
            re.compile(
                r"\*+ Running training \*+|\b(?:Start|Starting) training(?: from iteration \d+"
                r"| loop| process)?\b\s*(?:[.!*:]|$)|before the start of training step",
                re.IGNORECASE,
            ),
        ),
    ),
    (
        ("continuing ", "continues ", "resum", "restart", "loaded ", "loading ", "restor",
         "checkpoint loaded", "checkpoint was loaded", "state loaded", "picking up",
         "found checkpoint", "found existing", "found latest", "found a checkpoint",
         "found an existing", "latest checkpoint", "last checkpoint", "training checkpoint"),
        _Rule(
            "run-resumed",
            re.compile(
                r"Continuing training from (?:checkpoint|global step|epoch)"
                r"|\bresum(?:ed?|ing) (?:training|from|run|at (?:step|epoch|iteration))\b"
                r"(?!(?: checkpoint)?\W{0,4}(?:none|null|false|no)?$)"
                r"|\b(?:Load|Restor)(?:ed|ing) (?:the )?(?:training |latest |last |model )?"
                r"(?:checkpoint|snapshot)(?! shards)\b(?!.*pre-?trained)"
                r".*(?:/|\.\w+|\b(?:step|iter))"
                r"|successfully loaded checkpoint"
                r"|\bcheckpoint (?:was )?(?:loaded|restored)\b.*\b(?:step|iter(?:ation)?|epoch)\b"
                rf"|\b(?:load|restor)(?:ed|ing) (?:from )?[\"'`]?{_SAVED}\b.*"
                r"(?:\b|_)(?:step|iter(?:ation)?|update|epoch)s?\b\W{0,3}\d"
                rf"|\brestor(?:ed|ing) (?:from )?[\"'`]?(?:[\w.~-]*/)*[\w.-]*\d[\w.-]*\."
                rf"(?:ckpt|pth?)\b"
                rf"|\bcontinu(?:e[sd]?|ing) from (?:the )?(?:checkpoint |snapshot )?"
                rf"[\"'`]?{_SAVED}\b"
                rf"|^\W*(?:\[?\w+\]?\W+)?resum(?:e|ed|ing)(?: from)?:?\s+[\"'`]?{_SAVED}"
                rf"|\bauto-?resum\w*\b.*\b(?:checkpoint|ckpt)\b.*\d"
                rf"|^\W*(?:\[?\w+\]?\W+)?(?:resume|restart(?:ed)?):\s.*(?:{_SAVED}|\b(?:step|epoch"
                rf"|iter\w*)\W{{0,3}}\d)"
                r"|=> loaded checkpoint .* \(epoch|Restored (?:all states )?from"
                r"|\brestor(?:ed|ing) (?:[\w-]+ ){0,3}(?:checkpoint|training state|train state)\b"
                rf"|\b(?:restor|load)(?:ed|ing) {_KEPT}.{{0,60}}{_AT_STEP}"
                rf"|\b(?:train[ _-]?state|checkpoint|snapshot) (?:was )?(?:restored"
                rf"|loaded)\b.{{0,24}}"
                rf"{_AT_STEP}"
                r"|\bfound (?:an? |the )?(?:existing |latest |last )?(?:checkpoint|snapshot)\b.*"
                r"\b(?:restor|resum|continu)ing\b"
                r"|\b(?:picking up|continu(?:es|ing))(?: (?:again|run|training|the run))* (?:at"
                r"|from) "
                r"(?:global[ _])?(?:step|iter(?:ation)?|update|epoch)\W{0,3}[1-9]\d*\b",
                re.IGNORECASE,
            ),
            names_step=True,
        ),
    ),
    (
        ("loading", "loaded", "restored"),
        _Rule(
            "weights-loaded",
            re.compile(
                r"\b[Ll]oad(?:ed|ing) (?:[\w-]+ ){0,3}(?:weights|checkpoint|parameters|state|model)"
                r"(?: [\w-]+){0,2} from\b"
                r"|\b(?:[Ll]oad|[Rr]estor)(?:ed|ing) (?:from )?[\"'`]?(?:[\w.~-]*/)*[\w.-]+"
                r"\.(?:safetensors|pth?|ckpt|bin|npz|msgpack|h5)\b"
            ),
        ),
    ),
    (
        ("mismatch", "check failed", "sum failed", "does not match", "do not match",
         "failed reading zip", "unexpected eof",
         "incomplete", "truncated", "index says", "short read", " bytes",
         "metadataincomplete", "headertoo", "invalid header", "sha256", "md5sum"),
        _Rule("checkpoint-damaged", _DAMAGED),
    ),
    (
        ("training completed", "training complete", "training finished", "finished training",
         "training is done", "trainer.fit", "optimization done", "done training"),
        _Rule(
            "run-finished",
            re.compile(
                r"Training (?:completed|complete|finished|done)\b|\b(?:Finished|Done) training\b"
                r"|after training is done|`Trainer.fit` stopped|\bOptimization Done\b",
                re.IGNORECASE,
            ),
        ),
    ),
    (
        ("saving model checkpoint", "saving checkpoint", "saved checkpoint", "snapshotting",
         "saving model", "saved model", "saving state", "checkpoint saved", "[torch] sav"),
        _Rule(
            "checkpoint-saved",
            re.compile(
                r"\bSav(?:ing|ed) (?:the )?(?:current |best |final )?(?:model |full )?"
                r"(?:checkpoint|weights|state|model)\b|successfully saved checkpoint|Snapshotting"
                r"|\[Torch\] Sav(?:ed|ing)|checkpoint saved",
                re.IGNORECASE,
            ),
            names_step=True,
        ),
    ),
    (
        ("out of memory", "outofmemory", "oom-kill", "oom_kill", "resource_exhausted"),
        _Rule(
            "out-of-memory",
            re.compile(
                r"CUDA(?: error:)? out of memory|OutOfMemoryError|oom[-_ ]?kill|RESOURCE_EXHAUSTED"
                r"|Out of memory: Killed|HIP out of memory|CUDNN_STATUS_ALLOC_FAILED",
                re.IGNORECASE,
            ),
        ),
    ),
    (
        ("nvrm: ", "xid (", "xid error", "uncorrectable", "fallen off the bus", "nccl warn",
         "machine check", "ecc error", "hardware error", "transient error", "persistent error"),
        _Rule(
            "hardware-error",
            re.compile(
                # Xid 13, 31, 43 and 45 are a program's own faults (NVIDIA, "XID Errors"), and
                # most NCCL errors tell that another rank is gone: neither speaks of hardware.
                r"\bXid \([^)]{0,60}\): ?(?!(?:13|31|43|45)\b)\d|\bXID error"
                r"|uncorrectable (?:ECC|NVLink)|fallen off the bus"
                r"|NCCL WARN .*(?:\bIB\b.*(?:error|fail)|\bECC\b|hardware|ibv_\w+.*fail|NVLink)"
                r"|\[Hardware Error\]|Machine check"
                r"|\buncorrectable(?: error)?\s*: [1-9]"  # nvidia-smi -q
                r"|double.?bit ECC|ECC error(?!s\s*$)|Possible (?:transient|persistent) error",
                re.IGNORECASE,
            ),
            names_step=True,
        ),
    ),
    (
        ("stage", "phase", "curriculum", "dataset", "data set", "mixture", "seq_len", "sequence"),
        _Rule("stage-changed", _STAGE),
    ),
)  # fmt: skip


def _plan(line: Line, lower: str) -> Handler | None:
    for words, rule in _RULES:
        if any(word in lower for word in words) and rule.pattern.search(line.text):
            return rule
    return None


DIALECT = Dialect(
    name="lifecycle",
    triggers=tuple(word for words, _ in _RULES for word in words),
    plan=_plan,
)
