"""The alerts as Prometheus judges them: unit tests of rules for promtool, and what runs them."""
