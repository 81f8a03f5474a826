"""What users may rely on, name by name; a change shows in this file's diff.

python tests/test_public_api.py > tests/public_api.txt
"""

import inspect
import pathlib
import re
import types

import pytest

import keras_sparse as ks

HERE = pathlib.Path(__file__).parent


def public_api():
    """Lines `name(arguments)` of all public classes and functions."""
    lines = []
    for name in ks.__all__:
        thing = getattr(ks, name)
        if not isinstance(thing, types.ModuleType):
            lines.append(signature(f"ks.{name}", thing))
            continue
        members = getattr(thing, "__all__", None) or [
            key
            for key, value in vars(thing).items()
            if not key.startswith("_")
            and getattr(value, "__module__", None) == thing.__name__
        ]
        for key in members:
            lines.append(signature(f"ks.{name}.{key}", getattr(thing, key)))
    return sorted(lines)


def signature(name, thing):
    if not callable(thing):
        return name
    arguments = inspect.signature(thing)
    bare = arguments.replace(
        parameters=[
            each.replace(annotation=each.empty)
            for each in arguments.parameters.values()
        ],
        return_annotation=inspect.Signature.empty,
    )
    return name + re.sub(
        r"<(?:class|function) '?([\w.]+).*?>", r"\1", str(bare)
    )


def test_the_public_api_is_the_listed_one():
    listed = (HERE / "public_api.txt").read_text().splitlines()
    assert public_api() == listed, (
        "The public API changed. If that is meant, write it down: "
        "python tests/test_public_api.py > tests/public_api.txt"
    )


def test_every_public_name_has_a_page():
    pages = (HERE.parent / "docs" / "api").glob("*.md")
    text = "\n".join(page.read_text() for page in pages)
    documented = set(re.findall(r"keras_sparse\.(\w+)", text))
    assert set(ks.__all__) - documented == set()


def test_what_waits_for_its_first_use_is_listed_and_a_typo_is_not():
    assert set(ks.__all__) <= set(dir(ks))
    assert ks.export.export_tflite is ks.export_tflite
    with pytest.raises(AttributeError, match="'export_tflit'"):
        _ = ks.export_tflit


if __name__ == "__main__":
    print("\n".join(public_api()))
