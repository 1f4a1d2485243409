"""The `coursegen` command: the whole product on one machine, and the tools around it."""
