"""The persistence-worker: brings accepted messages from the stream into PostgreSQL, each once and in order.

::

    message_partitions ──leases──▶ Holder ──shares──▶ Consumer ──▶ Persister ──▶ messages (one insert a batch)
                                                         │              │
    msg:stream:<partition> ──entries─────────────────────┘              └── refused ──▶ Held ──▶ again, at last msg:dlq
                          └─what a dead owner had in hand──▶ Recovery (one at a time) ───────▶ msg:dlq

Promises: an entry is settled when its row is committed and not before; rows of a conversation come in the order of its
stream, through retries, a change of owners and their deaths; what cannot be written stops its own conversation for a few
tries and nobody else's. An outage of PostgreSQL or Redis is waited out and charged to nobody.
"""
