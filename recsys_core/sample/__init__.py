"""The built-in sample: made-up ratings of made-up films."""
