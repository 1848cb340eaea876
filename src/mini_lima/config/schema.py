"""Everything under ``conf/``, typed: the one description of what can be configured.

Plain dataclasses. Hydra checks every YAML file and command line against
them (`entry.py` registers them); everything below the entry point receives them as ordinary
objects. They are not frozen only because OmegaConf refuses frozen schemas. A field without a
default must be given by a YAML file of its group. Ranges stand in the types, and `checks` reads
them there.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from mini_lima.chat import ChatModel, Connection, Prices

MUST_BE_GIVEN = "???"

Count = Annotated[int, Interval(ge=1, le=1_000_000_000)]
Times = Annotated[int, Interval(ge=1, le=10_000)]
AtOnce = Annotated[int, Interval(ge=1, le=10_000)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]
"""What torch, numpy and transformers all take."""
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Interval(ge=0, lt=1)]
Asked = Annotated[int, Interval(ge=1, le=1000)]


class Weights(StrEnum):
    """Where a model's weights come from."""

    pretrained = "pretrained"
    random = "random"


class Precision(StrEnum):
    """Number format of the forward and backward pass."""

    fp32 = "fp32"
    bf16 = "bf16"


class Overlong(StrEnum):
    """What happens to examples that do not fit into ``sft.max_length``."""

    refuse = "refuse"
    drop = "drop"


class Turns(StrEnum):
    """Which answers of a conversation of several turns are supervised."""

    all = "all"
    last = "last"


class LossReduction(StrEnum):
    """What the loss of an optimizer step is the mean of."""

    global_batch = "global_batch"
    """The supervised tokens of the global batch: however it is divided, the same gradients."""
    micro_batch = "micro_batch"
    """The means of its micro-batches: a token counts for more where few others stand beside it."""


class Engine(StrEnum):
    """What writes the model outputs."""

    transformers = "transformers"
    openai = "openai"


class Dialect(StrEnum):
    """Which parameters a server understands besides OpenAI's own."""

    openai = "openai"
    vllm = "vllm"


class Device(StrEnum):
    """What SFT and generation run on."""

    cuda = "cuda"
    cpu = "cpu"


class AdapterMethod(StrEnum):
    """Which weights are trained."""

    none = "none"
    lora = "lora"


class Orders(StrEnum):
    """Who stands first when a pair of outputs is shown to the annotator."""

    both = "both"
    random = "random"
    model_first = "model_first"
    model_second = "model_second"


class Until(StrEnum):
    """Where a cell may stop."""

    data = "data"
    sft = "sft"
    outputs = "outputs"


class Reading(StrEnum):
    """How the answer to a judge's prompt of one's own is read."""

    named = "named"
    exact = "exact"
    last = "last"
    weighted = "weighted"


class TrackingMode(StrEnum):
    """How Weights & Biases is used."""

    online = "online"
    offline = "offline"
    disabled = "disabled"


class Artifacts(StrEnum):
    """What Weights & Biases is told of data sets, checkpoints, model outputs and annotations."""

    none = "none"
    references = "references"
    """Where they are and what they are, for the lineage; their files stay where they are."""
    uploads = "uploads"
    """The files too."""


@dataclass
class ModelConfig:
    """A causal language model. Remote code is never run."""

    name: str = MUST_BE_GIVEN
    """Row of the comparison table."""
    source: str = MUST_BE_GIVEN
    """Hub id, local folder, GGUF file, or ``embedded:<folder>``; see docs/training.md."""
    revision: str = "main"
    """Branch, tag or commit on the hub; the commit it stands for enters the stages' identity."""
    weights: Weights = Weights.pretrained
    """``random``: only configuration and tokenizer are read; ``init_seed`` gives the weights."""
    init_seed: Seed = 0
    chat_template: str | None = None
    """File with a Jinja chat template. None: the tokenizer's own."""
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    """What the chat template is called with, such as {enable_thinking: false}; the trained model's
    has it in itself."""
    micro_batch_size_per_gpu: Count = MUST_BE_GIVEN  # type: ignore[assignment]
    """Examples per forward pass, at most."""
    baseline_template: str | None = None
    """File with a chat template that the baseline is asked with, in place of its tokenizer's."""


