"""What people and machines look like in text: addresses, home directories, hosts, buckets, URLs.

Keys and passwords stand in :mod:`nanautopsy.redact_patterns`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator

from nanautopsy.redact_patterns import Rule, rule

EMAIL = rule(
    "email",
    "@",
    r"(?P<email>(?<![\w.+@/-])(?!git@)[\w.+-]*\w@"
    r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,})\b",
)

HOME_RULES: tuple[Rule, ...] = (
    # Clusters put groups between: /home/users/<group>/<account>
    rule(
        "user", "/home/users/", r"(?<![\w.~<>-])/home/users/[\w-]+/(?P<user>[a-z]{1,12}\d{3,8})\b"
    ),
    rule(
        "user",
        "/home /users",
        r"(?<![\w.~<>-])(?<!:/)(?:/[\w.-]+){0,2}/(?:home|homes|Users|users)/"
        r"(?P<user>[\w@+-](?:[\w.@+-]*[\w@+-])?)",
    ),
    rule("user", "/root", r"(?<![\w.~<>/-])/(?P<user>root)(?![\w.-])"),
    rule(
        "user",
        "users settings",
        r"(?<![A-Za-z0-9])[A-Za-z]:(?:\\\\|\\|/)(?:Users|Documents and Settings)(?:\\\\|\\|/)"
        r"(?P<user>[^\\/:*?\"'<>|\s]+(?: [^\\/:*?\"'<>|\s]+)?(?=[\\/])|[^\\/:*?\"'<>|\s]+)",
    ),
)
"""The whole match is the home directory, the group its owner."""

USER_RULES: tuple[Rule, ...] = (
    rule("user", "logged", r"(?i:logged in as:?) +(?P<user>[\w-](?:[\w.-]*[\w-])?)"),
    # W&B names the team too, and puts it into the address of the run.
    rule("user", "logged", r"(?i:logged in as:?) +[\w.-]{1,80} \((?P<user>[\w-][\w.-]{0,80})\)"),
    rule("user", "wandb.ai/", r"wandb\.ai/(?P<user>[\w-]{2,80})/[^\s/]{1,120}(?:/runs/|\b)"),
    # A prompt: alice@box42:~/exp$
    rule("user", "@", r"(?<![\w.+@/-])(?!git@)(?P<user>[a-z_][\w-]{0,31})@(?=[\w.-]{1,99}:[~/])"),
)

_NAME = r"[A-Za-z](?:[\w.-]{0,254}\w)?(?![\w-]|\.\w|\()"
"""A host, and no call of a function that finds one."""

_IP = r"\d{1,3}(?:\.\d{1,3}){3}(?![\w.-])"

HOST_RULES: tuple[Rule, ...] = (
    # events.out.tfevents.<seconds>.<host>[.<pid>[.<counter>]][.v2][.suffix]
    rule(
        "host",
        "tfevents",
        r"events\.out\.tfevents\.\d+\.(?P<host>[A-Za-z0-9][\w.-]{0,255}?)"
        r"(?=(?:\.\d+){1,2}(?:\.(?!\d)[\w-]+)*(?![\w-]|\.\w)|(?:\.(?:v2|gz|bz2))*(?![\w-]|\.\w))",
    ),
    # transformers' runs/<MonDD_HH-MM-SS>_<host>/
    rule(
        "host",
        "jan feb mar apr may jun jul aug sep oct nov dec",
        r"(?<![A-Za-z])(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\d\d_\d\d-\d\d-\d\d_"
        r"(?P<host>[A-Za-z0-9](?:[\w.-]*\w)?)",
    ),
    # The names that clouds give: ip-10-0-3-17.ec2.internal
    rule("host", "ip-", r"(?<![\w-])(?P<host>ip-\d{1,3}(?:-\d{1,3}){3}(?:\.[A-Za-z][\w-]*)*)"),
    # Names that no public server resolves; modules are called so too, but without a digit or dash.
    rule(
        "host",
        ".internal .local .lan .corp .intra .svc",
        r"(?<![\w./-])(?P<host>(?=[\w.]{0,99}[\d-])[A-Za-z0-9][\w-]{0,62}(?:\.[\w-]{1,63}){0,4}?"
        r"\.(?:internal|local|localdomain|lan|corp|intra|intranet|svc))(?![\w-]|\.\w|\()",
    ),
    rule(
        "host",
        "://",
        r"(?<=://)(?P<host>[\w-]{1,63}(?:\.[\w-]{1,63}){0,4}?"
        r"\.(?:internal|local|localdomain|lan|corp|intra|intranet|svc))(?![\w-]|\.\w)",
    ),
    rule(
        "host",
        "hostname nodename master_addr endpoint",
        r"(?i:hostname|nodename|master_addr|(?:rdzv|rendezvous)[_-]?endpoint)['\"]?\s*[=:]\s*['\"]?"
        rf"(?P<host>{_IP}|{_NAME})",
    ),
    rule(
        "host",
        "master endpoint",
        rf"--(?:master[_-]addr|rdzv[_-]endpoint) (?P<host>{_IP}|{_NAME})",
    ),
    # The table of torchrun's failures: "  host      : node042"
    rule("host", "host ", rf"(?<![\w-])host {{2,9}}: (?P<host>{_NAME})"),
    rule(
        "host",
        "nccl",
        rf"(?<![\w.:-])(?P<host>{_NAME}):\d{{1,8}}:\d{{1,8}}(?= \[-?\d{{1,4}}\] .{{0,80}}?NCCL)",
    ),
    # [c10d] The client socket has failed to connect to [node042]:29500
    rule(
        "host",
        "connect socket tcpstore peer",
        rf"(?i:connect|socket|store|peer)[^\[\]\n]{{0,60}}\[(?P<host>{_NAME})\]:\d{{2,5}}\b",
    ),
    # Slurm: node[001-004,007]
    rule(
        "host",
        "nodelist",
        r"(?i:nodelist)['\"]?\s*[=:]\s*['\"]?(?P<host>[A-Za-z][\w.-]*(?:\[[\d,-]+\])?)",
    ),
    rule("host", "srun:", rf"\bsrun: error: (?P<host>{_NAME})(?=: task)"),
    rule("host", "slurmstepd:", rf"\bslurmstepd: error: .{{0,99}} ON (?P<host>{_NAME})"),
    # What pdsh writes before each line of a machine: "worker-3: [2025-..."
    rule("host", ": [", r"(?m:^)(?P<host>(?=[\w.-]{0,63}\d)[\w.-]{3,64}): (?=\[(?:\d{4}-|rank))"),
    # DeepSpeed's host file, and the table that its launcher prints
    rule("host", "slots=", rf"(?m:^)\s{{0,20}}(?P<host>{_NAME}) {{1,9}}slots=\d"),
    rule("host", "world info", rf"['\"](?P<host>{_NAME})['\"]: \[\d"),
    rule("host", "linux ", rf"\bLinux (?P<host>{_NAME}) (?=\d{{1,3}}\.\d{{1,4}}\.\d)"),
    rule("host", "@", r"(?<!git)@(?P<host>[\w-]{3,63}(?:\.[\w-]{1,63}){0,4})(?=:[~/])"),
)

WORLD_INFO = rule("hosts", "world_info", r"world_info[= ](?P<hosts>[A-Za-z0-9+/_-]{8,4096}={0,2})")
"""DeepSpeed hands its workers the table of hosts and devices as base64 of JSON."""

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
PRIVATE_IP = rule(
    "ip",
    "10. 172. 192.168. 169.254. 100. fc fd fe80:",
    rf"(?P<ip>(?<![\w.+-])(?:10\.{_OCTET}|172\.(?:1[6-9]|2\d|3[01])|192\.168|169\.254"
    rf"|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\.{_OCTET}\.{_OCTET}(?![\w+-]|\.\d)"
    r"|(?<![\w:.])(?i:f[cd][0-9a-f]{2}|fe80)(?=[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:)"
    r":[0-9a-fA-F:]{2,60}[0-9a-fA-F](?![\w:]))",
)
"""RFC 1918, RFC 3927 and RFC 6598 ranges of IPv4; unique-local and link-local IPv6."""

MAC = rule(
    "mac",
    ": -",
    r"(?<![\w:-])(?P<mac>(?=[\d:-]{0,16}[a-fA-F])(?!(?i:ff[:-]){5})"
    r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(?:\2[0-9a-fA-F]{2}){4})(?![\w:-])",
)
"""With a letter in it, which the digits of a time do not have."""

_VERSION_BEFORE = re.compile(r"(?:[=<>~!]=|(?i:\bversions?)['\":= ]{1,4}|-cu\d{2}[ =:'\"]+|\bv|@)$")


def is_version(match: re.Match[str]) -> bool:
    """Whether what looks like an address is a version: ``nvidia-curand-cu12==10.3.2.106``."""
    before = match.string[max(0, match.start() - 24) : match.start()]
    return _VERSION_BEFORE.search(before) is not None


def world_hosts(encoded: str) -> tuple[str, ...]:
    """The hosts in DeepSpeed's ``--world_info``; none where it holds something else."""
    try:
        table = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return ()
    return tuple(map(str, table)) if isinstance(table, dict) else ()


