"""What a night runs on: the Spark session, what it needs and what there is."""
