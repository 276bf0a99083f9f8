from __future__ import annotations

import socket
import urllib.request

import pytest

from lab.sink import STATISTICS, StoreSink
from lab.tap import running_tap


def test_what_the_server_says_is_passed_on_and_counted(sink: StoreSink) -> None:
    with running_tap(sink.port) as tap:
        address = ("127.0.0.1", tap.port)
        for _ in range(2):
            with socket.create_connection(address) as client:
                before = tap.passed
                client.sendall(f"GET {STATISTICS} HTTP/1.1\r\n\r\n".encode())
                client.shutdown(socket.SHUT_WR)
                with client.makefile("rb") as answer:
                    said = answer.read()
            assert said.startswith(b"HTTP/1.1 200 OK")
            assert tap.passed - before == len(said)


def test_a_client_that_goes_away_does_not_end_it(sink: StoreSink) -> None:
    with running_tap(sink.port) as tap:
        with socket.create_connection(("127.0.0.1", tap.port)) as client:
            client.sendall(b"PUT /cases/a HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        url = f"http://127.0.0.1:{tap.port}{STATISTICS}"
        with urllib.request.urlopen(url) as answer:
            assert answer.status == 200


def test_it_ends_with_its_block(sink: StoreSink) -> None:
    with running_tap(sink.port) as tap, socket.create_connection(("127.0.0.1", tap.port)):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", tap.port))
