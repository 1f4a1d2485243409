"""A real cluster for tests: its commands, an installation of the chart in it, and clients in pods."""
