"""A server of the example site on the loopback interface, in a thread of this process."""

import asyncio
import http.client
import json
import threading
import urllib.parse

import pytest
import tornado.httpserver
import tornado.netutil

from astra.database.read_only import ReadOnlyDatabase
from astra.web.security import make_page_access
from astra.web.server import limits, make_application
from astra.web.site import Site
from tests.web.example_site import make_example


class Server:
    """A server of pages in a thread; `get` asks it as a program does."""

    def __init__(self, url, root, *, token="", scheduler=None, **site):
        self.access = make_page_access("127.0.0.1", token)
        self._ready, self._loop = threading.Event(), None
        self._made = (url, root, site, scheduler)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    async def _serve(self):
        url, root, site, scheduler = self._made
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.site = Site(ReadOnlyDatabase(url), root, **site)
        self.application = make_application(self.site, self.access, scheduler)
        server = tornado.httpserver.HTTPServer(self.application, **limits())
        sockets = tornado.netutil.bind_sockets(0, address="127.0.0.1")
        server.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.stop()
        await server.close_all_connections()
        self.application.settings["threads"].close()
        self.site.database.close()

    @property
    def address(self):
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path, method="GET", body=None, headers=None):
        """Return the response and its text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(
                method, path, skip_host=bool(headers and "Host" in headers), skip_accept_encoding=True
            )
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def page(self, path, status=200, **query):
        """Return the text of a page that answers with a status."""
        address = path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        response, content = self.ask(address)
        assert response.status == status, (address, response.status, content[-2000:])
        return content.decode()

    def json(self, path, **query):
        """Return the JSON of a page."""
        return json.loads(self.page(path, format="json", **query))

    def stop(self):
        """End it."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example site."""
    return make_example(tmp_path_factory.mktemp("web") / "root")


@pytest.fixture(scope="module")
def server(example):
    """Its server, on the loopback interface without a token."""
    made = Server(example.url, example.root, scheduler_url="http://127.0.0.1:8082")
    yield made
    made.stop()
