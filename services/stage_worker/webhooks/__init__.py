"""Sending webhooks: beside the pipeline, in a queue of their own, never in its way (docs/WEBHOOKS.md)."""
