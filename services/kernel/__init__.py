"""The shared kernel: imported by every service, importing none of them.

Each module is one noun. The pure core (`states`, `envelopes`, `errors`, `clock`) knows neither sockets nor
event loops; the rest wraps one foreign library each, so that a stranger finds the only place that speaks to it.
"""
