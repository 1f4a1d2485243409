"""The client: one question, one answer of the wanted form, however often it has to be asked.

What may pass (no connection, time-outs, 408, 409, 425, 429, 5xx, a body that is no JSON) is tried again after a growing
pause, or after the time the server names; when it does not pass, or the server asks for more patience than a job has,
`UpstreamUnavailable` sends the job back to its queue. What will not pass (a refused key or request, an empty account, a
model that refuses) is `PermanentError` with the reason. An answer that is cut off or does not fit its form is asked
for again, with what was wrong.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from services.kernel import spans, tracing
from services.kernel.errors import PermanentError, UpstreamUnavailable
from services.kernel.lean import lean
from services.kernel.logs import get_logger, scrub_text
from services.stage_worker.engines.openai.budget import Budget
from services.stage_worker.engines.openai.cache import AnswerCache, key_of
from services.stage_worker.engines.openai.schemas import strict_schema
from services.stage_worker.engines.openai.settings import OpenAISettings
from services.stage_worker.engines.openai.wire import Completion, FaultBody

with lean():
    import httpx

T = TypeVar("T", bound=msgspec.Struct)

_log = get_logger(__name__)

_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_EMPTY_ACCOUNT = {"insufficient_quota", "billing_hard_limit_reached"}
_FIRST_PAUSE_SECONDS = 0.5
_ANSWER_TOKENS = 6_000
_LARGEST_BODY = 8_000_000


class ModelRefused(PermanentError):
    """The model refuses to write about this material."""

    code = "model_refused"


class UnusableAnswer(PermanentError):
    """The model's answers do not have the form or content that was asked for."""

    code = "unusable_answer"


class Unsuitable(Exception):
    """An answer fits its form but not its purpose; the text tells the model why."""


