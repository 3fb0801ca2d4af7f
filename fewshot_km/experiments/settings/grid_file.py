"""What a grid file can say: one pydantic model, from which its checks, its JSON Schema and its explanation come."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    Tag,
    WithJsonSchema,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from fewshot_km.experiments.protocols import protocols
from fewshot_km.experiments.settings.cell_settings import (
    InnerConfig,
    LearnerConfig,
    NetworkConfig,
    OuterConfig,
    PositiveInt,
    Section,
    Seed,
    TaskConfig,
    TestConfig,
    ValidationConfig,
    Ways,
)
from fewshot_km.learners import LEARNERS

Table: TypeAlias = dict[str, Any]
"""The keys that a table of the file gives, with checked values."""


@dataclass(frozen=True)
class PartOf:
    """Annotation of a table that may give any of a section's keys: the others stand elsewhere or have defaults."""

    section: type[Section]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        optional: Any = {
            name: (field.rebuild_annotation(), _optional(field))
            for name, field in self.section.model_fields.items()
            if field.is_required()
        }
        model = create_model(self.section.__name__, __base__=self.section, __doc__=self.section.__doc__, **optional)
        return core_schema.no_info_after_validator_function(_given, handler.generate_schema(model))


def _optional(field: FieldInfo) -> Any:
    return Field(default_factory=lambda: None, description=field.description, json_schema_extra=field.json_schema_extra)


def _given(section: Section) -> Table:
    return {key: value for key, value in section if key in section.model_fields_set}


Item = TypeVar("Item")


def _check_unique(values: list[Item]) -> list[Item]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("not_unique", "each number once")
    return values


Unique = Annotated[
    list[Item], Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(_check_unique)
]
OneOrSeveral = Annotated[
    Annotated[Item, Tag("one")] | Annotated[Unique[Item], Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list) else "one"),
]


def _refuse(_: object) -> object:
    raise PydanticCustomError("shared", "all learners share their episodes; put it into the task")


Refused = Annotated[Any, AfterValidator(_refuse), WithJsonSchema({"not": {}})]

LISTS = "A list makes a task of each number; lists of ways and of shots, one of each pair."
LABEL = "The folder of the results, and the name in tables."


class Sections(Section):
    """The tables of settings, each of which a task or a learner may have, too, for what is different there."""

    network: Annotated[Table, PartOf(NetworkConfig)] = Field(default_factory=dict)
    inner: Annotated[Table, PartOf(InnerConfig)] = Field(default_factory=dict)
    outer: Annotated[Table, PartOf(OuterConfig)] = Field(default_factory=dict)
    validation: Annotated[Table, PartOf(ValidationConfig)] = Field(default_factory=dict)
    test: Annotated[Table, PartOf(TestConfig)] = Field(default_factory=dict)


class TaskEntry(Sections, TaskConfig):
    """One of the file's tasks, or several where ways or shots are lists."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["dataset", "ways", "shots"]}, {"required": ["protocol"]}]}
    )

    ways: OneOrSeveral[Ways] = Field(description=f"{TaskConfig.model_fields['ways'].description} {LISTS}")  # type: ignore[assignment]
    shots: OneOrSeveral[PositiveInt] = Field(description=f"{TaskConfig.model_fields['shots'].description} {LISTS}")  # type: ignore[assignment]
    label: str = Field(
        default="{dataset}-{ways}w{shots}s",
        description=f"{LABEL} {{dataset}}, {{ways}} and {{shots}} in it are replaced; a task with lists of "
        "ways or shots has -{ways}w{shots}s added where neither is in it. {dataset}-{ways}w{shots}s: says which task "
        "it is.",
    )
    protocol: str = Field(
        default="",
        description=f"Settings to start from: {', '.join(protocols())}.",
        json_schema_extra={"enum": list(protocols())},
    )


class LearnerEntry(LearnerConfig):
    """One of the file's learners; further keys are its options (`fewshot-km learners` lists them)."""

    model_config = ConfigDict(json_schema_extra={"required": ["name"]})

    name: str = Field(
        description="A registered learner; a learner may be its name alone.",
        json_schema_extra=lambda schema: schema.update(examples=[*LEARNERS]),
    )
    label: str = Field(default="{name}", description=f"{LABEL} {{name}}: enough unless two differ in options.")
    network: Annotated[Table, PartOf(NetworkConfig)] = Field(default_factory=dict)
    inner: Annotated[Table, PartOf(InnerConfig)] = Field(default_factory=dict)
    outer: Annotated[Table, PartOf(OuterConfig)] = Field(default_factory=dict)
    validation: Refused = None
    test: Refused = None


class GridFile(Sections):
    """A grid: tasks x learners x seeds."""

    model_config = ConfigDict(title="A grid of fewshot_km")

    description: str = Field(default="", description="One line that `fewshot-km list` prints.")
    seeds: Unique[Seed] = Field(
        default=[0],
        description="One cell per seed for every task and learner. [0]: enough to see how far a learner gets; "
        "algorithms are compared over five or more.",
    )
    tasks: list[Annotated[Table, PartOf(TaskEntry)]] = Field(min_length=1)
    learners: list[Annotated[Table, PartOf(LearnerEntry)]] = Field(min_length=1)
