"""Hiding who ran it and what must stay secret, in every format alike.

Two passes over the finished result: the first learns the names that this run gives away (the
host in an event file's name, the user in a home directory, the value of a setting called
``hub_token``), the second replaces them wherever they stand. One original always gets the same
stand-in, so ``<host-2>`` in the timeline is ``<host-2>`` in the environment.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

from nanautopsy.model import Autopsy
from nanautopsy.redact_patterns import (
    EMAIL,
    HOME_RULES,
    HOST_RULES,
    INLINE_SECRET,
    KEY_BEGINS,
    KEY_BODY,
    PRIVATE_IP,
    SECRET_RULES,
    USER_RULES,
    is_inline_secret,
    is_secret,
    is_version,
    looks_random,
)
from nanautopsy.rewrite import Place, T, rewrite
from nanautopsy.wording import rephrased

SECRET = "<secret>"
HOME = "~"
MIN_NAME = 3
"""Names shorter than this are left alone in running text: they would match too much."""

_USER_FACTS = frozenset({"username", "user", "user_name", "entity"})
_HOST_FACTS = frozenset({"host", "hostname", "host_name", "nodename", "fqdn", "master_addr"})
_NAME_FIELDS = frozenset(
    """tag tensor layer layers name dtype id kind digest reader role status verdict holds
    axis""".split()
)
"""Fields that hold names from inside the model, digests or words of our own: in them only people's
names that no word could be are looked for."""
_COMMON = frozenset(
    """
    root user users ubuntu debian centos admin administrator guest nobody default anonymous runner
    ec2-user azureuser jovyan docker container vagrant colab kaggle sagemaker slurm jenkins gitlab
    localhost localdomain local host hosts server node nodes worker master main head login compute
    cluster machine desktop laptop workstation gpu cpu tpu cuda rocm nvidia torch pytorch
    tensorflow keras jax flax python conda home data dataset datasets model models train training
    test tests eval valid validation run runs exp experiment experiments output outputs result
    results log logs checkpoint checkpoints work workspace project projects scratch tmp temp share
    shared research science lab labs team group dev prod staging adam adamw sgd lion norm loss grad
    gradient layer weight bias rank step epoch batch max min mean sum nan inf true false none null
    base large small tiny bert gpt llama gemma mistral llava content app code 0.0.0.0
    127.0.0.1
    """.split()
)


def redact(autopsy: Autopsy) -> Autopsy:
    """The same result without home directories, names, addresses and secrets.

    ``redactions`` says how many distinct pieces of text were hidden.
    """
    quotes = tuple(
        dataclasses.replace(quote, lines=tuple(_without_keys(quote.lines)))
        for quote in autopsy.quotes
    )
    hidden, count = redact_value(dataclasses.replace(autopsy, quotes=quotes))
    return dataclasses.replace(hidden, redactions=autopsy.redactions + count)


def _without_keys(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a log without what stands between the frames of a private key."""
    inside = False
    for line in lines:
        if KEY_BEGINS.search(line):
            inside = True
            yield line
        elif inside and KEY_BODY.fullmatch(line):
            yield SECRET
        else:
            inside = False
            yield line


def redact_value(value: T) -> tuple[T, int]:
    """Any frozen dataclass without these, and how many distinct pieces of text were hidden."""
    redactor = Redactor()
    rewrite(value, redactor.learn)
    redactor.seal()
    return rewrite(value, redactor.replace), redactor.count


