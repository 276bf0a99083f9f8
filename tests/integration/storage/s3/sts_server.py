"""A loopback security token service: AssumeRole and AssumeRoleWithWebIdentity as AWS answers them.

It checks that requests are signed, or carry the right token, and the limits of durations; and it
keeps what it was asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

from aiohttp import web

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
ROLE = "arn:aws:iam::111122223333:role/collector"


@dataclass
class Sts:
    """What the service knows, and what it was asked."""

    longest: int = 43_200
    """Seconds that the role allows."""
    token: str = "the-operators-token"  # noqa: S105 - nobody else takes it
    away: bool = False
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request of the Query API."""
        asked = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(asked)
        if self.away:
            return self._error(503, "ServiceUnavailable", "try again")
        signature = request.headers.get("Authorization", "")
        by_token = asked["Action"] == "AssumeRoleWithWebIdentity"
        if by_token and asked["WebIdentityToken"] != self.token:
            return self._error(400, "InvalidIdentityToken", "No such token")
        if not by_token and not signature.startswith("AWS4-HMAC-SHA256 "):
            return self._error(403, "MissingAuthenticationToken", "Request is missing a signature")
        if asked["RoleArn"] != ROLE:
            return self._error(403, "AccessDenied", "not authorized to perform: sts:AssumeRole")
        seconds = int(asked["DurationSeconds"])
        if not 900 <= seconds <= self.longest:
            why = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            return self._error(400, "ValidationError", why)
        return self._granted(asked["Action"], seconds)

    def _granted(self, action: str, seconds: int) -> web.Response:
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._xml(
            200,
            f'<{action}Response xmlns="{NAMESPACE}"><{action}Result><Credentials>'
            "<AccessKeyId>ASIASCOPED</AccessKeyId><SecretAccessKey>short</SecretAccessKey>"
            f"<SessionToken>scoped</SessionToken><Expiration>{until}</Expiration></Credentials>"
            f"</{action}Result><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
            f"</{action}Response>",
        )

    def _error(self, status: int, code: str, message: str) -> web.Response:
        return self._xml(
            status,
            f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
            f"<Message>{escape(message)}</Message></Error><RequestId>1</RequestId></ErrorResponse>",
        )

    def _xml(self, status: int, text: str) -> web.Response:
        return web.Response(status=status, text=text, content_type="text/xml")


@asynccontextmanager
async def sts_server() -> AsyncIterator[Sts]:
    """Run one on a free port of 127.0.0.1."""
    sts = Sts()
    application = web.Application()
    application.router.add_post("/", sts.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        sts.url = f"http://{host}:{port}"
        yield sts
    finally:
        await runner.cleanup()
