"""The page on a run: what it shows, counted, drawn and written."""
