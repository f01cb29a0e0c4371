"""Ratings as rows of a user: gathered, cleaned, indexed, brought to the driver."""
