"""Asking all sites at once, as far as a driver allows it; the answers come in the order of the sites."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .messages import Driver, SiteFailedError, Task, Update

Answer = TypeVar("Answer")


def every_site(driver: Driver, ask: Callable[[str], Answer]) -> list[Answer]:
    """``ask`` called with the name of each site, for ``driver.parallel`` of them at the same time."""
    if driver.parallel == 1:
        return [ask(site) for site in driver.sites]
    with ThreadPoolExecutor(driver.parallel) as pool:
        return list(pool.map(ask, driver.sites))


def answers(driver: Driver, task: Task) -> dict[str, Update | SiteFailedError]:
    """Site -> its answer to ``task``, or why it gave none."""

    def ask(site: str) -> Update | SiteFailedError:
        try:
            return driver.send(site, task)
        except SiteFailedError as error:
            return error

    return dict(zip(driver.sites, every_site(driver, ask), strict=True))
