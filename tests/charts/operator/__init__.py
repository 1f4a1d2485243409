"""The chart coursegen-operator, rendered."""
