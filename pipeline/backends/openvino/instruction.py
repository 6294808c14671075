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


def run_instruction(package: str, prompt: str) -> str:
    """Install and run, pasted in the folder that holds the package."""
    return TEMPLATE.format(
        package=package, prompt=json.dumps(prompt, ensure_ascii=False), version=installed("openvino-genai") or ""
    )
