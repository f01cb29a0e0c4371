"""A saved model, and the list of one new user."""
