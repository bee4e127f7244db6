"""Events in the log: what belongs to them is told, by whoever writes the lines."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from nsxdp.logs import get_logger
from nsxdp_agents.common import logs

log = get_logger("nsxdp.of.tests")

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "info")
    log.debug("nobody wants to know")
    log.warning("a port cannot be used", reason="it's down\n\x1b[2J", port="web", number=3)
    log.info("started")
    logging.getLogger("library").error("%s is away", "it")
    first, second, third = lines(capsys)
    assert re.fullmatch(
        rf"{TIME} \[warning  \] a port cannot be used          "
        r"""number=3 port=web reason="it's down\\n\\x1b\[2J\"""",
        first,
    )
    assert re.fullmatch(rf"{TIME} \[info     \] started", second)
    assert re.fullmatch(rf"{TIME} \[error    \] it is away", third)


def test_objects_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "debug")
    log.debug("read", file="caf\udce9", data=b"\xff", seconds=0.5, nothing=None)
    (line,) = lines(capsys)
    told = json.loads(line)
    assert re.fullmatch(TIME, told.pop("timestamp"))
    assert told == {
        "event": "read",
        "level": "debug",
        "file": "caf\udce9",
        "data": r"b'\xff'",
        "seconds": 0.5,
        "nothing": None,
    }


@pytest.mark.parametrize("how", ["text", "json"])
def test_a_traceback_tells_no_secrets(
    how: logs.LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(how, "info")
    token = "".join(["s3", "cr3t"])
    try:
        int("no number", len(token))
    except ValueError:
        log.exception("failed")
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "ValueError: invalid literal for int() with base 6" in told
    assert token not in told


def test_who_knows_no_events_reads_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        get_logger("nsxdp.of.tests", kind="Service").info("a watch ended", reason="too old")
    assert caplog.messages == ["a watch ended kind=Service reason='too old'"]
