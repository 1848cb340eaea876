"""What can be configured (`schema`), what fits together (`checks`), and Hydra's side of it (`entry`)."""
