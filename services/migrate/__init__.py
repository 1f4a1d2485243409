"""Brings a database to the schema this release needs. The process is `python -m services.migrate`."""
