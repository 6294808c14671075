"""Comparable figures: the same tokens and the same formula on every backend."""
