"""coursegen installed on a real cluster, and what an operator does to it."""
