"""Engines: each turns material into a plan, and a plan into a course."""
