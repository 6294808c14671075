"""What DVC runs: a folder for each stage of the plan, with its dvc.yaml, its dvc.lock and its code."""
