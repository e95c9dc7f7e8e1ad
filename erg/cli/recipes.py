"""``erg recipes``: what can be trained by name."""

from erg.cli.options import Parser


def run(arguments: list[str]) -> int:
    """Print a line a recipe; return 0."""
    parser = Parser(
        "recipes", "List the recipes that come with erg.", "  erg recipes\n  erg train digits --print_config"
    )
    parser.parse_args(arguments)
    from erg.runs.config import shipped

    recipes = shipped()
    width = max(map(len, recipes))
    for name, description in recipes.items():
        print(f"{name:<{width}}  {description}")
    return 0
