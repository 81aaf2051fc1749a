"""The configuration as models, a block each: type, range, unit and meaning of every key.

Values stand in config/config.yaml, each with its reason; a key that may be left out there has its
default here. config/README.md is made from both by `make docs`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from autoprune.core.block import Among, Block, once, wrong
from autoprune.core.labels import METHODS
from autoprune.core.provenance import modules_with
from autoprune.core.refusal import unknown
from autoprune.data.prepare import sources
from autoprune.data.prepare.preprocess import Preprocessing
from autoprune.data.prepare.schemes import Division
from autoprune.federation.settings import (
    TARGET,
    Family,
    Kind,
    StandsFor,
    Target,
    Training,
    Widths,
)
from autoprune.measure import formats as exports
from autoprune.pruning.settings import Rule
from autoprune.study.networks import UNSET, FromFunction
from autoprune.study.tasks import fault

# by file: importing them would take a second of torch
MODELS = modules_with("models", "build")
SOURCES = sources.names()


def _with_dense(methods: dict[str, list[str]]) -> dict[str, list[str]]:
    """Methods among which the baseline is."""
    if not methods.get("dense"):
        raise wrong("key 'dense' is missing, or has no variant")
    return methods


Once = AfterValidator(once)
Whole = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# names are parts of paths, of the form that the wildcards in the Snakefile have
Variant = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9.-]*$")]
Variants = dict[str, Annotated[list[Variant], Once]]  # none: the method does not run
Methods = Annotated[Variants, AfterValidator(_with_dense)]


class Pathvars(Block):
    """Where a run's files go, relative to the working directory.

    Another `results` folder keeps studies apart.
    """

    results: str = Field(description="Data, runs, tables, figures and the report.")
    logs: str = Field(description="One log a job.")
    benchmarks: str = Field(description="Time and memory of each job.")
    resources: str = Field(description="Downloads, and what you put there yourself.")


class Controls(Block):
    """How the methods are compared."""

    prune_at: float = Field(
        gt=0,
        le=1,
        description="Share of the dense run's final validation accuracy (the mean of its last five "
        "evaluations) from which a network counts as trained: methods that prune trained networks "
        "begin in the round after the first evaluation that reaches it. Where it is reached in the "
        "run's last round only, in the middle of the run. A pair may set it for a method.",
    )
    null_draws: int = Field(
        ge=1, description="Searches on random networks that each of the two nulls is made of."
    )
    reference: str = Field(
        description="The variant of autoprune whose final parameters are the budget of the methods "
        "that need one, and whose search says in how many rounds the iterative ones prune."
    )


class Ablation(Block):
    """Two arms of the study, each as dataset-model/method/variant."""

    model_config = ConfigDict(validate_by_alias=True, validate_by_name=False)

    with_: str = Field(alias="with", description="The arm with the change.")
    without: str = Field(description="The arm without it.")


class Claims(Block):
    """How verdicts are reached."""

    accuracy_margin: Annotated[float, Field(ge=0)] | None = Field(
        description="Percentage points: accuracies this close still count as equal. null: what two "
        "networks as good as the dense one differ by on so many held-out images, 95 times in 100; "
        "at least 1."
    )


class Verify(Block):
    """The check whether a number moved."""

    reference: str | None = Field(
        description="Folder of the reference that a finished study is compared with by the target "
        "verify; null for none. python -m autoprune.check.verify --record makes one."
    )


class Deploy(Block):
    """Networks as files for devices, and their latency on this machine (a host proxy)."""

    formats: Annotated[list[Annotated[str, Among(exports.formats())]], Once] = Field(
        min_length=1,
        description="File formats that networks are exported to, in float32 and int8: onnx (ONNX "
        "Runtime), tflite (LiteRT, needs `make litert`), pte (ExecuTorch, needs `make "
        "executorch`).",
    )
    round_widths_to: Annotated[list[Annotated[int, Field(ge=2)]], Once] = Field(
        description="Multiples, in filters. For each a variant of a pruned network is exported "
        "beside the exact one, its kept widths rounded to multiples of it, where the method's plan "
        "has the scores by which filters come back (autoprune, null-norms); empty for none."
    )
    round_widths: Literal["nearest", "up", "down"] = Field(
        description="To which multiple: up computes exactly the same with more MACs; down drops "
        "the smallest filters; nearest is up or down, a half up."
    )
    seeds: int = Field(
        ge=0,
        description="How many of the study's seeds, from the first on, `all` exports and times; 0 "
        "for none.",
    )
    latency_rounds: int = Field(
        ge=2,
        description="Rounds of dense, pruned, pruned, dense that a speed-up on this machine is "
        "measured in.",
    )


class UsualPreprocessing(Block):
    """What is done to the images of every data set that does not say otherwise itself."""

    standardise: bool = Field(
        description=str(Preprocessing.model_fields["standardise"].description)
    )


class DataSet(Block):
    """A data set: where it comes from and how it lies with the clients."""

    source: Annotated[str, Among(SOURCES)] = Field(
        description="Where the images come from; see Sources."
    )
    stands_for: StandsFor
    target: Target | Annotated[list[str], Once] = Field(
        description=f"{TARGET} Of the task multi-label a list of two at least."
    )
    task: Kind = "multi-class"
    metrics: Annotated[list[str], Once] = Field(
        UNSET,
        description="What is measured of the final network on the test images too: `macro-f1` and "
        "`auc` of classes, `mae` of a number. Without it all, but of multi-class nothing.",
    )
    options: dict[str, Any] = Field(description="The source's own settings; see Options.")
    downloads: Annotated[list[str], Once] = Field(
        UNSET,
        description="Files that are fetched to `resources/downloads`, or checked there when you "
        "put them there; names of `workflow/autoprune/data/fetch/downloads.yaml`.",
    )
    preprocessing: Preprocessing = UNSET
    partition: Division

    @model_validator(mode="after")
    def _of_its_task(self) -> Self:
        """Targets, metrics and partition are what the task takes."""
        if found := fault({name: getattr(self, name) for name in DataSet.model_fields}):
            raise wrong(found)
        return self


class Pair(Block):
    """A data set and a network, any key of `training`, and methods' settings under their names."""

    model_config = ConfigDict(extra="allow")

    dataset: str = Field(description="A name in `datasets`.")
    model: Family
    widths: Widths = UNSET
    methods: Methods = Field(
        UNSET, description="Method -> variants that run on this pair, instead of the study's."
    )
    more_methods: Variants = Field(
        UNSET,
        description="Method -> variants that run on this pair too, beside its own or the study's.",
    )
    autoprune: Rule = UNSET

    @model_validator(mode="after")
    def _of_known_keys(self) -> Self:
        """Beside its own, those of the training and the methods."""
        known = dict.fromkeys([*Pair.model_fields, *Training.model_fields, *METHODS])
        for key in self.model_extra or ():
            if key not in known:
                raise wrong(unknown("key", key, known))
        return self


