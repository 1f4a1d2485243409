"""The api over a real socket, on real PostgreSQL and Redis."""
