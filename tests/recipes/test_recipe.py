"""The Protocol of a recipe names all that the commands look for, and the recipes of the package keep to it."""

import inspect
import re
from pathlib import Path

import pytest

from spikebridge.errors import ConfigError
from spikebridge.recipes import Recipe, load_recipe
from spikebridge.recipes.load import RECIPES
from spikebridge.recipes.recipe import REQUIRED, default_settings, defines

pytestmark = pytest.mark.untyped

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "write-a-recipe.md"
MEMBERS = {name for name in (*vars(Recipe), *Recipe.__annotations__) if not name.startswith("_")}
HOOKS = MEMBERS - set(REQUIRED)


def parameters(function: object) -> list[str]:
    assert callable(function)
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_every_required_name_is_in_the_protocol() -> None:
    assert set(REQUIRED) <= MEMBERS


def test_every_hook_is_named_in_the_source_that_looks_for_it() -> None:
    folder = Path(inspect.getfile(default_settings)).parent
    files = [*folder.rglob("*.py"), *folder.with_name("cli").rglob("*.py")]
    source = "\n".join(path.read_text() for path in files if path.name != "recipe.py")

    assert [hook for hook in HOOKS if not re.search(rf'"{hook}"|\.{hook}\(', source)] == []


def test_the_page_explains_every_name() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in MEMBERS if f"| `{name}" not in page and f"`{name}(" not in page] == []


@pytest.mark.parametrize("name", RECIPES)
def test_the_functions_of_a_recipe_take_the_arguments_of_the_protocol(name: str) -> None:
    recipe = load_recipe(name)
    for member in MEMBERS - {"Config", "PRESETS", "Evaluation", "REGIONS", "sample_reader"}:
        if defines(recipe, member):
            taken = parameters(getattr(recipe, member))
            known = parameters(getattr(Recipe, member))
            # more arguments of its own may follow, fewer where the last ones are only given to some
            assert taken[: len(known)] == known[: len(taken)], f"{name}.{member}"


def test_the_default_preset_is_the_first_one_where_none_has_that_name(tmp_path: Path) -> None:
    text = "from spikebridge.networks.digits.recipe import *\n"
    (tmp_path / "my.py").write_text(f"{text}PRESETS = {{'small': Config(hidden=3), 'large': Config()}}\n")

    assert default_settings(load_recipe(str(tmp_path / "my.py"))).hidden == 3
    assert default_settings(load_recipe("digits")) == load_recipe("digits").PRESETS["default"]


def test_a_recipe_file_is_run_once_for_each_version(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text("from spikebridge.networks.digits.recipe import *\n")
    first = load_recipe(str(file))

    assert load_recipe(str(file)) is first

    file.write_text("from spikebridge.networks.digits.recipe import *\nPRESETS = {}\n")
    with pytest.raises(ConfigError, match="its PRESETS should name a Config at least"):
        load_recipe(str(file))
