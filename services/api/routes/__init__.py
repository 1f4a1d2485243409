"""The routes, one module per group of things."""
