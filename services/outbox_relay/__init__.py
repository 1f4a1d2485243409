"""The relay: moves committed outbox rows into the queues.

Who is authoritative: PostgreSQL. A row is pending while `processed_at` is NULL and `retry_count` is below `max_retries`; Redis
holds copies. What happens on each failure:

- the relay dies between enqueue and mark: the next one puts the row again, Redis knows the key and refuses a second job;
- two relays believe they lead: the epoch in PostgreSQL decides; the older one's marks change nothing, its jobs are refused;
- Redis is away: the loop pauses, no row is charged; when it is back the loop goes on by itself;
- Redis comes back empty: the reconciler puts back what is processed but has had no effect;
- one row is bad: its batch is halved until the row is found; it waits and is tried again, or is dead and visible;
- a row is committed late: every claim looks from the start of the index, so no position is ever passed for good;
- a wake-up is lost: the leader looks at the index once a second.
"""
