"""What keys, tokens and passwords look like in text; people and machines stand in
:mod:`nanautopsy.redact_places`.

The prefixes and lengths of tokens are those that their issuers document; each pattern asks for
somewhat less than the real length, because logs cut lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, which of its groups to hide, and what a text must hold for it to be tried."""

    pattern: re.Pattern[str]
    group: str
    triggers: tuple[str, ...]
    """In lower case; any of them suffices. Looking for them is many times cheaper than matching,
    and a log may have a million lines."""

    def finditer(self, text: str, lowered: str) -> Iterator[re.Match[str]]:
        """All matches in ``text``, whose lower-case form is ``lowered``."""
        return self.pattern.finditer(text) if self._may_match(lowered) else iter(())

    def sub(self, replace: Callable[[re.Match[str]], str], text: str, lowered: str) -> str:
        """``text`` with each match replaced."""
        return self.pattern.sub(replace, text) if self._may_match(lowered) else text

    def _may_match(self, lowered: str) -> bool:
        for trigger in self.triggers:  # any() takes three times as long
            if trigger in lowered:
                return True
        return False


def rule(group: str, triggers: str, pattern: str, flags: int = 0) -> Rule:
    """A rule; ``triggers`` are parted by spaces."""
    return Rule(re.compile(pattern, flags), group, tuple(triggers.split()) or ("",))


SECRET_RULES: tuple[Rule, ...] = (
    # PEM blocks; a log line may hold only the beginning of one.
    rule(
        "secret",
        "-----begin",
        r"(?P<secret>-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----"
        r"(?:.{0,8192}?-----END (?:[A-Z]+ ){0,3}PRIVATE KEY-----|[\sA-Za-z0-9+/=\\]*))",
        re.DOTALL,
    ),
    # Credentials in a URL: user:password@ or token@. git@ names nobody.
    rule("secret", "://", r"(?<=://)(?!git@|<)(?P<secret>[^\s/'\"<>]+)(?=@)"),
    rule(
        "secret",
        "eyj hf_ api_org_ github_pat_ ghp_ gho_ ghu_ ghs_ ghr_ glpat- sk- akia asia aiza ya29. xox "
        "npm_ pypi- wandb_v dckr_ dapi r8_ gsk_ ltai akid _live_ _test_ sg.",
        r"(?P<secret>"
        r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{6,}(?:\.[\w-]*)?"  # JSON web token
        r"|\b(?:hf|api_org)_[A-Za-z0-9]{16,}"  # Hugging Face
        r"|\bgithub_pat_\w{20,}|\bgh[pousr]_[A-Za-z0-9]{16,}|\bglpat-[\w-]{16,}"
        r"|\bsk-(?:ant|proj|svcacct|or|lf)-[\w-]{16,}|\bsk-[A-Za-z0-9]{20,}"
        r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"  # AWS
        r"|\bAIza[\w-]{30,}|\bya29\.[\w-]{20,}"  # Google
        r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"  # Slack
        r"|\bnpm_[A-Za-z0-9]{20,}|\bpypi-[\w-]{40,}|\bwandb_v\d_\w{20,}"
        r"|\bdckr_(?:pat|oat)_[\w-]{20,}|\bdapi[0-9a-f]{30,}|\br8_[A-Za-z0-9]{30,}"
        r"|\bgsk_[A-Za-z0-9]{40,}|\bLTAI[A-Za-z0-9]{12,}\b|\bAKID[A-Za-z0-9]{28,}\b"
        r"|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|\bSG\.[\w-]{16,}\.[\w-]{32,})",
    ),
    # Azure: the key of a storage account, and the signature of a shared access URL.
    rule(
        "secret",
        "accountkey accesskey sig=",
        r"(?:(?i:\b(?:Account|SharedAccess)Key=)|[?&]sig=)(?P<secret>[\w+/%-]{20,}={0,2})",
    ),
    # The path of a webhook is all that it asks for.
    rule(
        "secret",
        "hooks.slack.com discord",
        r"(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks/\d+)/"
        r"(?P<secret>[\w/-]{16,})",
    ),
    rule(
        "secret", "cookie", r"\b(?i:(?:set-)?cookie)['\"]?\s*: *['\"]?(?P<secret>[^\s'\"].{6,4096})"
    ),
    # Kaggle's kaggle.json: 32 hexadecimal digits under "key", which a digest may be elsewhere.
    rule(
        "secret",
        "username",
        r"['\"]username['\"]\s*:.{1,120}?['\"]key['\"]\s*:\s*['\"](?P<secret>[0-9a-f]{32})\b",
    ),
    # A line of base64 and nothing else, as PEM blocks have them; a digest is hexadecimal.
    rule(
        "secret",
        "",
        r"\A\s*(?=\S)(?P<secret>(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=\D*\d)(?![0-9a-fA-F]+\s*\Z)"
        r"[A-Za-z0-9+/]{60,100}={0,2})\s*\Z",
    ),
    rule("secret", "bearer", r"\b(?i:bearer)[ :]+(?P<secret>[\w.~+/-]{12,}=*)"),
    rule(
        "secret",
        "authorization",
        r"\b(?i:authorization)['\"]?\s*[:=]\s*['\"]?(?i:basic|token)\s+(?P<secret>[\w+/=.-]{6,})",
    ),
    # A W&B key is 40 hexadecimal digits, as a commit is: only its surroundings tell.
    rule(
        "secret",
        "key login netrc password",
        r"(?i:api[_-]?key|wandb[ _.]login|netrc|password)"
        r"(?:[\W_]|relogin|host|key|is){1,20}(?P<secret>[0-9a-f]{40})\b",
    ),
)

