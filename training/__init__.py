"""How ``phi-tiny`` was made: its world, its tokenizer, its training, its check."""
