"""How ONNX Runtime GenAI shall read a file: the JSON that its extensions take for each kind of model."""

from __future__ import annotations

from pipeline.pictures.kinds import PHI3V, PHI4MM, PHI4MM_SPEECH
from pipeline.pictures.processing import MOST_CROPS, MOST_TILES, SIDE
from pipeline.pictures.sound import RATES

CROPS = {
    "processor": {
        "name": "phi_4_image_processor",
        "transforms": [
            {"operation": {"name": "decode_image", "type": "DecodeImage", "attrs": {"color_space": "RGB"}}},
            {
                "operation": {
                    "name": "dynamic_preprocess",
                    "type": "Phi4VisionDynamicPreprocess",
                    "attrs": {"dynamic_hd": MOST_CROPS, "dyhd_base_resolution": SIDE},
                }
            },
            {"operation": {"name": "rescale", "type": "Rescale", "inputs": [":0"]}},
            {
                "operation": {
                    "name": "normalize",
                    "type": "Normalize",
                    "attrs": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
                }
            },
            {
                "operation": {
                    "name": "phi4_vision_processor",
                    "type": "Phi4VisionProcessor",
                    "inputs": [":0", "dynamic_preprocess:1"],
                    "attrs": {"dyhd_base_resolution": SIDE, "interpolation": "CUBIC"},
                }
            },
        ],
        "output_aligner": "phi4-vision-aligner",
    }
}
_EXTENSIONS = {"domain": "com.microsoft.extensions"}
TILES = {  # the transform makes 16 tiles, whatever num_crops says; its order of colours is turned before it
    "processor": {
        "name": "image_processing",
        "transforms": [
            {
                "operation": {
                    "name": "decode_image",
                    **_EXTENSIONS,
                    "type": "DecodeImage",
                    "attrs": {"color_space": "BGR"},
                }
            },
            {"operation": {"name": "convert_to_rgb", **_EXTENSIONS, "type": "ConvertRGB"}},
            {
                "operation": {
                    "name": "phi3_image_transform",
                    **_EXTENSIONS,
                    "type": "Phi3ImageTransform",
                    "attrs": {"num_crops": MOST_TILES, "num_img_tokens": 144},
                }
            },
        ],
    }
}

WHOLE = 0  # samples that are read at most, 0 for all: by default 480,000, and no word of what is behind
_MEL = {"chunk_size": 30, "n_fft": 512, "n_mel": 80, "feature_first": 0, "no_padding": 1}
MEL = {
    "feature_extraction": {
        "sequence": [
            {
                "operation": {
                    "name": "audio_decoder",
                    "type": "AudioDecoderEx",
                    "attrs": {"target_sample_rates": sorted(RATES), "max_samples": WHOLE},
                }
            },
            {
                "operation": {
                    "name": "phi_4_audio_embed",
                    "type": "Phi4AudioEmbed",
                    "attrs": {
                        "audio_compression_rate": 8,
                        "stft_normal/n_fft": 512,
                        "stft_normal/frame_length": 400,
                        "stft_normal/hop_length": 160,
                        "stft_normal/win_fn": "hamming",
                        **{f"logmel/{name}": value for name, value in _MEL.items()},
                        "logmel/hop_length": 160,
                        "stft_normal_8k/n_fft": 256,
                        "stft_normal_8k/frame_length": 200,
                        "stft_normal_8k/hop_length": 80,
                        "stft_normal_8k/win_fn": "hamming",
                        **{f"logmel_8k/{name}": value for name, value in _MEL.items()},
                        "logmel_8k/hop_length": 80,
                    },
                }
            },
        ],
        "output_aligner": "phi4-audio-aligner",
    }
}
PROCESSORS = {PHI4MM: CROPS, PHI3V: TILES, PHI4MM_SPEECH: MEL}