@dataclass
class ChatConfig(ChatModel, Connection):
    """A model behind an OpenAI-compatible endpoint, how it is sampled and how it is asked."""

    endpoint: str = MUST_BE_GIVEN
    """Name of the service. Part of the identity of what it answers; its URL is not."""
    model: str = MUST_BE_GIVEN
    base_url: str | None = None
    """None: OpenAI's own."""
    cassette: str | None = None
    """Recorded responses; nothing is asked over a network then."""
    prices: Prices = field(default_factory=Prices)
    """If not given, those of the model in the group ``prices``."""


@dataclass
class DataConfig:
    """An arm: the steps that make its data set. docs/arms.md says how to make one of your own."""

    steps: dict[str, Any] = field(default_factory=dict)
    """In order, by name: ``_target_``, the function, and its keywords; null leaves one out."""
    seeds: str | None = None
    """Seed tasks: a JSON or JSONL file, ``embedded:<file>``, or the http(s) address of one."""
    seeds_sha256: str | None = None
    """Of the file's contents, in hex; must be given for an address."""
    least_used: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Share of what a step asked its teacher for, or of a file's rows, that must be usable."""
    others: dict[str, Any] = field(default_factory=dict)
    """Other arms that a step reads, by name: ``/data@others.naive: naive`` in the defaults."""


@dataclass
class DeepSpeedConfig:
    """Which states ZeRO shards, and which live in the host's memory."""

    zero_stage: Annotated[int, Interval(ge=0, le=3)] = MUST_BE_GIVEN  # type: ignore[assignment]
    offload_optimizer: bool = False
    offload_parameters: bool = False


@dataclass
class SftConfig:
    """Supervised fine-tuning on the response tokens."""

    epochs: Times = MUST_BE_GIVEN  # type: ignore[assignment]
    global_batch_size: Count = MUST_BE_GIVEN  # type: ignore[assignment]
    """Examples per optimizer step; accumulation steps are derived from it."""
    max_length: Count = MUST_BE_GIVEN  # type: ignore[assignment]
    """Tokens of prompt and response together."""
    overlong: Overlong = Overlong.refuse
    turns: Turns = Turns.all
    """Which answers of a conversation are supervised: each is trained on, or the last alone."""
    precision: Precision = MUST_BE_GIVEN  # type: ignore[assignment]
    gradient_clipping: Positive = 1.0
    held_out: Share = 0.0
    """Share of the tasks whose examples are kept from training, to see the loss on them after each
    epoch. Which ones depends on the tasks' names alone, so all arms hold out the same."""
    loss_reduction: LossReduction = LossReduction.global_batch
    activation_checkpointing: bool = False
    """Keep only each layer's input and compute the rest again: less memory, a third more work."""
    seed: Seed = 0
    """Of the examples' order, of dropout and of an adapter's first weights."""
    checkpoint_steps: Count | None = 100
    """Optimizer steps from one checkpoint to the next. None: only where SIGTERM stops the run."""


@dataclass
class AdapterConfig:
    """All weights, or low-rank additions to some of them that are merged in when they are saved."""

    method: AdapterMethod = MUST_BE_GIVEN  # type: ignore[assignment]
    rank: Count = 16
    """Of the additions."""
    alpha: Count = 32
    """Their weight is alpha / rank."""
    dropout: Share = 0.05
    target_modules: list[str] = field(default_factory=list)
    """Names of the linear layers that get one, in every block of the model."""


