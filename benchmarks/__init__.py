"""What coursegen's speed and memory are measured with; `python -m benchmarks` runs everything."""
