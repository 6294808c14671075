"""Hydra and DVC import this file by themselves: it registers the schema, the resolvers and patterns, no logic."""

from pipeline.matrix.compose import register
from pipeline.matrix.patterns import Patterns, PatternsPath

__all__ = ["Patterns", "PatternsPath"]

register(write=True)
