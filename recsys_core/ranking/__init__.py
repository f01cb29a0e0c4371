"""Exact top-k lists, and what lists may hold."""
