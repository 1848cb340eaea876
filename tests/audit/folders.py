"""Result folders written by hand: every annotator's way of answering, with the order known."""

import json
import math
import random
from dataclasses import dataclass, field

from mini_lima.evaluation.annotation import model_stands_first
from mini_lima.evaluation.library import undisturbed

WORDS = ["tree", "river", "says", "green", "quick", "mountain", "note", "city", "blue", "moon"]


def prose(rng, n):
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(100)}" for _ in range(n)) + "."


def plain(rng, place, preference):
    return f"Output ({'ab'[place - 1]})"


def bare(rng, place, preference):
    return f" ({'ab'[place - 1]})"


def letter(rng, place, preference):
    return "AB"[place - 1]


def function(rng, place, preference):
    return json.dumps({"best_output": f"Output ({'ab'[place - 1]})"})


def ranking(rng, place, preference):
    return str([{"model": f"model_{k}", "rank": 1 if k == place else 2} for k in (1, 2)])


def ordered(rng, place, preference):
    ranks = [{"model": "mM"[k - 1], "rank": 1 if k == place else 2} for k in (1, 2)]
    return json.dumps({"concise_explanation": 'it\'s "better"', "ordered_models": ranks})


def boolean(rng, place, preference):
    better = str(place == 1).lower()
    return f'{{\n"Concise explanation": "…",\n"Output (a) is better than Output (b)": {better}\n}}'


def weighted(rng, place, preference):
    """A token drawn with the probabilities that the verdict weighs."""
    strength = abs(preference - 1.5) + 0.5
    chances = {"m": strength if place == 1 else 1 - strength}
    chances["M"] = 1 - chances["m"]
    token = "m" if rng.random() < chances["m"] else "M"
    top = [{"token": t, "logprob": math.log(max(p, 1e-9))} for t, p in chances.items()]
    content = [{"token": token, "logprob": 0.0, "top_logprobs": top}]
    return {"message": {"content": token}, "text": token, "logprobs": {"content": content}}


def nothing(rng, place, preference):
    return None


@dataclass
class Made:
    """A run of a judge whose truth is known.

    Attributes:
        says: How its completions look; see above.
        likes: The chance that the model wins, by (shown first, back-end, rng).
        loses: The chance that a verdict is missing, by (shown first, length of the answer).
        paying: Share of the verdicts whose back-end reports usage.
    """

    n: int = 120
    seed: int = 0
    order_seed: int = 0
    says: object = plain
    likes: object = lambda first, paid, rng: rng.uniform(0.1, 0.6)
    loses: object = lambda first, length: 0.02
    paying: float = 1.0
    weights: bool = False
    words: int = 60
    model: str = "our model"
    firsts: dict = field(default_factory=dict)

    def rows(self):
        rng, rows = random.Random(self.seed), []
        for k in range(self.n):
            instruction = f"run {self.seed}, question {k}: {prose(rng, 3)}"
            reference, model = (prose(rng, rng.randint(4, self.words)) for _ in "12")
            first = model_stands_first(instruction, self.order_seed)
            self.firsts[instruction] = first
            paid = rng.random() < self.paying
            wins = rng.random() < self.likes(first, paid, rng)
            strength = rng.uniform(0.5, 1) if self.weights else 1
            preference = 1.5 + (0.5 if wins else -0.5) * strength
            if rng.random() < self.loses(first, len(model)):
                preference = None
            raw = "Neither."
            if preference is not None:
                raw = self.says(rng, 1 if wins == first else 2, preference)
            rows.append(
                {
                    "instruction": instruction,
                    "dataset": "d",
                    "output_1": reference,
                    "generator_1": "the reference",
                    "output_2": model,
                    "generator_2": self.model,
                    "annotator": "judge",
                    "preference": preference,
                    "preference_price_per_example": 0.001 if paid else 0.0,
                    "preference_time_per_example": 1 / (7.3 + k // 128),
                    "preference_raw_completion": raw,
                }
            )
        return rows

    def into(self, folder):
        rows = self.rows()
        folder.mkdir(parents=True)
        for name, side, who in (("model", 2, self.model), ("reference", 1, "the reference")):
            outputs = [
                {"instruction": r["instruction"], "output": r[f"output_{side}"], "generator": who}
                for r in rows
            ]
            (folder / f"{name}_outputs.json").write_text(json.dumps(outputs))
        (folder / "annotations.json").write_text(json.dumps(rows))
        lengths = [len(row["output_2"]) for row in rows]
        board = {**by_the_library(folder), "avg_length": int(sum(lengths) / len(lengths))}
        header = ",".join(["", *board])
        figures = ",".join([self.model, *(str(value) for value in board.values())])
        (folder / "leaderboard.csv").write_text(f"{header}\n{figures}\n")
        return folder


def by_the_library(folder):
    """What alpaca_eval itself computes from the annotations in ``folder``."""
    with undisturbed():
        import pandas as pd
        from alpaca_eval.metrics import get_winrate

        return get_winrate(pd.read_json(folder / "annotations.json"))
