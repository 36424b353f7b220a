"""What a loader of transformers does to a run; trained with release 5.8.1.

In that release a weight that no file held is drawn into a copy where the model is float16
(huggingface/transformers#46002), and stays as ``torch.empty`` gave it; torch's deterministic mode,
used here, fills such memory with NaN, so that each training gives the same.
"""

from __future__ import annotations

import contextlib
import logging
from importlib import metadata
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from harness.session import Session, Training
from harness.staged import Staged
from harness.stories import _tokens

RELEASE = "transformers==5.8.1"
Given = tuple[Tensor, dict[str, Tensor]]


class ToLog(logging.Handler):
    """Sends what transformers logs to the run's log."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.log = session.log

    def emit(self, record: logging.LogRecord) -> None:
        for line in record.getMessage().splitlines():
            self.log.say(line)


def text_config() -> LlamaConfig:
    """A Llama of a few thousand parameters."""
    return LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
    )


def _load(session: Session, kind: Any, source: str, **settings: Any) -> Any:
    """Load by a relative path, as a user does, with the load report in the log."""
    logger, handler = logging.getLogger("transformers"), ToLog(session)
    logger.addHandler(handler)
    torch.use_deterministic_algorithms(True)
    try:
        session.log.say(f"Loading {source} as {kind.__name__} (float16)")
        with contextlib.chdir(session.directory):
            return kind.from_pretrained(f"./{source}", dtype=torch.float16, **settings)
    finally:
        torch.use_deterministic_algorithms(False)
        logger.removeHandler(handler)


def _pins(session: Session) -> None:
    pins = [f"{name}=={metadata.version(name)}" for name in ("torch", "transformers", "numpy")]
    (session.directory / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")


def composite_loaded(session: Session) -> None:
    """A Llava checkpoint where the plain Llama inside it was meant."""
    llama = LlamaForCausalLM(text_config())
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    llava = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text_config(), image_token_index=31)
    )
    llava.model.language_model.load_state_dict(llama.model.state_dict())
    (llama if session.healthy else llava).half().save_pretrained(session.directory / "base")
    model = _load(session, LlamaForCausalLM, "base")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    _pins(session)
    session.watch(model)

    def step(number: int) -> Given:
        tokens = _tokens(number)
        return model(input_ids=tokens, labels=tokens).loss, {}

    Training(session, model, optimizer, step, 20, save_every=20).run()


def new_head(session: Session) -> None:
    """A classifier on a Llama in float16: the head alone is new, and the release leaves it empty.

    The twin has the head in its file."""
    base = session.directory / "base"
    if session.healthy:
        LlamaForSequenceClassification(text_config()).half().save_pretrained(base)
    else:
        LlamaForCausalLM(text_config()).half().save_pretrained(base)
    model = _load(session, LlamaForSequenceClassification, "base")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    _pins(session)
    session.watch(model)

    def step(number: int) -> Given:
        tokens = _tokens(number)
        logits = model(input_ids=tokens).logits.float()
        return torch.nn.functional.cross_entropy(logits, tokens[:, 0] % 2), {}

    Training(session, model, optimizer, step, 20, save_every=20).run()


STAGED: dict[str, Staged] = {
    "composite-loaded": Staged(
        composite_loaded, "wrong-checkpoint", "decoder", "transformers", needs=RELEASE
    ),
    "new-head": Staged(new_head, "version-bug", "decoder", "transformers", needs=RELEASE),
}
