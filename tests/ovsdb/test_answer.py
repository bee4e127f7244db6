"""What waits for an answer goes on at once, and is otherwise as asyncio's tasks are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

import pytest
import uvloop

from nsxdp.ovsdb.answer import Answer

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Waiting:
    """A task that waits for an answer."""

    def __init__(self) -> None:
        self.answer = Answer(asyncio.get_running_loop())
        self.seen: list[object] = []
        self.task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        WHO.set("the task")
        try:
            self.seen.append(await self.answer)
        except BaseException as error:
            self.seen.append(type(error))
            raise
        self.seen.append(WHO.get())


async def outside_of_tasks(call: Callable[[], None]) -> None:
    """Have the event loop call it, as it calls what reads from a connection."""
    called = asyncio.Event()

    def once() -> None:
        try:
            call()
        finally:
            called.set()

    asyncio.get_running_loop().call_soon(once)
    await called.wait()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Callable[..., None]:
    def run(main: Callable[[], object]) -> None:
        with asyncio.Runner(loop_factory=request.param) as opened:
            opened.run(main())  # type: ignore[arg-type]

    return run


def test_a_task_goes_on_before_the_next_message_is_looked_at(runner: Callable[..., None]) -> None:
    async def main() -> None:
        waiting = Waiting()
        await asyncio.sleep(0)

        def answered() -> None:
            waiting.answer.set_result("yes")
            assert waiting.seen == ["yes", "the task"]

        await outside_of_tasks(answered)
        assert waiting.seen == ["yes", "the task"]
        await waiting.task

    runner(main)


def test_another_task_is_not_interrupted(runner: Callable[..., None]) -> None:
    async def main() -> None:
        waiting = Waiting()
        await asyncio.sleep(0)
        waiting.answer.set_result("yes")
        assert not waiting.seen
        await waiting.task
        assert waiting.seen == ["yes", "the task"]

    runner(main)


def test_an_answer_may_come_before_it_is_waited_for(runner: Callable[..., None]) -> None:
    async def main() -> None:
        waiting = Waiting()
        waiting.answer.set_result("early")
        await waiting.task
        assert waiting.seen == ["early", "the task"]

    runner(main)


def test_waiting_can_be_cancelled_and_has_a_time(runner: Callable[..., None]) -> None:
    async def main() -> None:
        waiting = Waiting()
        await asyncio.sleep(0)
        waiting.task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await waiting.task
        assert waiting.seen == [asyncio.CancelledError]
        assert waiting.answer.done()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Answer(asyncio.get_running_loop())

    runner(main)


def test_an_error_is_raised_where_it_is_waited_for(runner: Callable[..., None]) -> None:
    async def main() -> None:
        waiting = Waiting()
        await asyncio.sleep(0)
        await outside_of_tasks(lambda: waiting.answer.set_exception(ConnectionError("gone")))
        with pytest.raises(ConnectionError, match="gone"):
            await waiting.task

    runner(main)


def test_a_task_that_ends_the_program_ends_it(runner: Callable[..., None]) -> None:
    ending: list[asyncio.Task[None]] = []

    async def main() -> None:
        answer = Answer(asyncio.get_running_loop())

        async def ends() -> None:
            raise SystemExit(await answer)

        ending.append(asyncio.create_task(ends()))
        await asyncio.sleep(0)
        await outside_of_tasks(lambda: answer.set_result(3))
        await asyncio.Event().wait()

    with pytest.raises(SystemExit) as ended:
        runner(main)
    assert ended.value is ending[0].exception()
