"""The type checker behind the import hook of `conftest`: beartype, with int where float is asked for."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
