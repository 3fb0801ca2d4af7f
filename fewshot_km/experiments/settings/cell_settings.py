"""The settings of one cell (task, learner, seed), with a reason for every default."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

# Raise it with any change that gives other numbers, beyond rounding, for the same settings.
# 2: images of an episode come in random order.
RESULTS_VERSION = 2

PositiveInt = Annotated[int, Field(ge=1, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Ways = Annotated[int, Field(ge=2, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class Section(BaseModel):
    """A table of the grid file; it refuses unknown keys, and its values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(Section):
    """Something registered, and its options as further keys; its name alone stands for a table without options."""

    model_config = ConfigDict(extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        if not isinstance(value, str | Mapping | cls):
            raise PydanticCustomError("not_named", "must be a name, or a table of a name and options")
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(schema)
        definition = handler.resolve_ref_schema(reference)
        table = dict(definition)
        definition.clear()
        definition["anyOf"] = [{"type": "string"}, table]
        return reference

    @property
    def options(self) -> dict[str, Any]:
        """Every key but the name."""
        return dict(self.model_extra or {})


class DatasetConfig(Named):
    """The images (`fewshot-km datasets` lists names and options); without options, a record holds the name alone."""

    name: str = Field(description="A registered data set.")

    @model_serializer
    def _plain(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.options} if self.options else self.name

    def __str__(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)


class TaskConfig(Section):
    """The n-way k-shot problem."""

    dataset: DatasetConfig = Field(
        description="A registered data set, its name or a table of name and options: `fewshot-km datasets` lists them."
    )
    ways: Ways = Field(description="Classes per task.")
    shots: PositiveInt = Field(description="Support images per class.")
    train_queries: PositiveInt = Field(
        default=5, description="Query images per class at meta-training. 5: enough for a steady outer gradient."
    )
    test_queries: PositiveInt = Field(
        default=5,
        description="Query images per class at validation and test. 5: 20-image classes still allow 15 shots.",
    )


class NetworkConfig(Named):
    """The backbone; further keys are its options (`fewshot-km networks` lists them)."""

    name: str = Field(default="conv4", description="A registered backbone. conv4: the network of MAML, ANIL and KM.")


class LearnerConfig(Named):
    """The learner; further keys are its options (`fewshot-km learners` lists them)."""

    name: str = Field(description="A registered learner.")


class InnerConfig(Section):
    """Adaptation to one task."""

    lr: PositiveFloat = Field(
        description="Inner learning rate on the mean cross-entropy. No default: published rates differ by task, and "
        "those stated for a loss summed over the ways must be multiplied by the ways."
    )
    train_steps: PositiveInt = Field(
        default=1, description="Inner steps at meta-training. 1: the cheapest; papers use 1 or 5."
    )
    test_steps: PositiveInt = Field(
        default=3,
        description="Inner steps at validation and test. 3: what MAML used on Omniglot after training with 1.",
    )
    order: Literal["first", "second"] = Field(
        default="second",
        description="Whether the outer gradient goes through the inner steps. second: MAML's algorithm.",
    )


class OuterConfig(Section):
    """Meta-training."""

    lr: PositiveFloat = Field(default=1e-3, description="Adam's learning rate. 0.001: MAML's code.")
    meta_batch: PositiveInt = Field(default=16, description="Tasks per iteration. 16: MAML's on 20-way Omniglot.")
    iterations: PositiveInt = Field(default=60_000, description="Outer steps. 60,000: MAML's schedule.")
    clip_value: PositiveFloat | Literal["none"] = Field(
        default="none",
        description="Bound on each component of the outer gradient. none: MAML clips mini-ImageNet only.",
    )


class ValidationConfig(Section):
    """Model selection: the meta-parameters with the best mean accuracy on fixed validation episodes are kept."""

    every: PositiveInt = Field(default=500, description="Iterations between validations. 500: about 1 % of a full run.")
    episodes: PositiveInt = Field(default=100, description="Validation episodes. 100: standard error about 1 point.")
    patience: PositiveInt | Literal["none"] = Field(
        default="none",
        description="Validations without a better one after which training ends. none: papers train to the end.",
    )


class TestConfig(Section):
    """The final test, once, on episodes that every learner and seed of the grid shares."""

    __test__ = False  # pytest: not a test class

    episodes: Annotated[int, Field(ge=2, strict=True)] = Field(
        default=600, description="Test episodes. 600: MAML's number, and everyone's since."
    )
    stream: Seed = Field(default=0, description="Seed of the test stream. 0: change it to see other test episodes.")


class CellConfig(Section):
    """Everything that decides the result of one cell."""

    task: TaskConfig
    learner: LearnerConfig
    network: NetworkConfig = NetworkConfig()
    inner: InnerConfig
    outer: OuterConfig = OuterConfig()
    validation: ValidationConfig = ValidationConfig()
    test: TestConfig = TestConfig()
    seed: Seed = Field(description="Seed of the initialisation and of the training episodes.")
    plugin_sources: dict[str, str] = Field(
        default={}, description="SHA-256 of the files of each plug-in named above: an edited plug-in is another cell."
    )
    results_version: int = Field(
        default=RESULTS_VERSION, description="Version of the suite's arithmetic: results of another are another cell."
    )

    def digest(self) -> str:
        """Return the cell's identity, which does not depend on the formatting of its grid file."""
        return settings_digest(self.model_dump(mode="json"))


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of settings, as a record holds them, in canonical JSON."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
