"""What administrators see and do: queues, counters, the outbox, dead letters, and the record of every action."""
