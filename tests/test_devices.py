"""Which device computes, and what is said where there is none of that name."""

import pytest
import torch

from aaccli.devices import pick_device
from aaccli.errors import ConfigError


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest_there_is(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto", None) == torch.device(expected)


@pytest.mark.parametrize("name", ["toaster", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_not_here_is_a_usage_error_of_one_line(name):
    with pytest.raises(ConfigError, match=rf"^--device {name}: [^\n]+$"):
        pick_device(name, None)


def test_threads_are_as_many_as_given():
    assert pick_device("cpu", 3) == torch.device("cpu")
    assert torch.get_num_threads() == 3
    pick_device("cpu", None)
    assert torch.get_num_threads() == 3
