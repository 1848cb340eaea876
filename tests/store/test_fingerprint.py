import dataclasses
import enum
import hashlib
import math
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mini_lima.chat import Endpoint
from mini_lima.store import fingerprint
from mini_lima.store.fingerprint import canonical, content_hash, plain


class Method(enum.Enum):
    NAIVE = "naive"
    IMPROVED = "improved"


class Other(enum.Enum):
    NAIVE = "naive"


class Size(enum.IntEnum):
    ONE = 1


@dataclasses.dataclass(frozen=True)
class AdamW:
    lr: float
    betas: tuple[float, float] = (0.8, 0.999)


@dataclasses.dataclass(frozen=True)
class Lion:
    lr: float
    betas: tuple[float, float] = (0.8, 0.999)


def encoded(value: Any) -> bytes:
    return canonical(plain(value, "params"))


# A busy machine is no reason to fail.
patient = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])

# Few different leaves and keys, so that equal and nearly equal values meet often.
confusable = st.sampled_from(
    [None, True, False, 0, 1, 0.0, -0.0, 1.0, 10**16, 1e16, "", "1", "1.0", "true", "null", "[]"]
)
anything = confusable | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
keys = st.sampled_from(["a", "b", "!enum", "!!enum", "!"]) | st.text(max_size=2)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(keys, inner, max_size=3)
        ),
        max_leaves=6,
    )


def same(one: Any, other: Any) -> bool:
    """Equality as a stage's function sees it: by type and bit, a tuple being the list of it."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    return one == other


@patient
@given(nested(confusable), nested(confusable))
def test_values_share_an_encoding_exactly_when_they_are_the_same(one: Any, other: Any) -> None:
    assert (encoded(one) == encoded(other)) == same(one, other)


def test_classes_are_told_apart_from_each_other_and_from_their_values() -> None:
    alike = [
        Method.NAIVE,
        Other.NAIVE,
        "naive",
        "Method.NAIVE",
        {"!enum": "Method.NAIVE", "!value": "naive"},
        Size.ONE,
        1,
        AdamW(1.0),
        Lion(1.0),
        AdamW(True),
        dataclasses.asdict(AdamW(1.0)),
        {"!dataclass": "AdamW", "lr": 1.0, "betas": [0.8, 0.999]},
    ]
    assert len({encoded(value) for value in alike}) == len(alike)
    assert encoded([AdamW(1.0), Method.NAIVE]) == encoded((AdamW(1.0), Method.NAIVE))


class Service:
    """Known by its name wherever it answers; not even a dataclass."""

    def __init__(self, name: Any, address: str) -> None:
        self.name, self.address = name, address

    @property
    def identity(self) -> Any:
        return self.name


@dataclasses.dataclass(frozen=True)
class Person:
    """Has an ``identity``, but as a field like any other."""

    identity: str
    role: str


def test_an_object_with_an_identity_of_its_own_is_identified_by_that_alone() -> None:
    assert encoded(Service("a", "here")) == encoded(Service("a", "there"))
    alike = [
        Service("a", "here"),
        Service("b", "here"),
        Service(1, "here"),
        Service(None, "here"),
        "a",
        ["a"],
        {"identity": "a"},
        {"!class": "Service", "!identity": "a"},
        Person("a", "author"),
        Person("a", "reader"),
    ]
    assert len({encoded(value) for value in alike}) == len(alike)
    with pytest.raises(ValueError, match=r"^params\.identity: "):
        encoded(Service(Path("somewhere"), "here"))


def test_an_endpoint_is_its_name_or_what_is_on_its_cassette(tmp_path: Path) -> None:
    one = Endpoint("judge", "http://127.0.0.1:8000/v1", concurrency=1, timeout=5.0)
    moved = Endpoint("judge", "https://judge.example/v1", api_key_env="JUDGE_KEY", max_retries=0)
    assert encoded(one) == encoded(moved)
    assert encoded(one) != encoded(dataclasses.replace(one, name="other judge"))

    cassette, copy = tmp_path / "recorded.jsonl", tmp_path / "copy.jsonl"
    for file in (cassette, copy):
        file.write_text("one answer")
    replayed = dataclasses.replace(one, cassette=cassette)
    before = encoded(replayed)
    assert before == encoded(dataclasses.replace(moved, cassette=copy))
    assert before != encoded(one)
    cassette.write_text("two answers")
    assert before != encoded(replayed)


refused = [
    (math.nan, "p.a[1].b"),
    (math.inf, "p.a[1].b"),
    ({1, 2}, "p.a[1].b"),
    (object(), "p.a[1].b"),
    (len, "p.a[1].b"),
    (AdamW, "p.a[1].b"),
    (b"bytes", "p.a[1].b"),
    (Path("seeds.jsonl"), "p.a[1].b"),
    ("\ud83d\ude00", "p.a[1].b"),
    ({1: "x"}, "p.a[1].b"),
    ({Method.NAIVE: "x"}, "p.a[1].b"),
    (AdamW(math.nan), "p.a[1].b.lr"),
    (AdamW(1.0, (0.8, math.nan)), "p.a[1].b.betas[1]"),
    (enum.Enum("Odd", {"ONE": object()})["ONE"], "p.a[1].b.value"),
]


@pytest.mark.parametrize(("value", "where"), refused, ids=lambda x: repr(x)[:20])
def test_what_has_no_stable_form_is_refused_by_its_place(value: Any, where: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the place is what is asserted
        plain({"a": ["fine", {"b": value}]}, "p")
    assert str(caught.value).startswith(f"{where}: ")


def model_folder(root: Path, **extra: str) -> Path:
    for name, text in {"config.json": "{}", "deep/weights": "0", **extra}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_folder_is_its_names_and_contents(tmp_path: Path) -> None:
    one = content_hash(model_folder(tmp_path / "one"))
    assert one == content_hash(model_folder(tmp_path / "two"))
    assert one == content_hash(model_folder(tmp_path / "cached", **{".cache/at": "2024-01-01"}))
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert one == content_hash(tmp_path / "link")
    assert one != content_hash(model_folder(tmp_path / "more", more=""))
    assert one != content_hash(model_folder(tmp_path / "other", **{"deep/weights": "1"}))
    (tmp_path / "two/deep").rename(tmp_path / "two/depth")
    assert one != content_hash(tmp_path / "two")


def test_links_inside_a_folder_count_as_what_they_point_at(tmp_path: Path) -> None:
    plain_folder = model_folder(tmp_path / "plain")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "config.json").symlink_to(plain_folder / "config.json")
    (linked / "deep").symlink_to(plain_folder / "deep")
    assert content_hash(linked) == content_hash(plain_folder)
    (linked / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        content_hash(linked)


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_text("0")
    os.utime(file, (1e9, 1e9))
    read = []
    whole = hashlib.file_digest
    monkeypatch.setattr(
        fingerprint.hashlib, "file_digest", lambda *given: read.append(file) or whole(*given)
    )
    first = content_hash(file)
    assert content_hash(file) == first
    assert len(read) == 1
    file.write_text("1")
    os.utime(file, (1e9, 1e9))  # an older date put back does not hide the change
    assert content_hash(file) != first
