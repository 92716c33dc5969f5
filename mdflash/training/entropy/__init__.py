"""Relative entropy: a force field learns where its molecules are, from frames whose weights are known; see `loop`."""