@dataclass
class EngineConfig:
    """What writes the model outputs; all but ``name`` is for ``openai``, see docs/engines.md."""

    name: Engine = MUST_BE_GIVEN  # type: ignore[assignment]
    """transformers in processes of our own, or an OpenAI-compatible server."""
    dialect: Dialect = Dialect.vllm
    """What is sent: ``vllm`` says which tokens end an answer, ``openai`` is OpenAI's own alone."""
    base_url: str | None = None
    """Of a server that is there."""
    command: str | None = None
    """Starts a server for {model}, under {name}, at {port}, for as long as it is needed."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key. None: no key is sent."""
    concurrency: AtOnce = 64
    """Calls in flight at most."""
    timeout: Positive = 1800.0
    """Seconds per attempt."""
    total_timeout: Positive = 3600.0
    """Seconds after which no further attempt at one answer begins."""
    max_retries: Annotated[int, Interval(ge=0, le=10_000)] = 14
    """Attempts beyond the first."""


@dataclass
class EvaluationConfig:
    """The instructions, the answers to compare with, and how the model answers."""

    reference_outputs: str = MUST_BE_GIVEN
    """AlpacaEval's JSON, or JSON Lines: ``hub:<data set>/<file>``, a local file, an http(s)
    address, or ``embedded:<file>``. Rows without an ``output`` are for metrics alone."""
    reference_outputs_sha256: str | None = None
    """Of the file's contents, in hex; must be given for an address."""
    reference_answers_sha256: str | None = None
    """Of its [instruction, output] pairs as a JSON list: the same answers in whatever layout."""
    length_difficulties: str | None = None
    """AlpacaEval's ``df_gamed.csv``, for its length-controlled win rate; null: it is left out."""
    length_difficulties_sha256: str | None = None
    """As ``reference_outputs_sha256``."""
    hub_revision: str = "main"
    """Branch, tag or commit that ``hub:…`` files are taken from."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    limit: Count | None = None
    """Only the first so many instructions."""
    max_new_tokens: Count = MUST_BE_GIVEN  # type: ignore[assignment]
    batch_size: Count = MUST_BE_GIVEN  # type: ignore[assignment]
    """Answers that transformers writes side by side: memory and speed, not what is written."""
    most_failed: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Share of answers that may be missing: refused by a server, or thoughts alone. With more the
    stage does not finish."""
    temperature: Annotated[float, Ge(0)] = 0.0
    """0 is greedy."""
    seed: Seed = 0
    bootstrap_samples: Annotated[int, Interval(ge=1, le=10_000_000)] = 10_000
    confidence: Annotated[float, Interval(gt=0, lt=1)] = 0.95


@dataclass
class AnnotatorConfig:
    """The judge: a prompt and the model it is put to, or a rule; docs/judges.md."""

    name: str | None = None
    """An annotator config of AlpacaEval's. With ``prompt`` or ``rule``: what tables call that."""
    prompt: str | None = None
    """A file of yours with {instruction}, {output_1} and {output_2}, in place of AlpacaEval's."""
    reading: Reading = Reading.named
    """What answers ``prompt`` asks for: Output (a) or (b); one of ``answers`` and nothing else; one
    of them at the end of a reasoning; or one of two tokens, weighted with their probabilities."""
    answers: list[str] = field(default_factory=list)
    """What means the first output is better, what the second, and, if there is a third, a tie."""
    rule: dict[str, Any] = field(default_factory=dict)
    """``_target_`` and keywords of a function that judges, in place of a model."""
    orders: Orders = Orders.both
    """``random`` is the single order that alpaca_eval draws for an instruction."""
    repeats: Asked = 1
    """Verdicts on each pair in each order."""
    reading_attempts: Asked = 3
    """How often a question is put until the answer to it can be read."""
    most_failed: Annotated[float, Interval(ge=0, le=1)] = 0.02
    """Share of failed verdicts beyond which a result is marked incomplete."""
    seed: Seed = 0
    """Draws which of two outputs stands first, where that is random."""
    chat: ChatConfig | None = None

    @property
    def asks_model(self) -> bool:
        """Whether ``chat`` is of any use: a rule asks nobody."""
        return not self.rule


