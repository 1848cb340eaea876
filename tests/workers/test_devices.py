import pytest

from mini_lima.errors import UserError
from mini_lima.workers import launch
from mini_lima.workers.launch import process_count


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launch.cuda_devices.cache_clear()
    yield
    launch.cuda_devices.cache_clear()


def test_a_number_is_that_number():
    assert process_count(3, "cuda") == 3


def test_auto_on_a_cpu_is_one():
    assert process_count("auto", "cpu") == 1


def test_auto_without_a_gpu_is_refused():
    with pytest.raises(UserError, match=r"^launch.processes=auto: torch finds no CUDA GPU"):
        process_count("auto", "cuda")
