"""Hydra and DVC import this file by themselves: it registers the schema and the resolvers, no logic."""

from pipeline.matrix.compose import register

register()
