"""The published tables: their columns, and the contract on them."""
