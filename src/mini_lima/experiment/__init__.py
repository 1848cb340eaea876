"""One cell, a sweep of them, and what is known of both before anything runs."""
