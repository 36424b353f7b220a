"""Producing what will be asked for, in a thread, while it is not asked for yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Full, Queue
from typing import TypeVar

_T = TypeVar("_T")
_LOOK_SECONDS = 0.5


class _End:
    """Nothing more comes; what ended it, if that was an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterator[_T], most: int) -> Iterator[_T]:
    """The same items in the same order, up to ``most`` of them produced beforehand."""
    ready: Queue[_T | _End] = Queue(most)
    unwanted = threading.Event()

    def put(item: _T | _End) -> bool:
        while not unwanted.is_set():
            try:
                ready.put(item, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        end = _End()
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:
            end = _End(error)
        put(end)

    thread = threading.Thread(target=produce, name="find runs", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        unwanted.set()
        thread.join()
