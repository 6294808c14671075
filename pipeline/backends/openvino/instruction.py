"""How a person runs the package."""

from __future__ import annotations

import json

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
