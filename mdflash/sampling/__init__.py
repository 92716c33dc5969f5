"""All-atom data for training: datasets of mapped frames and forces, and the sampling that makes them."""
