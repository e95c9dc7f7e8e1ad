"""How good samples and energies are: figures with errors, and the floor that real data reach."""
