"""What the trainer refuses before it trains."""

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from mini_lima.errors import UserError
from mini_lima.models.language_model import load_model
from mini_lima.models.rendering import Conversation
from mini_lima.sft.deepspeed_config import Batches
from mini_lima.sft.order import MicroBatches, Order
from mini_lima.sft.trainer import SftTrainer
from mini_lima.sources import ASSETS


def test_tokens_that_the_model_has_no_embedding_for_are_refused(tmp_path: Path) -> None:
    conversations = [Conversation([1, 2], [3]), Conversation([1], [4095, 4096])]
    with pytest.raises(UserError, match=r"qwen-tiny: .*token 4096, .* 4096 embeddings"):
        SftTrainer(
            model=load_model(ASSETS / "qwen-tiny", None, 0, torch.float32),
            args=TrainingArguments(str(tmp_path), use_cpu=True, report_to=[]),
            train_dataset=conversations,
            micro_batches=MicroBatches(Order(2, 2, seed=0), Batches(2, 1, 1), [3, 3], rank=0),
        )
