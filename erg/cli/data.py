"""``erg data``: which data sets are known, and which are here."""

from erg.cli.options import Parser


def run(arguments: list[str]) -> int:
    """Print a line a data set; return 0."""
    parser = Parser(
        "data",
        "List the data sets that go by a name, and where they were found. Any recipe trains on other data with "
        "--data.path: a folder of images, IDX, .npy, .npz or .csv.",
        "  erg data\n  ERG_DATA=/data erg train mnist\n  erg train images --data.path pictures/",
    )
    parser.parse_args(arguments)
    from erg.data import available

    for entry in available():
        print(
            f"{entry.name:<8} {'found' if entry.found else 'not here':<9} {entry.description}\n{'':<19}{entry.where}"
        )
    return 0
