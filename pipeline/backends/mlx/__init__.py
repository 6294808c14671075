"""Apple MLX: converted and quantized by mlx-lm, for Apple silicon; quality is measured on any CPU."""
