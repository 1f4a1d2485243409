"""Webhooks: whom a finished run is told to, how that is signed, and which addresses may be called (contract.md r, GAP14).

PostgreSQL is the truth: a delivery is a row of `webhook_deliveries`, written in the transaction that ends the run and kept
until the receiver has it or a person has decided. Sending is the stage worker's; see docs/WEBHOOKS.md.
"""
