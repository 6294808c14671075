"""lm-evaluation-harness on packages. The only room that knows lm_eval (the extra `tasks`)."""
