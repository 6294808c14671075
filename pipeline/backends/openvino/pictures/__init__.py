"""OpenVINO on a model that sees: the parts beside the decoder, and what runs them."""
