"""What Open vSwitch's own ovs-ofctl makes of a text or of bytes, as the codec's oracle."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence

TIMEOUT = 60
"""Seconds for one run of ovs-ofctl."""

_MARK = 0x5EB00000
"""The first xid of what is put between messages."""


ARGUMENT = 50_000
"""Bytes of a message that still fit on a command line."""


class Oracle:
    """ovs-ofctl, without a switch."""

    def __init__(self) -> None:
        program = shutil.which("ovs-ofctl")
        assert program, "ovs-ofctl is missing: apt-get install openvswitch-common"
        self._program = program

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, "-O", "OpenFlow15", *arguments],
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=check,
            timeout=TIMEOUT,
        )

    def flow_mods(self, texts: Sequence[str]) -> list[bytes]:
        """The flow_mod that adds each of the flows 'texts', with xid 0."""
        with tempfile.NamedTemporaryFile("w", suffix=".flows") as file:
            file.write("\n".join(texts) + "\n")
            file.flush()
            done = self.run("-mmmmm", "parse-flows", file.name)
        return messages(done.stdout)

    def rejects(self, text: str) -> bool:
        """True if ovs-ofctl doesn't take the flow 'text'."""
        return self.run("parse-flow", text, check=False).returncode != 0

    def group_mods(self, text: str) -> list[bytes]:
        """The group_mods that add the group 'text', with xid 0."""
        return messages(self.run("-mmmmm", "parse-group", text).stdout)

    def print(self, message: bytes) -> str:
        """'message' as ofp-print prints it."""
        if len(message) < ARGUMENT:
            return self.run("ofp-print", message.hex()).stdout
        with tempfile.NamedTemporaryFile() as file:
            file.write(message)
            file.flush()
            return self.run("ofp-parse", file.name).stdout

    def print_all(self, messages: Sequence[bytes]) -> list[str]:
        """Each of 'messages' as ofp-print prints it, undecodable ones too; their lengths are right.

        One run prints thousands: an echo request behind each tells its text from the next one's.
        """
        texts: list[str] = []
        for start in range(0, len(messages), 4000):
            part = messages[start : start + 4000]
            with tempfile.NamedTemporaryFile() as file:
                for i, message in enumerate(part):
                    file.write(message + struct.pack("!BBHI", 6, 2, 8, _MARK + i))
                file.flush()
                done = self.run("ofp-parse", file.name, check=False)
            rest = done.stdout
            for i in range(len(part)):
                mark = f"OFPT_ECHO_REQUEST (OF1.5) (xid=0x{_MARK + i:x}): 0 bytes of payload\n"
                text, found, rest = rest.partition(mark)
                assert found, f"ofp-parse stopped at {part[i].hex()}: {done.stderr}"
                texts.append(text.rstrip(" \n"))
        return texts

    def print_flows(self, flow_mods: Sequence[bytes]) -> list[str]:
        """The flows of 'flow_mods' as a dump with statistics (all zero) has them."""
        lines: list[str] = []
        batch: list[bytes] = []
        for flow_mod in [*flow_mods, b""]:
            desc = flow_desc(flow_mod) if flow_mod else b""
            if batch and (not desc or sum(map(len, batch)) + len(desc) > 60000):
                printed = self.print(flow_desc_reply(batch)).splitlines()
                lines.extend(line.strip() for line in printed if "actions=" in line)
                batch = []
            batch.append(desc)
        return lines


def messages(hexdump: str) -> list[bytes]:
    """The messages that 'hexdump' (ovs-ofctl's -mmmmm) shows, with xid 0."""
    found: list[bytearray] = []
    for line in hexdump.splitlines():
        match = re.match(r"([0-9a-f]{8})  ((?:[0-9a-f]{2}[ -])+)", line)
        if match:
            if int(match[1], 16) == 0:
                found.append(bytearray())
            found[-1] += bytes.fromhex(match[2].replace("-", " "))
    for message in found:
        assert len(message) == struct.unpack_from(">H", message, 2)[0]
        message[4:8] = bytes(4)
    return [bytes(message) for message in found]


def oxs_stats(
    duration: int = 0, idle_age: int | None = None, n_packets: int = 0, n_bytes: int = 0
) -> bytes:
    """OXS statistics as Open vSwitch sends them. 'duration' is in nanoseconds."""
    seconds, nanoseconds = divmod(duration, 10**9)
    fields = struct.pack(">HBBII", 0x8002, 0 << 1, 8, seconds, nanoseconds)
    if idle_age is not None:
        fields += struct.pack(">HBBII", 0x8002, 1 << 1, 8, idle_age, 0)
    fields += struct.pack(">HBBQ", 0x8002, 4 << 1, 8, n_packets)
    fields += struct.pack(">HBBQ", 0x8002, 5 << 1, 8, n_bytes)
    return pad(struct.pack(">HH", 0, 4 + len(fields)) + fields)


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def flow_desc(flow_mod: bytes, stats: bytes = oxs_stats()) -> bytes:
    """The struct ofp15_flow_desc of the flow that 'flow_mod' adds."""
    (cookie,) = struct.unpack_from(">Q", flow_mod, 8)
    table_id = flow_mod[24]
    idle, hard, priority = struct.unpack_from(">HHH", flow_mod, 26)
    flags, importance = struct.unpack_from(">HH", flow_mod, 44)
    (match_len,) = struct.unpack_from(">H", flow_mod, 50)
    end = 48 + (match_len + 7) // 8 * 8
    body = flow_mod[48:end] + stats + flow_mod[end:]
    head = struct.pack(
        ">HxxBxHHHHHQ", 24 + len(body), table_id, priority, idle, hard, flags, importance, cookie
    )
    return head + body


def flow_desc_reply(descs: Sequence[bytes]) -> bytes:
    """An OFPMP_FLOW_DESC reply."""
    body = b"".join(descs)
    return struct.pack(">BBHIHHxxxx", 6, 19, 16 + len(body), 0, 1, 0) + body
