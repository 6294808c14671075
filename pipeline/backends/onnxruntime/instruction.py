"""How a person runs the package."""

from __future__ import annotations

from pipeline.host import installed

TEMPLATE = """\
```bash
pip install onnxruntime-genai=={version}
```

```python
import json
import onnxruntime_genai as og

model = og.Model("{package}")
tokenizer = og.Tokenizer(model)
messages = json.dumps([{{"role": "user", "content": "Who are you?"}}])
prompt = tokenizer.encode(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
params = og.GeneratorParams(model)
params.set_search_options(max_length=len(prompt) + 64, do_sample=False)
generator = og.Generator(model, params)
generator.append_tokens(prompt)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)
```
"""


def run_instruction(package: str) -> str:
    """Install and run, pasted in the folder that holds the package."""
    return TEMPLATE.format(package=package, version=installed("onnxruntime-genai") or "")
