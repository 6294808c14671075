"""How a stage runs here: the table of stages, their inputs, this machine, the record of each run."""
