"""What goes in: a checkpoint from the hub or a folder, checked, and read without or with transformers."""
