"""Reads ncp.ini, the file that VMware's NCP and its agents share.

It is oslo.config's format: sections, values that go on in indented lines, and ``$name`` for what
another option says. Of oslo.config only the parser is used: its options' types would take 0.4 s and
14 MB of each process.

A file is for several programs: what is for another one says nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any, Final, NamedTuple

from nsxdp_agents.common.ncp_names import NAMES
from nsxdp_agents.common.options import OptionsError, nearest

__all__ = [
    "LEVEL",
    "SWITCH",
    "TEXT",
    "IniOption",
    "Kind",
    "Said",
    "number",
    "read_ncp_ini",
    "word",
]

_Sections = Mapping[str, Mapping[str, str]]

_NOTHING: Final = frozenset({"", "None", "<None>"})
"""What says nothing: the latter two stand for it in the comments of NCP's own files."""

_DEEPEST: Final = 8
"""Values that refer to each other, one after the other."""

_SWITCHES: Final = dict.fromkeys(("true", "1", "on", "yes"), True) | dict.fromkeys(
    ("false", "0", "off", "no"), False
)
_LEVELS: Final = {
    "NOTSET": None,
    "DEBUG": "debug",
    "INFO": "info",
    "WARNING": "warning",
    "ERROR": "error",
    "CRITICAL": "error",
}


class Kind(NamedTuple):
    """A kind of value: what it must be, for an error, and how its text is read.

    KeyError or ValueError: it is none. None: it says nothing.
    """

    says: str
    read: Callable[[str], Any]


TEXT: Final = Kind("a text", str)
SWITCH: Final = Kind("true or false", lambda text: _SWITCHES[text.lower()])
LEVEL: Final = Kind(f"one of {', '.join(_LEVELS)}", lambda text: _LEVELS[text.upper()])


def number(low: int, high: int) -> Kind:
    """A whole number from 'low' to 'high'."""

    def read(text: str) -> int:
        found = int(text) if len(text) <= 10 else high + 1
        if not low <= found <= high:
            raise ValueError(text)
        return found

    return Kind(f"a whole number from {low} to {high}", read)


def word(*words: str) -> Kind:
    """One of 'words'."""
    return Kind(f"one of {', '.join(words)}", {each: each for each in words}.__getitem__)


class IniOption(NamedTuple):
    """What the file may say to an agent.

    Attributes
    ----------
    section, name
        Where.
    kind
        How it is written.
    option
        What of the agent's options it is; empty: it means nothing here.
    why
        Why it doesn't.
    so
        Values that say how it is here anyway.
    """

    section: str
    name: str
    kind: Kind
    option: str = ""
    why: str = ""
    so: tuple[Any, ...] = ()

    @property
    def title(self) -> str:
        """As people write it."""
        return f"[{self.section}] {self.name}"


class Said(NamedTuple):
    """What a file says to an agent.

    Attributes
    ----------
    values
        By the agent's option.
    places
        Where each of them was said.
    notes
        Of what means nothing: where it was said, and why it doesn't.
    """

    values: dict[str, Any]
    places: dict[str, str]
    notes: list[tuple[str, str]]


def read_ncp_ini(path: Path, table: Iterable[IniOption]) -> Said:
    """What the file says to the agent with that table; of two that are the same, the later counts.

    Raises
    ------
    OptionsError
        It can't be read, or a value in it can't be used.
    """
    sections = _parsed(path)
    said = Said({}, {}, [])
    for entry in table:
        if sections.get(entry.section, {}).get(entry.name, "") in _NOTHING:
            continue
        where = f"--ncp-ini {path}: {entry.title}"
        text = _Values(sections, entry.section, where)[entry.name]
        try:
            value = entry.kind.read(text)
        except (KeyError, ValueError):
            raise OptionsError(f"{where}: must be {entry.kind.says}, not {text!r:.60}") from None
        if value is None or value in entry.so:
            continue
        if entry.option:
            said.values[entry.option] = value
            said.places[entry.option] = where
        else:
            said.notes.append((where, entry.why))
    said.notes.extend((f"--ncp-ini {path}: {what}", why) for what, why in _unknown(sections))
    return said


def _unknown(sections: _Sections) -> Iterable[tuple[str, str]]:
    """What no program of NCP knows."""
    for section, options in sections.items():
        if section not in NAMES:
            yield f"[{section}]", f"there is no such section{nearest(section, NAMES)}"
            continue
        for name in options:
            if name in NAMES[section]:
                continue
            elsewhere = [f"[{other}]" for other, names in NAMES.items() if name in names]
            meant = nearest(name, NAMES[section])
            if elsewhere and not meant:
                meant = f": it belongs in {' or '.join(elsewhere)}"
            yield f"[{section}] {name}", f"there is no such option{meant}"


def _parsed(path: Path) -> _Sections:
    from oslo_config.iniparser import BaseParser, ParseError  # only who has such a file needs it

    sections: dict[str, dict[str, str]] = {}

    class Parser(BaseParser):
        """Takes down what is said; of what is said twice, the latter."""

        current: dict[str, str] | None = None

        def new_section(self, section: str) -> None:
            name = section if section == "DEFAULT" else section.lower()
            self.current = sections.setdefault(name, {})

        def assignment(self, key: str, value: list[str]) -> None:
            if self.current is None:
                raise ParseError("No section before this", self.lineno, key)
            self.current[key] = "\n".join(value)

    try:
        with path.open() as lines:
            Parser().parse(lines)
    except OSError as error:
        raise OptionsError(f"--ncp-ini {path}: {error.strerror}") from None
    except (ParseError, UnicodeDecodeError) as error:
        raise OptionsError(f"--ncp-ini {path}: {error}") from None
    return sections


class _Template(Template):
    """``$name``, ``${name}``, ``$section.name``; names as oslo.config has them."""

    idpattern = r"[_a-z][\._a-z0-9]*"


class _Values(dict[str, str]):
    """Values by name, with what they refer to: of the same section, of [DEFAULT], or of another."""

    def __init__(self, sections: _Sections, section: str, where: str, depth: int = 0) -> None:
        super().__init__()
        self._sections = sections
        self._section = section
        self._where = where
        self._depth = depth

    def __missing__(self, name: str) -> str:
        section, dot, option = name.rpartition(".")
        for place in [section] if dot else [self._section, "DEFAULT"]:
            text = self._sections.get(place, {}).get(option)
            if text is not None:
                return self._substituted(text, place)
        raise OptionsError(f"{self._where}: the file doesn't say what ${name} is")

    def _substituted(self, text: str, section: str) -> str:
        if self._depth == _DEEPEST:
            raise OptionsError(f"{self._where}: refers to itself, or by too many others")
        further = _Values(self._sections, section, self._where, self._depth + 1)
        return _Template(text.replace(r"\$", "$$")).safe_substitute(further)
