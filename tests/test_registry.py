"""Registries: names are taken once, unknown ones are answered, options are checked against signatures."""

import pytest

from fewshot_km.errors import ConfigError, PluginError, UnknownNameError
from fewshot_km.registry import Registry, resolve_options


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


def test_options_are_those_of_the_signature() -> None:
    def factory(network: object, inner: object, width: int = 3, *, depth: int) -> None: ...

    def open_factory(network: object, **anything: object) -> None: ...

    assert resolve_options(factory, 2, {"depth": 1}, "f") == {"width": 3, "depth": 1}
    assert resolve_options(open_factory, 1, {"x": 1}, "f") == {"x": 1}
    with pytest.raises(ConfigError, match="f needs the option 'depth'; it takes: width, depth"):
        resolve_options(factory, 2, {}, "f")
    with pytest.raises(ConfigError, match=r"f has no option 'widht', did you mean 'width'\?"):
        resolve_options(factory, 2, {"widht": 1, "depth": 1}, "f")
    with pytest.raises(ConfigError, match="f has no option 'inner'"):
        resolve_options(factory, 2, {"inner": 1, "depth": 1}, "f")
