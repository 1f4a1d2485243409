"""Retention process: removes what is no longer needed, by rules, carefully, and reports what it did."""
