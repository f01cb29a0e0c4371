"""What every model is, whoever trained it: item factors, weights between items, or both."""
