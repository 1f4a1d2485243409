"""Messages of conversations: sent, read, and looked after while they wait to be persisted."""

from __future__ import annotations

import os
from typing import Annotated, Any
from uuid import uuid4

import typer

from services.cli import output, tokens
from services.cli.admin_api import AdminApi, Json, ask
from services.cli.commands.options import AsJson
from services.cli.errors import CalledWrongly
from services.cli.tables import age, table
from services.cli.target import api_target

_PAGE = 100

Conversation = Annotated[str, typer.Argument(metavar="CONVERSATION", help="Its name, any that you like.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Names, as `dead-letters` shows them.")]
Everything = Annotated[bool, typer.Option("--all", help="All that are there now.")]


def group() -> typer.Typer:
    """The commands as a group of their own."""
    app = typer.Typer(
        help="Send messages, read conversations, and see how the stream is persisted: through the api of the stack that "
        "runs here, or that API_URL and API_TOKEN name. `status` without a message, `dead-letters`, `replay`, "
        "`discard` and `repartition` need the role admin.",
        no_args_is_help=True,
    )
    app.command()(send)
    app.command("list")(list_messages)
    app.command()(status)
    app.command("dead-letters")(dead_letters)
    app.command()(replay)
    app.command()(discard)
    app.command()(repartition)
    return app


