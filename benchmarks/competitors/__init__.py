"""Other people's PostgreSQL queues, each at its best documented batch, in an environment of its own."""
