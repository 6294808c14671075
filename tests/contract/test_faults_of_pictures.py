"""Faults of others that keep models that see from a backend, or are worked around: red when a new version mends one."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

MENDED = pytest.mark.xfail(strict=True, reason="when this passes, the exclusion or the workaround can go")


@MENDED
def test_transformers_takes_a_picture_for_no_text() -> None:
    """pipeline/pictures/tower.py sets eager attention: with sdpa, a picture without padding would be causal."""
    from transformers.models.phi4_multimodal.configuration_phi4_multimodal import Phi4MultimodalVisionConfig
    from transformers.models.phi4_multimodal.modeling_phi4_multimodal import Phi4MultimodalVisionAttention

    config = Phi4MultimodalVisionConfig(hidden_size=64, num_attention_heads=2)
    assert not Phi4MultimodalVisionAttention(config).is_causal


@MENDED
def test_llama_cpp_knows_the_architecture() -> None:
    """conf/backend/llamacpp.yaml, left_out."""
    import gguf

    names = {*gguf.MODEL_ARCH_NAMES.values(), *vars(gguf.VisionProjectorType).values()}
    assert names & {"phi4mm", "phi4-mm", "phi3v", "phi3_v"}


@MENDED
def test_mlx_lm_knows_the_architecture() -> None:
    """conf/backend/mlx.yaml, left_out."""
    if find_spec("mlx_lm") is None:
        pytest.fail("mlx-lm is not installed")
    assert find_spec("mlx_lm.models.phi4mm") or find_spec("mlx_lm.models.phi3_v")


@MENDED
def test_mlx_vlm_gives_a_picture_the_places_that_it_takes() -> None:
    """conf/backend/mlx.yaml, left_out: one row for a patch, without crops, pooling and ends of rows."""
    if find_spec("mlx_vlm") is None:
        pytest.skip("mlx-vlm is not installed: pip install --no-deps mlx-vlm")
    from mlx_vlm.models.phi4mm.processing_phi4mm import Phi4MMImageProcessor

    from pipeline.pictures.processing import processed
    from tests.unit.test_pictures import drawn

    image = drawn(300, 200)
    shapes = Phi4MMImageProcessor()(image)["spatial_shapes"]
    assert int(shapes[0][0]) * int(shapes[0][1]) == processed(image).tokens
