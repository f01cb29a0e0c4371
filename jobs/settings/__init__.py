"""Settings, a file a section, and the TOML they are written in."""
