"""ONNX Runtime GenAI's model builder, in this process: its tensors are lazy: what saves them decides on memory."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

log = logging.getLogger(__name__)

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
PATCHED = ("save_model", "make_packed_matmul_float_class", "get_genai_commit", "make_mscale_su")
Save = Callable[[Any], None]  # takes the onnx_ir model


def build(source: str, out: str, form: Mapping[str, Any], save: Save | None, scale: float, embedded: bool) -> None:
    """Run the builder on a checkpoint folder, offline; `save` takes the place of its own saving.

    `scale` is LongRoPE's attention factor, which the builder would compute from the context lengths alone. An
    `embedded` decoder takes rows of its embedding in place of token ids.
    """
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            from onnxruntime_genai.models.builder import create_model, parse_extra_options

            with tempfile.TemporaryDirectory(prefix="phi-deploy-") as cache, _patched(save, scale):
                place = (None, source, out, form["precision"], form["provider"], cache)
                options = parse_extra_options(
                    *place, ["hf_token=false", *(["exclude_embeds=true"] if embedded else [])]
                )
                create_model(*place, **options)
    finally:
        log.debug("%s", said.getvalue())


@contextlib.contextmanager
def _patched(save: Save | None, scale: float) -> Iterator[None]:
    """The builder with another way to save, without git, and without the copies it makes of query, key and value.

    It stamps the head of the git repository it is installed in, if any, into the graph: our own, where the environment
    lies in the checkout. It splits Phi-3's packed projection and joins the parts again; of parts that lie side by side
    the whole is a view.
    """
    from onnxruntime_genai.models import builder

    base: Any = next(kind for kind in builder.Phi3MiniModel.__mro__ if kind.__name__ == "Model")
    own_pack = base.make_packed_matmul_float_class
    own = {name: base.__dict__[name] for name in PATCHED}

    def pack(self: Any, q: Any, k: Any, v: Any, **more: Any) -> Any:
        whole = _adjacent([q.weight, k.weight, v.weight])
        return own_pack(self, q, k, v, **more) if whole is None else SimpleNamespace(weight=whole)

    base.make_packed_matmul_float_class = pack
    base.get_genai_commit = classmethod(lambda cls: None)
    base.make_mscale_su = lambda self, factor: scale
    if save is not None:
        base.save_model = _saving(base, save)
    try:
        yield
    finally:
        for name, value in own.items():
            setattr(base, name, value)


def _saving(base: Any, save: Save) -> Callable[[Any, str], None]:
    def save_model(self: Any, out_dir: str) -> None:
        self.model.graph.sort()
        base.stamp_build_metadata(self.model)
        save(self.model)

    return save_model


def _adjacent(parts: list[Any]) -> Any | None:
    """The matrix whose rows the parts are, as a view; None where they do not lie one behind the other."""
    first, at = parts[0], parts[0].data_ptr()
    for part in parts:
        if not part.is_contiguous() or part.data_ptr() != at or part.shape[1] != first.shape[1]:
            return None
        at += part.numel() * part.element_size()
    if len({part.untyped_storage().data_ptr() for part in parts}) > 1:
        return None
    rows = sum(part.shape[0] for part in parts)
    return first.detach().as_strided((rows, first.shape[1]), first.stride())
