"""How a person runs the package."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.harness.host import installed
from pipeline.pictures.kinds import Kind

INSTALL = """\
```bash
pip install onnxruntime-genai=={version}
```

"""
TEMPLATE = """\
```python
import json
import onnxruntime_genai as og

model = og.Model("{package}")
{loaded}tokenizer = og.Tokenizer(model)
messages = json.dumps([{{"role": "user", "content": {prompt}}}])
prompt = tokenizer.encode(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
params = og.GeneratorParams(model)
params.set_search_options(max_length=len(prompt) + 64, do_sample=False)
generator = og.Generator(model, params)
{active}generator.append_tokens(prompt)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)
```
"""


MEDIUM_TEMPLATE = """\
```bash
pip install onnxruntime-genai=={version}
```

```python
import json
import onnxruntime_genai as og

model = og.Model("{package}")
processor = model.create_multimodal_processor()
tokenizer = og.Tokenizer(model)
messages = json.dumps([{{"role": "user", "content": {prompt}}}])
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
inputs = processor(prompt, {medium}s=og.{Medium}s.open("{package}/{file}"))
params = og.GeneratorParams(model)
params.set_search_options(max_length=inputs["input_ids"].shape()[1] + 64, do_sample=False)
generator = og.Generator(model, params)
generator.set_inputs(inputs)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)
```
"""


FIXED_TEMPLATE = """\
Graphs of fixed shapes: `prompt.onnx` takes a chunk of tokens, `token.onnx` one, `static.json` says how they are fed.
In this project's checkout, with the package in it (on a Snapdragon `pip install onnxruntime-qnn`, and `device=True`):

```bash
pip install onnxruntime=={version} tokenizers
```

```python
from pathlib import Path
import numpy as np
from tokenizers import Tokenizer
from pipeline.backends.onnxruntime.fixed.session import FixedDecoder

tokenizer = Tokenizer.from_file("{package}/tokenizer.json")
decoder = FixedDecoder(Path("{package}"), threads=0, device=False)
question = {prompt}
ids = tokenizer.encode(f"<|user|>\\n{{question}}<|end|>\\n<|assistant|>\\n").ids
for _ in range(32):
    ids = [int(decoder.append(np.array(ids))[-1].argmax())]
    print(tokenizer.decode(ids), end=" ", flush=True)
```
"""


def run_instruction(package: str, prompt: str, fixed: bool) -> str:
    """Install and run, pasted in the folder that holds the package."""
    if fixed:
        return FIXED_TEMPLATE.format(
            package=package, prompt=json.dumps(prompt, ensure_ascii=False), version=installed("onnxruntime") or ""
        )
    install = INSTALL.format(version=installed("onnxruntime-genai") or "")
    return install + TEMPLATE.format(
        package=package, prompt=json.dumps(prompt, ensure_ascii=False), loaded="", active=""
    )


def switch_instruction(package: str, prompt: str, adapters: Sequence[str]) -> str:
    """With the first of the package's adapters; all are loaded."""
    loads = [f'adapters.load("{package}/adapters/{name}.onnx_adapter", "{name}")\n' for name in adapters]
    return TEMPLATE.format(
        package=package,
        prompt=json.dumps(prompt, ensure_ascii=False),
        loaded="adapters = og.Adapters(model)\n" + "".join(loads),
        active=f'generator.set_active_adapter(adapters, "{adapters[0]}")\n',
    )


def of_medium(package: str, prompt: str, file: str, kind: Kind) -> str:
    """The same of a question on a picture or a sound in the package."""
    field = kind.medium.field
    return MEDIUM_TEMPLATE.format(
        package=package,
        prompt=json.dumps(prompt if kind.medium.place in prompt else kind.shown + prompt, ensure_ascii=False),
        file=file,
        medium=field,
        Medium=field.capitalize(),
        version=installed("onnxruntime-genai") or "",
    )