@dataclass
class TrackingConfig:
    """Weights & Biases."""

    mode: TrackingMode = MUST_BE_GIVEN  # type: ignore[assignment]
    project: str = "mini-lima"
    entity: str | None = None
    group: str = MUST_BE_GIVEN
    artifacts: Artifacts = Artifacts.references
    """``none``, ``references`` to the files in the store, or ``uploads`` of the files."""


@dataclass
class LaunchConfig:
    """The processes in which SFT and generation run."""

    device: Device = Device.cuda
    processes: AtOnce | str = 1
    """On each node. ``auto``: one per visible GPU, on a CPU one."""
    threads: AtOnce | None = None
    """CPU threads of each process. None: all cores shared out."""
    nodes: AtOnce = 1
    """Machines that train together, this one the first; docs/several-gpus.md says how."""
    rendezvous: str | None = None
    """``host:port`` of this machine, as the other nodes reach it."""
    starter: str | None = None
    """Command that runs what follows it once on each node: ``srun --ntasks-per-node=1``."""


@dataclass
class GridConfig:
    """What ``experiment=grid`` sweeps, as comma-separated option names."""

    models: str = MUST_BE_GIVEN
    data: str = MUST_BE_GIVEN


@dataclass
class Config:
    """One cell: a model, an arm, and everything around them."""

    arm: str = MUST_BE_GIVEN
    """The name of the option that ``data=`` chose; nobody sets it."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    teacher: ChatConfig = field(default_factory=ChatConfig)
    optimizer: dict[str, Any] = field(default_factory=dict)
    """``type``, one of DeepSpeed's, or ``_target_``, the dotted name of a class or function; the
    keywords stand beside it."""
    scheduler: dict[str, Any] = field(default_factory=dict)
    """As ``optimizer``."""
    deepspeed: DeepSpeedConfig = field(default_factory=DeepSpeedConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    annotator: AnnotatorConfig | None = field(default_factory=AnnotatorConfig)
    """The judge; null (annotator=none): metrics alone."""
    other_annotators: dict[str, AnnotatorConfig] = field(default_factory=dict)
    """Further judges of the same answers, by a name of yours: +annotator@other_annotators.x=…"""
    metrics: dict[str, Any] = field(default_factory=dict)
    """By a name of yours: a function as ``_target_``, its keywords, ``_unit_`` and ``_better_``, or
    null; +metric@metrics.x=… adds an option, docs/metrics.md says what there is."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    prices: dict[str, Prices] = field(default_factory=dict)
    """By the name of the model."""
    contrasts: list[str] = field(default_factory=list)
    """What a comparison asks: ``improved - naive`` by arms, ``baseline``, ``(a - b) - (c - d)``.
    Empty: each arm against the baseline, arms that differ in one step, and that between models."""
    seed: Seed = 0
    """Which training it is: cells that differ by it alone are one row, with their mean and spread.
    Data, baseline and judging do not depend on it."""
    store: str = MUST_BE_GIVEN
    """Folder of the finished stages and the response cache, shared by all runs."""
    budget_usd: Annotated[float, Ge(0)] | None = None
    """Dollars that this command may spend on teacher and annotator; null: no limit."""
    until: Until | None = None
    """The last stage: look at the ``data``, the model (``sft``) or its ``outputs`` before paying
    for what comes after; null: all of them."""
    plan: bool = False
    """Show what is done, what is to do and what it will cost, and stop."""

    def chats(self) -> dict[str, ChatConfig]:
        """Every model that is asked over an endpoint, by the key under which it is configured."""
        found = {
            f"{key}.chat": judge.chat
            for key, judge in self.judges().items()
            if judge.chat and judge.asks_model
        }
        return {"teacher": self.teacher} | found

    def judges(self) -> dict[str, AnnotatorConfig]:
        """Every judge, by the key under which it is configured."""
        first = {} if self.annotator is None else {"annotator": self.annotator}
        others = self.other_annotators.items()
        return first | {f"other_annotators.{name}": judge for name, judge in others}
