"""How a person runs the package."""

from __future__ import annotations

from pipeline.harness.host import installed

TEMPLATE = """\
```bash
pip install openvino-genai=={version}
```

```python
import openvino_genai

pipeline = openvino_genai.LLMPipeline("{package}", "CPU")  # or "GPU", "NPU"
print(pipeline.generate("Who are you?", max_new_tokens=64, do_sample=False))
```
"""


def run_instruction(package: str) -> str:
    """Install and run, pasted in the folder that holds the package."""
    return TEMPLATE.format(package=package, version=installed("openvino-genai") or "")
