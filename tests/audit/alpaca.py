"""Result folders made by the real alpaca_eval, offline: an annotator that is a function."""

import itertools
import json
from dataclasses import dataclass, field

from mini_lima.evaluation.library import undisturbed

PROMPT = "{instruction}\n<1>{output_1}</1>\n<2>{output_2}</2>"
CONFIG = r"""
judge:
  prompt_template: config/prompt.txt
  fn_completion_parser: regex_parser
  completion_parser_kwargs:
    outputs_to_match:
      1: '(?:^|\n) ?Output \(a\)'
      2: '(?:^|\n) ?Output \(b\)'
"""
"""As the library's own chatgpt annotator reads its verdicts."""


@dataclass
class Run:
    """What goes into alpaca_eval, and how its annotator answers.

    Attributes:
        answers: The model's and the reference's answer by instruction.
        prefers: Of (instruction, first, second): the place, 1 or 2, or any text to say instead.
    """

    answers: dict[str, tuple[str, str]]
    prefers: object
    seed: int = 0
    shuffled: bool = True
    model: str = "our model"
    prices: object = field(default_factory=lambda: itertools.repeat(0.001))
    batch: int = 128

    def into(self, folder):
        """Run alpaca_eval; leave its files and the outputs in ``folder``."""
        folder.mkdir(parents=True)
        for side, (name, generator) in enumerate(
            (("model_outputs.json", self.model), ("reference_outputs.json", "the reference"))
        ):
            rows = [
                {"instruction": i, "output": outputs[side], "generator": generator}
                for i, outputs in self.answers.items()
            ]
            (folder / name).write_text(json.dumps(rows))
        config = folder / "config"
        config.mkdir()
        (config / "prompt.txt").write_text(PROMPT)
        (config / "configs.yaml").write_text(CONFIG)
        with undisturbed():
            import alpaca_eval

            alpaca_eval.evaluate(
                model_outputs=json.loads((folder / "model_outputs.json").read_text()),
                reference_outputs=json.loads((folder / "reference_outputs.json").read_text()),
                annotators_config=config,
                output_path=folder,
                precomputed_leaderboard=None,
                fn_metric="get_winrate",
                sort_by="win_rate",
                is_return_instead_of_print=True,
                annotation_kwargs={"chunksize": self.batch},
                fn_completions=self._complete,
                is_randomize_output_order=self.shuffled,
                seed=self.seed,
                caching_path=None,
            )
        return folder

    def _complete(self, prompts, **_):
        said, time = [], next(TIMES)
        for prompt in prompts:
            instruction, rest = prompt.split("\n<1>")
            first, second = rest.removesuffix("</2>").split("</1>\n<2>")
            place = self.prefers(instruction, first, second)
            said.append(f"Output ({'ab'[place - 1]})" if place in (1, 2) else place)
        return {
            "completions": said,
            "price_per_example": [next(self.prices) for _ in prompts],
            "time_per_example": [time] * len(prompts),
        }


TIMES = (1 / k for k in itertools.count(3))
"""No two batches take the same time."""
