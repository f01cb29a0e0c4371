"""What is known of items: index, titles, genres, clusters."""
