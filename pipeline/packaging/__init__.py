"""What goes out: a package's manifest and card, and the speeds that other devices send back."""
