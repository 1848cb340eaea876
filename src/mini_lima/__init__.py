"""Mini-LIMA: from seed tasks to a win rate one can believe."""
