"""The commands `fewshot-km learners ...`: list, check and describe learners, and begin a new one."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fewshot_km.cli.options import Plugins, load_plugins, real_number
from fewshot_km.cli.output import print_line
from fewshot_km.experiments.settings.selection import parse_pairs


class ListsByDefault(TyperGroup):
    """Lists where no command is named: `fewshot-km learners '*maml*'` is `fewshot-km learners list '*maml*'`."""

    def completed(self, words: list[str]) -> list[str]:
        """The words with the command that they leave out."""
        is_complete = bool(words) and (words[0] in self.commands or words[0] in ("-h", "--help"))
        return words if is_complete else ["list", *words]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command and its arguments."""
        return super().parse_args(ctx, self.completed(args))


learners_commands = typer.Typer(
    cls=ListsByDefault,
    help="List the learners that a grid can name; check, describe or begin one.",
    rich_markup_mode=None,
    add_completion=False,
)

RATE = real_number(1e-6, 1e3)  # beyond these, float32 learns nothing

Name = Annotated[str, typer.Argument(metavar="NAME", help="A learner: `fewshot-km learners` lists them.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of the learner, as in a grid; may be repeated."),
]


@learners_commands.command("check")
def check_command(
    name: Name,
    plugin: Plugins = None,
    option: Options = None,
    network: Annotated[str, typer.Option(help="A network: `fewshot-km networks` lists them.")] = "conv4",
    inner_lr: Annotated[
        float, typer.Option(metavar="X", parser=RATE, help="The inner learning rate. 0.4: MAML's on 5-way Omniglot.")
    ] = 0.4,
) -> None:
    """Check that a learner keeps its contract, in less than a minute: a line for each promise.

    Exit status 1 if one is broken.
    """
    load_plugins(plugin)
    from fewshot_km.testing import LearnerCheckError, check_learner  # torch, which takes seconds to import

    options = parse_pairs("--option", option or ())
    try:
        print_line(check_learner(name, options, network=network, inner_lr=inner_lr, on_result=print_line).summary)
    except LearnerCheckError as error:
        print_line(error.report.summary)
        raise typer.Exit(1) from None


@learners_commands.command("describe")
def describe_command(name: Name, plugin: Plugins = None, option: Options = None) -> None:
    """Print what adapts, how many parameters, the reference, options with reasons, and the backends that run it."""
    load_plugins(plugin)
    from fewshot_km.learner_checks.description import describe_learner

    for heading, text in describe_learner(name, parse_pairs("--option", option or ())):
        print_line(f"{heading:15}{text}")


@learners_commands.command("new")
def new_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the learner, such as my-idea.")],
) -> None:
    """Write a package for a new learner into the folder NAME: the learner, its entry point, and a test."""
    from fewshot_km.plugins.new_package import write_package

    learner, *others = write_package(name, Path())
    for file in (learner, *others):
        print_line(f"wrote {file}")
    print_line(f"fewshot-km learners check {name} --plugin {learner}")
    print_line(f"pip install -e {name}          # then grids can name it without --plugin")
