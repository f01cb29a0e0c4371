"""The models: a file each, one form, one registry."""
