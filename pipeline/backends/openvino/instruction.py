"""How a person runs the package."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.harness.host import installed

TEMPLATE = """\
```bash
pip install openvino-genai=={version}
```

```python
import openvino_genai

pipeline = openvino_genai.LLMPipeline("{package}", "CPU")  # or "GPU", "NPU"
print(pipeline.generate({prompt}, max_new_tokens=64, do_sample=False))
```
"""
SWITCH = """\
```python
import openvino_genai

adapters = {{name: openvino_genai.Adapter(f"{package}/adapters/{{name}}.safetensors") for name in {adapters}}}
config = openvino_genai.AdapterConfig(list(adapters.values()))
pipeline = openvino_genai.LLMPipeline("{package}", "CPU", adapters=config)
for active in ([], [adapters["{adapter}"]]):  # the base, then with an adapter
    config = openvino_genai.AdapterConfig(active)
    print(pipeline.generate({prompt}, max_new_tokens=64, do_sample=False, adapters=config))
```
"""

PICTURE_TEMPLATE = """\
```bash
pip install openvino-genai=={version} pillow
```

```python
import numpy as np
import openvino
import openvino_genai
from PIL import Image

pipeline = openvino_genai.VLMPipeline("{package}", "CPU")  # or "GPU"
image = np.array(Image.open("{package}/{image}").convert("RGB"))
images = [openvino.Tensor(image[None])]
print(pipeline.generate({prompt}, images=images, max_new_tokens=64, do_sample=False).texts[0])
```
"""


def run_instruction(package: str, prompt: str) -> str:
    """Install and run, pasted in the folder that holds the package."""
    return TEMPLATE.format(
        package=package, prompt=json.dumps(prompt, ensure_ascii=False), version=installed("openvino-genai") or ""
    )


def of_picture(package: str, prompt: str, image: str) -> str:
    """The same of a question on a picture in the package, which the pipeline puts before it."""
    return PICTURE_TEMPLATE.format(
        package=package,
        prompt=json.dumps(prompt, ensure_ascii=False),
        image=image,
        version=installed("openvino-genai") or "",
    )


def switch_instruction(package: str, prompt: str, adapters: Sequence[str]) -> str:
    """Without, and with the first of the package's adapters."""
    said = json.dumps(prompt, ensure_ascii=False)
    return SWITCH.format(package=package, prompt=said, adapters=json.dumps(list(adapters)), adapter=adapters[0])
