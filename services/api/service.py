"""The api's composition root: opens what it needs, builds the application, serves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

from services.api import openapi
from services.api.admin.audit import Audit
from services.api.admin.parts import RELATIONS as ADMIN_RELATIONS
from services.api.admin.parts import admin_routes
from services.api.admin.streams import StreamDesk
from services.api.app import Api
from services.api.auth import Authenticator
from services.api.browser.origin import parse_origin
from services.api.browser.sessions import Sessions
from services.api.browser.site import Site
from services.api.conversations.ingress import ASKING_AT_ONCE, Ingress
from services.api.conversations.reading import LOOKING_AT_ONCE, Reading
from services.api.cors import Cors
from services.api.courses import Courses
from services.api.documents import Documents
from services.api.kept_sums import KeptSums
from services.api.keys import KeyRing, open_key_ring
from services.api.live.hub import Hub
from services.api.live.news import NewsDesk
from services.api.recent_figures import RecentFigures
from services.api.routes.courses import CourseRoutes
from services.api.routes.description import DescriptionRoutes
from services.api.routes.documents import DocumentRoutes
from services.api.routes.generation import GenerationRoutes
from services.api.routes.live import LiveRoutes
from services.api.routes.messages import MessageRoutes
from services.api.routes.metrics import MetricsRoutes
from services.api.routes.pages import PageRoutes
from services.api.routes.saq_page import SaqRoutes
from services.api.routes.streams import StreamRoutes
from services.api.routes.tickets import TicketRoutes
from services.api.routes.webhooks import WebhookRoutes
from services.api.routing import RouteGroup, RouteTable
from services.api.server import HttpServer
from services.api.settings import ApiSettings
from services.api.shared_figures import SharedFigures
from services.api.stream_figures import StreamFigures
from services.api.stream_watch import StreamWatch, without_messages
from services.api.webhooks import WebhookDoor
from services.kernel import lifecycle
from services.kernel.clock import SystemClock
from services.kernel.concurrency import Book, Limits
from services.kernel.concurrency.gate import Gate
from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.errors import RetryableError
from services.kernel.health import Figures, HealthRegistry
from services.kernel.idempotency import ResultCache
from services.kernel.initiation import CommandHandler
from services.kernel.installation import STREAM, Claim
from services.kernel.listening import Listener
from services.kernel.messages.accepting import StreamEntrance
from services.kernel.messages.consuming import StreamExit
from services.kernel.messages.payloads import open_payloads
from services.kernel.messages.settings import stream_address
from services.kernel.messages.store import MessageStore
from services.kernel.messages.transport import Entrance
from services.kernel.objects import open_store
from services.kernel.queue.saq_view import SaqPage
from services.kernel.redis_connection import open_redis
from services.kernel.schema import hold_schema, installation_of, require_relations
from services.kernel.wakeup import WakeUp
from services.kernel.webhooks.deliveries import RELATIONS as WEBHOOK_RELATIONS
from services.kernel.webhooks.secrets import SecretVault

if TYPE_CHECKING:
    from redis.asyncio import Redis

_RELATIONS = (
    "courses",
    "documents",
    "stored_objects",
    "course_results",
    "job_outbox",
    "idempotency_keys",
    "fsm_events",
    "system_metrics",
    "concurrency_limits",
    "relay_leadership",
    "metric_values",
    "browser_tickets",
    "browser_sessions",
    "messages",
    "message_payloads",
    "message_receipts",
    "message_partitions",
    "message_workers",
    *WEBHOOK_RELATIONS,
    *ADMIN_RELATIONS,
)
_CACHE_SECONDS = 0.2
_PROBES = 3
"""Who may ask at the same time whether the stream's Redis answers: `StreamWatch`, and two checks of readiness."""
OpenEntrance = Callable[[ApiSettings, "Redis", Database, AsyncExitStack], Awaitable[Entrance]]
"""Opens where messages are accepted, given a client of the stream's Redis and the database; the stack closes it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The open api: its application, and the work that goes on beside it."""

    app: Api
    routes: RouteTable
    commands: CommandHandler
    documents: Documents
    keys: KeyRing
    counters: Counters
    initiations: RecentFigures
    hub: Hub
    gate: Gate
    limits: Limits
    stream: StreamWatch | None
    """Of the stream of messages; None where none goes through it."""


