"""One module per command of `python -m pipeline`: `configure(parser)` and `run(arguments) -> exit code`."""
