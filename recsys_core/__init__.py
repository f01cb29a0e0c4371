"""Factor models, fold-in, exact top-k and item clusters: no Spark, no paths, no clock."""