class ApiService:
    """Serves the application and keeps its side tasks running."""

    def __init__(self, parts: Parts, settings: ApiSettings) -> None:
        self._parts = parts
        self._http = HttpServer(parts.app, settings)

    @property
    def port(self) -> int:
        """The port in use, once it serves."""
        return self._http.port

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._http.connections

    @property
    def is_accepting(self) -> bool:
        """Whether the port accepts connections."""
        return self._http.is_accepting

    async def require_listening(self) -> None:
        """Return when the port accepts connections; a readiness check.

        Raises:
            RetryableError: not yet, or no longer.
        """
        if not self.is_accepting:
            raise RetryableError("not accepting connections")

    async def serve(self, stopping: asyncio.Event) -> None:
        """Answer requests until `stopping` is set and those in hand are answered."""
        stream = self._parts.stream
        await lifecycle.together(
            stopping,
            ("http", self._http.serve(stopping)),
            *([] if stream is None else [("stream", stream.watch(stopping))]),
            ("live streams", self._parts.hub.run(stopping)),
            ("concurrency", self._parts.gate.watch(stopping)),
            ("keys", self._parts.keys.keep_fresh(stopping)),
            ("object sweep", self._parts.documents.sweep_for_ever(stopping)),
            ("recent initiations", self._parts.initiations.watch(self._parts.counters, stopping)),
        )
        await self._parts.commands.drain()


async def open_streams(settings: ApiSettings, redis: Redis, db: Database, _stack: AsyncExitStack) -> Entrance:
    """Where messages are accepted: the streams of Redis."""
    claim = await Claim.of(db, redis, STREAM)
    return StreamEntrance(redis, partitions=settings.stream_partitions, claim=claim)


@asynccontextmanager
async def open_api(
    settings: ApiSettings, health: HealthRegistry, *, open_entrance: OpenEntrance = open_streams
) -> AsyncIterator[ApiService]:
    """Open everything the api needs for as long as the block runs.

    Raises:
        SchemaMissing: the database lacks a relation or a migration; the message names it (TRAP33).
        DatabaseUnavailable, DatabaseDenied: PostgreSQL does not answer, or refuses the login.
        SettingsInvalid: a key file cannot be used.
    """
    async with open_parts(settings, health, open_entrance) as parts:
        service = ApiService(parts, settings)
        health.register("http", service.require_listening)
        yield service


@asynccontextmanager
async def open_parts(
    settings: ApiSettings, health: HealthRegistry, open_entrance: OpenEntrance = open_streams
) -> AsyncIterator[Parts]:
    """The application with open resources, without a socket."""
    async with AsyncExitStack() as stack:
        db = await Database.open(settings, application="coursegen-api")
        stack.push_async_callback(db.close)
        await require_relations(db, _RELATIONS)  # before anything else is asked of it
        entrance = await _entrance(settings, db, stack, open_entrance)
        stream = await _watch(settings, entrance, health)
        substitute = entrance.ping if settings.ready_without_database and settings.stream_percent else None
        await hold_schema(db, _RELATIONS, health, substitute=substitute)
        health.register("database", db.ping, substitute=substitute)
        redis = _quick_redis(settings, stack)
        patient_redis = open_redis(settings.redis_url, name="coursegen-api-admin", max_connections=32)
        stack.push_async_callback(patient_redis.aclose)
        counters = await stack.enter_async_context(Counters(db).writing())
        bell = WakeUp(db)
        stack.push_async_callback(bell.drain)
        limits = Limits(db, settings)
        gate = Gate(db, redis, limits, book=Book(db, patient_redis), wait_seconds=_CACHE_SECONDS)
        # A request that has waited for the cache in vain must not wait for a slot as well.
        cache = ResultCache(redis, wait_seconds=_CACHE_SECONDS, on_outage=gate.doubt)
        await gate.open()
        commands = CommandHandler(
            db, cache=cache, counters=counters, bell=bell, gate=gate, deadline_seconds=settings.initiation_seconds
        )
        stack.callback(commands.abandon)
        keys = await open_key_ring(settings)
        store = open_store(db, settings)
        courses = Courses(db, store, cache, redis, gate.releases)
        documents = Documents(db, store, courses, most=settings.max_documents)
        initiations = RecentFigures(SystemClock(), KeptSums(redis, await installation_of(db)))
        await initiations.begin(await counters.read())
        figures = SharedFigures(db, counters, initiations)
        stack.callback(figures.close)
        always_200 = settings.healthcheck_status == "always200"
        metric_routes = MetricsRoutes(figures, always_200=always_200)
        site = Site(None if settings.public_url is None else parse_origin(settings.public_url))
        sessions = Sessions(db, site, longest_seconds=settings.session_seconds)
        tickets = TicketRoutes(sessions, site)
        admin = admin_routes(settings, db, patient_redis, commands, bell)
        hub, live = _live(settings, db, courses)
        vault = SecretVault(settings.webhook_keys)
        webhooks = WebhookRoutes(db, vault)
        message_routes, waiting = await _messages(settings, db, entrance, stack)
        health.figures = _together(figures.page, waiting.page)
        pages = (webhooks, PageRoutes(), SaqRoutes(SaqPage(patient_redis)), *message_routes)
        routes = _routes(settings, courses, documents, commands, vault, live, metric_routes, tickets, *pages, *admin)
        app = Api(
            routes,
            authenticator(settings, keys),
            cors=Cors(settings.cors_origins),
            max_body_bytes=settings.max_body_bytes,
            access_log=settings.access_log,
            sessions=sessions,
        )
        yield Parts(app, routes, commands, documents, keys, counters, initiations, hub, gate, limits, stream)


