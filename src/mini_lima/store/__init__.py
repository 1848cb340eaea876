"""Work that is done once and kept: it knows nothing of the project."""
