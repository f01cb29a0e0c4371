"""``evaluate`` and ``tune``: what a night would train on, tried out, and nothing published."""
