"""How the configuration's values are written: in the file, as YAML has them, and as flags' text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from nsxdp.services.addresses import format_address, parse_address

__all__ = [
    "ADDRESS",
    "ANYTHING",
    "BIT",
    "COUNT",
    "DURATION",
    "GATES",
    "LOCAL_MODE",
    "MODE",
    "NUMBER",
    "PRIORITY",
    "QUANTITY",
    "SCORE",
    "SECONDS",
    "SWITCH",
    "TEXT",
    "VERBOSITY",
    "WORDS",
    "Kind",
    "duration_text",
]


class Kind(NamedTuple):
    """A kind of value.

    Attributes
    ----------
    says
        What it must be, for an error: ``a duration, such as 1m30s``.
    read
        From the file's value. ValueError or TypeError: it is none.
    parse
        From a flag's text, likewise.
    """

    says: str
    read: Callable[[Any], Any]
    parse: Callable[[str], Any]


_UNITS: Final = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
_PART: Final = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION: Final = re.compile(rf"({_PART})+", re.ASCII)
_LONGEST: Final = 32


def duration(text: str) -> float:
    """Seconds of Go's text for a duration: ``1m30s``, ``300ms``, ``0``."""
    if text in ("0", "+0", "-0"):
        return 0.0
    if len(text) > _LONGEST or not _DURATION.fullmatch(text):
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text, re.ASCII))


def duration_text(seconds: float) -> str:
    """Go's text for a duration."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return duration(str(value))  # of numbers 0 alone is one


def _seconds(value: object) -> float:
    """Also a number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return _duration(value)


def _seconds_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return duration(text)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _switch_text(text: str) -> bool:
    """As Go's strconv.ParseBool."""
    if text in ("1", "t", "T", "true", "True", "TRUE"):
        return True
    if text in ("0", "f", "F", "false", "False", "FALSE"):
        return False
    raise ValueError(text)


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(value)
        return value

    return read


def _integer_kind(says: str, low: int, high: int) -> Kind:
    read = _integer(low, high)
    return Kind(says, read, lambda text: read(int(text)))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_text, value))


def _gates(value: object) -> dict[str, bool]:
    if not isinstance(value, dict):
        raise TypeError
    return {_text(name): _switch(on) for name, on in value.items()}


def _gates_text(text: str) -> dict[str, bool]:
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {name.strip(): _switch_text(on.strip()) for name, _, on in pairs}


def _address(value: object) -> str:
    packed = parse_address(_text(value)) if value else None
    if value and packed is None:
        raise ValueError(value)
    return format_address(packed) if packed else ""


def _quantity(value: object) -> str:
    """A size in bytes; none is 0."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return "" if str(value) == "0" else str(value)


def _one_of(*words: str) -> Kind:
    def read(value: object) -> str:
        if value and value not in words:
            raise ValueError(value)
        return _text(value)

    return Kind(f"one of {', '.join(words)}", read, read)


def _verbosity(value: object) -> str:
    """As klog has it: from 4 on, what is for debugging."""
    return "debug" if _COUNT(value) >= 4 else ""


_INT32: Final = (1 << 31) - 1
_COUNT: Final = _integer(0, _INT32)

TEXT: Final = Kind("a text", _text, _text)
ADDRESS: Final = Kind("an IP address", _address, _address)
SWITCH: Final = Kind("true or false", _switch, _switch_text)
COUNT: Final = _integer_kind("a whole number of 0 or more", 0, _INT32)
BIT: Final = _integer_kind("a whole number from 0 to 31", 0, 31)
PRIORITY: Final = _integer_kind("a whole number from 0 to 99", 0, 99)
SCORE: Final = _integer_kind("a whole number from -1000 to 1000", -1000, 1000)
NUMBER: Final = Kind("a number", _number, float)
DURATION: Final = Kind("a duration, such as 1m30s", _duration, duration)
SECONDS: Final = Kind("seconds, or a duration such as 1m30s", _seconds, _seconds_text)
WORDS: Final = Kind("a list of texts", _words, lambda text: tuple(text.split(",")))
GATES: Final = Kind("names, each with true or false", _gates, _gates_text)
MODE: Final = _one_of("iptables", "ipvs", "nftables")
LOCAL_MODE: Final = _one_of("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")
VERBOSITY: Final = Kind(COUNT.says, _verbosity, lambda text: _verbosity(int(text)))
QUANTITY: Final = Kind("a size", _quantity, _quantity)
ANYTHING: Final = Kind("anything", lambda value: value, lambda text: text)
