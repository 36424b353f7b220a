"""Secrets of many makers, random and made at run time: nothing here looks like a live one."""

from __future__ import annotations

import random
import string

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def kinds(seed: int = 7) -> dict[str, tuple[str, str]]:
    """Name to (line of a log, the part of it that must not be seen)."""
    source = random.Random(seed)

    def some(count: int, of: str = ALNUM) -> str:
        return "".join(source.choice(of) for _ in range(count))

    upper = string.ascii_uppercase + string.digits
    bare = {
        "huggingface": "hf" + "_" + some(34),
        "openai": "sk" + "-" + some(48),
        "openai-project": "sk" + "-proj-" + some(64),
        "anthropic": "sk" + "-ant-api03-" + some(80),
        "aws-key-id": "AKIA" + some(16, upper),
        "aws-temporary-key-id": "ASIA" + some(16, upper),
        "google-api": "AIza" + some(35),
        "google-oauth": "ya29." + some(60),
        "github": "ghp" + "_" + some(36),
        "github-oauth": "gho" + "_" + some(36),
        "github-server": "ghs" + "_" + some(36),
        "github-fine": "github" + "_pat_" + some(22) + "_" + some(59),
        "gitlab": "glpat" + "-" + some(20),
        "slack-bot": "xoxb" + f"-{some(11, string.digits)}-{some(11, string.digits)}-{some(24)}",
        "slack-user": "xoxp" + f"-{some(11, string.digits)}-{some(11, string.digits)}-{some(24)}",
        "npm": "npm" + "_" + some(36),
        "pypi": "pypi" + "-AgEIcHlwaS5vcmc" + some(60),
        "docker": "dckr" + "_pat_" + some(27),
        "databricks": "dapi" + some(32, HEX),
        "replicate": "r8" + "_" + some(37),
        "groq": "gsk" + "_" + some(52),
        "alibaba": "LTAI" + some(20),
        "tencent": "AKID" + some(32),
        "jwt": f"eyJ{some(20)}.eyJ{some(40)}.{some(43)}",
        "stripe": "sk" + "_live_" + some(24),
        "sendgrid": "SG." + some(22) + "." + some(43),
    }
    found = {name: (f"using {secret} here", secret) for name, secret in bare.items()}
    framed = {
        "wandb": ("WANDB_API_KEY={}", some(40, HEX)),
        "wandb-netrc": ("machine api.wandb.ai login user password {}", some(40, HEX)),
        "aws-secret": ("aws_secret_access_key = {}", some(40)),
        "aws-session": ("export AWS_SESSION_TOKEN={}", some(120)),
        "azure-storage": ("AccountKey={};EndpointSuffix=core.windows.net", some(86) + "=="),
        "azure-sas": ("https://acct.blob.core.windows.net/c?sv=2022&sig={}", some(43) + "%3D"),
        "slack-webhook": (
            "posting to https://hooks.slack.com/services/{}",
            f"T{some(8, upper)}/B{some(8, upper)}/{some(24)}",
        ),
        "discord-webhook": (
            "https://discord.com/api/webhooks/123456789012345678/{}",
            some(68),
        ),
        "telegram": ("bot token {}", f"{some(10, string.digits)}:AA{some(33)}"),
        "bearer": ("Authorization: Bearer {}", some(40)),
        "basic-header": ("Authorization: Basic {}", some(32) + "=="),
        "cookie": ("Cookie: session={}", some(40)),
        "basic-url": ("cloning https://builder:{}@git.example.org/repo.git", some(18)),
        "database-url": ("postgresql://trainer:{}@db.example.org:5432/runs", some(16)),
        "redis-url": ("redis://:{}@cache.example.org:6379/0", some(16)),
        "password-flag": ("python train.py --password {} --lr 0.1", some(14)),
        "token-flag": ("python train.py --hub_token={} --lr 0.1", some(30)),
        "json-api-key": ('{{"api_key": "{}", "lr": 0.1}}', some(32)),
        "yaml-secret": ("client_secret: {}", some(32)),
        "env-token": ("export MY_SERVICE_TOKEN={}", some(30)),
        "query-token": ("GET https://api.example.org/v1?access_token={}&x=1", some(30)),
        "comet": ("COMET_API_KEY={}", some(25)),
        "neptune": ("NEPTUNE_API_TOKEN={}", some(100)),
        "dashscope": ("DASHSCOPE_API_KEY=sk-{}", some(32, HEX)),
        "kaggle": ('{{"username":"x","key":"{}"}}', some(32, HEX)),
        "mlflow": ("MLFLOW_TRACKING_PASSWORD={}", some(20)),
        "private-key-line": ("-----BEGIN PRIVATE KEY----- {} -----END PRIVATE KEY-----", some(64)),
    }
    found |= {name: (line.format(secret), secret) for name, (line, secret) in framed.items()}
    return found