def send(
    conversation: Conversation,
    content: Annotated[str, typer.Argument(metavar="CONTENT", help="What is said.")],
    *,
    sender: Annotated[str | None, typer.Option("--sender", help="Who says it; the user of the token.")] = None,
    to: Annotated[list[str] | None, typer.Option("--to", help="To whom; may be repeated.")] = None,
    content_type: Annotated[str, typer.Option("--type", help="What it is written in.")] = "text",
    client_id: Annotated[
        str | None, typer.Option("--id", help="Your own id for it: the same one again is the same message.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a message accepted. With the same --id it is accepted once, however often it is sent."""
    body = {
        "conversationId": conversation,
        "senderId": sender or tokens.subject(api_target(os.environ).token),
        "content": content,
        "contentType": content_type,
        "clientMessageId": client_id or str(uuid4()),
        "recipientIds": to or [],
    }
    found = ask(lambda api: api.send_message(body), role=None)
    if as_json:
        output.document(found | {"clientMessageId": body["clientMessageId"]})
        return
    known = " (it was there before)" if found["idempotentHit"] else ""
    output.say(f"{found['messageId']} is {found['state']}{known}")
    if found.get("contentMismatch"):
        output.note(f"The first message with the id {body['clientMessageId']} says something else, and stands.")


def list_messages(
    conversation: Conversation,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most messages.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show a conversation's persisted messages in their order, from the first."""

    async def question(api: AdminApi) -> list[Json]:
        found: list[Json] = []
        cursor: str | None = None
        while len(found) < limit:
            page = await api.conversation(conversation, min(_PAGE, limit - len(found)), cursor)
            found += page["messages"]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        return found

    found = ask(question, role=None)
    if as_json:
        output.document({"messages": found})
        return
    rows = [(each["acceptedAt"], each["senderId"], _short(each["content"] or ""), each["messageId"]) for each in found]
    for line in table(("accepted", "sender", "content", "message"), rows):
        output.say(line)


def status(
    message: Annotated[str | None, typer.Argument(metavar="[MESSAGE]", help="The id that `send` has shown.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show how far a message has come; without one, what waits in the stream and who persists it."""
    if message is not None:
        found = ask(lambda api: api.message(message), role=None)
        if as_json:
            output.document(found)
        else:
            reason = f": {found['failureReason']}" if found.get("failureReason") else ""
            output.say(f"{message} is {found['state']}{reason}")
        return
    found = ask(lambda api: api.look("messages"))
    if as_json:
        output.document(found)
        return
    _say_stream(found)


def dead_letters(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most dead letters.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show messages that could not be persisted, the oldest first, with the reason."""
    found = ask(lambda api: _collect(api, limit))
    if as_json:
        output.document(found)
        return
    if found["message"]:
        output.say(found["message"])
    for each in found["deadLetters"]:
        output.say(
            f"{each['id']}  {each['messageId'] or 'no message'}  {each['conversationId'] or ''}  {each['deadSince']}"
        )
        output.say(f"    {each['reason']}" + (f": {each['detail']}" if each["detail"] else ""))
    if found["total"] > len(found["deadLetters"]):
        output.say(f"... of {found['total']}; more: --limit {min(10_000, found['total'])}")


def replay(ids: Ids = None, *, everything: Everything = False, as_json: AsJson = False) -> None:
    """Put dead letters back into the stream. Each comes after what its conversation has said meanwhile."""
    found = _done_with("replay", ids, everything=everything)
    if as_json:
        output.document(found)
    else:
        output.say(f"{found['replayed']} replayed")
        for each in found["missing"]:
            output.say(
                f"not replayed  {each}: not there, or nothing is left of its entry; see coursegen messages dead-letters"
            )
    if found["missing"]:
        raise typer.Exit(1)


def discard(ids: Ids = None, *, everything: Everything = False, as_json: AsJson = False) -> None:
    """Remove dead letters that are no message (`undecodable`, `missing`) for good. A message stays: replay it."""
    found = _done_with("discard", ids, everything=everything)
    if as_json:
        output.document(found)
    else:
        output.say(f"{found['discarded']} discarded")
        for each in found["missing"]:
            output.say(f"not found  {each}")
        for each in found["kept"]:
            output.say(f"kept       {each} is a message: coursegen messages replay {each}")
    if found["missing"] or found["kept"]:
        raise typer.Exit(1)


def repartition(
    partitions: Annotated[int, typer.Argument(min=1, max=1024, help="Twice as many as there are.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Have twice as many partitions, while everything runs. They cannot be made fewer."""
    found = ask(lambda api: api.change("PUT", "messages", "partitions", body={"partitions": partitions}))
    if as_json:
        output.document(found)
        return
    output.say(
        f"there are {found['partitions']} partitions" + ("" if found["changed"] else " (there were so many before)")
    )
    if found["changed"]:
        output.say(f"Set STREAM_PARTITIONS to {found['partitions']} as well, for a Redis that comes back empty.")


def _done_with(action: str, ids: list[str] | None, *, everything: bool) -> Json:
    if bool(ids) == everything:
        raise CalledWrongly("Name dead letters (coursegen messages dead-letters shows them), or write --all.")
    body: Json = {"all": True} if everything else {"ids": ids}
    return ask(lambda api: api.change("POST", "messages", "dead-letters", action, body=body))


async def _collect(api: AdminApi, limit: int) -> Json:
    page = await api.look("messages", "dead-letters", limit=min(limit, _PAGE))
    found = dict(page)
    while page["nextCursor"] and len(found["deadLetters"]) < limit:
        size = min(_PAGE, limit - len(found["deadLetters"]))
        page = await api.look("messages", "dead-letters", limit=size, cursor=page["nextCursor"])
        found["deadLetters"] = found["deadLetters"] + page["deadLetters"]
    return found | {"nextCursor": page["nextCursor"]}


def _say_stream(found: dict[str, Any]) -> None:
    if found["message"]:
        output.say(found["message"])
    else:
        output.say(f"{found['lag']} messages wait; {found['deadLetters']} are dead letters")
    rows = [(each["partition"], each["lag"], each["owner"] if each["owned"] else None) for each in found["partitions"]]
    for line in table(("partition", "waiting", "persisted by"), rows):
        output.say(line)
    if not any(each["alive"] for each in found["workers"]):
        output.say("nobody persists. Start a persistence-worker; messages wait until then.")
        return
    workers = [
        (each["node"], each["partitions"], "alive" if each["alive"] else "silent", age(each["seenAgeSeconds"]))
        for each in found["workers"]
    ]
    for line in table(("persistence-worker", "partitions", "", "seen"), workers):
        output.say(line)


def _short(content: str) -> str:
    line = " ".join(content.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