_MOST_HOSTS = 256


def expanded(name: str) -> Iterator[str]:
    """A Slurm list of hosts and the hosts themselves: ``node[001-003]`` is ``node001`` and so on;
    of very many, the first."""
    yield name
    stem, _, inside = name.partition("[")
    room = _MOST_HOSTS
    for part in filter(None, inside.rstrip("]").split(",")):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            return
        for number in range(int(first), min(int(last or first) + 1, int(first) + room)):
            yield f"{stem}{number:0{len(first)}d}"
            room -= 1


# --- hidden where it is asked for -----------------------------------------------------------------

_STORES = """s3 s3a s3n gs gcs oss cos cosn tos obs bos r2 b2 az azure wasb wasbs abfs abfss adl
hdfs viewfs swift minio""".split()

BUCKET_RULES: tuple[Rule, ...] = (
    rule(
        "bucket",
        "://",
        # Literals first: a megabyte without them takes no time.
        rf"://(?:{'|'.join(f'(?<={name}://)' for name in _STORES)})"
        r"(?P<bucket>[^\s/'\"<>,;()\[\]{}]+)",
        re.IGNORECASE,
    ),
    rule(
        "bucket",
        "amazonaws.com aliyuncs.com myqcloud.com volces.com myhuaweicloud.com bcebos.com "
        "windows.net",
        r"(?<![\w.-])(?!s3[.-])(?P<bucket>[A-Za-z0-9][\w-]{1,62}(?:\.[\w-]{1,62}){0,3}?)"
        r"(?=\.(?:(?:s3|oss|cos|tos|obs|bj|gz|su)[\w.-]{0,60}?"
        r"\.(?:amazonaws|aliyuncs|myqcloud|volces|myhuaweicloud|bcebos)\.com"
        r"|(?:blob|dfs|file)\.core\.windows\.net))",
    ),
    rule(
        "bucket",
        "amazonaws.com storage.googleapis.com storage.cloud.google.com windows.net",
        r"(?:(?<![\w.-])s3[\w.-]{0,60}\.amazonaws\.com|storage\.googleapis\.com"
        r"|storage\.cloud\.google\.com|\.core\.windows\.net)/(?P<bucket>[\w.$-]{2,80})",
    ),
)

