"""One thin script per DVC stage: parse the key, call the step."""