class _Passing(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class ChatClient:
    """Asks questions of one model at one endpoint."""

    def __init__(self, settings: OpenAISettings, cache: AnswerCache, http: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self._http = http or httpx.AsyncClient(follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(
        self,
        messages: list[dict[str, str]],
        form: type[T],
        budget: Budget,
        check: Callable[[T], None] = lambda _: None,
    ) -> T:
        """An answer of the form that passes the check.

        Args:
            messages: the conversation so far, in the API's form.
            form: what the answer must be.
            budget: of this course.
            check: raises `Unsuitable` to have the question asked again with the reason.

        Raises:
            UpstreamUnavailable: the endpoint does not answer for the moment.
            PermanentError: it never will, or never fittingly; or the budget is used up.
        """
        conversation = list(messages)
        tokens = _ANSWER_TOKENS
        fault = ""
        for attempt in range(self._settings.openai_attempts):
            question = self._request(conversation, form, tokens, attempt)
            body, completion = await self._completion(question, budget)
            said, reason = self._said(completion)
            try:
                answer = self._decoded(said, reason, form)
                check(answer)
            except Unsuitable as unsuitable:
                fault = str(unsuitable)
                tokens = tokens * 2 if reason == "length" else tokens
                conversation = [*messages, *_complaint(said, fault)]
            else:
                await self._cache.put(key_of(self._settings.openai_base_url, question), body)
                return answer
        raise UnusableAnswer(
            f"The language model did not give a usable answer in {self._settings.openai_attempts} tries: {fault} "
            "Try again, or ask the operator to choose another model."
        )

    def _request(self, messages: list[dict[str, str]], form: type[T], tokens: int, attempt: int) -> dict[str, Any]:
        schema = strict_schema(form)
        name = form.__name__
        if self._settings.openai_structure == "json_schema":
            wanted: dict[str, Any] = {
                "type": "json_schema",
                "json_schema": {"name": name, "strict": True, "schema": schema},
            }
        else:
            wanted = {"type": "json_object"}
            told = (
                "Answer with one JSON object of this schema and nothing else: " + msgspec.json.encode(schema).decode()
            )
            messages = [*messages[:1], {"role": "system", "content": told}, *messages[1:]]
        return {
            "model": self._settings.openai_model,
            "messages": messages,
            "response_format": wanted,
            "max_tokens": tokens,
            "temperature": 0,
            "seed": attempt,  # the same complaint must not give the same answer again
        }

    async def _completion(self, request: dict[str, Any], budget: Budget) -> tuple[bytes, Completion]:
        """The answer from the cache, or from the endpoint; only answers that proved usable are kept there."""
        known = await self._cache.get(key_of(self._settings.openai_base_url, request))
        if known is not None:
            return known, msgspec.json.decode(known, type=Completion)
        body, completion = await self._patiently(request, budget)
        usage = completion.usage
        budget.count(usage.prompt_tokens if usage else len(body) // 4, usage.completion_tokens if usage else 0)
        return body, completion

    async def _patiently(self, request: dict[str, Any], budget: Budget) -> tuple[bytes, Completion]:
        failure = _Passing("no try")
        for attempt in range(self._settings.openai_attempts):
            if attempt:
                await asyncio.sleep(self._pause(attempt, failure))
            budget.take_request()
            try:
                return await self._once(request)
            except _Passing as passing:
                failure = passing
                _log.warning("the language model does not answer", reason=failure.reason, attempt=attempt + 1)
        raise UpstreamUnavailable(
            f"The language model does not answer for the moment ({failure.reason}).", retry_after=failure.retry_after
        )

    def _pause(self, attempt: int, failure: _Passing) -> float:
        """Seconds to wait: what the server asks for, or twice as long each time, never at the same beat as others."""
        longest = self._settings.openai_longest_wait
        if failure.retry_after is not None:
            if failure.retry_after > longest:
                raise UpstreamUnavailable(
                    f"The language model asks for a pause ({failure.reason}).", retry_after=failure.retry_after
                )
            return failure.retry_after
        return float(min(longest, _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))) * random.uniform(0.5, 1.0)

    async def _once(self, request: dict[str, Any]) -> tuple[bytes, Completion]:
        key = self._settings.openai_api_key
        authorization = {"Authorization": f"Bearer {key.reveal()}"} if key else {}
        address = f"{self._settings.openai_base_url.rstrip('/')}/chat/completions"
        seconds = self._settings.openai_seconds
        try:
            with spans.calling("POST chat completions", {"http.request.method": "POST"}) as call:
                headers = tracing.outgoing() | authorization
                async with (
                    asyncio.timeout(seconds),
                    self._http.stream("POST", address, json=request, headers=headers, timeout=seconds) as reply,
                ):
                    body = await _read(reply)
                    call.attributes["http.response.status_code"] = reply.status_code
                    call.has_failed = not reply.is_success
        except (httpx.TransportError, TimeoutError) as error:
            raise _Passing(type(error).__name__) from error
        _require_success(reply, body)
        try:
            completion = msgspec.json.decode(body, type=Completion)
        except msgspec.DecodeError as error:
            raise _Passing("an answer that is not of the API's form") from error
        if not completion.choices:
            raise _Passing("an answer without choices")
        return body, completion

    def _said(self, completion: Completion) -> tuple[str, str | None]:
        choice = completion.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            raise ModelRefused(
                "The language model refuses to write about this material: "
                f"{(choice.message.refusal or 'its content filter')[:300]}. Leave the passage out, or use another model."
            )
        return choice.message.content or "", choice.finish_reason

    def _decoded(self, said: str, reason: str | None, form: type[T]) -> T:
        if reason == "length":
            raise Unsuitable("The answer was cut off because it is too long. Be briefer.")
        try:
            return msgspec.json.decode(_without_fence(said), type=form)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Unsuitable(f"The answer does not fit the schema: {error}.") from error


async def _read(reply: httpx.Response) -> bytes:
    """The body, up to a limit: an endless answer must not fill the memory."""
    parts: list[bytes] = []
    size = 0
    async for part in reply.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > _LARGEST_BODY:
            raise UnusableAnswer("The language model's endpoint sends an answer without end.")
    return b"".join(parts)


def _require_success(reply: httpx.Response, body: bytes) -> None:
    status = reply.status_code
    if status == httpx.codes.OK:
        return
    try:
        fault = msgspec.json.decode(body, type=FaultBody)
    except msgspec.DecodeError:
        fault = FaultBody()
    if fault.kind() in _EMPTY_ACCOUNT:
        raise PermanentError("The account at the language model's endpoint is used up. The operator must refill it.")
    if status in _TRANSIENT or status >= 500:
        raise _Passing(f"status {status}", _retry_after(reply.headers.get("retry-after")))
    if status in {401, 403}:
        raise PermanentError("The language model's endpoint refuses the key. The operator must set OPENAI_API_KEY.")
    raise PermanentError(f"The language model's endpoint refuses the request (status {status}): {_quoted(fault)}")


def _quoted(fault: FaultBody) -> str:
    """What the endpoint says; some quote the key, and this text goes to the course's owner."""
    return scrub_text(fault.text())[:300]


def _retry_after(value: str | None) -> float | None:
    """Seconds named by the header, as a number or a date; None for nothing sensible."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        moment = email.utils.parsedate_tz(value)
        return max(0.0, email.utils.mktime_tz(moment) - time.time()) if moment else None


def _complaint(said: str, fault: str) -> list[dict[str, str]]:
    return [
        {"role": "assistant", "content": said[:20_000]},
        {"role": "user", "content": f"{fault} Answer again, complete and in the same form."},
    ]


def _without_fence(said: str) -> str:
    """The JSON itself; some models put it into a code block all the same."""
    text = said.strip()
    if text.startswith("```"):
        text = text.partition("\n")[2].rpartition("```")[0]
    return text
