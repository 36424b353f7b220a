"""Which module a traceback of a forward pass ends in, as far as its lines of source name it.

Sample::

    File "/a/net.py", line 14, in forward
      x = self.encoder(x)
    File "/env/site-packages/torch/nn/modules/module.py", line 1778, in _wrapped_call_impl
      return self._call_impl(*args, **kwargs)
    File "/a/net.py", line 5, in forward
      return self.pool(h).sqrt()
    File "/env/site-packages/torch/nn/modules/module.py", line 1778, in _wrapped_call_impl

is ``encoder.pool``. A module that is called by another name than its own (``for layer in
self.layers``) hides those around it, so that only what stands behind it is told.
"""

from __future__ import annotations

import re

_CALL = re.compile(r"\bself\.([A-Za-z]\w*(?:\.[A-Za-z]\w*|\[\d+\])*)\(")
_OTHER = re.compile(r"\b[A-Za-z_]\w*\(")
_OF_MODULES = re.compile(r"[/\\]torch[/\\]nn[/\\]modules[/\\]module\.py$")
_WHOLE = frozenset("model net network module forward call".split())
"""What a program calls all of it."""


class ModuleCalls:
    """Takes the frames of a traceback, outermost first."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._code = ""
        self._inside = False

    def frame(self, path: str) -> None:
        """The next frame stands in this file."""
        called = _OF_MODULES.search(path) is not None
        if called and not self._inside:
            self._call(self._code)
        self._inside = called
        self._code = ""

    def source(self, text: str) -> None:
        """Its line of source."""
        self._code = self._code or text

    def _call(self, code: str) -> None:
        """A module was called there."""
        named = _CALL.findall(code)
        if len(named) == 1:
            self._names.extend(part for part in named if part not in _WHOLE)
        elif named or _OTHER.search(code):
            self._names.clear()

    @property
    def module(self) -> str | None:
        """The innermost module."""
        return ".".join(self._names) or None
