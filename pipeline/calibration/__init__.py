"""What calibration data tell of a checkpoint's matrices, a layer at a time, and quantization that uses it."""
