"""HTTP in front of the store: authentication, faults, records, and a handler for each verb."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web

from forensics_loopback.kinds.objects import Obj, is_set, lookup, name_of, namespace_of, uid_of
from forensics_loopback.kinds.resources import RequestTarget
from forensics_loopback.kinds.status import (
    ApiError,
    bad_request,
    method_not_allowed,
    not_found,
    success,
)
from forensics_loopback.kubelet.logs import LogOptions, Logs, stream
from forensics_loopback.printing import rendering
from forensics_loopback.server import access, listing, protobuf
from forensics_loopback.server.access import ADMIN, ANONYMOUS, Policy, User, allow_all
from forensics_loopback.server.call import ApiCall
from forensics_loopback.server.discovery import information
from forensics_loopback.server.faults import Fault, Faults
from forensics_loopback.server.podlogs import container_of, fetched, kubelet_endpoint
from forensics_loopback.server.requests import Recorded, Records, parse
from forensics_loopback.server.selectors import parse_selectors
from forensics_loopback.server.watch import Watch, WatchOptions
from forensics_loopback.storage.deletion import delete
from forensics_loopback.storage.operations import Operations
from forensics_loopback.storage.writes import WriteResult

_OWN_IDENTITY = "selfsubjectreviews"
_REVIEWS = frozenset(
    {
        _OWN_IDENTITY,
        "selfsubjectaccessreviews",
        "subjectaccessreviews",
        "localsubjectaccessreviews",
    }
)
_PRESERVED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background "
    "to remove them or set propagationPolicy=Orphan to suppress this warning"
)
# What a real API server takes.
_BODY_LIMIT = 3 * 1024 * 1024
TOKEN = "loopback"  # noqa: S105 # opens nothing but a stand-in on 127.0.0.1


@dataclass(slots=True)
class Server:
    """Answers requests. What it serves from is shared with the cluster's controllers."""

    operations: Operations
    faults: Faults
    records: Records
    logs: Logs
    policy: Policy = allow_all
    tokens: dict[str, User] = field(default_factory=lambda: {TOKEN: ADMIN})
    bookmark_interval: float = 60.0

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=_BODY_LIMIT)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            user = self._authenticate(request)
            info = parse(request.method, request.path, request.query)
            if info is None:
                return information(self.operations.registry, request)
            resource = self.operations.registry.find(info.group, info.version, info.plural)
            if resource is None:
                return web.Response(status=404, text="404 page not found\n")
            return await self._answer(ApiCall(request, info, resource, user))
        except ApiError as error:
            return web.json_response(error.body(), status=error.code, headers=error.headers)

    def _authenticate(self, request: web.Request) -> User:
        given = request.headers.get("Authorization", "")
        user = self.tokens.get(given.removeprefix("Bearer ")) if given else ANONYMOUS
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if name := request.headers.get("Impersonate-User"):
            groups = (*request.headers.getall("Impersonate-Group", ()), "system:authenticated")
            return User(name, tuple(dict.fromkeys(groups)))
        return user

    async def _answer(self, call: ApiCall) -> web.StreamResponse:
        fault = self.faults.take(call.info)
        status = 0
        try:
            if fault is not None and not fault.executed:
                response: web.StreamResponse = _fail(call, fault)
            else:
                response = await self._permitted(call)
            if fault is not None and fault.executed:
                response = _fail(call, fault)
            status = response.status
            return response
        except ApiError as error:
            status = error.code
            raise
        finally:
            # A watch was recorded as it began: it may never end.
            if call.info.verb != "watch" or status >= 300:
                self._record(call, status)

    def _record(self, call: ApiCall, status: int) -> None:
        agent = call.request.headers.get("User-Agent", "")
        self.records.add(Recorded(call.info, status, call.user.name, agent))

    async def _permitted(self, call: ApiCall) -> web.StreamResponse:
        access.check(self.policy, call.user, call.info)
        sub = call.info.subresource
        if sub and not (sub == "status" and call.resource.status):
            return await self._subresource(call)
        if call.resource.plural in _REVIEWS:
            return await self._review(call)
        handlers = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        handler = handlers.get(call.info.verb)
        if handler is None or (sub and call.info.verb not in {"get", "update", "patch"}):
            raise method_not_allowed()
        return await handler(call)

    async def _subresource(self, call: ApiCall) -> web.StreamResponse:
        asked = (call.resource.plural, call.info.subresource, call.info.verb)
        if asked == ("pods", "log", "get"):
            return await self._log(call)
        target = RequestTarget(call.resource, call.info.namespace, call.info.name)
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        if asked == ("pods", "eviction", "create"):
            delete(self.operations, target)
            return web.json_response({**body, "code": 201}, status=201)
        if asked == ("pods", "binding", "create"):
            binding = await call.body()
            uid = lookup(binding, "metadata.uid", "")
            self.operations.bind(target, lookup(binding, "target.name", ""), uid)
            return web.json_response({**body, "code": 201}, status=201)
        if asked == ("serviceaccounts", "token", "create"):
            return await self._token(call)
        return web.Response(status=404, text="404 page not found\n")

    async def _token(self, call: ApiCall) -> web.StreamResponse:
        """Answer a TokenRequest; what it hands out is good for as long as the cluster lives."""
        account, body = self.operations.get(call.target), await call.body()
        namespace = namespace_of(account)
        name = f"system:serviceaccount:{namespace}:{name_of(account)}"
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        token = secrets.token_urlsafe()
        self.tokens[token] = User(name, (*groups, "system:authenticated"))
        seconds = lookup(body, "spec.expirationSeconds", 3600)
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        status = {"token": token, "expirationTimestamp": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
        answer = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}
        return web.json_response({**answer, **body, "status": status}, status=201)

    async def _review(self, call: ApiCall) -> web.StreamResponse:
        if call.info.verb != "create":
            raise method_not_allowed()
        body = await call.body()
        body = {"kind": call.resource.kind, "apiVersion": call.resource.api_version, **body}
        own = call.resource.plural == _OWN_IDENTITY
        answer = (
            access.identity(call.user, body) if own else access.review(self.policy, call.user, body)
        )
        return web.json_response(answer, status=201)

    def _read(self, call: ApiCall) -> Obj:
        frozen = self.faults.frozen(call.resource.qualified)
        if frozen is None:
            return self.operations.get(call.target)
        for obj in frozen:
            if (namespace_of(obj), name_of(obj)) == (call.info.namespace, call.info.name):
                return obj
        raise not_found(call.resource, call.info.name)

    def _shown(self, call: ApiCall, obj: Obj) -> Obj:
        return rendering.one(call.resource, obj, call.accept, call.query.get("includeObject", ""))

    async def _get(self, call: ApiCall) -> web.StreamResponse:
        return web.json_response(self._shown(call, self._read(call)))

    async def _list(self, call: ApiCall) -> web.StreamResponse:
        frozen = self.faults.frozen(call.resource.qualified)
        store = self.operations.store
        page = listing.page(store, call.resource, call.info.namespace, call.query, frozen)
        include = call.query.get("includeObject", "")
        body = rendering.several(call.resource, page.objects, page.meta, call.accept, include)
        return web.json_response(body)

    async def _create(self, call: ApiCall) -> web.StreamResponse:
        body = await call.body()
        if not isinstance(body, dict):
            raise bad_request("the object provided is not an object")
        written = self.operations.create(call.resource, call.info.namespace, body, call.options())
        return self._written(call, written)

    async def _update(self, call: ApiCall) -> web.StreamResponse:
        return self._written(
            call, self.operations.replace(call.target, await call.body(), call.options())
        )

    async def _patch(self, call: ApiCall) -> web.StreamResponse:
        body = await call.body()
        written = self.operations.patch(call.target, call.content_type, body, call.options())
        return self._written(call, written)

    def _written(self, call: ApiCall, written: WriteResult) -> web.StreamResponse:
        response = web.json_response(
            self._shown(call, written.object), status=201 if written.created else 200
        )
        for warning in written.warnings:
            response.headers.add("Warning", f"299 - {json.dumps(warning)}")
        return response

    async def _delete_options(self, call: ApiCall) -> Obj:
        names = ("propagationPolicy", "gracePeriodSeconds", "dryRun")
        options: Obj = {name: call.query[name] for name in names if name in call.query}
        if call.request.can_read_body and call.content_type != protobuf.MEDIA_TYPE:
            options |= {k: v for k, v in (await call.body()).items() if v is not None}
        return options

    async def _delete(self, call: ApiCall) -> web.StreamResponse:
        options = await self._delete_options(call)
        obj, gone = delete(self.operations, call.target, options)
        # Pods answer with themselves even when nothing holds them.
        if gone and call.resource.qualified != "pods":
            return web.json_response(success(call.resource, call.info.name, uid_of(obj)))
        response = web.json_response(self._shown(call, obj))
        if call.resource.qualified == "jobs.batch" and "propagationPolicy" not in options:
            response.headers["Warning"] = f"299 - {json.dumps(_PRESERVED)}"
        return response

    async def _delete_collection(self, call: ApiCall) -> web.StreamResponse:
        options = await self._delete_options(call)
        query = {key: value for key, value in call.query.items() if key.endswith("Selector")}
        store = self.operations.store
        page = listing.page(store, call.resource, call.info.namespace, query)
        for obj in page.objects:
            delete(
                self.operations,
                RequestTarget(call.resource, namespace_of(obj), name_of(obj)),
                options,
            )
        return web.json_response(
            rendering.several(call.resource, page.objects, page.meta, call.accept)
        )

    async def _watch(self, call: ApiCall) -> web.StreamResponse:
        query = call.query
        options = WatchOptions(
            resource_version=query.get("resourceVersion", ""),
            bookmarks=is_set(query, "allowWatchBookmarks"),
            # A real server chooses between 30 and 60 minutes.
            timeout=float(query.get("timeoutSeconds") or 1800),
            initial_events=is_set(query, "sendInitialEvents"),
        )
        # Refused before the stream begins: after that there is no status code any more.
        listing.revision_of(options.resource_version or "0")
        watch = Watch(
            self.operations.store,
            self.faults,
            call.resource,
            call.info.namespace,
            parse_selectors(query.get("labelSelector", ""), query.get("fieldSelector", "")),
            render=rendering.stream(call.resource, call.accept, query.get("includeObject", "")),
            bookmark_interval=self.bookmark_interval,
        )
        self._record(call, 200)
        return await stream(call.request, "application/json", watch.events(options))

    async def _log(self, call: ApiCall) -> web.StreamResponse:
        pod = self.operations.get(call.target)
        container = container_of(pod, call.query.get("container", ""))
        options = LogOptions.parse(dict(call.query))
        endpoint = kubelet_endpoint(self.operations.store, pod)
        if endpoint:
            async with fetched(f"{endpoint}/{container}", call.query) as blocks:
                return await stream(call.request, "text/plain", blocks)
        lines = self.logs.of(uid_of(pod), container).read(options)
        return await stream(call.request, "text/plain", lines)


def _fail(call: ApiCall, fault: Fault) -> web.Response:
    if fault.reset:
        if call.request.transport is not None:
            call.request.transport.abort()
        return web.Response(status=503)
    body = fault.body
    if body is None:
        reason = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
        error = ApiError(
            fault.status, reason.get(fault.status, ""), "the loopback cluster was told to fail"
        )
        body = json.dumps(error.body())
    headers = {"Content-Type": "application/json", **fault.headers}
    return web.Response(status=fault.status, text=body, headers=headers)