class Redactor:
    """Learns names in a first walk, replaces them in a second."""

    def __init__(self) -> None:
        self._hosts: dict[str, str] = {}
        self._users: dict[str, str] = {}
        self._others: dict[str, str] = {}
        self._secrets: set[str] = set()
        self._vocabulary: set[str] = set()
        self._learned: set[tuple[str, bool]] = set()
        self._names: re.Pattern[str] | None = None
        self._telling_names: re.Pattern[str] | None = None
        self._known_secrets: re.Pattern[str] | None = None
        self._hidden: set[str] = set()
        self._memory: dict[tuple[str, type, bool, bool], str] = {}

    @property
    def count(self) -> int:
        """How many distinct pieces of text were hidden."""
        return len(self._hidden)

    # --- first walk -----------------------------------------------------------------------------

    def learn(self, leaf: Any, place: Place) -> Any:
        """Note what ``leaf`` gives away; the leaf itself is returned as it is."""
        if _is_setting(place):
            self._learn_setting(str(leaf), place)
        named = place.field in _NAME_FIELDS or place.is_key
        if isinstance(leaf, str) and (leaf, named) not in self._learned:
            self._learned.add((leaf, named))
            if named:
                self._vocabulary.update(re.split(r"[^a-z]+", leaf.lower()))
            self._learn_text(leaf)
        return leaf

    def _learn_text(self, text: str) -> None:
        lowered = text.lower()
        for rule in (*HOME_RULES, *USER_RULES):
            for match in rule.finditer(text, lowered):
                _add(self._users, match["user"], "user")
        for rule in HOST_RULES:
            for match in rule.finditer(text, lowered):
                self._add_host(match["host"])
        for match in INLINE_SECRET.finditer(text, lowered):
            if is_inline_secret(match) and looks_random(match["secret"]):
                self._secrets.add(match["secret"])

    def _learn_setting(self, text: str, place: Place) -> None:
        key = _last(place)
        if key in _USER_FACTS | _HOST_FACTS:
            if not text.strip().isdigit():
                self._add_host(text) if key in _HOST_FACTS else _add(self._users, text, "user")
        elif is_secret(place.key or "", text) and looks_random(text):
            self._secrets.add(text)

    def _add_host(self, name: str) -> None:
        short = name.partition(".")[0]
        _add(self._hosts, name, "host")
        if name in self._hosts and not short.isdigit() and short.lower() not in _COMMON:
            self._hosts.setdefault(short, self._hosts[name])

    def seal(self) -> None:
        """End the first walk: from here on names are only replaced."""
        ordinary = self._vocabulary | _COMMON
        known = [
            name
            for name in (*self._hosts, *self._users)
            if len(name) >= MIN_NAME and not name.isdigit() and name.lower() not in ordinary
        ]
        telling = [name for name in known if len(name) > 4 and not name.isalpha()]
        self._names = _any_of(known, r"(?<![A-Za-z0-9])(?:{})(?![A-Za-z0-9])")
        self._telling_names = _any_of(telling, r"(?<![A-Za-z0-9])(?:{})(?![A-Za-z0-9])")
        self._known_secrets = _any_of(self._secrets, r"(?:{})")

    # --- second walk ----------------------------------------------------------------------------

    def replace(self, leaf: Any, place: Place) -> Any:
        """``leaf`` with everything that must not be seen replaced."""
        if _is_setting(place):
            text = str(leaf)
            if is_secret(place.key or "", text):
                return self._hide(text, SECRET)
            known = {**self._users, **self._hosts}.get(text.strip())
            if known is not None and _last(place) in _USER_FACTS | _HOST_FACTS:
                return self._hide(text, known)
        if not isinstance(leaf, str):
            return leaf
        prose = place.field not in _NAME_FIELDS and not place.is_key
        version = place.owner == "Package"
        memory_key = (leaf, type(leaf), prose, version)
        if memory_key not in self._memory:

            def hide(text: str) -> str:
                return self.text(text, prose=prose, version=version)

            self._memory[memory_key] = rephrased(leaf, hide)
        return self._memory[memory_key]

    def text(self, text: str, *, prose: bool = True, version: bool = False) -> str:
        """One string with everything that must not be seen replaced.

        ``prose``: not a name from inside the model, so that every learned name is looked for.
        ``version``: a software version, which may look like an address.
        """
        if self._known_secrets is not None:
            text = self._known_secrets.sub(lambda match: self._hide(match[0], SECRET), text)
        low = text.lower()
        for rule in SECRET_RULES:
            text = rule.sub(lambda match: self._hide_group(match, "secret", SECRET), text, low)
        text = INLINE_SECRET.sub(self._inline, text, low)
        text = EMAIL.sub(lambda match: self._numbered(match[0], "email"), text, low)
        for rule in HOME_RULES:
            text = rule.sub(lambda match: self._hide(match[0], HOME), text, low)
        for rule in HOST_RULES:
            text = rule.sub(self._host, text, low)
        for rule in USER_RULES:
            text = rule.sub(self._user, text, low)
        names = self._names if prose else self._telling_names
        if names is not None:
            text = names.sub(self._name, text)
        return text if version else PRIVATE_IP.sub(self._address, text, low)

    def _hide(self, original: str, stand_in: str) -> str:
        if original != stand_in:
            self._hidden.add(original)
        return stand_in

    def _hide_group(self, match: re.Match[str], group: str, stand_in: str) -> str:
        start, end = (position - match.start() for position in match.span(group))
        return match[0][:start] + self._hide(match[group], stand_in) + match[0][end:]

    def _inline(self, match: re.Match[str]) -> str:
        return self._hide_group(match, "secret", SECRET) if is_inline_secret(match) else match[0]

    def _host(self, match: re.Match[str]) -> str:
        stand_in = self._hosts.get(match["host"])
        return match[0] if stand_in is None else self._hide_group(match, "host", stand_in)

    def _user(self, match: re.Match[str]) -> str:
        stand_in = self._users.get(match["user"])
        return match[0] if stand_in is None else self._hide_group(match, "user", stand_in)

    def _name(self, match: re.Match[str]) -> str:
        return self._hide(match[0], self._hosts.get(match[0]) or self._users[match[0]])

    def _address(self, match: re.Match[str]) -> str:
        if is_version(match):
            return match[0]
        return self._numbered(match[0], "ip")

    def _numbered(self, original: str, kind: str) -> str:
        _add(self._others, original, kind)
        return self._hide(original, self._others[original])


def _add(names: dict[str, str], name: str, kind: str) -> None:
    """Give ``name`` the next stand-in of its kind, unless it is a common word."""
    name = name.strip()
    if name and name != HOME and not name.startswith("<") and name.lower() not in _COMMON:
        taken = {stand_in for stand_in in names.values() if stand_in.startswith(f"<{kind}-")}
        names.setdefault(name, f"<{kind}-{len(taken) + 1}>")


def _any_of(words: Iterable[str], frame: str) -> re.Pattern[str] | None:
    """One pattern for all words, the longest first; ``None`` when there is no word."""
    ordered = sorted(words, key=lambda word: (-len(word), word))
    if not ordered:
        return None
    return re.compile(frame.format("|".join(re.escape(word) for word in ordered)))


def _is_setting(place: Place) -> bool:
    """A value that stands in a mapping under a name: of the configuration, of an event's data."""
    return place.key is not None and not place.is_key and place.field in ("value", "data")


def _last(place: Place) -> str:
    """Last part of the dotted key that the leaf stands under, in lower case."""
    return (place.key or "").rpartition(".")[2].lower()
