"""The one source of every alert: what it asks, what it says, which figures a policy may set.

`groups` renders the presets and objectives of an AlertPolicy as groups of a PrometheusRule; `files` the same alerts for a
Prometheus without the operator. Both are pure and total: whatever the policy's schema admits has a rendering.
"""

from operators.coursegen_operator.alerts.rules.rendering import groups
from operators.coursegen_operator.alerts.rules.schema import PRESET_SCHEMAS

__all__ = ["PRESET_SCHEMAS", "groups"]
