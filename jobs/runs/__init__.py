"""The runs of an output: written, judged, made current, listed, removed."""
