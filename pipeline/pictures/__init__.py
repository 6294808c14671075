"""Models that see: how a picture becomes numbers, and where a checkpoint keeps what sees them."""
