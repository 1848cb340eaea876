"""All that a training imports, sooner or later: loaded once, by the process that is forked."""

import gc
from functools import cache

import cpuinfo
import deepspeed.module_inject.auto_ep_layer
import deepspeed.ops.op_builder.all_ops
import deepspeed.runtime.zero.muon.muon_optimizer
import peft.tuners.lora
import transformers.models.qwen2.modeling_qwen2
import transformers.models.qwen2.tokenization_qwen2

from mini_lima.sft import training

__all__ = ["deepspeed", "peft", "training", "transformers"]

# Asked by DeepSpeed's Adam for the maker of the CPU, in a process of its own, a second each time.
cpuinfo.get_cpu_info = cache(cpuinfo.get_cpu_info)
cpuinfo.get_cpu_info()

# Objects of the modules: no fork need look through them for garbage.
gc.freeze()
