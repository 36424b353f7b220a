"""Many runs at once: find them in an archive, analyze each, keep the results in a catalog.

``nanautopsy.scan`` is this package and also the function: called, it is
:func:`nanautopsy.scan.scan.scan`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from nanautopsy.scan.scan import scan

        return scan(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
