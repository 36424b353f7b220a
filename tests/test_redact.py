"""What must not be seen is not seen, in any format; what is ordinary stays."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import factories
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanautopsy import redact_patterns, redact_places
from nanautopsy.model import Autopsy, Fact, Package, Source, TimelineEntry
from nanautopsy.redact import Redactor, redact
from nanautopsy.rewrite import Place, rewrite

HEX40 = "0123456789abcdef0123456789abcdef01234567"


def _text(text: str, *learned: str) -> str:
    """``text`` as redaction leaves it in a headline, with others beside it to learn from."""
    entries = tuple(TimelineEntry(None, None, t, Source("x.log")) for t in learned)
    base = factories.empty()
    return redact(replace(base, headline=text, timeline=entries)).headline


def _everything(autopsy: Autopsy) -> str:
    """Every string of the result."""
    found: list[str] = []

    def visit(leaf: object, place: Place) -> object:
        found.append(str(leaf))
        return leaf

    rewrite(autopsy, visit)
    return "\n".join(found)


SECRETS = {
    "hugging face": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567",
    "github": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "github fine-grained": "github_pat_" + "11ABCDEFG0_" + "x" * 40,
    "openai": "sk-" + "abcdEFGH1234abcdEFGH1234",
    "openai project": "sk-proj-" + "abcd_EFGH-1234abcdEFGH1234",
    "anthropic": "sk-ant-api03-" + "abcd-EFGH_1234abcdEFGH1234",
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "aws temporary": "ASIA" + "IOSFODNN7EXAMPLE",
    "google": "AIza" + "SyA-1234567890abcdefghijklmnopqrstu",
    "slack": "xoxb-" + "123456789012-abcdefghij",
    "gitlab": "glpat-" + "abcDEF123456_-xyzABC",
    "npm": "npm_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "jwt": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".c2lnbmF0dXJl",
    "pem": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n"
    "-----END OPENSSH PRIVATE KEY-----",
    "cut pem": "-----BEGIN RSA PRIVATE KEY----- b3BlbnNzaC1rZXktdjEAAAAA",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_known_shapes_are_hidden_everywhere(secret: str) -> None:
    shown = _everything(redact(factories.hostile(f"before {secret} after")))
    for part in secret.splitlines():
        assert part not in shown
    assert "before <secret>" in shown


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Bearer abcdefghijkl1234", "abcdefghijkl1234"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("clone https://alice:p4ss@word@git.example/x.git", "alice:p4ss@word"),
        ("clone https://0123456789abcdef@git.example/x.git", "0123456789abcdef"),
        (f"WANDB_API_KEY={HEX40} python train.py", HEX40),
        (f"wandb login --relogin {HEX40}", HEX40),
        (f"'api_key': '{HEX40}'", HEX40),
        (f"machine api.wandb.ai login user password {HEX40}", HEX40),
        ("train.py --hub_token mytoken1234 --lr 1", "mytoken1234"),
        ("train.py --password=swordfish --lr 1", "swordfish"),
        ('{"db_password": "swordfish"}', "swordfish"),
        ("export MY_SECRET=abcd", "abcd"),
        ("access_key: 9f8e7d6c5b4a", "9f8e7d6c5b4a"),
    ],
)
def test_secrets_told_by_their_surroundings(text: str, hidden: str) -> None:
    shown = _text(text)
    assert hidden not in shown
    assert "<secret>" in shown


@pytest.mark.parametrize(
    "key",
    ["hub_token", "token", "wandb.api_key", "AWS_SECRET_ACCESS_KEY", "passwd", "apiKey"]
    + ["credentials", "env.HF_TOKEN", "db.password", "hubToken", "tokens.0.secret", "db_pwd"],
)
def test_values_of_secret_settings_are_hidden_wherever_they_stand(key: str) -> None:
    base = factories.failing()
    config = {**base.run.config, f"training.{key}": Fact("q7w8e9r0t1", Source("args.json"))}
    log = TimelineEntry(1, None, "started with q7w8e9r0t1", Source("x.log"))
    shown = redact(
        replace(base, run=replace(base.run, config=config), timeline=(*base.timeline, log))
    )
    assert shown.run.config[f"training.{key}"].value == "<secret>"
    assert "q7w8e9r0t1" not in _everything(shown)


def test_a_number_can_be_a_password() -> None:
    base = factories.failing()
    config = {"db.password": Fact(12345678, Source("a.yaml"))}
    shown = redact(replace(base, run=replace(base.run, config=config)))
    assert shown.run.config["db.password"].value == "<secret>"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pad_token", "<pad>"),
        ("eos_token", "</s>"),
        ("bos_token_id", 1),
        ("max_new_tokens", 512),
        ("image_token", "image"),
        ("tokenizer_name", "bert-base-uncased"),
        ("num_key_value_heads", 8),
        ("use_auth_token", True),
        ("hub_token", "<HUB_TOKEN>"),
        ("hub_token", None),
        ("secret", ""),
        ("class_token", "true"),
    ],
)
def test_settings_that_only_sound_secret_stay(key: str, value: object) -> None:
    base = factories.failing()
    config = {f"training.{key}": Fact(value, Source("a.json"))}  # type: ignore[arg-type]
    shown = redact(replace(base, run=replace(base.run, config=config)))
    assert shown.run.config[f"training.{key}"].value == value


ORDINARY = (
    "grad norm nan at step 12000",
    "model.layers.17.self_attn.q_proj.weight",
    "encoder.block.0.layer.0.SelfAttention.q.weight[0, 3]",
    f"commit {HEX40}",
    f"sha256:{HEX40}{HEX40[:24]}",
    "train/loss@1204",
    "transformers==4.31.0, torch 2.1.0+cu118, deepspeed 0.14.5",
    "nvidia-curand-cu12==10.3.2.106",
    "nvidia-curand-cu12 10.3.2.106",
    "driver version: 10.2.89.4",
    "tokenization mismatch: 102 vs. 104. (ignored)",
    "Token indices sequence length is longer than the maximum: 5123 > 2048",
    "password: required",
    "the secret is nothing",
    "token = tokenizer.decode(ids)",
    "api_key=os.environ['WANDB_API_KEY']",
    "{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 2e-05, 'epoch': 0.01}",
    "sk-learn-experiment, risk-averse, mask-rcnn",
    "git@github.com:org/project.git",
    "/data/datasets/c4/train-00001-of-00100.parquet",
    "/rooted/home",
    "127.0.0.1 0.0.0.0 8.8.8.8 1.10.0.0.1",
    "beta1 0.9, beta2 0.999, eps 1e-08",
    "[2026-11-20 15:28:26,903] [INFO] [loss_scaler.py:266:update_scale] OVERFLOW!",
    "events.out.tfevents.1760000000.localhost.42.0",
    "https://huggingface.co/docs",
    "https://api.example/users/list",
    "a@b",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert _text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/exp/a.log", "~/exp/a.log"),
        ("File '/home/alice/train.py', line 3", "File '~/train.py', line 3"),
        ("in /home/john.doe.", "in ~."),
        ("/Users/bob/x", "~/x"),
        ("/gpfs/home/carol/x", "~/x"),
        ("/mnt/users/dave/x", "~/x"),
        ("file:///home/erin/x", "file://~/x"),
        ("/root/.cache/x", "~/.cache/x"),
        ("/home/users/lab/grace0001/x by grace0001", "~/x by <user-1>"),
        (r"C:\Users\frank\x", r"~\x"),
        (r"C:\\Users\\frank\\x", r"~\\x"),
        (r"D:\Users\John Smith\x", r"~\x"),
        ("mail grace@example.org now", "mail <email-1> now"),
        ("master 10.1.2.3:29500, 192.168.0.7", "master <ip-1>:29500, <ip-2>"),
        ("172.16.0.1 172.32.0.1 10.1.2.300", "<ip-1> 172.32.0.1 10.1.2.300"),
        ("fe80::1ff:fe23:4567:890a", "<ip-1>"),
        ("ip-10-0-12-34.ec2.internal: nan", "<host-1>: nan"),
        (
            "Currently logged in as: heidi (lab). heidi",
            "Currently logged in as: <user-1> (lab). <user-1>",
        ),
        ("MASTER_ADDR=box42 on box42", "MASTER_ADDR=<host-1> on <host-1>"),
    ],
)
def test_homes_and_addresses(text: str, shown: str) -> None:
    assert _text(text) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("events.out.tfevents.17.box42.4242.0", "events.out.tfevents.17.<host-1>.4242.0"),
        ("events.out.tfevents.17.box42", "events.out.tfevents.17.<host-1>"),
        ("a/events.out.tfevents.17.box42.9.1.v2/b", "a/events.out.tfevents.17.<host-1>.9.1.v2/b"),
        ("events.out.tfevents.17.box42.lab.example.9.0", "events.out.tfevents.17.<host-1>.9.0"),
        ("events.out.tfevents.17.box42.9.0.gz", "events.out.tfevents.17.<host-1>.9.0.gz"),
        ("events.out.tfevents.17.x1.9.0 read", "events.out.tfevents.17.<host-1>.9.0 read"),
        ("runs/Nov20_15-28-26_box42/x", "runs/Nov20_15-28-26_<host-1>/x"),
    ],
)
def test_hosts_in_names_of_event_files(name: str, shown: str) -> None:
    assert _text(name) == shown


def test_learned_names_are_replaced_elsewhere_and_consistently() -> None:
    text = "box42: rank 0; box77: rank 1; box42.lab.example again; /scratch/alice/run by alice"
    shown = _text(
        text,
        "events.out.tfevents.17.box42.lab.example.9.0",
        "events.out.tfevents.17.box77.9.0",
        "/home/alice/x",
    )
    assert shown == (
        "<host-1>: rank 0; <host-2>: rank 1; <host-1> again; /scratch/<user-1>/run by <user-1>"
    )


@pytest.mark.parametrize("name", ["root", "user", "ubuntu", "train", "ab", "adam", "Model", "42"])
def test_common_and_short_names_stay_in_text(name: str) -> None:
    text = f"{name} wrote {name} at step 42, {name}."
    assert _text(text, f"/home/{name}/x", f"events.out.tfevents.17.{name}.9.0") == text


def test_a_name_that_the_model_uses_stays() -> None:
    base = factories.failing()
    run = replace(base.run, environment={"username": Fact("projector", Source("m.json"))})
    text = "model.projector.weight is all zero; /home/projector/x"
    shown = redact(replace(base, run=run, headline=text))
    assert shown.headline == "model.projector.weight is all zero; ~/x"
    assert shown.run.environment["username"].value == "<user-1>"


def test_environment_facts() -> None:
    base = factories.failing()
    values = {"username": "mallory", "host": "gpu-box-9", "python": "3.11.9", "email": "m@x.org"}
    run = replace(base.run, environment=factories.facts(values, Source("wandb-metadata.json")))
    shown = redact(replace(base, run=run, headline="mallory on gpu-box-9"))
    assert {key: fact.value for key, fact in shown.run.environment.items()} == {
        "username": "<user-1>",
        "host": "<host-2>",  # the factory's event file names another one first
        "python": "3.11.9",
        "email": "<email-1>",
    }
    assert shown.headline == "<user-1> on <host-2>"


def test_settings_that_are_no_names_stay() -> None:
    base = factories.failing()
    values = {"launch.host": 0, "x.user": "3", "x.hostname": "localhost", "env.PWD": "/data/x-1"}
    run = replace(base.run, config=factories.facts(values, Source("a.yaml")))
    shown = redact(replace(base, run=run))
    assert {key: fact.value for key, fact in shown.run.config.items()} == values


def test_versions_that_look_like_addresses_stay() -> None:
    base = factories.failing()
    package = Package(
        "nvidia-curand-cu12", "10.3.2.106", Source("req.txt"), (("10.3.0.86", Source("b")),)
    )
    shown = redact(replace(base, run=replace(base.run, packages={package.name: package})))
    assert shown.run.packages == {package.name: package}


def test_nothing_but_text_changes() -> None:
    before = factories.failing()
    after = redact(before)
    assert after.run.series[0].values is before.run.series[0].values
    assert after.run.checkpoints == before.run.checkpoints
    assert after.run.config == before.run.config
    assert after.hidden == {"host": 1}  # the host in the event file's name
    assert "trainbox17" not in _everything(after)


def test_redacting_twice_changes_nothing() -> None:
    once = redact(factories.hostile("/home/alice/x alice@example.org hf_" + "a1" * 20))
    twice = redact(once)
    assert _everything(twice) == _everything(once)
    assert twice.hidden == once.hidden


@given(st.text())
def test_any_text_survives_and_settles(text: str) -> None:
    once = Redactor().text(text)
    assert Redactor().text(once) == once


@given(st.from_regex(r"[a-z ]{0,40}", fullmatch=True))
def test_plain_words_stay(text: str) -> None:
    assert Redactor().text(text) == text


def _patterns() -> dict[str, re.Pattern[str]]:
    """Every pattern that a text of any length meets."""
    found: dict[str, re.Pattern[str]] = {}
    for module in (redact_patterns, redact_places):
        for name, value in vars(module).items():
            rules = value if isinstance(value, tuple) else (value,)
            for i, rule in enumerate(rules):
                if isinstance(rule, redact_patterns.Rule):
                    found[f"{name}-{i}"] = rule.pattern
    return found


PATTERNS = _patterns()
CARELESS = (
    *(
        "a",
        "A1a",
        " ",
        "\t \n",
        "a ",
        "a.",
        "a-",
        "/",
        "/a",
        ":",
        "=",
        "'",
        "@",
        "a@",
        "a.b@",
        "+A/",
    ),
    *("://", "http://", "http://a.", "s3://", "0a:", "10.", "fd12:", "ip-1-", "token", "token ="),
    *(
        "key: ",
        "apikey is ",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "cookie: ",
        "eyJaaaaaaaa.",
    ),
    *(
        '"username": "x","key": "',
        "SG.aaaaaaaaaaaaaaaa.",
        "sig=",
        "bearer ",
        "authorization: basic ",
    ),
    *("/home/", "/home/users/", "C:/Users/", "logged in as: a (", "wandb.ai/aa/", "1.internal"),
    *("events.out.tfevents.1.a.1.", "Nov20_15-28-26_", "hostname = ", "host   : ", "a:1:1 [0] N"),
    *(
        "connect to [a",
        "nodelist=a[1,",
        "slurmstepd: error: ON ",
        "a slots=",
        "Linux a 1.1",
        "a@b:",
    ),
    *("world_info=", "hooks.slack.com/services/", "AccountKey=", "a.s3", "s3.amazonaws.com/"),
)
"""What patterns of theirs begin with, or take much of: the shapes that make one quadratic."""


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_take_linear_time(name: str) -> None:
    pattern = PATTERNS[name]

    def seconds(piece: str, size: int) -> float:
        text = piece * (size // len(piece))
        began = time.process_time()
        pattern.sub("", text)
        return time.process_time() - began

    for piece in CARELESS:
        # Four times the text: 4 where the pattern is linear, 16 where it is quadratic. What takes
        # less than five milliseconds is noise.
        ratios = (seconds(piece, 80_000) / max(seconds(piece, 20_000), 5e-3) for _ in range(9))
        assert any(ratio < 10 for ratio in ratios), piece


def test_a_line_of_a_megabyte() -> None:
    for text in ("a" * 1_000_000, "/home" * 200_000, "token" * 200_000, "a.b@" * 250_000):
        Redactor(urls=True).text(text)


# --- where it is asked for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://acme-models/llama/x.pt", "s3://<bucket-1>/llama/x.pt"),
        (
            "gs://acme-a gs://acme-b/c gs://acme-a/d",
            "gs://<bucket-1> gs://<bucket-2>/c gs://<bucket-1>/d",
        ),
        ("hdfs://nn1.acme:8020/user/x", "hdfs://<bucket-1>/user/x"),
        (
            "https://acme-x.s3.eu-west-1.amazonaws.com/a",
            "https://<bucket-1>.s3.eu-west-1.amazonaws.com/a",
        ),
        ("acme-x.oss-cn-beijing.aliyuncs.com/a", "<bucket-1>.oss-cn-beijing.aliyuncs.com/a"),
        (
            "x acmeacct.blob.core.windows.net/acme-m/a",
            "x <bucket-1>.blob.core.windows.net/<bucket-2>/a",
        ),
        ("see https://wiki.acme.example/page?x=1.", "see https://<url-1>."),
        (
            "http://mlflow:5000/#/runs and http://mlflow:5000/#/runs",
            "http://<url-1> and http://<url-1>",
        ),
        (
            "https://github.com/a/b https://huggingface.co/c",
            "https://github.com/a/b https://huggingface.co/c",
        ),
    ],
)
def test_buckets_and_urls(text: str, shown: str) -> None:
    base = replace(factories.empty(), headline=text)
    hidden = redact(base, urls=True)
    assert hidden.headline == shown
    assert sum(hidden.hidden.values()) == len(set(re.findall("<[a-z]+-[0-9]>", shown)))
    assert redact(hidden, urls=True).headline == shown
    assert "acme" in redact(base).headline or "mlflow" in text or "github" in text


def test_our_own_references_stay() -> None:
    base = factories.failing()
    cause = replace(base.causes[0], references=("https://tracker.example/issue/1",))
    shown = redact(replace(base, causes=(cause,)), urls=True)
    assert shown.causes[0].references == cause.references
