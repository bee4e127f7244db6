"""Records: values that say, field by field, how they stand on the wire.

    @record
    class PortStatus(Record):
        reason: PortReason = u8(PortReason, pad=7)
        desc: Port = nested(Port)

A record is a dataclass that can't be changed: it can be compared, hashed and pickled.  Its fields
are in the order of the bytes, and each is declared with its `Part`, which reads and writes it.
What follows from other fields, as a length does, is a part without a field: a ``ClassVar``.
Properties, which come in any order or not at all, are fields too: `prop`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from enum import KEEP, IntEnum, IntFlag
from inspect import get_annotations
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, dataclass_transform

from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.parts import Match

__all__ = [
    "Bits",
    "Code",
    "Part",
    "Property",
    "Record",
    "length",
    "length_of",
    "mac",
    "many",
    "match",
    "match_fields",
    "nested",
    "others",
    "part",
    "prop",
    "record",
    "rest",
    "text",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
]

MAX_LENGTH: Final = 0xFFFF
"""Of a message, and of all that has a length in it."""

_T = TypeVar("_T")
_R = TypeVar("_R", bound="Record")


class Code(IntEnum):
    """A number with names; one without a name is a number all the same."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        code = int.__new__(cls, value)
        code._name_ = f"_{value}"
        code._value_ = value
        return code

    def __reduce_ex__(self, protocol: object) -> tuple[type[Self], tuple[int]]:
        # By the number: some versions of Python take the name, which may be none.
        return type(self), (self._value_,)


class Bits(IntFlag, boundary=KEEP):
    """Bits with names; others are kept."""


class Part(Generic[_T]):
    """How one field stands on the wire."""

    def read(self, data: bytes, at: int, end: int) -> tuple[_T, int]:
        """The value at ``at``, of at most the bytes before ``end``, and where it ends.

        Raises
        ------
        DecodeError
            These bytes aren't one.
        """
        raise NotImplementedError

    def write(self, value: _T) -> bytes:
        """The value's bytes."""
        raise NotImplementedError

    def length(self, value: _T) -> int:
        """Of the value's bytes, without what pads them."""
        return len(self.write(value))


class _Fixed(Part[_T]):
    """A value of a fixed size, as `struct` has it, made and unmade by two functions."""

    def __init__(self, layout: str, made: Callable[[Any], _T], unmade: Callable[[_T], Any]) -> None:
        self._layout = struct.Struct("!" + layout)
        self._made = made
        self._unmade = unmade

    def read(self, data: bytes, at: int, end: int) -> tuple[_T, int]:
        if end - at < self._layout.size:
            raise DecodeError(f"{end - at} bytes where there are {self._layout.size}", at)
        (value,) = self._layout.unpack_from(data, at)
        return self._made(value), at + self._layout.size

    def write(self, value: _T) -> bytes:
        return self._layout.pack(self._unmade(value))


