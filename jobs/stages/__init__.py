"""The steps of a night between ratings and lists, each alone: none imports another."""
