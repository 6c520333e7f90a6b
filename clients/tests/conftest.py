"""What all tests share: one hub, a healthy and an ailing upstream, and a watch on the clients' other traffic."""

import os
import socketserver
import threading

import pytest

import hub as product


@pytest.fixture(scope="session")
def upstream():
    """An upstream in good health."""
    with product.running_upstream() as running:
        yield running


@pytest.fixture(scope="session")
def ailing():
    """An upstream that tests give a fault with `follow`."""
    with product.running_upstream() as running:
        yield running


@pytest.fixture(scope="session")
def hub(tmp_path_factory, upstream, ailing):
    """The product."""
    with product.running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="session")
def lively(tmp_path_factory):
    """The product, where a seat that waits for a stream hears a sign of life after a second."""
    with product.running_hub(tmp_path_factory.mktemp("lively"), STREAM_KEEP_ALIVE_SECS="1") as running:
        yield running


@pytest.fixture(scope="session")
def seat(hub, upstream):
    """The key of a seat that has a healthy provider of each dialect."""
    types = ("claude", "codex", "openai-compatible", "gemini")
    return hub.seat(*((provider_type, upstream.url) for provider_type in types))


@pytest.fixture(scope="session", autouse=True)
def elsewhere():
    """The hosts that clients asked for besides the hub. The proxy they go through refuses them all."""
    asked = []

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self):
            asked.append(self.rfile.readline().decode("latin-1").strip())
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        url = "http://127.0.0.1:{}".format(proxy.server_address[1])
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            os.environ[name] = os.environ[name.lower()] = url
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
        yield asked
        proxy.shutdown()
