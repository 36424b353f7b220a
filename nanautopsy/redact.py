"""Hiding who ran it and what must stay secret, in every format alike.

Two passes over the finished result: the first learns the names that this run gives away (the
host in an event file's name, the user in a home directory, the value of a setting called
``hub_token``), the second replaces them wherever they stand. One original always gets the same
stand-in, so ``<host-2>`` in the timeline is ``<host-2>`` in the environment.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nanautopsy.escapes import without_escapes
from nanautopsy.model import Autopsy
from nanautopsy.redact_patterns import (
    INLINE_SECRET,
    KEY_BEGINS,
    KEY_BODY,
    SECRET_RULES,
    is_inline_secret,
    is_secret,
    looks_random,
)
from nanautopsy.redact_places import (
    BUCKET_RULES,
    EMAIL,
    HOME_RULES,
    HOST_RULES,
    MAC,
    PRIVATE_IP,
    URL,
    USER_RULES,
    WORLD_INFO,
    expanded,
    is_public,
    is_version,
    world_hosts,
)
from nanautopsy.rewrite import Place, T, rewrite
from nanautopsy.wording import rephrased

SECRET = "<secret>"
HOME = "~"
WORLD = "<hosts>"
KINDS = ("secret", "email", "user", "home", "host", "ip", "mac", "bucket", "url")
"""What is hidden, in the order in which a report counts it."""
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
    127.0.0.1 kernel version fedora arch mint redhat rhel rocky alpine android
    """.split()
)


def redact(autopsy: Autopsy, *, urls: bool = False) -> Autopsy:
    """The same result without home directories, names, addresses and secrets.

    ``urls``: without buckets and the URLs of places that not everybody knows, too. ``hidden`` says
    how many distinct things of each kind were hidden.
    """
    quotes = tuple(
        dataclasses.replace(quote, lines=tuple(_without_keys(quote.lines)))
        for quote in autopsy.quotes
    )
    result, hidden = redact_value(dataclasses.replace(autopsy, quotes=quotes), urls=urls)
    return dataclasses.replace(result, hidden=added(autopsy.hidden, hidden))


