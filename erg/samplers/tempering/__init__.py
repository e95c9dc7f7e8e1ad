"""Several temperatures: at once, up and down, or falling."""
