"""Every match field, with and without mask and prerequisites, against ovs-ofctl."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from library import Codec, CodecError
from oracle import Oracle
from verdicts import flow_mods

pytestmark = pytest.mark.timeout(300)
"""Its first test waits until the C core is compiled for tests."""

FIELDS = Path(__file__).parents[2] / "csrc" / "fields.def"

PREREQUISITES = {
    "NONE": [""],
    "ETHERNET": [""],
    "VLAN": ["dl_vlan=5", "vlan_tci=0x1000/0x1000"],
    "MPLS": ["mpls", "mplsm"],
    "ARP": ["arp", "rarp"],
    "IPV4": ["ip", "packet_type=(1,0x800)"],
    "IPV6": ["ipv6"],
    "IP": ["ip", "ipv6", "dl_type=0x800"],
    "NSH": ["dl_type=0x894f,nsh_mdtype=1", "packet_type=(1,0x894f)"],
    "TCP": ["tcp", "tcp6"],
    "UDP": ["udp", "udp6"],
    "SCTP": ["sctp", "sctp6"],
    "ICMP": ["icmp"],
    "ICMPV6": ["icmp6"],
    "ND": ["icmp6,icmp_type=135", "icmp6,icmp_type=136,icmp_code=0"],
    "ND_SOLICIT": ["icmp6,icmp_type=135,icmp_code=0"],
    "ND_ADVERT": ["icmp6,icmp_type=136"],
    "CT": ["ct_state=+trk+est,ct_nw_proto=6", "ip,ct_state=+trk-inv"],
}


def _fields() -> Iterator[tuple[str, int, int, str, str]]:
    """Name, bytes, bits, format and prerequisite of each field."""
    table = re.sub(r"/\*.*?\*/", "", FIELDS.read_text(), flags=re.DOTALL)
    for entry in re.findall(r"^NSX_FIELD\((.*?)\)$", table, flags=re.DOTALL | re.MULTILINE):
        words = [word.strip() for word in re.split(r",\s+", entry)]
        names = [words[1].strip('"'), words[2].strip('"')]
        for name in filter(None, names):
            yield name, int(words[7]), int(words[8]), words[10], words[11]
    for i in (0, 1, 31, 62, 63):
        yield f"tun_metadata{i}", 124, 992, "HEX", "NONE"
    for i in range(16):
        yield f"reg{i}", 4, 32, "HEX", "NONE"
    for i in range(8):
        yield f"xreg{i}", 8, 64, "HEX", "NONE"
    for i in range(4):
        yield f"xxreg{i}", 16, 128, "HEX", "NONE"


def _value(rng: random.Random, n_bytes: int, n_bits: int, form: str) -> str:
    raw = rng.choice([rng.randbytes(n_bytes), bytes(n_bytes), b"\xff" * n_bytes])
    match form:
        case "MAC":
            return raw.hex(":")
        case "IPV4":
            return ".".join(map(str, raw))
        case "IPV6":
            return raw.hex(":", 2)
        case "PORT":
            return rng.choice(["1", "65279", "LOCAL", "none", "0", "65280", "4294967295", "x"])
        case "PACKET_TYPE":
            return rng.choice(["(0,0)", "(1,0x86dd)", "(1,2048)", "(2,1)", "(1)"])
        case "FRAG":
            return rng.choice(["no", "yes", "first", "later", "not_later", "NO", "any"])
        case "CT_STATE":
            return rng.choice(["+trk+new", "-trk", "new|trk", "0x21/0x21", "0", "+foo", "32"])
        case "TCP_FLAGS":
            return rng.choice(["+syn-ack", "syn|ack", "0x12/0xfff", "1", "-[200]", "+syn+syn"])
        case "TUN_FLAGS":
            return rng.choice(["oam", "+oam", "-oam", "0", "df", "1/1"])
    number = rng.getrandbits(rng.choice([1, n_bits, n_bits, min(n_bits, 8), n_bytes * 8 + 1]))
    decimal = str(number) if number < 2**64 else hex(number)
    return rng.choice([hex(number), decimal, f"0{min(number, 2**63):o}"])


def _mask(rng: random.Random, n_bytes: int, n_bits: int, form: str) -> str:
    match form:
        case "IPV4":
            return rng.choice(["8", "32", "0", "255.0.255.0", "33"])
        case "IPV6":
            return rng.choice(["64", "0", "128", "ffff::", "f0f0::1", "129"])
        case "MAC":
            return rng.choice(["ff:ff:ff:ff:ff:ff", "01:00:00:00:00:00", "0:0:0:0:0:0"])
        case _:
            return _value(rng, n_bytes, n_bits, form)


def _walk(rng: random.Random) -> Iterator[str]:
    for name, n_bytes, n_bits, form, prerequisite in _fields():
        values = [_value(rng, n_bytes, n_bits, form) for _ in range(3)]
        values += [f"{values[0]}/{_mask(rng, n_bytes, n_bits, form)}" for _ in range(2)]
        low = rng.randrange(n_bits)
        words = [f"{name}={value}" for value in [*values, "*"]]
        words += [name, f"{name}[{low}..{min(low + 4, n_bits - 1)}]=1", f"{name}[]=1"]
        for word in words:
            before = rng.choice(PREREQUISITES[prerequisite])
            yield f"{before},{word} actions=drop"
            if rng.random() < 0.3:
                yield f"{word},{before} actions=drop"
            if rng.random() < 0.2:
                yield f"{word} actions=drop"


def _ours(codec: Codec, text: str) -> bytes | None:
    try:
        return codec.flow(text)
    except CodecError:
        return None


@pytest.mark.parametrize("seed", range(2))
def test_every_field(codec: Codec, oracle: Oracle, seed: int) -> None:
    texts = list(_walk(random.Random(seed)))
    _compare(codec, oracle, texts)


@pytest.mark.parametrize("seed", range(2))
def test_mixes_of_fields(codec: Codec, oracle: Oracle, seed: int) -> None:
    rng = random.Random(seed)
    words = [text.removesuffix(" actions=drop") for text in _walk(rng)]
    good = [word for word in words if _ours(codec, f"{word} actions=drop")]
    texts = [f"{','.join(rng.sample(good, rng.randint(2, 6)))} actions=drop" for _ in range(1000)]
    _compare(codec, oracle, texts)


def _compare(codec: Codec, oracle: Oracle, texts: list[str]) -> None:
    # Those that are rejected cost a run each, so they go apart.
    ours = {text: _ours(codec, text) for text in texts}
    accepted = [text for text, message in ours.items() if message is not None]
    theirs = dict(zip(accepted, flow_mods(oracle, accepted), strict=True))
    wrong = [text for text in accepted if ours[text] != theirs[text]]
    assert not wrong
    lenient = [text for text in ours if ours[text] is None and not oracle.rejects(text)]
    assert not lenient
    printed = oracle.print_flows([theirs[text] or b"" for text in accepted[:200]])
    readable = []
    for text in accepted[:200]:
        try:
            readable.append(codec.text(ours[text] or b""))
        except CodecError:
            continue
    if len(printed) == len(accepted[:200]):
        assert readable == [line.partition("n_bytes=0, ")[2] for line in printed]
