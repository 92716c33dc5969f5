"""An ensemble against another: distributions, free energies, and how far they are apart."""
