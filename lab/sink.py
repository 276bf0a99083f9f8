"""An S3 endpoint that throws everything away, counts it, and misbehaves on demand.

With `--keep BYTES` it keeps small objects in memory, for programs that read back what they stored.

For measuring what a client can do, as a process of its own: `python -m lab.sink --port 9000`, over
TLS with `--certificate` and `--key`, or as slow as a network with `--rate`; and for testing what a
client does when things go wrong::

    with running_sink() as sink:
        sink.faults.add(Fault(Action.REFUSE, "UploadPart", part=2))
        ...  # use sink.endpoint
        assert sink.count("UploadPart") == 4
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.certificate import SelfSignedCertificate
from lab.faults import Misbehaviour, StoreFault, StoreFaults
from lab.http import Connection, ConnectionClosed, HttpResponse, NetworkLink, RequestBody
from lab.process import in_thread
from lab.store import DiscardingStore, StoreRequest, error

STATISTICS = "/-/statistics"
"""Where a sink in another process says what it counted; `-` is not a bucket's name."""


@dataclass
class StoreSink(DiscardingStore):
    """A running sink: the store it keeps, its address, and its faults."""

    port: int = 0
    certificate: SelfSignedCertificate | None = None
    """What it shows to clients that come by TLS; None for plain HTTP."""
    faults: StoreFaults = field(default_factory=StoreFaults)
    stopping: threading.Event = field(default_factory=threading.Event)
    date: str = ""
    """What its clock says in every answer; the true date if it is empty."""

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`, or `https:`."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The standard AWS variables that lead a client here; any credentials do."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "lab",
            "AWS_SECRET_ACCESS_KEY": "lab-secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            **(self.certificate.env if self.certificate else {}),
        }

    def keeps(self, body: RequestBody) -> bool:
        """Return whether an object with this body can be read back."""
        return body.length is not None and body.length <= self.keep

    def serve(self, connection: Connection) -> None:
        """Answer the requests of one connection until it ends."""
        with suppress(ConnectionClosed, OSError):
            while self._serve_one(connection):
                pass

    def _serve_one(self, connection: Connection) -> bool:
        """Answer one request; return whether the connection can carry another."""
        head = connection.read_head()
        body = connection.body(head)
        if head.path == STATISTICS:
            connection.send(HttpResponse(body=json.dumps(self.statistics()).encode()).encode())
            return True
        request = self.begin(head)
        fault = self.faults.pick(request.operation, request.key, request.part)
        try:
            answer = self._handle(connection, request, body, fault)
        finally:
            request.size = body.size
        if answer is None:
            connection.reset()
            return False
        request.status = answer.status
        if self.date:
            answer.headers["Date"] = self.date
        connection.send(answer.encode(head_only=head.method == "HEAD"))
        return True

    def _handle(
        self,
        connection: Connection,
        request: StoreRequest,
        body: RequestBody,
        fault: StoreFault | None,
    ) -> HttpResponse | None:
        """Read the body and return the answer, or None where the connection is to be reset."""
        action = fault.action if fault else None
        if fault and action in {Misbehaviour.RESET, Misbehaviour.HANG}:
            if fault.after != 0:
                body.discard(fault.after)
            while action is Misbehaviour.HANG:
                connection.pause(60)
            return None
        self._read(connection, request, body, fault.rate if fault else 0)
        if fault and action in {Misbehaviour.REFUSE, Misbehaviour.ERROR_IN_200}:
            return error(fault.status if action is Misbehaviour.REFUSE else 200, fault.code)
        answer = self.answer(request, body.size)
        if fault and action is Misbehaviour.LATE:
            connection.pause(fault.delay)
        return None if action is Misbehaviour.LOSE_ANSWER else answer

    def _read(
        self, connection: Connection, request: StoreRequest, body: RequestBody, rate: int
    ) -> None:
        """Keep the bodies that say something, such as a Complete's; throw away the others."""
        if request.method == "POST" or (request.operation == "PutObject" and self.keeps(body)):
            request.body = body.read()
            return
        if rate:
            connection.narrow()
        body.discard(rate=rate)


def sink_server() -> AbstractAsyncContextManager[StoreSink]:
    """Run a sink in this process for the block, on threads of its own."""
    return in_thread(running_sink())


@contextmanager
def running_sink(
    port: int = 0, keep: int = 0, tls: SelfSignedCertificate | None = None, rate: float = 0
) -> Iterator[StoreSink]:
    """Do the same as `sink_server`, for callers without an event loop.

    It speaks TLS with a certificate, and takes `rate` bytes per second of all clients together.
    """
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        sink = StoreSink(port=listener.getsockname()[1], keep=keep, certificate=tls)
        clients = _Clients(sink, NetworkLink(rate) if rate else None)
        accepting = threading.Thread(target=clients.accept, args=[listener], name="sink")
        accepting.start()
        try:
            yield sink
        finally:
            sink.stopping.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            clients.close()


class _Clients:
    """The connections, with a thread each."""

    def __init__(self, sink: StoreSink, link: NetworkLink | None) -> None:
        self._sink = sink
        self._link = link
        self._tls = sink.certificate.server() if sink.certificate else None
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()

    def accept(self, listener: socket.socket) -> None:
        """Accept until the listener is shut down."""
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with suppress(OSError):  # It may be gone already.
                    self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:  # The handshake comes with the first bytes, in the client's thread.
            client = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=self._serve, args=[client], name="sink-client")
        with self._lock:
            self._open[thread] = client
        thread.start()

    def close(self) -> None:
        """End every connection, and wait for its thread."""
        with self._lock:
            left = dict(self._open)
        for thread, client in left.items():
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self, client: socket.socket) -> None:
        with client:
            self._sink.serve(Connection(client, self._sink.stopping, self._link))
        with self._lock:
            self._open.pop(threading.current_thread(), None)


def main() -> None:
    """Run until SIGTERM or SIGINT; print the endpoint once it is there."""
    parser = argparse.ArgumentParser(prog="python -m lab.sink", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default: any free one")
    parser.add_argument("--keep", type=int, default=0, help="small objects, up to so many bytes")
    parser.add_argument("--certificate", type=Path, help="PEM: speak TLS with it")
    parser.add_argument("--key", type=Path, help="PEM: the certificate's")
    parser.add_argument("--rate", type=float, default=0, help="bytes per second of all clients")
    wanted = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    said = parser.parse_args()
    tls = SelfSignedCertificate(said.certificate, said.key) if said.certificate else None
    with running_sink(said.port, said.keep, tls, said.rate) as sink:
        print(sink.endpoint, flush=True)
        signal.sigwait(wanted)


if __name__ == "__main__":
    main()
