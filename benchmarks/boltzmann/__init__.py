"""The numbers of Boltzmann machines and discrete energies: one module a row."""
