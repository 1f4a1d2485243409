"""Messages of conversations, from their acceptance to their row.

::

    api ── accept ─▶ msg:stream:<partition> ── read ─▶ persistence-worker ── one insert ─▶ PostgreSQL: messages
      │               (Redis, REDIS_STREAM_DB)                  │
      │                                                         └── what cannot be written ─▶ msg:dlq
      └── MESSAGES_DURABILITY=postgres: one insert ─────────────────────────────────────────▶ PostgreSQL: messages

Promises: a message's id follows from its sender, its conversation and the client's own id for it, so that however often it is
sent, stored or delivered there is one row; messages of one conversation go through one partition, in order.
"""