def added(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    """What was hidden at one time and at another, in order of :data:`KINDS`."""
    total = Counter(one) + Counter(other)
    return {kind: total[kind] for kind in KINDS if kind in total}


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


def redact_value(value: T, *, urls: bool = False) -> tuple[T, Mapping[str, int]]:
    """Any frozen dataclass without these, and how many distinct things of each kind were hidden."""
    redactor = Redactor(urls=urls)
    rewrite(value, redactor.learn)
    redactor.seal()
    return rewrite(value, redactor.replace), redactor.hidden


class Redactor:
    """Learns names in a first walk, replaces them in a second.

    ``urls``: replaces buckets and URLs too, but for those that everybody knows.
    """

    def __init__(self, *, urls: bool = False) -> None:
        self._urls = urls
        self._names = {kind: _Names(kind) for kind in KINDS if kind not in ("secret", "home")}
        self._secrets: set[str] = set()
        self._vocabulary: set[str] = set()
        self._learned: set[tuple[str, bool]] = set()
        self._anywhere: re.Pattern[str] | None = None
        self._telling: re.Pattern[str] | None = None
        self._known_secrets: re.Pattern[str] | None = None
        self._hidden: set[tuple[str, str]] = set()
        self._memory: dict[tuple[str, type, bool, bool, bool], str] = {}

    @property
    def hidden(self) -> Mapping[str, int]:
        """How many distinct things of each kind were hidden."""
        return added({}, Counter(kind for kind, _ in self._hidden))

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
        text = without_escapes(text)
        lowered = text.lower()
        for rule in (*HOME_RULES, *USER_RULES):
            for match in rule.finditer(text, lowered):
                self._names["user"].add(match["user"])
        for rule in HOST_RULES:
            for match in rule.finditer(text, lowered):
                self._learn_host(match["host"])
        for match in WORLD_INFO.finditer(text, lowered):
            for host in world_hosts(match["hosts"]):
                self._learn_host(host)
        for match in INLINE_SECRET.finditer(text, lowered):
            if is_inline_secret(match) and looks_random(match["secret"]):
                self._secrets.add(match["secret"])

    def _learn_setting(self, text: str, place: Place) -> None:
        key = _last(place)
        if key in _USER_FACTS | _HOST_FACTS:
            if not text.strip().isdigit():
                self._learn_host(text) if key in _HOST_FACTS else self._names["user"].add(text)
        elif is_secret(place.key or "", text) and looks_random(text):
            self._secrets.add(text)

    def _learn_host(self, name: str) -> None:
        if re.fullmatch(r"[\d.]+", name):
            self._names["ip"].add(name)
            return
        hosts = self._names["host"]
        for one in expanded(name):
            stand_in = hosts.add(one)
            short = one.partition(".")[0]
            if stand_in is not None and not short.isdigit():
                hosts.add(short, stand_in)

    def seal(self) -> None:
        """End the first walk: from here on names are only replaced."""
        ordinary = self._vocabulary | _COMMON
        known = [
            name
            for kind in ("host", "user", "ip")
            for name in self._names[kind].known
            if len(name) >= MIN_NAME and not name.isdigit() and name.lower() not in ordinary
        ]
        telling = [name for name in known if len(name) > 4 and not name.isalpha()]
        self._anywhere = _any_of(known, r"(?<![A-Za-z0-9])(?:{})(?![A-Za-z0-9])")
        self._telling = _any_of(telling, r"(?<![A-Za-z0-9])(?:{})(?![A-Za-z0-9])")
        self._known_secrets = _any_of(self._secrets, r"(?:{})")

    # --- second walk ----------------------------------------------------------------------------

    def replace(self, leaf: Any, place: Place) -> Any:
        """``leaf`` with everything that must not be seen replaced."""
        if _is_setting(place):
            text = str(leaf)
            if is_secret(place.key or "", text):
                return self._hide("secret", text, SECRET)
            key = _last(place)
            kind = "host" if key in _HOST_FACTS else "user" if key in _USER_FACTS else None
            if kind is not None and text.strip() in self._names[kind].known:
                return self._named(kind, text.strip())
        if not isinstance(leaf, str):
            return leaf
        prose = place.field not in _NAME_FIELDS and not place.is_key
        version = place.owner == "Package"
        ours = place.field == "references"
        memory_key = (leaf, type(leaf), prose, version, ours)
        if memory_key not in self._memory:

            def hide(text: str) -> str:
                return self.text(text, prose=prose, version=version, ours=ours)

            self._memory[memory_key] = rephrased(leaf, hide)
        return self._memory[memory_key]

    def text(
        self, text: str, *, prose: bool = True, version: bool = False, ours: bool = False
    ) -> str:
        """One string with everything that must not be seen replaced.

        ``prose``: not a name from inside the model, so that every learned name is looked for.
        ``version``: a software version, which may look like an address. ``ours``: its URLs are.
        """
        text = without_escapes(text)  # in the middle of a key they would hide it from us alone
        if self._known_secrets is not None:
            text = self._known_secrets.sub(lambda m: self._hide("secret", m[0], SECRET), text)
        low = text.lower()
        for rule in SECRET_RULES:
            text = rule.sub(self._secret, text, low)
        text = INLINE_SECRET.sub(
            lambda m: self._secret(m) if is_inline_secret(m) else m[0], text, low
        )
        if self._urls and not ours:
            for rule in BUCKET_RULES:
                text = rule.sub(lambda m: self._part(m, "bucket"), text, low)
            text = URL.sub(
                lambda m: m[0] if is_public(m["url"]) else self._part(m, "url"), text, low
            )
        text = EMAIL.sub(lambda m: self._part(m, "email"), text, low)
        for rule in HOME_RULES:
            text = rule.sub(lambda m: self._hide("home", m[0], HOME), text, low)
        for kind, rules in (("host", HOST_RULES), ("user", USER_RULES)):
            for rule in rules:
                text = rule.sub(lambda m, kind=kind: self._part(m, kind, learned=True), text, low)  # type: ignore[misc]
        text = WORLD_INFO.sub(self._world, text, low)
        names = self._anywhere if prose else self._telling
        if names is not None:
            text = names.sub(self._known_name, text)
        text = MAC.sub(lambda m: self._part(m, "mac"), text, low)
        if version:
            return text
        return PRIVATE_IP.sub(lambda m: m[0] if is_version(m) else self._part(m, "ip"), text, low)

    def _hide(self, kind: str, original: str, stand_in: str) -> str:
        """``stand_in``, counted: things with numbers once for all their spellings."""
        if original != stand_in:
            self._hidden.add((kind, stand_in if kind in self._names else original))
        return stand_in

    def _named(self, kind: str, original: str) -> str:
        stand_in = self._names[kind].add(original)
        return original if stand_in is None else self._hide(kind, original, stand_in)

    def _part(self, match: re.Match[str], kind: str, *, learned: bool = False) -> str:
        """The match with its group of that kind replaced; ``learned``: where it was met before."""
        original = match[kind]
        if learned and re.fullmatch(r"[\d.]+", original):
            return match[0]  # an address, whose turn comes
        if learned and original not in self._names[kind].known:
            return match[0]
        return _spliced(match, kind, self._named(kind, original))

    def _secret(self, match: re.Match[str]) -> str:
        return _spliced(match, "secret", self._hide("secret", match["secret"], SECRET))

    def _world(self, match: re.Match[str]) -> str:
        hosts = [host for host in world_hosts(match["hosts"]) if host in self._names["host"].known]
        for host in hosts:
            self._named("host", host)
        return _spliced(match, "hosts", WORLD) if hosts else match[0]

    def _known_name(self, match: re.Match[str]) -> str:
        kinds = (kind for kind in ("host", "user", "ip") if match[0] in self._names[kind].known)
        return self._named(next(kinds), match[0])


class _Names:
    """Stand-ins of one kind, numbered; the same for the same original."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._count = 0
        self.known: dict[str, str] = {}

    def add(self, name: str, stand_in: str | None = None) -> str | None:
        """The stand-in of ``name``, which is the next one, or the one given, when it has none yet;
        ``None`` for a common word."""
        name = name.strip()
        if name not in self.known:
            if not name or name == HOME or name.startswith("<") or name.lower() in _COMMON:
                return None
            if stand_in is None:
                self._count += 1
                stand_in = f"<{self._kind}-{self._count}>"
            self.known[name] = stand_in
        return self.known[name]


def _spliced(match: re.Match[str], group: str, new: str) -> str:
    """The match with a group replaced."""
    start, end = (position - match.start() for position in match.span(group))
    return match[0][:start] + new + match[0][end:]


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
