"""What a published run or its model says of somebody or something. Without Spark."""
