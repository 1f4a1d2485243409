"""AlertPolicy: alerts as PrometheusRules, and whether a Prometheus has taken them."""
