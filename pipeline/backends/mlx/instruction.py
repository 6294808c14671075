"""How a person runs the package."""

from __future__ import annotations

from pipeline.harness.host import installed

TEMPLATE = """\
On a Mac with Apple silicon:

```bash
pip install mlx-lm=={version}
mlx_lm.generate --model {package} --prompt "Who are you?" --max-tokens 64
```

```python
from mlx_lm import generate, load

model, tokenizer = load("{package}")
messages = [{{"role": "user", "content": "Who are you?"}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
print(generate(model, tokenizer, prompt=prompt, max_tokens=64))
```
"""


def run_instruction(package: str) -> str:
    """Install and run, pasted in the folder that holds the package."""
    return TEMPLATE.format(package=package, version=installed("mlx-lm") or "")
