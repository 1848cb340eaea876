"""What the report says of length: from the contrasts that are there, and no more than they hold."""

from mini_lima.report.length_effect import sentences
from mini_lima.results import Contrast, PairedDifference


def contrast(one, other, value, half=2.0, *, alone=None, row="small", **about):
    return Contrast(
        kind="data",
        name=f"{row}: {one} − {other}",
        measure=about.get("measure", "win rate by judge"),
        unit="points",
        row=row,
        terms={one: 1, other: -1},
        difference=value,
        low=value - half,
        high=value + half,
        p_value=0.5,
        p_holm=0.5,
        family=6,
        n=100,
        detectable=None,
        lowest=None,
        highest=None,
        by_length=alone and PairedDifference(alone, alone - 1, alone + 1, 100),
        judged=about.get("judged", True),
        verdict=about.get("verdict", "better" if value > 0 else "worse"),
    )


def test_all_of_it_is_length():
    (told,) = sentences(
        [
            contrast("improved", "naive", 12.0, alone=30.0),
            contrast("improved_cut", "naive", 0.5),
            contrast("improved", "improved_cut", 11.5),
            contrast("improved_longest", "improved_shortest", 8.0),
        ]
    )
    assert told.startswith(
        "Length, small: improved − naive is +12.0 points [+10.0, +14.0], better."
    )
    assert "(improved_cut − naive): +0.5 points [−1.5, +2.5], cannot tell." in told
    assert "(improved − improved_cut): +11.5 points [+9.5, +13.5], better." in told
    assert "longest − shortest half +8.0 points [+6.0, +10.0], better." in told
    assert "+30.0 points [+29.0, +31.0]" in told
    assert "a judge's liking for length can be behind the difference" in told


def test_all_of_it_is_content_whichever_way_round_the_contrasts_are():
    (told,) = sentences(
        [
            contrast("naive", "improved", -12.0, alone=30.0),
            contrast("naive", "improved_cut", -11.0),
            contrast("improved_cut", "improved", -1.0),
            contrast("improved_shortest", "improved_random", -5.0),
        ]
    )
    assert "improved − naive is +12.0 points [+10.0, +14.0], better" in told
    assert "(improved_cut − naive): +11.0 points [+9.0, +13.0], better." in told
    assert "(improved − improved_cut): +1.0 points [−1.0, +3.0], cannot tell." in told
    assert "shortest − random half −5.0 points [−7.0, −3.0], worse." in told
    assert "would say −30.0 points [−31.0, −29.0]" in told
    assert "the other way: a liking for length does not explain the difference" in told
