"""How phi-tiny-vision was made: a world of drawn pictures, and a Phi-4-multimodal that is small enough to ship."""
