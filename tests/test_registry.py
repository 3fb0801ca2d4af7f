"""Registries: names are taken once, unknown ones are answered, options are checked against signatures."""

from typing import TYPE_CHECKING, Literal

import pytest

from fewshot_km.errors import ConfigError, PluginError, UnknownNameError
from fewshot_km.registry import Registry

if TYPE_CHECKING:
    from decimal import Decimal


def first() -> None: ...


def second() -> None: ...


@pytest.fixture
def registry() -> Registry[object]:
    made: Registry[object] = Registry("learner", "learners")
    made.register("maml")(first)
    made.register("km-maml")(second)
    return made


def test_entries_are_found_listed_and_globbed(registry: Registry[object]) -> None:
    assert registry.get("maml") is first
    assert list(registry) == ["km-maml", "maml"]
    assert registry.names("km*") == ["km-maml"]
    assert "maml" in registry
    assert "anil" not in registry


def test_a_name_is_taken_once_but_the_same_entry_may_come_again(registry: Registry[object]) -> None:
    registry.register("maml")(first)
    with pytest.raises(PluginError, match=r"learner 'maml' is already registered by tests.test_registry.first; choose"):
        registry.register("maml")(second)
    assert registry.get("maml") is first


def test_unknown_names_are_answered_with_near_and_all_known(registry: Registry[object]) -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown learner 'mmal': did you mean 'maml'.*known learners: km-maml, maml"
    ):
        registry.get("mmal")
    with pytest.raises(UnknownNameError, match=r"unknown learner 'xyz': known learners: km-maml, maml"):
        registry.get("xyz")


def test_a_forgotten_name_is_noticed(registry: Registry[object]) -> None:
    with pytest.raises(PluginError, match=r'write @register\("my-learner"\) above tests.test_registry.first'):
        registry.register(first)  # type: ignore[arg-type]


class NotCallable:
    """No class is called here, but an object of one."""


@pytest.mark.parametrize("entry", [NotCallable(), 3, None, dict, max])
def test_what_cannot_be_called_or_has_no_parameters_is_refused(registry: Registry[object], entry: object) -> None:
    with pytest.raises(PluginError, match=r"learner 'odd' must be a function or class .* write @register.* above"):
        registry.register("odd")(entry)
    assert "odd" not in registry


def test_a_default_that_cannot_be_written_is_named_by_its_kind() -> None:
    holds_itself: list[object] = []
    holds_itself.append(holds_itself)

    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError

    def factory(ring: object = holds_itself, mute: object = Mute()) -> None: ...

    made: Registry[object] = Registry("network", "networks")
    made.register("f")(factory)
    assert made.describe_options("f") == "ring = <list>, mute = <Mute>"
    with pytest.raises(ConfigError, match=r"option 'ring': .* cannot be written to a record"):
        made.options("f")


def test_options_are_those_of_the_signature() -> None:
    def factory(network: object, inner: object, width: int = 3, *, depth: Literal["low", "high"]) -> None: ...

    def open_factory(network: object, **anything: object) -> None: ...

    def odd_factory(network: object, inner: object, activation: object = print) -> None: ...

    made: Registry[object] = Registry("network", "networks", given=2)
    made.register("f")(factory)
    made.register("odd")(odd_factory)
    assert made.options("f", {"depth": "low"}) == {"width": 3, "depth": "low"}
    assert made.describe_options("f") == "width = 3, depth = ?"
    assert made.describe_options("odd") == 'activation = "<built-in function print>"'
    with pytest.raises(ConfigError, match="network 'f' needs the option 'depth'; it takes: width, depth"):
        made.options("f")
    with pytest.raises(ConfigError, match=r"network 'f' has no option 'widht': did you mean 'width'\?"):
        made.options("f", {"widht": 1, "depth": "low"})
    with pytest.raises(ConfigError, match="network 'f' has no option 'inner'"):
        made.options("f", {"inner": 1, "depth": "low"})
    with pytest.raises(ConfigError, match="option 'depth': 'deep' is not allowed; allowed: 'low' or 'high'"):
        made.options("f", {"depth": "deep"})
    with pytest.raises(ConfigError, match="network 'f', option 'width': True: input should be a valid integer"):
        made.options("f", {"depth": "low", "width": True})
    with pytest.raises(ConfigError, match="option 'activation': <built-in function print> cannot be written"):
        made.options("odd")
    free: Registry[object] = Registry("network", "networks", given=1)
    free.register("open")(open_factory)
    assert free.options("open", {"x": 1}) == {"x": 1}


def test_an_annotation_that_means_nothing_here_leaves_the_others_checked() -> None:
    """As of what is imported for type checkers alone."""
    registry: Registry[object] = Registry("thing", "things", given=1)

    def make(given: "Decimal", size: Literal["small", "large"] = "small", rest: "Decimal | int" = 0) -> "Decimal":
        """Make it."""

    registry.register("made")(make)
    assert registry.options("made", {"size": "large", "rest": 3}) == {"size": "large", "rest": 3}
    with pytest.raises(ConfigError, match="'tiny' is not allowed; allowed: 'small' or 'large'"):
        registry.options("made", {"size": "tiny"})


def test_what_is_registered_temporarily_is_gone_afterwards(registry: Registry[object]) -> None:
    def third() -> None: ...

    with registry.temporarily({"maml": second, "new": third}):
        registry.register("newer")(third)
        assert [registry.get(name) for name in registry] == [second, second, third, third]
    with pytest.raises(UnknownNameError), registry.temporarily({"maml": second}):
        registry.get("new")
    assert {name: registry.get(name) for name in registry} == {"maml": first, "km-maml": second}
