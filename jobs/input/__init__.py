"""What is read: files of ratings, items and lists of items; and which rows are refused."""
