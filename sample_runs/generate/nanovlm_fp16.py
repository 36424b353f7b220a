"""A tiny nanoVLM trained under float16 autocast without a GradScaler.

The story is huggingface/nanoVLM#50: the notebook of the first commit trained under
``torch.autocast(dtype=torch.float16)``, with no ``GradScaler``, a language backbone that was
pretrained in bfloat16, and printed ``Train Loss: nan``. ``train.py`` used bfloat16, with a comment
that tells people to set float16 on older hardware.

The mechanism: bfloat16 has float32's range (3.4e38), float16 ends at 65504. Backbones trained in
bfloat16 keep a few very large activations, most of all in the product ``silu(gate) * up`` of the
gated MLP, and nothing in their training minds. Under float16 autocast ``gate_proj`` and ``up_proj``
return float16, so their product is rounded to float16 and is Inf past 65504. ``down_proj`` spreads
the Inf over the residual stream, the next RMSNorm makes Inf * 0 = NaN of it, and the loss is NaN.
A GradScaler would not make such a forward pass finite, but it would skip the optimizer step.
Without it AdamW writes the NaN gradient into every weight that took part, and from then on all is
NaN.

What differs from the report: everything is tiny and on the CPU; images, questions and answers are
synthetic; validation decodes greedily (upstream samples, which raises once probabilities are NaN).
The backbone is really pretrained here, in bfloat16 with transformers' Llama. Its massive activation
does not arise by itself, as it does in large models (there, too, on one channel and on the first
token): it is put there by the initialization. ``<bos>`` alone has a large component 0, and in the
second block channel 0 of ``gate_proj`` and ``up_proj`` read only that component, with a weight of
55. Their product is about 60000 for ``<bos>`` and near 0 for all other tokens, which harms nobody
in bfloat16. It is within 2 % of float16's end when training starts, and drifts: the run learns for
45 steps, then in one batch a single element of 12288 passes 65504. The notebook was NaN in its
first epoch.

The healthy twin runs the same script with ``autocast_dtype='bfloat16'`` and nothing else changed.

    python nanovlm_fp16.py            # both
    python nanovlm_fp16.py --twin failing
"""

from __future__ import annotations

import _neutral  # isort: skip  (before torch: it sets the thread counts)

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

SAMPLE = "nanovlm-fp16"
MASSIVE_LAYER = 1
MASSIVE_WEIGHT = 55.25
PRETRAINING_STEPS = 300