def people() -> dict[str, tuple[str, str]]:
    """The same for what tells who ran it, and where."""
    return {
        "email": ("mail to grace.hopper@navy-lab.example now", "grace.hopper"),
        "home": ("File '/home/hopperg/exp/train.py', line 3", "hopperg"),
        "login": ("wandb: Currently logged in as: hopper42 (navy-lab-7).", "hopper42"),
        "team": ("wandb: Currently logged in as: hopper42 (navy-lab-7).", "navy-lab-7"),
        "nccl": ("gnode-41:1202:1340 [0] NCCL INFO Bootstrap : Using eth0:10.3.2.1<0>", "gnode-41"),
        "nccl-address": (
            "gnode-41:1202:1340 [0] NCCL INFO NET/Socket : eth0:10.3.2.1<0>",
            "10.3.2.1",
        ),
        "torchrun": ("  host      : gnode-42.cluster7", "gnode-42"),
        "c10d": (
            "[W socket.cpp:663] [c10d] failed to connect to [gnode-43]:29500 (errno",
            "gnode-43",
        ),
        "master": (
            "python -m torch.distributed.run --master_addr gnode-44 --master_port 1",
            "gnode-44",
        ),
        "slurm": ("SLURM_JOB_NODELIST=hnode[101-104]", "hnode["),
        "slurm-node": ("hnode103: loss is high", "hnode103"),
        "srun": ("srun: error: gnode-45: task 3: Exited with exit code 1", "gnode-45"),
        "deepspeed": ("[INFO] WORLD INFO DICT: {'gnode-46': [0, 1]}", "gnode-46"),
        "world-info": (
            "--world_info=eyJnbm9kZS00NiI6IFswLCAxXX0= --master_port=1",
            "eyJnbm9kZS00NiI6",
        ),
        "pdsh": ("gnode-49: [2025-01-01 10:00:00,000] [INFO] ready", "gnode-49"),
        "prompt": ("hopper43@gnode-47:~/exp$ python train.py", "gnode-47"),
        "uname": ("Linux gnode-48 5.15.0-91-generic #101-Ubuntu SMP", "gnode-48"),
        "intranet": ("tracking at http://tracking.navylab.internal:5000/#/x", "navylab"),
        "mac": ("eth0: link/ether 0a:1b:2c:3d:4e:5f", "0a:1b:2c:3d:4e:5f"),
        "ipv6": ("listening on [fd12:3456:789a:1::1]:29500", "fd12:3456:789a:1::1"),
        "link-local": ("GID fe80::a8bb:ccff:fedd:eeff on mlx5_0", "fe80::a8bb:ccff:fedd:eeff"),
    }


def private_key(seed: int = 7) -> list[str]:
    """The lines of a private key as a program prints it."""
    source = random.Random(seed)
    body = ["".join(source.choice(ALNUM + "+/") for _ in range(64)) for _ in range(6)]
    kind = "OPENSSH PRIVATE " + "KEY"
    return [f"-----BEGIN {kind}-----", *body, f"-----END {kind}-----"]


ORDINARY = (
    "commit 3f2a9c41d0be7788aa31c0ffee0123456789abcd",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "model.layers.11.self_attn.q_proj.weight",
    "meta-llama/Llama-2-7b-hf",
    "torch 2.1.0+cu118",
    "run id 7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "Tesla V100-SXM2-32GB",
    "grad_norm 1.4142135623730951",
    "[2026-11-20 15:28:26,903] [rank0]: step took 12:34:56 on mlx5_0:1 at 0000:3b:00.0",
    "checkpoint 24-11-20-15-28-26 of runs/2024-11-20_15-28-26",
    "threading.local and torch.nn.internal and keras.src.backend.local",
    "hostname = socket.gethostname()",
    "host: 0, world_size: 8, [loss]:2.50 [epoch]:1000",
)