class _Match(Part[Match]):
    """A ``struct ofp_match``, padded."""

    def read(self, data: bytes, at: int, end: int) -> tuple[Match, int]:
        size = int.from_bytes(data[at + 2 : at + 4], "big") if end - at >= 4 else 0
        stop = at + -(-size // 8) * 8
        if size < 4 or stop > end:
            raise DecodeError(f"match of {size} bytes where there are {end - at}", at)
        return Match(data[at:stop]), stop

    def write(self, value: Match) -> bytes:
        return value


class _Fields(Part[Match]):
    """A match's fields, without its header, until the end, and then padded."""

    def __init__(self, align: int) -> None:
        self._align = align

    def read(self, data: bytes, at: int, end: int) -> tuple[Match, int]:
        return Match.of(data[at:end]), end + (at - end) % self._align

    def write(self, value: Match) -> bytes:
        return value.fields + bytes(-len(value.fields) % self._align)

    def length(self, value: Match) -> int:
        return len(value.fields)


class _Rest(Part[Any]):
    """All bytes that are left, as one ``kind`` of bytes."""

    def __init__(self, kind: type[bytes], before: int) -> None:
        self._kind = kind
        self._before = before

    def read(self, data: bytes, at: int, end: int) -> tuple[bytes, int]:
        start = at + self._before
        if start > end:
            raise DecodeError(f"{end - at} bytes where there are {self._before}", at)
        return self._kind(data[start:end]), end

    def write(self, value: bytes) -> bytes:
        return bytes(self._before) + value


class _Nested(Part[_R]):
    """Another record."""

    def __init__(self, kind: type[_R], before: int) -> None:
        self._kind = kind
        self._before = before

    def read(self, data: bytes, at: int, end: int) -> tuple[_R, int]:
        return self._kind.read(data, min(at + self._before, end), end)

    def write(self, value: _R) -> bytes:
        return bytes(self._before) + value.write()


class _Many(Part[tuple[_T, ...]]):
    """Values, one after the other, until the end."""

    def __init__(self, one: Part[_T]) -> None:
        self._one = one

    def read(self, data: bytes, at: int, end: int) -> tuple[tuple[_T, ...], int]:
        values = []
        while at < end:
            value, at = self._one.read(data, at, end)
            values.append(value)
        return tuple(values), at

    def write(self, value: tuple[_T, ...]) -> bytes:
        return b"".join(map(self._one.write, value))


class _Padded(Part[_T]):
    """A value, after which anything may stand."""

    def __init__(self, value: Part[_T], pad: int) -> None:
        self._value = value
        self._pad = pad

    def read(self, data: bytes, at: int, end: int) -> tuple[_T, int]:
        return self._value.read(data, at, end)[0], end

    def write(self, value: _T) -> bytes:
        return self._value.write(value) + bytes(self._pad)


class _Length(_Fixed[int]):
    """The bytes that the record has, or, with a name, those that its field ``of`` has."""

    def __init__(self, layout: str, of: str | None = None) -> None:
        super().__init__(layout, int, int)
        self.of = of


# How fields are declared.


def part(how: Part[Any], default: Any = MISSING) -> Any:
    """A field of any part."""
    return field(default=default, metadata={"part": how})


def _number(code: str, kind: Callable[[int], int], before: int, pad: int, default: object) -> Any:
    return part(_Fixed(f"{before}x{code}{pad}x", kind, int), default)


def u8(
    kind: Callable[[int], int] = int, *, before: int = 0, pad: int = 0, default: object = MISSING
) -> Any:
    """A byte, as a number or a ``kind`` of it, with ``before`` and ``pad`` zeros around it."""
    return _number("B", kind, before, pad, default)


def u16(
    kind: Callable[[int], int] = int, *, before: int = 0, pad: int = 0, default: object = MISSING
) -> Any:
    """As `u8`, of 16 bits."""
    return _number("H", kind, before, pad, default)


def u32(
    kind: Callable[[int], int] = int, *, before: int = 0, pad: int = 0, default: object = MISSING
) -> Any:
    """As `u8`, of 32 bits."""
    return _number("I", kind, before, pad, default)


def u64(
    kind: Callable[[int], int] = int, *, before: int = 0, pad: int = 0, default: object = MISSING
) -> Any:
    """As `u8`, of 64 bits."""
    return _number("Q", kind, before, pad, default)


def u128(*, default: object = MISSING) -> Any:
    """A number of 128 bits."""
    return part(
        _Fixed("16s", lambda data: int.from_bytes(data, "big"), lambda n: n.to_bytes(16, "big")),
        default,
    )


def mac(*, pad: int = 0, default: object = MISSING) -> Any:
    """An Ethernet address: ``"00:16:3e:00:00:01"``."""
    return part(_Fixed(f"6s{pad}x", lambda data: data.hex(":"), _mac_bytes), default)


def _mac_bytes(address: str) -> bytes:
    data = bytes.fromhex(address.replace(":", ""))
    if len(data) != 6:
        raise ValueError(f"{address!r} is no Ethernet address")
    return data


def text(size: int, *, default: object = MISSING) -> Any:
    """A text of at most ``size`` bytes, with a null after it where there is room."""

    def unmade(value: str) -> bytes:
        data = value.encode(errors="surrogateescape")
        if len(data) > size:
            raise ValueError(f"{value!r} has more than {size} bytes")
        return data

    def made(data: bytes) -> str:
        return data.partition(b"\0")[0].decode(errors="surrogateescape")

    return part(_Fixed(f"{size}s", made, unmade), default)


def match(*, default: object = MISSING) -> Any:
    """A ``struct ofp_match``, padded."""
    return part(_Match(), default)


def match_fields(*, align: int = 1) -> Any:
    """A match's fields, without its header: all that is left, or with their length before it."""
    return part(_Fields(align))


def rest(kind: type[bytes] = bytes, *, before: int = 0, default: object = MISSING) -> Any:
    """All bytes that are left, after ``before`` zeros."""
    return part(_Rest(kind, before), default)


def nested(kind: type[Record], *, default: object = MISSING) -> Any:
    """A record in this one."""
    return part(_Nested(kind, 0), default)


def many(kind: type[Record] | str, *, default: object = MISSING) -> Any:
    """Records, or numbers of a `struct` code, until the end: a tuple."""
    one: Part[Any] = _Fixed(kind, int, int) if isinstance(kind, str) else _Nested(kind, 0)
    return part(_Many(one), default)


def length(*, pad: int = 0) -> Any:
    """The record's length."""
    return _Length(f"H{pad}x")


def length_of(name: str, *, pad: int = 0) -> Any:
    """The bytes that the field ``name``, one of those that follow, takes."""
    return _Length(f"H{pad}x", name)


def prop(
    number: int,
    how: Any,
    *,
    default: object,
    before: int = 0,
    pad: int | None = None,
    sent: bool = False,
) -> Any:
    """A property.

    Parameters
    ----------
    how
        What `u8` and the like give, or a record's class.
    default
        The value where there is no such property.
    before
        Zeros before a record.
    pad
        Zeros that may follow the value; None: none may.
    sent
        Whether the default is sent, too.
    """
    value = _Nested(how, before) if isinstance(how, type) else how.metadata["part"]
    if pad is not None:
        value = _Padded(value, pad)
    meta = {"part": value, "property": number, "unsent": None if sent else default}
    return field(default=default, metadata=meta)


def others(*, default: object) -> Any:
    """Properties that aren't fields."""
    return field(default=default, metadata={"others": True})


@dataclass(frozen=True, slots=True)
class Property:
    """A property that has no field here."""

    type: int
    data: bytes
    """What follows its type and its length."""


class _Properties:
    """Where a record's properties are: each has a type and a length, and is padded to 8 bytes."""

    _HEAD: Final = struct.Struct("!HH")

    def __init__(self) -> None:
        self.known: dict[int, tuple[str, Part[Any]]] = {}
        self.unsent: dict[str, object] = {}
        self.others = ""

    def read(self, data: bytes, at: int, end: int, values: dict[str, Any]) -> int:
        unknown = []
        while at < end:
            number, size = self._HEAD.unpack_from(data, at) if at + 4 <= end else (0, 0)
            stop = at + size
            if size < self._HEAD.size or stop > end:
                raise DecodeError(f"property of {size} bytes where there are {end - at}", at)
            name, how = self.known.get(number, ("", None))
            if how is None:
                unknown.append(Property(number, data[at + self._HEAD.size : stop]))
            else:
                values[name], used = how.read(data, at + self._HEAD.size, stop)
                if used != stop:
                    raise DecodeError(f"property {name} of {size} bytes", at)
            at = min(at + -(-size // 8) * 8, end)
        if unknown and self.others:
            values[self.others] = tuple(unknown)
        return at

    def write(self, one: Record) -> bytes:
        found = [
            (number, one.write_field(name, how))
            for number, (name, how) in self.known.items()
            if getattr(one, name) != self.unsent[name]
        ]
        if self.others:
            found += [(other.type, other.data) for other in getattr(one, self.others)]
        sized = [(number, self._HEAD.size + len(data), data) for number, data in found]
        return b"".join(
            self._HEAD.pack(number, size) + data + bytes(-size % 8) for number, size, data in sized
        )


_Step = tuple[str, "Part[Any] | _Properties"]


class _Init:
    """A record's ``__init__``: written when it is first looked for.

    `dataclass` would write and compile it at once; there are more than a hundred records, and who
    imports them needs some.
    """

    def __get__(self, one: Record | None, kind: Any) -> Callable[..., None]:
        declared = sorted(fields(kind), key=lambda each: bool(each.kw_only))
        parameters = ["self"]
        values: dict[str, Any] = {}
        for each in declared:
            if each.kw_only and "*" not in parameters:
                parameters.append("*")
            default = "" if each.default is MISSING else f"=_default_{each.name}"
            parameters.append(each.name + default)
            values[f"_default_{each.name}"] = each.default
            values[f"_set_{each.name}"] = getattr(kind, each.name).__set__
        lines = [f" _set_{each.name}(self, {each.name})\n" for each in declared]
        exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines) or ' pass'}", values)
        init = values["__init__"]
        init.__qualname__ = f"{kind.__qualname__}.__init__"
        kind.__init__ = init
        return init if one is None else init.__get__(one, kind)  # type: ignore[no-any-return]


class Record:
    """See the module."""

    __slots__ = ()

    _plan: ClassVar[tuple[_Step, ...]] = ()
    _compared: ClassVar[tuple[str, ...]] = ()
    _shown: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        for name, value in state[1].items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._compared)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self._compared)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
        return f"{type(self).__qualname__}({shown})"

    @classmethod
    def declared(cls) -> None:
        """Called once `record` has made the class."""

    @classmethod
    def read(cls, data: bytes, at: int, end: int, **values: Any) -> tuple[Self, int]:
        """Read the record at ``at``, of at most the bytes before ``end``; says where it ends.

        Parameters
        ----------
        values
            Of fields that aren't on the wire.

        Raises
        ------
        DecodeError
            These bytes aren't one.
        """
        start, limit = at, 0
        stops: dict[str, int] = {}
        for name, how in cls._plan:
            if isinstance(how, _Properties):
                at = how.read(data, at, end, values)
                continue
            stop = end
            if name in stops:
                stop = at + stops[name]
                if stop > end:
                    raise DecodeError(f"{cls.__name__}: {name} is cut off", at)
            value, after = how.read(data, at, stop)
            if not isinstance(how, _Length):
                if name in stops and not stop <= after <= end:
                    raise DecodeError(f"{cls.__name__}: {name} has another length than it says", at)
                values[name] = value
            elif how.of:
                stops[how.of] = value
            else:
                limit = start + value
                if not after <= limit <= end:
                    raise DecodeError(f"{cls.__name__} of {value} bytes", start)
                end = limit
            at = after
        if limit and at != limit:
            raise DecodeError(f"{cls.__name__} has {limit - at} bytes too many", at)
        return cls(**values), at

    def write(self) -> bytes:
        """The record's bytes.

        Raises
        ------
        ValueError
            One of the values can't be sent.
        """
        steps: dict[str, Any] = dict(self._plan)
        pieces: dict[str, bytes] = {}
        lengths: dict[str, _Length] = {}
        for name, how in self._plan:
            if isinstance(how, _Properties):
                pieces[name] = how.write(self)
            elif isinstance(how, _Length):
                lengths[name] = how
                pieces[name] = how.write(0)
            else:
                pieces[name] = self.write_field(name, how)
        for name, how in lengths.items():
            if how.of:
                size = steps[how.of].length(getattr(self, how.of))
            else:
                size = sum(map(len, pieces.values()))
            if size > MAX_LENGTH:
                what = f"{type(self).__name__}.{how.of}" if how.of else type(self).__name__
                raise ValueError(f"{what} of {size} bytes: OpenFlow allows {MAX_LENGTH}")
            pieces[name] = how.write(size)
        return b"".join(pieces.values())

    def write_field(self, name: str, how: Part[Any]) -> bytes:
        """One field's bytes.

        Raises
        ------
        ValueError
            Its value can't be sent.
        """
        value = getattr(self, name)
        try:
            return how.write(value)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{type(self).__name__}.{name} = {value!r}: {error}") from error


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(
        field, part, u8, u16, u32, u64, u128, mac, text, match, match_fields, rest, nested, many,
        prop, others,
    ),
)  # fmt: skip
def record(cls: type[_T]) -> type[_T]:
    """Make a class a record, and a dataclass."""
    made: Any = dataclass(init=False, eq=False, repr=False, slots=True)(cls)
    made.__init__ = _Init()
    made._plan = tuple(_steps(made))
    made._compared = tuple(one.name for one in fields(made) if one.compare)
    made._shown = tuple(one.name for one in fields(made) if one.repr)
    made.declared()
    return made  # type: ignore[no-any-return]


def _steps(cls: type) -> list[_Step]:
    """What a record's bytes are, in their order: its classes' parts, the first class's first."""
    declared = {one.name: one for one in fields(cls)}
    steps: dict[str, Part[Any] | _Properties] = {}
    properties = _Properties()
    for base in reversed(cls.__mro__):
        for name in get_annotations(base):
            meta = declared[name].metadata if name in declared else {}
            if "property" in meta:
                properties.known[meta["property"]] = (name, meta["part"])
                properties.unsent[name] = meta["unsent"]
                steps.setdefault("*", properties)
            elif "others" in meta:
                properties.others = name
                steps.setdefault("*", properties)
            elif "part" in meta:
                steps[name] = meta["part"]
            elif isinstance(derived := base.__dict__.get(name), Part):
                steps[name] = derived
    return list(steps.items())
