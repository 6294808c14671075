"""The engine's lock files against DVC's own writing."""

from __future__ import annotations

from dvc.utils.serialize import dumps_yaml

from pipeline.engine.locks import with_entries


def test_lock_files_are_as_dvc_writes_them() -> None:
    """Byte for byte, also where YAML 1.1 and 1.2 differ in what needs quotes, and entries keep their place."""
    odd = (
        "0" * 31 + "1",
        "1" * 30 + "e5",
        "0b" + "10" * 15,
        "yes",
        "1:30",
        "a #b",
        "é",
        "x " * 60,
        "k" * 150,
        "~",
        "- x",
    )
    held = {
        f"evaluate@{number}": {
            "cmd": f"python -m stages evaluate {text}",
            "deps": [{"path": text, "hash": "md5", "md5": text, "size": 7}],
            "outs": [
                {"path": f"artifacts/{text}", "hash": "md5", "md5": "d41d8cd98f00b204e9800998ecf8427e.dir", "nfiles": 1}
            ],
        }
        for number, text in enumerate((*odd, "plain"))
    }
    text = dumps_yaml({"schema": "2.0", "stages": held})
    assert with_entries("", held) == text
    assert with_entries(
        dumps_yaml({"schema": "2.0", "stages": {"evaluate@3": held["evaluate@11"]}}), held
    ) == dumps_yaml({"schema": "2.0", "stages": {"evaluate@3": None, **held}})
    plain = dumps_yaml({"schema": "2.0", "stages": {"evaluate@11": held["evaluate@11"]}})
    assert with_entries(plain.replace("outs:", "outs:  # mine"), held) is None
    assert with_entries(f"{plain}datasets: []\n", held) is None
    assert with_entries(plain[:-20], held) is None


def test_what_stands_twice_in_an_entry_is_written_twice() -> None:
    file = {"path": "a", "hash": "md5", "md5": "b", "size": 7}
    shared = {"fetch@a": {"cmd": "python -m stages fetch a", "deps": [file], "outs": [file]}}
    apart = {"fetch@a": {**shared["fetch@a"], "outs": [dict(file)]}}
    assert with_entries("", shared) == dumps_yaml({"schema": "2.0", "stages": apart})
