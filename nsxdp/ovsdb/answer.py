"""What a request waits for: its task goes on as soon as the answer is read.

A future of asyncio's wakes its task in the event loop's next turn, which costs as much as to read
the answer: where one request follows the other, a tenth of what each takes. So this one wakes it
itself.  To asyncio it is a future nevertheless (`asyncio.isfuture`), whose awaiting can be
cancelled like that of any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

__all__ = ["Answer"]


class Answer:
    """An answer that one task waits for.

    Parameters
    ----------
    loop
        The task's.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.ovsdb.answer import Answer
    >>> async def main():
    ...     loop = asyncio.get_running_loop()
    ...     answer = Answer(loop)
    ...     loop.call_soon(answer.set_result, 42)
    ...     return await answer
    >>> asyncio.run(main())
    42
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_done",
        "_error",
        "_loop",
        "_result",
        "_waiter",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._waiter: tuple[Callable[[Any], object], Context] | None = None

    # What asyncio calls.

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, fn: Callable[[Any], object], *, context: Context) -> None:
        self._waiter = fn, context

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self, msg: object = None) -> bool:
        if self._done:
            return False
        self.set_exception(asyncio.CancelledError(*(() if msg is None else (msg,))))
        return True

    # What the connection calls.

    def done(self) -> bool:
        """Whether it is known what the task will see."""
        return self._done

    def set_result(self, result: Any) -> None:
        """Have the task go on with this: it has run on when this returns.

        Where another task is running, it has to wait for that one, and runs soon.
        """
        self._done, self._result = True, result
        if self._waiter is None:
            return
        if asyncio.current_task(self._loop) is not None:
            self._wake_soon()
            return
        wake, context = self._waiter
        try:
            context.run(wake, self)
        except BaseException as error:  # the loop's to see, not the connection's: SystemExit, say
            self._loop.call_soon(_throw, error)

    def set_exception(self, error: BaseException) -> None:
        """Have the task end with an error, soon."""
        self._done, self._error = True, error
        self._wake_soon()

    def _wake_soon(self) -> None:
        if self._waiter is not None:
            wake, context = self._waiter
            self._loop.call_soon(wake, self, context=context)


def _throw(error: BaseException) -> None:
    raise error
