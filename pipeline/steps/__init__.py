"""What the stages do: one module per step, each reads declared inputs and writes declared outputs."""
