"""The package: the .gguf under the community's name, an Ollama Modelfile, and how a person runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.backends.llamacpp.files import file_type, model_file, package_name, read_gguf
from pipeline.files import copy_file, write_text
from pipeline.harness.host import installed
from pipeline.types import Checkpoint

# Ollama's template language for the two chat formats of the Phi family
TEMPLATES = {
    "<|end|>": (
        "{{ if .System }}<|system|>\n{{ .System }}<|end|>\n{{ end }}{{ if .Prompt }}<|user|>\n{{ .Prompt }}<|end|>\n"
        "{{ end }}<|assistant|>\n{{ .Response }}<|end|>\n"
    ),
    "<|im_sep|>": (
        "{{ if .System }}<|im_start|>system<|im_sep|>{{ .System }}<|im_end|>{{ end }}"
        "{{ if .Prompt }}<|im_start|>user<|im_sep|>{{ .Prompt }}<|im_end|>{{ end }}"
        "<|im_start|>assistant<|im_sep|>{{ .Response }}<|im_end|>"
    ),
}
STOPS = {
    "<|end|>": ("<|end|>", "<|user|>", "<|assistant|>"),
    "<|im_sep|>": ("<|im_start|>", "<|im_end|>", "<|im_sep|>"),
}
INSTRUCTION = """\
llama.cpp:

```bash
llama-cli -m {package}/*.gguf -cnv -p "You are a helpful assistant."
```

Ollama:

```bash
cd {package} && ollama create {package} -f Modelfile && ollama run {package}
```

llama-cpp-python:

```bash
pip install llama-cpp-python=={version}
```

```python
from pathlib import Path

from llama_cpp import Llama

model = Llama(str(next(Path("{package}").glob("*.gguf"))), n_ctx=2048, verbose=False)
messages = [{{"role": "user", "content": {prompt}}}]
answer = model.create_chat_completion(messages, max_tokens=64, temperature=0)
print(answer["choices"][0]["message"]["content"])
```
"""
SWITCH = """\
llama.cpp (`llama-server` takes several `--lora`, and switches them by `POST /lora-adapters`):

```bash
llama-cli -m {package}/*.gguf --lora {package}/adapters/{adapter}.gguf -cnv
```

Ollama:

```bash
cd {package} && ollama create {package}-{adapter} -f Modelfile.{adapter} && ollama run {package}-{adapter}
```

llama-cpp-python:

```python
from pathlib import Path

from llama_cpp import Llama

path = str(next(Path("{package}").glob("*.gguf")))
model = Llama(path, lora_path="{package}/adapters/{adapter}.gguf", n_ctx=2048, verbose=False)
messages = [{{"role": "user", "content": {prompt}}}]
answer = model.create_chat_completion(messages, max_tokens=64, temperature=0)
print(answer["choices"][0]["message"]["content"])
```
"""


def write_package(build: Path, checkpoint: Checkpoint, out: Path) -> None:
    """The model and its Modelfile."""
    source = model_file(build)
    name = package_name(checkpoint.folder, checkpoint.model, file_type(read_gguf(source)))
    copy_file(source, out / name)
    write_text(out / "Modelfile", modelfile(name, checkpoint))


def modelfile(name: str, checkpoint: Checkpoint) -> str:
    """What `ollama create` takes. The context ends at the sliding window, which llama.cpp does not keep."""
    lines = [f"FROM ./{name}"]
    chat = _chat_format(checkpoint.folder)
    if chat:
        lines.append(f'TEMPLATE """{TEMPLATES[chat]}"""')
        lines += [f'PARAMETER stop "{word}"' for word in STOPS[chat]]
    length, window = checkpoint.config["max_position_embeddings"], checkpoint.config.get("sliding_window")
    lines.append(f"PARAMETER num_ctx {min(length, window or length, 8192)}")
    return "\n".join(lines) + "\n"


def run_instruction(package: str, prompt: str) -> str:
    """Install and run, pasted in the folder that holds the package."""
    return INSTRUCTION.format(
        package=package, prompt=json.dumps(prompt, ensure_ascii=False), version=installed("llama-cpp-python") or ""
    )


def switch_instruction(package: str, prompt: str, adapters: Sequence[str]) -> str:
    """With the first of the package's adapters."""
    return SWITCH.format(package=package, prompt=json.dumps(prompt, ensure_ascii=False), adapter=adapters[0])


def _chat_format(folder: Path) -> str | None:
    """The marker of a known chat format in the checkpoint's template, or None: Ollama then reads the file's own."""
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8") if template.is_file() else ""
    config: Mapping[str, Any] = {}
    if not text and (folder / "tokenizer_config.json").is_file():
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        text = str(config.get("chat_template") or "")
    return next((marker for marker in TEMPLATES if marker in text), None)
