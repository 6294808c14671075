"""Models that see or hear: how a picture or a sound becomes numbers, and where a checkpoint keeps what takes them."""
