"""Pictures of the dashboards: the real stack under load, a real Prometheus beside it, each panel drawn from its answers."""
