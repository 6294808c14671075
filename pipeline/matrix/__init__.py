"""What shall be made: conf/ and overrides → params.yaml, with the plan, its rules, recipes and gates."""
