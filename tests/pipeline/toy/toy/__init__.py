"""A backend for tests: weights in an .npz file, rows rounded to 8 bits; transformers computes with them."""
