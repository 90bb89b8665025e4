"""A proxy on the loopback interface whose network can be cut, so that nothing comes through for a while."""

import asyncio
import contextlib
import threading


class FaultyProxy:
    """Passes bytes to and from a port of this machine.

    While it is cut, what is sent is held back, as the system does that sends it again and again; where the
    cut ``loses`` it, the connections are reset at its end.
    """

    def __init__(self, port):
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._writers = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def cut(self):
        self._loop.call_soon_threadsafe(self._open.clear)

    def mend(self, *, loses=False):
        self._loop.call_soon_threadsafe(self._mend, loses)

    def _mend(self, loses):
        for writer in list(self._writers) if loses else ():
            writer.transport.abort()
        self._open.set()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self):
        self._open, self._ended = asyncio.Event(), asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader, writer):
        await self._open.wait()
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # there is no scheduler just now
            writer.transport.abort()
            return
        ends = (writer, back)
        self._writers.update(ends)
        try:
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
        except OSError:
            for end in ends:
                end.transport.abort()
        finally:
            self._writers.difference_update(ends)
            for end in ends:
                end.close()

    async def _pass_on(self, reader, writer):
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
