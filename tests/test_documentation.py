"""The public names are documented, and the documentation can be rendered."""

import inspect

import pdoc
import pytest

import aaccli

PUBLIC = [name for name in aaccli.__all__ if name != "__version__"]


def members(kind: type) -> list[str]:
    own = vars(kind).items()
    return [
        name for name, value in own if not name.startswith("_") and (inspect.isroutine(value) or hasattr(value, "func"))
    ]


@pytest.mark.filterwarnings("error")
def test_every_public_name_is_rendered_without_a_warning():
    kinds = [getattr(aaccli, name) for name in PUBLIC]  # they are imported on first use, which pdoc does not know
    pdoc.render.configure(docformat="numpy")
    page = pdoc.pdoc("aaccli")
    for name, kind in zip(PUBLIC, kinds, strict=True):
        for member in ("", *(f".{m}" for m in members(kind))):
            assert f'id="{name}{member}"' in page


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_is(name):
    kind = getattr(aaccli, name)
    assert inspect.getdoc(kind)
    for member in members(kind):
        assert inspect.getdoc(inspect.getattr_static(kind, member)), f"{name}.{member}"
