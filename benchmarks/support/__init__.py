"""What the benchmarks share: servers of their own, a load generator, the machine's description, tables."""
