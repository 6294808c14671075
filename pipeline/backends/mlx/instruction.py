"""How a person runs the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from shlex import quote

from pipeline.harness.host import installed

TEMPLATE = """\
On a Mac with Apple silicon:

```bash
pip install mlx-lm=={version}
mlx_lm.generate --model {package} --prompt {quoted} --max-tokens 64
```

```python
from mlx_lm import generate, load

model, tokenizer = load("{package}")
messages = [{{"role": "user", "content": {prompt}}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
print(generate(model, tokenizer, prompt=prompt, max_tokens=64))
```
"""
SWITCH = """\
```bash
mlx_lm.generate --model {package} --adapter-path {package}/adapters/{adapter} --prompt {quoted} --max-tokens 64
```

```python
from mlx_lm import generate, load

model, tokenizer = load("{package}", adapter_path="{package}/adapters/{adapter}")
messages = [{{"role": "user", "content": {prompt}}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
print(generate(model, tokenizer, prompt=prompt, max_tokens=64))
```
"""


def run_instruction(package: str, prompt: str) -> str:
    """Install and run, pasted in the folder that holds the package."""
    return TEMPLATE.format(
        package=package,
        prompt=json.dumps(prompt, ensure_ascii=False),
        quoted=quote(prompt),
        version=installed("mlx-lm") or "",
    )


def switch_instruction(package: str, prompt: str, adapters: Sequence[str]) -> str:
    """With the first of the package's adapters."""
    said = json.dumps(prompt, ensure_ascii=False)
    return SWITCH.format(package=package, prompt=said, quoted=quote(prompt), adapter=adapters[0])
