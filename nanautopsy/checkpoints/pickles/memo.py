"""Pickle opcodes that store an object under a number, and that recall it."""

from __future__ import annotations

from nanautopsy.checkpoints.pickles.literals import UINT32
from nanautopsy.checkpoints.pickles.machine import Broken, Machine
from nanautopsy.checkpoints.pickles.records import Lost


def memo_number(machine: Machine) -> int:
    line = machine.line()
    if not line.isdigit() or len(line) > 18:
        raise Broken("a memo number that is none")
    return int(line)


def remember(machine: Machine, number: int) -> None:
    if number not in machine.memo:
        machine.made()
    machine.memo[number] = machine.top()


def recall(machine: Machine, number: int) -> None:
    if number not in machine.memo:
        machine.note(f"recalls memo {number}, which was never stored")
        machine.stack.append(Lost("a memo that was never stored"))
        return
    machine.stack.append(machine.memo[number])


def binget(machine: Machine) -> None:
    """BINGET, the most frequent opcode of all, on the fast path."""
    at = machine.at
    if at >= len(machine.block):
        machine.fill(1)
        at = 0
    machine.at = at + 1
    number = machine.block[at]
    if number in machine.memo:
        machine.stack.append(machine.memo[number])
    else:
        recall(machine, number)


def long_binget(machine: Machine) -> None:
    number = _four_bytes(machine)
    if number in machine.memo:
        machine.stack.append(machine.memo[number])
    else:
        recall(machine, number)


def long_binput(machine: Machine) -> None:
    remember(machine, _four_bytes(machine))


def _four_bytes(machine: Machine) -> int:
    at = machine.at
    if at + 4 > len(machine.block):
        machine.fill(4)
        at = 0
    machine.at = at + 4
    number: int = UINT32.unpack_from(machine.block, at)[0]
    return number