def _quick_redis(settings: ApiSettings, stack: AsyncExitStack) -> Redis:
    """A client that waits for the cache so briefly that nobody minds."""
    redis = open_redis(
        settings.redis_url,
        name="coursegen-api",
        socket_timeout=_CACHE_SECONDS,
        connect_timeout=_CACHE_SECONDS,
        max_connections=16,
    )
    stack.push_async_callback(redis.aclose)
    return redis


def authenticator(settings: ApiSettings, keys: KeyRing) -> Authenticator:
    """Checks tokens as the settings say."""
    return Authenticator(
        keys,
        algorithms=settings.algorithms,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        leeway_seconds=settings.jwt_leeway_seconds,
    )


def _together(*pages: Figures) -> Figures:
    async def page() -> str:
        return "".join(await asyncio.gather(*(each() for each in pages)))

    return page


async def _entrance(
    settings: ApiSettings, db: Database, stack: AsyncExitStack, open_entrance: OpenEntrance
) -> Entrance:
    redis = open_redis(
        stream_address(settings, settings.redis_url),
        name="coursegen-api-messages",
        socket_timeout=settings.messages_accept_seconds,
        connect_timeout=settings.messages_accept_seconds,
        max_connections=ASKING_AT_ONCE + LOOKING_AT_ONCE + _PROBES,  # nobody waits for a connection
    )
    stack.push_async_callback(redis.aclose)
    return await open_entrance(settings, redis, db, stack)


async def _watch(settings: ApiSettings, entrance: Entrance, health: HealthRegistry) -> StreamWatch | None:
    """A stream that is another installation's keeps messages from this one, not the courses."""
    if not settings.stream_percent:
        return None
    watch = StreamWatch(entrance)
    await watch.look()
    health.register("stream", watch.require, substitute=without_messages)
    return watch


async def _messages(
    settings: ApiSettings, db: Database, entrance: Entrance, stack: AsyncExitStack
) -> tuple[tuple[MessageRoutes, StreamRoutes], StreamFigures]:
    store, payloads = MessageStore(db), open_payloads(db, settings)
    messages = MessageRoutes(
        Ingress(entrance, store, payloads, settings),
        Reading(
            entrance,
            store,
            payloads,
            patience_seconds=settings.messages_accept_seconds,
            uses_stream=settings.stream_percent > 0,
        ),
        store,
        requires_token=settings.messages_require_token,
    )
    address = stream_address(settings, settings.redis_url)
    patient = open_redis(address, name="coursegen-api-messages-admin", max_connections=8)
    stack.push_async_callback(patient.aclose)
    claim = await Claim.of(db, patient, STREAM)
    desk = StreamDesk(db, patient, Audit(db), claim, partitions=settings.stream_partitions)
    figures = StreamFigures(StreamExit(patient, "figures"), claim, partitions=settings.stream_partitions)
    return (messages, StreamRoutes(desk)), figures


def _live(settings: ApiSettings, db: Database, courses: Courses) -> tuple[Hub, LiveRoutes]:
    desk = NewsDesk(db)
    hub = Hub(
        desk,
        Listener(db, application="coursegen-api live streams"),
        most=settings.max_watchers,
        most_per_user=settings.max_watchers_per_user,
    )
    routes = LiveRoutes(
        courses,
        desk,
        hub,
        longest_seconds=settings.watch_seconds,
        leeway_seconds=settings.jwt_leeway_seconds,
    )
    return hub, routes


def _routes(
    settings: ApiSettings,
    courses: Courses,
    documents: Documents,
    commands: CommandHandler,
    vault: SecretVault,
    *others: RouteGroup,
) -> RouteTable:
    door = WebhookDoor(settings.url_rules, vault)
    views = CourseRoutes(courses, documents, door)
    uploads = DocumentRoutes(
        courses,
        documents,
        largest=settings.max_upload_bytes,
        at_once=settings.max_uploads,
        folder=settings.upload_folder,
    )
    description = DescriptionRoutes()
    groups: tuple[RouteGroup, ...] = (
        GenerationRoutes(commands, courses, views, door),
        views,
        uploads,
        *others,
        description,
    )
    table = RouteTable(operation for group in groups for operation in group.operations())
    description.publish(partial(openapi.describe, table.operations, metadata.version("coursegen")))
    return table
