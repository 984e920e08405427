"""Optional packages: imported when first used, and named by their extra when they are absent."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingExtraError(ImportError):
    """A feature needs a package that the core installation leaves out; the message says what to install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}': pip install 'grpc-heartbeat[{extra}]'", name=package)
        self.package = package
        self.extra = extra


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module``, which the extra ``extra`` installs.

    Raises:
        MissingExtraError: its top-level package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] == package:
            raise MissingExtraError(package, extra) from error
        raise
