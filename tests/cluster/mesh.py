"""Long connections from a pod to many places, each asked again and again: run in the pod.

    python3 mesh.py ADDRESS PORT [ADDRESS PORT ...]

Every second one JSON object is printed: of each place, how many questions were answered, and how
often the connection was lost and made anew. One that is merely slow is not lost: TCP is patient,
and so are we. Only the standard library is used.
"""

import asyncio
import json
import sys

PERIOD = 0.1
PATIENCE = 120.0


class Place:
    """Where a connection leads to."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self.answered = 0
        self.lost: list[str] = []

    @property
    def name(self) -> str:
        return f"{self.address} {self.port}"

    async def ask(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(self.address, self.port)
            except OSError:  # nobody has told the proxy yet
                await asyncio.sleep(PERIOD)
                continue
            try:
                while True:
                    async with asyncio.timeout(PATIENCE):
                        writer.write(b"hello\n")
                        if not (await reader.readline()).endswith(b"\n"):
                            raise ConnectionResetError("closed by the server")
                    self.answered += 1
                    await asyncio.sleep(PERIOD)
            except OSError as error:
                self.lost.append(f"{type(error).__name__}: {error}")
            writer.transport.abort()


async def main(words: list[str]) -> None:
    places = [Place(words[n], int(words[n + 1])) for n in range(0, len(words), 2)]
    async with asyncio.TaskGroup() as group:
        for place in places:
            group.create_task(place.ask())
        while True:
            await asyncio.sleep(1)
            said = {p.name: {"answered": p.answered, "lost": p.lost} for p in places}
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
