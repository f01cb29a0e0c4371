"""One process and whoever watches it: log, clock, terminal, signals, figures."""
