"""Python tracebacks: one event each, with the exception that ended it.

Sample::

    Traceback (most recent call last):
      File "train.py", line 120, in <module>
        loss.backward()
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.

The quoted source lines are consumed, so that ``loss = 0.5`` in one is taken for no metric; the last
line is read like any other as well, for what it says; :func:`innermost` gives its readers the frame
before it.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take

_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*)(?::\s?(.*))?$")
_FRAME = re.compile(r'\s*File "([^"]+)", line (\d+), in ')
_LIBRARY = re.compile(r"(?:site|dist)-packages[/\\]|[/\\]python3[.\d]*[/\\]|^<")
_MAX_LINES = 2000
_MEMORY = "traceback"


def innermost(log: Log) -> tuple[str, str]:
    """Place and source line of the last frame of the last traceback; empty where there is none."""
    kept = log.memory.get(_MEMORY)
    return (kept[0], kept[1]) if isinstance(kept, tuple) else ("", "")


def own(log: Log) -> str:
    """Source line of its last frame in the program itself, and in no library."""
    kept = log.memory.get(_MEMORY)
    return str(kept[2]) if isinstance(kept, tuple) else ""


def _on_traceback(log: Log, line: Line) -> None:
    origin = line
    last: list[Line] = []
    place: list[str] = []
    program: list[str] = []

    def take(line: Line) -> Take:
        text = line.text
        frame = _FRAME.match(text)
        if frame is not None:
            place[:] = [f"{frame[1]}:{frame[2]}", ""]
        elif len(place) == 2 and not place[1]:
            place[1] = text.strip()[:200]
            if _LIBRARY.search(place[0]) is None:
                program[:] = [place[1]]
        if text[:1] in (" ", "\t", "^", "|", "+") or not text.strip():
            # A blank line stands inside a traceback only before the next frame's code.
            return Take.MORE if text.strip() else Take.ASIDE
        if text.startswith("Traceback"):
            return Take.NOT_MINE
        last.append(line)
        if len(place) == 2:
            log.memory[_MEMORY] = (place[0], place[1], *(program or [""]))
        return Take.NOT_MINE

    def end() -> None:
        found = _EXCEPTION.match(last[0].text.strip()) if last else None
        log.event(
            "traceback",
            last[0] if last else origin,
            text=last[0].excerpt if last else origin.excerpt,
            exception=found[1] if found else None,
            message=found[2][:500] if found and found[2] else None,
            started_at=origin.number,
        )

    log.follow(line, take, end, _MAX_LINES)


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_traceback if "traceback (most recent call last)" in lower else None


DIALECT = Dialect(name="traceback", triggers=("traceback (most recent call last)",), plan=_plan)
