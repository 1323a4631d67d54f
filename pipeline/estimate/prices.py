"""The price table: a small YAML file for users to edit; `prices.yaml` beside this module is the default."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.core.errors import MaepressError

SHIPPED = Path(__file__).with_name("prices.yaml")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Requests(_Frozen):
    """Dollars per thousand requests."""

    get: float = Field(ge=0)
    put: float = Field(ge=0)
    list: float = Field(ge=0)


class Machine(_Frozen):
    """Dollars per hour of a machine, and the number of cores that encode."""

    hour: float = Field(ge=0)
    cores: int = Field(ge=1)


class Prices(_Frozen):
    """The whole table; `storage` is in dollars per GB (10^9 bytes) and month."""

    storage: dict[str, float] = Field(min_length=1)
    requests: Requests
    machines: dict[str, Machine] = Field(min_length=1)


def read_prices(path: str) -> Prices:
    """Read a price table; an empty path means the shipped one.

    Raises:
        MaepressError: when the file cannot be read or something in it is missing or misspelt.
    """
    file = Path(path) if path else SHIPPED
    try:
        return Prices.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as e:
        raise MaepressError(f"--prices {path}: {e.strerror or e}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise MaepressError(f"--prices {path}: not YAML ({' '.join(str(e).split())})") from None
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise MaepressError(f"--prices {path}: {where}: {first['msg']} (see {SHIPPED.name} for the form)") from None


def checked_name(table: dict[str, float] | dict[str, Machine], name: str, flag: str) -> str:
    """The name itself, or the first one of the table if it is empty.

    Raises:
        MaepressError: when the table has no such name.
    """
    chosen = name or next(iter(table))
    if chosen not in table:
        raise MaepressError(f"--{flag} {name}: the price table has {', '.join(table)}")
    return chosen