class Config(Block):
    """The configuration of a study."""

    pathvars: Pathvars
    backend: Literal["local", "simulation", "deployment"] = Field(
        description="The grid that runs train on: `local`, this project's own; `simulation`, "
        "Flower's runtime on Ray; or `deployment`, Flower's SuperLink and SuperNodes on other "
        "machines (`docs/deployment.md`). All give the same bytes."
    )
    seeds: Annotated[list[Seed], Once] = Field(
        min_length=1,
        description="Seeds of the runs; each pair, method and variant runs once with each.",
    )
    study: Annotated[list[str], Once] = Field(
        min_length=1,
        description="The pairs that run, by name; a list, so that an overlay replaces it whole.",
    )
    methods: Methods = Field(
        description="Method -> variants that run, of every pair that has no `methods` of its own. "
        "`dense: [fedavg]` must be there, all else is compared with it. A method without a "
        "variant, `narrow: []`, does not run."
    )
    variants: dict[str, dict[Variant, dict[str, Any]]] = Field(
        description="Variants of your own: method -> name -> what a variant of that name sets "
        "otherwise. `like` is the built-in variant that it is one of; the other keys are the "
        "method's settings or any key of `training`, as in `inherit-low: {like: inherit, tails: "
        "low}`."
    )
    controls: Controls
    ablations: dict[str, Ablation] = Field(
        description="Name -> with, without: two arms of the study, each as "
        "dataset-model/method/variant, whose accuracies `tables/ablations` compares. A pair whose "
        "every arm stands here against an arm of another pair runs for ablations alone: "
        "`tables/claims` does not average over it."
    )
    claims: Claims
    verify: Verify
    deploy: Deploy
    preprocessing: UsualPreprocessing
    training: Training
    datasets: dict[Annotated[str, StringConstraints(pattern="^[a-z0-9_]+$")], DataSet] = Field(
        description="Data sets by name, below."
    )
    networks: dict[Annotated[str, StringConstraints(pattern="^[a-z0-9_]+$")], FromFunction] = Field(
        description="Networks by name that a function makes; a pair names one as its `model`, and "
        "needs no `widths` then."
    )
    pairs: dict[Annotated[str, StringConstraints(pattern="^[a-z0-9_]+-[a-z0-9_]+$")], Pair] = Field(
        description="Pairs of a data set and a network, named dataset-model, below."
    )
