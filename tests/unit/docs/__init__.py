"""The documents agree with what they speak of."""
