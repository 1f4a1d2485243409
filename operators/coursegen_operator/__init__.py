"""The operator: migrations, cleanup and alerts as resources of Kubernetes; docs/OPERATOR.md.

::

    watching ──key──▶ keyed_queue ──key──▶ reconciler ──▶ store (what is there)
                           ▲                   │   └────▶ Kind.observe, Kind.plan   (migrations, retention, alerts: pure)
                           └──later, again─────┘   └────▶ cluster (children, then the status), recorder (Events)

Events of the API server only say *which* resource to look at, never what has happened to it: whatever was missed, or
seen twice, the next look finds the same. Nothing is kept but in the cluster, so the operator may end anywhere.
"""