KEY_BEGINS = re.compile(r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----\s*$")
KEY_BODY = re.compile(r"\W{0,8}[A-Za-z0-9+/]{4,100}={0,2}\W{0,4}")
"""A private key that a log holds over several lines: its beginning, and a line of it."""

INLINE_SECRET = rule(
    "secret",
    "key secret passw passphrase token credential",
    r"(?<![A-Za-z0-9_.-])(?P<key>[A-Za-z0-9_.-]{0,80}?"
    r"(?:api[_-]?key|access[_-]?key|secret|passw(?:or)?d|passphrase|token|credentials?)"
    r"[A-Za-z0-9_-]{0,40})"
    r"(?P<between>['\"]?\s*[=:]\s*['\"]?|(?<=token|i_key|i-key|sword)\s+)"
    r"(?P<secret>[^\s'\",;&(){}\[\]]+)(?![^\s'\",;&){}\]])",
    re.IGNORECASE,
)
"""``WANDB_API_KEY=...``, ``--hub_token ...``, ``'password': '...'`` in running text; whether it is
one is for :func:`is_inline_secret` to say."""

_SECRET_WORDS = frozenset(
    """secret secrets password passwd passphrase credential credentials apikey apikeys""".split()
)
_SECRET_PAIRS = frozenset(
    (first, "key") for first in ("api", "access", "private", "secret", "auth", "ssh")
)
_KEY_TOKENS = frozenset(
    """hub hf huggingface hugging auth authentication access api bearer refresh oauth wandb github
    gitlab git session csrf private personal slack telegram push deploy neptune comet mlflow
    clearml aws azure gcp openai""".split()
)
"""What stands before ``token`` when it opens a door."""
_TEXT_TOKENS = frozenset(
    """pad eos bos unk mask sep cls eod eot eoi boi img image video audio speech vision start end
    special vocab next last first newline stop word num max min class""".split()
)
"""What stands before ``token`` when it is a piece of text."""
_HARMLESS = frozenset({"", "true", "false", "none", "null", "yes", "no", "on", "off", "nan"})
_STAND_IN = re.compile(r"<.*>|\[.*\]|\*+|\$\{?\w+\}?|x+|\.+", re.IGNORECASE)


def looks_random(text: str) -> bool:
    """Whether ``text`` is long and mixed enough to be a key and no word."""
    if len(text) < 6 or any(char.isspace() for char in text):
        return False
    mixed = any(char.isdigit() for char in text) and any(char.isalpha() for char in text)
    return mixed or len(text) >= 16


def is_secret(key: str, value: str) -> bool:
    """Whether the setting ``key: value`` is a secret: ``hub_token`` is, ``pad_token`` is not."""
    value = value.strip()
    words = _words(key)
    if not words or value.lower() in _HARMLESS or _STAND_IN.fullmatch(value):
        return False
    if any(word in _SECRET_WORDS for word in words):
        return True
    if words[-1] == "pwd" and len(words) > 1:  # alone it is the working directory
        return True
    if any(pair in _SECRET_PAIRS for pair in pairwise(words)):
        return True
    if words == ["key"]:  # alone, it may be one of a table
        return len(value) >= 20 and looks_random(value)
    if words[-1] != "token" or _TEXT_TOKENS.intersection(words):
        return False
    if re.fullmatch(r"[\d.]+([eE][+-]?\d+)?", value):
        return False
    return words == ["token"] or bool(_KEY_TOKENS.intersection(words)) or looks_random(value)


def is_inline_secret(match: re.Match[str]) -> bool:
    """Whether what :data:`INLINE_SECRET` found is one: ``password: required`` is not."""
    value = match["secret"]
    if not is_secret(match["key"], value):
        return False
    between = match["between"]
    assigned = "=" in between or between[-1] in "'\"" or match["key"].startswith("--")
    return looks_random(value) or (assigned and len(value) >= 4)


def _words(key: str) -> list[str]:
    """The words of the last named part of a dotted key, without our own stand-ins."""
    parts = [part for part in re.sub(r"<[^<>]*>", "", key).split(".") if not part.isdigit()]
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", parts[-1] if parts else "")
    return [word.lower() for word in words]