COLORS = {
    "red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "yellow": (1, 1, -1),
    "cyan": (-1, 1, 1), "purple": (1, -1, 1), "white": (1, 1, 1), "black": (-1, -1, -1),
}  # fmt: skip
SHAPES = {
    "plain": lambda res: torch.ones(res, res, dtype=torch.bool),
    "split": lambda res: (torch.arange(res) < res // 2).expand(res, res),
    "striped": lambda res: (torch.arange(res) // 4 % 2 == 0)[:, None].expand(res, res),
}
QUESTIONS = {
    "color": ("what color is it ?", "which color do you see ?", "name the color ."),
    "shape": ("how is it painted ?", "which pattern do you see ?", "name the pattern ."),
}
SPECIAL = ("<pad>", "<bos>", "<eos>", "answer:")
WORDS = sorted({word for group in QUESTIONS.values() for text in group for word in text.split()})
VOCAB = [*SPECIAL, *COLORS, *SHAPES, *WORDS]
TOKEN = {word: index for index, word in enumerate(VOCAB)}


@dataclass
class VLMConfig:
    """The model, with nanoVLM's names."""

    vit_hidden_dim: int = 16
    vit_inter_dim: int = 32
    vit_patch_size: int = 8
    vit_img_size: int = 32
    vit_n_heads: int = 2
    vit_n_blocks: int = 2
    vit_ln_eps: float = 1e-6

    lm_hidden_dim: int = 32
    lm_inter_dim: int = 64
    lm_rms_eps: float = 1e-5
    lm_re_base: int = 10000
    lm_vocab_size: int = 48
    lm_n_heads: int = 4
    lm_n_kv_heads: int = 2
    lm_n_blocks: int = 3
    lm_max_length: int = 12
    lm_model_type: str = "backbone"

    mp_pixel_shuffle_factor: int = 2

    vlm_load_backbone_weights: bool = True
    vlm_checkpoint_path: str = "nanoVLM.pth"


@dataclass
class TrainConfig:
    """The training, with nanoVLM's names."""

    lr_mp: float = 2e-3
    lr_backbones: float = 2e-3
    autocast_dtype: str = "float16"
    data_cutoff_idx: int = 240
    batch_size: int = 12
    mmstar_batch_size: int = 64
    eval_in_epochs: bool = True
    epochs: int = 5
    compile: bool = False


class RMSNorm(nn.Module):
    """x / rms(x) * weight."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(cfg.lm_hidden_dim))
        self.eps = cfg.lm_rms_eps

    def forward(self, x: Tensor) -> Tensor:
        irms = torch.rsqrt(torch.mean(x**2, dim=-1, keepdim=True) + self.eps)
        return x * irms * self.weight


def rotary(x: Tensor, base: int) -> Tensor:
    """Rotary positions for x [B, H, T, D]."""
    dim = x.shape[-1]
    inv_freq = base ** (-torch.arange(0, dim, 2).float() / dim)
    angle = torch.arange(x.shape[-2])[:, None] * inv_freq
    angle = torch.cat([angle, angle], dim=-1)
    x1, x2 = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat((-x2, x1), dim=-1) * angle.sin()


class LMGroupedQueryAttention(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        self.cfg = cfg
        dim, kv_dim = cfg.lm_hidden_dim, cfg.lm_hidden_dim // cfg.lm_n_heads * cfg.lm_n_kv_heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, kv_dim, bias=False)
        self.v_proj = nn.Linear(dim, kv_dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        b, t, c = x.size()
        heads, kv_heads = self.cfg.lm_n_heads, self.cfg.lm_n_kv_heads
        q = self.q_proj(x).view(b, t, heads, -1).transpose(1, 2)
        k = self.k_proj(x).view(b, t, kv_heads, -1).transpose(1, 2)
        v = self.v_proj(x).view(b, t, kv_heads, -1).transpose(1, 2)
        q, k = rotary(q, self.cfg.lm_re_base), rotary(k, self.cfg.lm_re_base)
        k = k.repeat_interleave(heads // kv_heads, dim=1)
        v = v.repeat_interleave(heads // kv_heads, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(y.transpose(1, 2).contiguous().view(b, t, c))


class LMMLP(nn.Module):
    """The gated MLP: under float16 autocast the product is where the range ends."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(cfg.lm_hidden_dim, cfg.lm_inter_dim, bias=False)
        self.up_proj = nn.Linear(cfg.lm_hidden_dim, cfg.lm_inter_dim, bias=False)
        self.down_proj = nn.Linear(cfg.lm_inter_dim, cfg.lm_hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.silu(self.gate_proj(x))
        return self.down_proj(gate * self.up_proj(x))


class LMBlock(nn.Module):
    """A pre-norm Llama block."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        self.mlp = LMMLP(cfg)
        self.attn = LMGroupedQueryAttention(cfg)
        self.norm1 = RMSNorm(cfg)
        self.norm2 = RMSNorm(cfg)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class LM(nn.Module):
    """The language backbone."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(cfg.lm_vocab_size, cfg.lm_hidden_dim)
        self.blocks = nn.ModuleList([LMBlock(cfg) for _ in range(cfg.lm_n_blocks)])
        self.norm = RMSNorm(cfg)
        self.head = nn.Linear(cfg.lm_hidden_dim, cfg.lm_vocab_size, bias=False)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        t = x.shape[1]
        causal = torch.ones(t, t, dtype=torch.bool).tril()
        mask = causal & attention_mask.bool()[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)

    @classmethod
    def from_pretrained(cls, cfg: VLMConfig) -> LM:
        """Load transformers' Llama weights under nanoVLM's names."""
        model = cls(cfg)
        pretrained = load_file(Path(cfg.lm_model_type) / "model.safetensors")
        renames = {
            "model.": "", "lm_head": "head", "embed_tokens": "token_embedding",
            "layers.": "blocks.", "self_attn.": "attn.", "o_proj": "out_proj",
            "input_layernorm": "norm1", "post_attention_layernorm": "norm2",
        }  # fmt: skip
        state = {}
        for name, tensor in pretrained.items():
            for theirs, ours in renames.items():
                name = name.replace(theirs, ours)
            state[name] = tensor.float()
        model.load_state_dict(state)
        total = sum(p.numel() for p in model.parameters())
        print(f"Successfully loaded {cfg.lm_model_type} weights from safetensors. "
              f"Model has {total:,} parameters.")  # fmt: skip
        return model


class ViTBlock(nn.Module):
    """A pre-norm vision transformer block."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        dim = cfg.vit_hidden_dim
        self.n_heads = cfg.vit_n_heads
        self.ln1 = nn.LayerNorm(dim, eps=cfg.vit_ln_eps)
        self.qkv_proj = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)
        self.ln2 = nn.LayerNorm(dim, eps=cfg.vit_ln_eps)
        self.fc1 = nn.Linear(dim, cfg.vit_inter_dim)
        self.fc2 = nn.Linear(cfg.vit_inter_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = (
            part.view(b, t, self.n_heads, -1).transpose(1, 2)
            for part in self.qkv_proj(self.ln1(x)).split(c, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out_proj(y.transpose(1, 2).contiguous().view(b, t, c))
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x)), approximate="tanh"))


class ViT(nn.Module):
    """The image encoder."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        patches = (cfg.vit_img_size // cfg.vit_patch_size) ** 2
        self.conv = nn.Conv2d(3, cfg.vit_hidden_dim, cfg.vit_patch_size, cfg.vit_patch_size)
        self.position_embedding = nn.Parameter(torch.rand(1, patches, cfg.vit_hidden_dim))
        self.blocks = nn.ModuleList([ViTBlock(cfg) for _ in range(cfg.vit_n_blocks)])
        self.layer_norm = nn.LayerNorm(cfg.vit_hidden_dim, eps=cfg.vit_ln_eps)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(image).flatten(2).transpose(1, 2) + self.position_embedding
        for block in self.blocks:
            x = block(x)
        return self.layer_norm(x)


class MP(nn.Module):
    """The modality projection: pixel shuffle and one linear layer."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        self.scale_factor = cfg.mp_pixel_shuffle_factor
        self.proj = nn.Linear(
            cfg.vit_hidden_dim * self.scale_factor**2, cfg.lm_hidden_dim, bias=False
        )
        nn.init.normal_(self.proj.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        b, seq, dim = x.size()
        side, s = math.isqrt(seq) // self.scale_factor, self.scale_factor
        x = x.view(b, side, s, side, s, dim).permute(0, 1, 3, 2, 4, 5)
        return self.proj(x.reshape(b, side * side, dim * s**2))


class VLM(nn.Module):
    """Image tokens first, then text, through the language backbone."""

    def __init__(self, cfg: VLMConfig) -> None:
        super().__init__()
        self.vision_encoder = ViT(cfg)
        self.decoder = LM.from_pretrained(cfg)
        self.MP = MP(cfg)

    def forward(self, ids: Tensor, image: Tensor, mask: Tensor, targets: Tensor) -> tuple:
        image_embd = self.MP(self.vision_encoder(image))
        combined_embd = torch.cat((image_embd, self.decoder.token_embedding(ids)), dim=1)
        image_mask = torch.ones(image_embd.shape[:2], dtype=mask.dtype)
        hidden = self.decoder(combined_embd, torch.cat((image_mask, mask), dim=1))
        logits = self.decoder.head(hidden)[:, image_embd.size(1) :, :]
        loss = F.cross_entropy(
            logits.reshape(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-100
        )
        return logits, loss


@dataclass
class Batch:
    """Padded on the left, as upstream does."""

    image: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def make_dataset(cfg: VLMConfig, size: int, generator: torch.Generator) -> Batch:
    """Pictures in one color and pattern, with a question about either."""

    def pick(options: list | tuple) -> str:
        return options[int(torch.randint(len(options), (1,), generator=generator))]

    res, rows = cfg.vit_img_size, []
    for _ in range(size):
        color, shape, asked = pick(list(COLORS)), pick(list(SHAPES)), pick(list(QUESTIONS))
        ink = torch.tensor(COLORS[color], dtype=torch.float32)[:, None, None]
        image = torch.where(SHAPES[shape](res), ink, -ink)
        image += 0.2 * torch.randn(3, res, res, generator=generator)
        answer = color if asked == "color" else shape
        words = ["<bos>", *pick(QUESTIONS[asked]).split(), "answer:", answer, "<eos>"]
        ids = [TOKEN[word] for word in words]
        padding = cfg.lm_max_length - len(ids)
        labels = [-100] * (cfg.lm_max_length - 3) + [ids[-2], ids[-1], -100]
        rows.append((image, [0] * padding + ids, [0] * padding + [1] * len(ids), labels))
    images, *columns = zip(*rows, strict=True)
    return Batch(torch.stack(images), *(torch.tensor(column) for column in columns))


def batches(data: Batch, size: int, generator: torch.Generator) -> Iterator[Batch]:
    """One shuffled epoch of full batches."""
    for index in torch.randperm(len(data.image), generator=generator).split(size):
        if len(index) == size:
            yield Batch(*(column[index] for column in vars(data).values()))


def pretrain_backbone(cfg: VLMConfig, data: Batch, directory: Path) -> None:
    """Train transformers' Llama in bfloat16 on the text alone and save it as the hub would."""
    generator = torch.Generator().manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=cfg.lm_vocab_size,
            hidden_size=cfg.lm_hidden_dim,
            intermediate_size=cfg.lm_inter_dim,
            num_hidden_layers=cfg.lm_n_blocks,
            num_attention_heads=cfg.lm_n_heads,
            num_key_value_heads=cfg.lm_n_kv_heads,
            max_position_embeddings=128,
            rms_norm_eps=cfg.lm_rms_eps,
            tie_word_embeddings=False,
            initializer_range=0.1,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    with torch.no_grad():
        embedding, mlp = model.model.embed_tokens.weight, model.model.layers[MASSIVE_LAYER].mlp
        embedding[:, 0] = 0.0
        embedding[TOKEN["<bos>"]] = 0.0
        embedding[TOKEN["<bos>"], 0] = 4.0
        for projection in (mlp.gate_proj, mlp.up_proj):
            projection.weight[0] = 0.0
            projection.weight[0, 0] = MASSIVE_WEIGHT
        mlp.down_proj.weight[:, 0] *= 1e-2
    model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    steps = 0
    while steps < PRETRAINING_STEPS:
        for batch in batches(data, 24, generator):
            labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
            output = model(batch.input_ids, attention_mask=batch.attention_mask, labels=labels)
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
            steps += 1
    model.save_pretrained(directory)


@torch.no_grad()
def test_accuracy(model: VLM, data: Batch, train_cfg: TrainConfig) -> float:
    """Share of validation questions whose answer is the most likely token."""
    model.eval()
    with torch.autocast("cpu", dtype=getattr(torch, train_cfg.autocast_dtype)):
        logits, _ = model(data.input_ids, data.image, data.attention_mask, data.labels)
    model.train()
    return float((logits[:, -3].argmax(-1) == data.labels[:, -3]).float().mean())


def train(train_cfg: TrainConfig, vlm_cfg: VLMConfig, train_data: Batch, test_data: Batch) -> None:
    """nanoVLM's training loop."""
    model = VLM(vlm_cfg)
    print(f"nanoVLM initialized with {sum(p.numel() for p in model.parameters()):,} parameters")
    samples, per_epoch = len(train_data.image), len(train_data.image) // train_cfg.batch_size
    print(f"Training summary: {samples} samples, {per_epoch} batches/epoch, "
          f"batch size {train_cfg.batch_size}")  # fmt: skip
    backbones = [*model.decoder.parameters(), *model.vision_encoder.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": model.MP.parameters(), "lr": train_cfg.lr_mp},
            {"params": backbones, "lr": train_cfg.lr_backbones},
        ]
    )
    autocast_dtype = getattr(torch, train_cfg.autocast_dtype)
    print(f"Mixed precision: autocast dtype {autocast_dtype}")

    generator = torch.Generator().manual_seed(2)
    image_tokens = (vlm_cfg.vit_img_size // vlm_cfg.vit_patch_size) ** 2
    image_tokens //= vlm_cfg.mp_pixel_shuffle_factor**2
    global_step, best_accuracy, epoch_times = 0, 0.0, []
    for epoch in range(train_cfg.epochs):
        epoch_start_time = time.time()
        total_train_loss, total_tokens_processed = 0.0, 0
        for batch in batches(train_data, train_cfg.batch_size, generator):
            batch_start_time = time.time()
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=autocast_dtype):
                _, loss = model(batch.input_ids, batch.image, batch.attention_mask, batch.labels)
            loss.backward()
            optimizer.step()

            batch_loss = loss.item()
            total_train_loss += batch_loss
            num_tokens = int(batch.attention_mask.sum()) + len(batch.image) * image_tokens
            total_tokens_processed += num_tokens
            tokens_per_second = num_tokens / (time.time() - batch_start_time)
            if train_cfg.eval_in_epochs and global_step % 10 == 0:
                accuracy = test_accuracy(model, test_data, train_cfg)
                saving = ""
                if accuracy > best_accuracy:
                    best_accuracy = accuracy
                    torch.save(model.state_dict(), vlm_cfg.vlm_checkpoint_path)
                    saving = f" | Saving checkpoint to {vlm_cfg.vlm_checkpoint_path}"
                print(
                    f"Step: {global_step}, Loss: {batch_loss:.4f}, "
                    f"Tokens/s: {tokens_per_second:.2f}, Accuracy: {accuracy:.4f}{saving}"
                )
            global_step += 1

        duration = time.time() - epoch_start_time
        epoch_times.append(duration)
        print(f"Epoch {epoch + 1}/{train_cfg.epochs}, "
              f"Train Loss: {total_train_loss / per_epoch:.4f} | Time: {duration:.2f}s | "
              f"T/s: {total_tokens_processed / duration:.2f}")  # fmt: skip
    final = Path("checkpoints") / f"step_{global_step}" / "model.safetensors"
    final.parent.mkdir(parents=True)
    save_file(model.state_dict(), final)
    print(f"Saving checkpoint to {final}")
    print(f"Average time per epoch: {sum(epoch_times) / len(epoch_times):.2f}s")
    print(f"Average time per sample: {sum(epoch_times) / samples / train_cfg.epochs:.4f}s")
    print(f"MMStar Accuracy: {test_accuracy(model, test_data, train_cfg):.4f}")


def run(workdir: Path, train_cfg: TrainConfig) -> None:
    """Pretrain the backbone, then train the whole model with its output in train.log."""
    vlm_cfg = VLMConfig()
    train_data = make_dataset(vlm_cfg, train_cfg.data_cutoff_idx, torch.Generator().manual_seed(3))
    test_data = make_dataset(vlm_cfg, 64, torch.Generator().manual_seed(4))
    pretrain_backbone(vlm_cfg, train_data, workdir / vlm_cfg.lm_model_type)
    packages = ("torch", "transformers", "safetensors", "numpy")
    (workdir / "requirements.txt").write_text(
        "".join(f"{package}=={version(package)}\n" for package in packages)
    )
    config = {"VLMConfig": asdict(vlm_cfg), "TrainConfig": asdict(train_cfg)}
    (workdir / "train_config.json").write_text(json.dumps(config, indent=2) + "\n")
    with _neutral.stdout_to(workdir / "train.log"):
        print(f"Using device: {torch.device('cpu')}")
        print(f"torch {torch.__version__}")
        print("--- VLM Config ---")
        print(vlm_cfg)
        print("--- Train Config ---")
        print(train_cfg)
        train(train_cfg, vlm_cfg, train_data, test_data)


def main() -> None:
    """Make the failing sample, the healthy one, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--twin", choices=("failing", "healthy", "both"), default="both")
    twin = parser.parse_args().twin
    for name, dtype in ((SAMPLE, "float16"), (f"{SAMPLE}-healthy", "bfloat16")):
        if twin == "both" or (twin == "healthy") == (dtype == "bfloat16"):
            workdir = _neutral.neutral_run("nanovlm")
            run(workdir, TrainConfig(autocast_dtype=dtype))
            _neutral.publish(workdir, name)


if __name__ == "__main__":
    main()
