"""What a cell found, as files, as a table, and in Weights & Biases."""
