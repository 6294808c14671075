"""Where stages run at once: Dask places and orders them, DVC runs each one and remembers it."""
