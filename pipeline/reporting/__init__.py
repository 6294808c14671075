"""What the pipeline measured, for people and programs: rows, tables, pictures."""
