"""YAML settings as plain data: no tag is obeyed, no nesting or alias takes the process down."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

LARGEST_TEXT = 4 << 20
"""Characters; settings are kilobytes."""
_DEEPEST = 100
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")


def load(text: str) -> Any:
    """The document in ``text``, tags dropped and merge keys left alone.

    ``1e-05`` is a number, as its writers mean it, although YAML 1.1 calls it a text. Of a text
    that is broken, what stands before the damage is in the :class:`YamlDamage` raised; other
    refusals are plain :class:`ValueError`.
    """
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"more than {LARGEST_TEXT} characters")
    import yaml

    try:
        return _load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line if mark is not None else 0
        reason = f"line {line + 1}: {error.problem}"
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    raise YamlDamage(reason, _before(text, line))


class YamlDamage(ValueError):
    """The text is broken; ``rest`` is what could be read before the damage, or ``None``."""

    def __init__(self, reason: str, rest: Any) -> None:
        super().__init__(reason)
        self.rest = rest


def _before(text: str, line: int) -> Any:
    """The document up to the last line at the left margin at or before ``line``."""
    import yaml

    lines = text.splitlines()[: line + 1]
    while lines and (not lines[-1] or lines[-1][0] in " \t-#"):
        lines.pop()
    try:
        return _load("\n".join(lines[:-1]))
    except (yaml.YAMLError, ValueError, OverflowError):
        return None


def _load(text: str) -> Any:
    loader = _loader()
    _check_depth(text, loader)
    import yaml

    return yaml.load(text, loader)


def _check_depth(text: str, loader: Any) -> None:
    """Refuse what would overflow the C stack of libyaml's binding; its events do not recurse."""
    import yaml

    depth = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise ValueError(f"nested more than {_DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


@cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Plain(base):  # type: ignore[misc]
        def flatten_mapping(self, node: Any) -> None:
            """Merge keys can multiply without end; they stay keys."""

    def untagged(loader: Any, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_mapping(node, deep=True)

    Plain.add_constructor(None, untagged)
    Plain.add_constructor("tag:yaml.org,2002:timestamp", untagged)
    Plain.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    return Plain