URL = rule(
    "url",
    "://",
    r"://(?<!\bhf://)(?:<secret>@)?"
    r"(?P<url>(?![</])[^\s'\"<>()\[\]{}|\\^`]*[^\s'\"<>()\[\]{}|\\^`.,;:!?])",
)
"""What follows the scheme of a URL, which is hidden unless :func:`is_public` knows its host."""

_PUBLIC = frozenset(
    """
    github.com githubusercontent.com github.io gitlab.com huggingface.co hf.co hf-mirror.com
    modelscope.cn kaggle.com pytorch.org python.org pypi.org pythonhosted.org readthedocs.io
    readthedocs.org nvidia.com arxiv.org openreview.net tensorflow.org jax.dev deepspeed.ai
    lightning.ai keras.io stackoverflow.com wikipedia.org w3.org anaconda.org anaconda.com
    microsoft.com apache.org gnu.org json-schema.org openai.com intel.com amd.com ubuntu.com
    mlflow.org wandb.ai fbaipublicfiles.com docker.com paperswithcode.com numpy.org scipy.org
    pandas.pydata.org aka.ms bit.ly goo.gl localhost 127.0.0.1 0.0.0.0
    """.split()
)


def is_public(url: str) -> bool:
    """Whether what follows a scheme leads to a place that everybody knows."""
    host = re.split(r"[/:?#]", url.rpartition("@")[2] if "@" in url else url, maxsplit=1)[0]
    labels = host.lower().split(".")
    return any(".".join(labels[i:]) in _PUBLIC for i in range(len(labels)))
